"""The derivation of the variational auto-encoder, step by step, with both sides of every step as numbers."""
