"""Log-densities of diagonal Gaussians at points whose noise is known; in nats, with all constants."""

import math
from typing import NamedTuple

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


class DiagonalGaussian(NamedTuple):
    """N(mean, diag standard_deviation^2), as an encoder gives it for each image: q0(z_0|x).

    Attributes:
        mean: ``[..., l]``.
        standard_deviation: ``[..., l]``, positive.
    """

    mean: tf.Tensor
    standard_deviation: tf.Tensor

    @property
    def event_size(self) -> int:
        """The dimension l."""
        return self.mean.shape[-1]

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Draws ``[..., l]`` from noise ``[..., l]`` of N(0, I), with any sample axes in front."""
        return self.mean + self.standard_deviation * noise

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Log-density in nats, ``[..., l] -> [...]``."""
        return self.log_prob_of_noise((z - self.mean) / self.standard_deviation)

    def log_prob_of_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """``log_prob(sample(noise))``, ``[..., l] -> [...]``, without the way there and back."""
        return standard_normal_log_prob(noise) - tf.reduce_sum(tf.math.log(self.standard_deviation), axis=-1)

    def entropy(self) -> tf.Tensor:
        """``[...]``, in nats."""
        return gaussian_entropy(tf.math.log(self.standard_deviation))

    def value_and_grad(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-density ``[...]`` and its gradient in z ``[..., l]``, in closed form."""
        noise = (z - self.mean) / self.standard_deviation
        return self.log_prob_of_noise(noise), -noise / self.standard_deviation
