"""Log-densities of diagonal Gaussians at points whose noise is known; in nats, with all constants."""

import math

import tensorflow as tf

LOG_TWO_PI = math.log(2.0 * math.pi)


def standard_normal_log_prob(value: tf.Tensor) -> tf.Tensor:
    """Log N(value | 0, I), ``[..., l] -> [...]``."""
    return -0.5 * (tf.reduce_sum(tf.square(value), axis=-1) + value.shape[-1] * LOG_TWO_PI)


def gaussian_log_prob(noise: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """Log q0(z_0|x) at z_0 = mu + sigma * noise, for q0 = N(mu, diag sigma^2); ``[..., l] -> [...]``."""
    return standard_normal_log_prob(noise) - tf.reduce_sum(log_sigma, axis=-1)


def gaussian_entropy(log_sigma: tf.Tensor) -> tf.Tensor:
    """-E log q0 of a diagonal Gaussian, ``[..., l] -> [...]``."""
    return tf.reduce_sum(log_sigma, axis=-1) + 0.5 * log_sigma.shape[-1] * (1.0 + LOG_TWO_PI)
