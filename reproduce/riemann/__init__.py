"""Metrics compared: samplers on targets in two dimensions, and the bound of flows on digits."""
