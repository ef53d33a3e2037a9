"""The Nosé-Hoover flow beside HVAE, on the Gaussian model and on digits."""
