"""HMC-refined latents: the work of `reproduce/hmc_vae.py`."""
