"""Hamiltonian variational inference on problems whose answers are known: exact lines, and bounds of trained flows."""
