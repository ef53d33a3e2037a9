"""Factor analysis: the latent Gaussian model with a linear decoder, of which everything is known in closed form.

    z ~ N(0, I),  x = W z + b + s e,  e ~ N(0, I):   p(z|x) = N(P^-1 W'(x - b)/s^2, P^-1),   P = I + W'W/s^2.

By Fisher's identity, grad log p(x) = E_p(z|x) grad log p(x, z) in the parameters (W, b, s); under another distribution
of z the same expectation is a gradient with a bias. It needs no more of that distribution than two moments.
"""

from typing import NamedTuple

import tensorflow as tf

from hvae_tf.densities import LOG_TWO_PI, DiagonalGaussian, FullGaussian, standard_normal_log_prob
from hvae_tf.targets.target import Target, ValueAndGrad


class ParameterGradient(NamedTuple):
    """A gradient in the parameters, the mean over events.

    Attributes:
        weights: ``[d, l]``, in W.
        bias: ``[d]``, in b.
        log_noise_scale: ``[]``, in log s.
    """

    weights: tf.Tensor
    bias: tf.Tensor
    log_noise_scale: tf.Tensor


class FactorAnalysisTarget(Target):
    """Log p(x, z) of events x, as a function of z ``[..., B, l]``.

    Args:
        x: ``[B, d]``.
        weights: W, ``[d, l]``.
        bias: b, ``[d]``.
        noise_scale: s > 0, ``[]``.
    """

    def __init__(self, x: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor, noise_scale: tf.Tensor):
        self._x = tf.convert_to_tensor(x)
        self._weights, self._bias, self._scale = (
            tf.convert_to_tensor(value, self._x.dtype) for value in (weights, bias, noise_scale)
        )
        self.event_size = self._weights.shape[-1]

    def _residual(self, z):
        """(x - W z - b)/s, ``[..., B, d]``."""
        return (self._x - tf.linalg.matmul(z, self._weights, transpose_b=True) - self._bias) / self._scale

    def _log_density(self, residual, z):
        return (
            standard_normal_log_prob(residual)
            - self._x.shape[-1] * tf.math.log(self._scale)
            + standard_normal_log_prob(z)
        )

    def _log_joint(self, z):
        return self._log_density(self._residual(z), z)

    def _value_and_grad(self, z):
        residual = self._residual(z)
        return ValueAndGrad(
            self._log_density(residual, z), tf.linalg.matmul(residual / self._scale, self._weights) - z
        )  # fmt: skip

    def precision(self) -> tf.Tensor:
        """P, ``[l, l]``, that of p(z|x) for every x."""
        scaled = self._weights / self._scale
        return tf.eye(self.event_size, dtype=scaled.dtype) + tf.linalg.matmul(scaled, scaled, transpose_a=True)

    def posterior(self) -> FullGaussian:
        """p(z|x), of ``[B, l]``."""
        precision = self.precision()
        slope = tf.linalg.matmul((self._x - self._bias) / self._scale**2, self._weights)
        factor = tf.linalg.cholesky(precision)
        mean = tf.linalg.matrix_transpose(tf.linalg.cholesky_solve(factor, tf.linalg.matrix_transpose(slope)))
        scale_tril = tf.linalg.cholesky(tf.linalg.inv(precision))
        return FullGaussian(mean, tf.broadcast_to(scale_tril, [*mean.shape, self.event_size]))

    def best_mean_field(self) -> DiagonalGaussian:
        """The Gaussian with diagonal covariance whose ELBO is the largest, of ``[B, l]``: mean and diag(P)^(-1/2)."""
        mean = self.posterior().mean
        return DiagonalGaussian(mean, tf.broadcast_to(tf.linalg.diag_part(self.precision()) ** -0.5, mean.shape))

    def log_evidence(self) -> tf.Tensor:
        """Log p(x) in nats, ``[B]``: the log-density of N(b, W W' + s^2 I)."""
        size = self._x.shape[-1]
        covariance = tf.linalg.matmul(self._weights, self._weights, transpose_b=True)
        factor = tf.linalg.cholesky(covariance + self._scale**2 * tf.eye(size, dtype=self._x.dtype))
        noise = tf.linalg.triangular_solve(factor, tf.linalg.matrix_transpose(self._x - self._bias))
        log_scale = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)))
        return -0.5 * (tf.reduce_sum(noise**2, axis=0) + size * LOG_TWO_PI) - log_scale

    def elbo(self, q0: DiagonalGaussian | FullGaussian) -> tf.Tensor:
        """E_q0 [log p(x, z) - log q0(z)] of Gaussians of ``[B, l]``, in nats, ``[B]``."""
        # log p(x, z) is quadratic in z, with the Hessian -P
        covariance = _second_moment(q0, tf.zeros_like(q0.mean))
        return self._log_joint(q0.mean) - 0.5 * tf.linalg.trace(self.precision() @ covariance) + q0.entropy()

    def gradient(self, mean: tf.Tensor, second_moment: tf.Tensor) -> ParameterGradient:
        """E grad log p(x, z) in the parameters, where z has these moments given x; the mean over events.

        Args:
            mean: ``[..., B, l]``, E z.
            second_moment: ``[..., B, l, l]``, E z z'.

        Returns:
            Of ``[..., d, l]``, ``[..., d]`` and ``[...]``.
        """
        centred, variance = self._x - self._bias, self._scale**2
        count = tf.cast(tf.shape(self._x)[0], self._x.dtype)
        across = tf.linalg.matmul(
            tf.broadcast_to(centred, [*mean.shape[:-1], centred.shape[-1]]), mean, transpose_a=True
        )
        moment = tf.reduce_mean(second_moment, axis=-3)
        weights = (across / count - tf.linalg.matmul(self._weights, moment)) / variance  # E (x - W z - b) z'
        bias = tf.reduce_mean(self._residual(mean), axis=-2) / self._scale
        spread = tf.linalg.matmul(self._weights, self._weights, transpose_a=True) * (
            moment - tf.reduce_mean(mean[..., None] * mean[..., None, :], axis=-3)
        )
        square = tf.reduce_mean(tf.reduce_sum(self._residual(mean) ** 2, axis=-1), axis=-1)
        square += tf.reduce_sum(spread, axis=[-2, -1]) / variance
        return ParameterGradient(weights, bias, square - self._x.shape[-1])

    def gradient_under(self, q0: DiagonalGaussian | FullGaussian) -> ParameterGradient:
        """`gradient` where z ~ q0, of ``[B, l]``; of the ELBO, if q0 is held."""
        return self.gradient(q0.mean, _second_moment(q0, q0.mean))

    def evidence_gradient(self) -> ParameterGradient:
        """The gradient of the mean of log p(x) over events."""
        return self.gradient_under(self.posterior())


def _second_moment(q0, mean):
    if isinstance(q0, FullGaussian):
        covariance = tf.linalg.matmul(q0.scale_tril, q0.scale_tril, transpose_b=True)
    else:
        covariance = tf.linalg.diag(q0.standard_deviation**2)
    return covariance + mean[..., None] * mean[..., None, :]
