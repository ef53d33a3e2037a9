"""Gaussians: the first approximation q0(z_0|x), the prior, momenta; in nats, with all constants.

`DiagonalGaussian` and `FullGaussian` are one interface, so that nothing asks which of them it holds.
"""

import math
from typing import NamedTuple

import tensorflow as tf

LOG_TWO_PI = math.log(2.0 * math.pi)


def standard_normal_log_prob(value: tf.Tensor) -> tf.Tensor:
    """Log N(value | 0, I), ``[..., l] -> [...]``."""
    return -0.5 * (tf.reduce_sum(tf.square(value), axis=-1) + value.shape[-1] * LOG_TWO_PI)


class DiagonalGaussian(NamedTuple):
    """N(mean, diag standard_deviation^2): q0(z_0|x) of most models here.

    Attributes:
        mean: ``[..., l]``.
        standard_deviation: ``[..., l]``, positive.

    Example:
        >>> q0 = hvae_tf.DiagonalGaussian(tf.zeros([3]), tf.ones([3]))
        >>> noise = tf.random.stateless_normal([10, 3], seed=(0, 1))
        >>> q0.sample(noise).shape, q0.log_prob_of_noise(noise).shape, float(q0.kl_to_standard_normal())
        (TensorShape([10, 3]), TensorShape([10]), 0.0)
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

    def noise_at(self, z: tf.Tensor) -> tf.Tensor:
        """The noise whose sample is z, ``[..., l]``: the inverse of `sample`."""
        return (z - self.mean) / self.standard_deviation

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Log q0(z), ``[..., l] -> [...]``."""
        return self.log_prob_of_noise(self.noise_at(z))

    def log_prob_of_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """Log q0 at ``sample(noise)``, without the way there and back; ``[..., l] -> [...]``."""
        return standard_normal_log_prob(noise) - self._log_scale()

    def value_and_grad(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log q0(z), ``[...]``, and its gradient in z, ``[..., l]``."""
        noise = self.noise_at(z)
        return self.log_prob_of_noise(noise), -noise / self.standard_deviation

    def entropy(self) -> tf.Tensor:
        """-E log q0, ``[...]``."""
        return self._log_scale() + 0.5 * self.event_size * (1.0 + LOG_TWO_PI)

    def kl_to_standard_normal(self) -> tf.Tensor:
        """KL(q0 || N(0, I)), ``[...]``: sum 1/2 (mean^2 + sd^2 - 1) - log sd over the dimensions."""
        squares = tf.reduce_sum(tf.square(self.mean) + tf.square(self.standard_deviation), axis=-1)
        return 0.5 * (squares - self.event_size) - self._log_scale()

    def _log_scale(self):
        return tf.reduce_sum(tf.math.log(self.standard_deviation), axis=-1)


class FullGaussian(NamedTuple):
    """N(mean, L L^T), the covariance being any: q0(z_0|x) of an encoder that gives a Cholesky factor.

    Attributes:
        mean: ``[..., l]``.
        scale_tril: ``[..., l, l]``, L: lower triangular, with a positive diagonal.

    Example:
        >>> q0 = hvae_tf.FullGaussian(tf.zeros([2]), tf.constant([[1.0, 0.0], [3.0, 4.0]]))
        >>> q0.standard_deviation.numpy().tolist()
        [1.0, 5.0]
    """

    mean: tf.Tensor
    scale_tril: tf.Tensor

    @property
    def event_size(self) -> int:
        """The number of dimensions, l."""
        return self.mean.shape[-1]

    @property
    def standard_deviation(self) -> tf.Tensor:
        """Of each dimension by itself, the marginal ones: ``[..., l]``."""
        return tf.norm(self.scale_tril, axis=-1)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Mean + L noise, ``[..., l]``, for noise ~ N(0, I)."""
        return self.mean + tf.linalg.matvec(self.scale_tril, noise)

    def noise_at(self, z: tf.Tensor) -> tf.Tensor:
        """The noise whose sample is z, ``[..., l]``: the inverse of `sample`."""
        return tf.linalg.triangular_solve(self.scale_tril, (z - self.mean)[..., None])[..., 0]

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Log q0(z), ``[..., l] -> [...]``."""
        return self.log_prob_of_noise(self.noise_at(z))

    def log_prob_of_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """Log q0 at ``sample(noise)``, without the way there and back; ``[..., l] -> [...]``."""
        return standard_normal_log_prob(noise) - self._log_scale()

    def value_and_grad(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log q0(z), ``[...]``, and its gradient in z, ``[..., l]``."""
        noise = self.noise_at(z)
        grad = -tf.linalg.triangular_solve(self.scale_tril, noise[..., None], adjoint=True)[..., 0]
        return self.log_prob_of_noise(noise), grad

    def entropy(self) -> tf.Tensor:
        """-E log q0, ``[...]``."""
        return self._log_scale() + 0.5 * self.event_size * (1.0 + LOG_TWO_PI)

    def kl_to_standard_normal(self) -> tf.Tensor:
        """KL(q0 || N(0, I)), ``[...]``: 1/2 (|mean|^2 + |L|^2 - l) - sum_i log L_ii, |L| being Frobenius's norm."""
        squares = tf.reduce_sum(tf.square(self.mean), axis=-1) + tf.reduce_sum(
            tf.square(self.scale_tril), axis=[-2, -1]
        )
        return 0.5 * (squares - self.event_size) - self._log_scale()

    def _log_scale(self):
        return tf.reduce_sum(tf.math.log(tf.linalg.diag_part(self.scale_tril)), axis=-1)


Gaussian = DiagonalGaussian | FullGaussian


def gaussian(mean: tf.Tensor, scale: tf.Tensor) -> Gaussian:
    """Of mean ``[..., l]``, and standard deviations ``[..., l]`` or a Cholesky factor ``[..., l, l]``."""
    return (FullGaussian if scale.shape.rank > mean.shape.rank else DiagonalGaussian)(mean, scale)


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
