"""Diagonal Gaussians: the first approximation q0(z_0|x), the prior, momenta; in nats, with all constants."""

import math
from typing import NamedTuple

import tensorflow as tf

LOG_TWO_PI = math.log(2.0 * math.pi)


def standard_normal_log_prob(value: tf.Tensor) -> tf.Tensor:
    """Log N(value | 0, I), ``[..., l] -> [...]``."""
    return -0.5 * (tf.reduce_sum(tf.square(value), axis=-1) + value.shape[-1] * LOG_TWO_PI)


class DiagonalGaussian(NamedTuple):
    """N(mean, diag standard_deviation^2): q0(z_0|x) of every model here.

    Attributes:
        mean: ``[..., l]``.
        standard_deviation: ``[..., l]``, positive.
    """

    mean: tf.Tensor
    standard_deviation: tf.Tensor

    @property
    def event_size(self) -> int:
        """The number of dimensions, l."""
        return self.mean.shape[-1]

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Mean + standard_deviation * noise, ``[..., l]``, for noise ~ N(0, I)."""
        return self.mean + self.standard_deviation * noise

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Log q0(z), ``[..., l] -> [...]``."""
        return self.log_prob_of_noise((z - self.mean) / self.standard_deviation)

    def log_prob_of_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """Log q0 at ``sample(noise)``, without the way there and back; ``[..., l] -> [...]``."""
        return standard_normal_log_prob(noise) - self._log_scale()

    def value_and_grad(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log q0(z), ``[...]``, and its gradient in z, ``[..., l]``."""
        noise = (z - self.mean) / self.standard_deviation
        return self.log_prob_of_noise(noise), -noise / self.standard_deviation

    def entropy(self) -> tf.Tensor:
        """-E log q0, ``[...]``."""
        return self._log_scale() + 0.5 * self.event_size * (1.0 + LOG_TWO_PI)

    def _log_scale(self):
        return tf.reduce_sum(tf.math.log(self.standard_deviation), axis=-1)


class StandardNormal(DiagonalGaussian):
    """N(0, I), with the shorter formulas that it has; made by `standard_normal`."""

    def log_prob(self, z):
        return standard_normal_log_prob(z)

    def value_and_grad(self, z):
        return standard_normal_log_prob(z), -z


def standard_normal(shape, dtype=tf.float32) -> DiagonalGaussian:
    """N(0, I), the prior of every model here; `shape` is l, or ``[..., l]``, one entry for each member of a batch."""
    shape = [shape] if isinstance(shape, int) else shape
    return StandardNormal(tf.zeros(shape, dtype), tf.ones(shape, dtype))
