"""What every peer is given: the same weights, images and noise.

A peer is a module with a class ``Peer(problem, threads, ...)``: `bound()` is the mean bound of the batch at the given
noise, `step()` one training step with noise of its own, finished when it returns.
"""

from typing import NamedTuple

import numpy as np

BATCH, LATENT_SIZE = 100, 64


class Problem(NamedTuple):
    """A batch, a point in parameter space and the noise of one draw for each image.

    Attributes:
        num_leapfrog_steps: K; 0 stands for the plain VAE.
        x: ``[B, 28, 28, 1]``, binary.
        noise: ``[B, l]``, of z_0.
        gamma: ``[B, l]``, of rho_0.
        encoder_weights: As Keras lists those of `hvae_tf.conv_encoder`.
        decoder_weights: As Keras lists those of `hvae_tf.conv_decoder`.
        logit_step_size: ``[l]``, of eps / xi.
        inv_sqrt_beta_0: 1/sqrt(beta_0), tempering being fixed.
        max_step_size: xi.
    """

    num_leapfrog_steps: int
    x: np.ndarray
    noise: np.ndarray
    gamma: np.ndarray
    encoder_weights: list
    decoder_weights: list
    logit_step_size: np.ndarray
    inv_sqrt_beta_0: float
    max_step_size: float
