"""The Gaussian offset model of section 4.1, in which every quantity has a closed form.

    z ~ N(0, I_d),     x_i | z ~ N(z + Delta, diag sigma^2),  i = 1..N:  one latent z for the whole data set.

Per dimension, with v = sigma^2, m = mean(x) - Delta and S = sum_i (x_i - mean(x))^2, everything depends on the data
through (N, mean(x), S). S is taken about the mean, never from raw second moments, which lose all their digits in
float32 where |x| is large. A dimension with N = 0 is unobserved: it follows its prior and adds nothing to any
likelihood, so that problems of unlike d can stand side by side, padded to one size.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.densities import LOG_TWO_PI, standard_normal_log_prob
from hvae_tf.targets.target import Target, ValueAndGrad

tfd = tfp.distributions


def gaussian_offset_model(delta, sigma, num_observations: int) -> tfp.distributions.JointDistributionNamed:
    """The generative model as a tfp joint distribution: a sample is ``{"z": [d], "x": [N, d]}``.

    Args:
        delta: ``[d]``, the offset Delta.
        sigma: ``[d]``, the standard deviations, positive.
        num_observations: N >= 1.

    Raises:
        ValueError: If the shapes differ, sigma is not positive, or N < 1.
    """
    delta, sigma = tf.convert_to_tensor(delta), tf.convert_to_tensor(sigma)
    if delta.shape.rank != 1 or delta.shape != sigma.shape:
        raise ValueError(f"delta has shape {delta.shape} and sigma {sigma.shape}; expected one shape [d] for both")
    if not np.all(np.isfinite(sigma) & (np.asarray(sigma) > 0)) or not np.all(np.isfinite(delta)):
        raise ValueError("expected finite delta and finite, positive sigma")
    if num_observations < 1:
        raise ValueError(f"num_observations is {num_observations}; expected an integer N of at least 1")
    d = delta.shape[0]
    return tfd.JointDistributionNamed(
        {
            "z": tfd.MultivariateNormalDiag(tf.zeros([d], delta.dtype), tf.ones([d], delta.dtype)),
            "x": lambda z: tfd.Sample(
                tfd.Independent(tfd.Normal(z + delta, sigma), reinterpreted_batch_ndims=1), num_observations
            ),
        }
    )


class GaussianStatistics(NamedTuple):
    """What the data say of the model, per dimension.

    Attributes:
        num_observations: ``[]`` or ``[..., d]``, N; 0 where a dimension is unobserved.
        mean: ``[..., d]``, mean(x).
        centred_second_moment: ``[..., d]``, S = sum_i (x_i - mean(x))^2.
    """

    num_observations: tf.Tensor
    mean: tf.Tensor
    centred_second_moment: tf.Tensor


def sufficient_statistics(x, dtype=None) -> GaussianStatistics:
    """The centred sufficient statistics of data sets ``[..., N, d]``, summed in float64.

    Raises:
        ValueError: If x has fewer than two axes, no observations, or a value that is not finite.
    """
    x = np.asarray(x)
    dtype = tf.as_dtype(dtype or np.result_type(x.dtype, np.float32))  # integers become float64
    if x.ndim < 2 or x.shape[-2] < 1 or x.shape[-1] < 1:
        raise ValueError(f"x has shape {x.shape}; expected [..., N, d] with N and d of at least 1")
    if not np.all(np.isfinite(x)):
        raise ValueError(f"x holds {np.count_nonzero(~np.isfinite(x))} values that are not finite; remove them first")
    x = x.astype(np.float64)
    mean = x.mean(axis=-2)
    centred = x - mean[..., None, :]
    return GaussianStatistics(
        tf.constant(x.shape[-2], dtype),
        tf.constant(mean, dtype),
        tf.constant(np.square(centred).sum(axis=-2), dtype),
    )


class GaussianOffsetTarget(Target):
    """log p(D, z) of the model, at any z ``[..., d]``, from the sufficient statistics: O(d) whatever N.

    Args:
        statistics: Of the data D.
        delta: ``[..., d]``, Delta.
        log_sigma: ``[..., d]``, log sigma.

    Raises:
        ValueError: If the dimensions do not agree.

    Example:
        >>> statistics = hvae_tf.gaussian.sufficient_statistics(np.array([[0.0, 1.0], [2.0, 3.0]], np.float32))
        >>> target = hvae_tf.GaussianOffsetTarget(statistics, delta=tf.zeros([2]), log_sigma=tf.zeros([2]))
        >>> target.log_joint(tf.zeros([2])).shape
        TensorShape([])
        >>> hvae_tf.gaussian.maximum_likelihood(statistics).delta.numpy().tolist()
        [1.0, 2.0]
    """

    def __init__(self, statistics: GaussianStatistics, delta, log_sigma):
        sizes = {"mean": statistics.mean.shape[-1], "delta": delta.shape[-1], "log_sigma": log_sigma.shape[-1]}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"last axes do not agree: {sizes}; expected one d for all")
        self.event_size = sizes["mean"]
        n, mean, s = statistics
        precision = tf.exp(-2.0 * log_sigma)  # 1/v
        self._n_precision = n * precision
        self._residual = mean - delta  # m
        # what does not depend on z: -N/2 log(2 pi v) - S/(2v)
        self._spread = s * precision
        constant = -n * (0.5 * LOG_TWO_PI + log_sigma) - 0.5 * self._spread
        self._constant = tf.reduce_sum(constant, axis=-1)

    def _log_joint(self, z):
        fit = tf.reduce_sum(self._n_precision * tf.square(self._residual - z), axis=-1)
        return self._constant - 0.5 * fit + standard_normal_log_prob(z)

    def expected_log_joint(self, mean, scale):
        """The expectation of log p(D, z) under N(mean, diag scale^2), exactly: ``[..., d]`` both ``-> [...]``, nats.

        log p(D, z) is quadratic in z, so what the spread takes off the value at the mean is half a trace.
        """
        return self._log_joint(mean) - 0.5 * tf.reduce_sum((1.0 + self._n_precision) * tf.square(scale), axis=-1)

    def _value_and_grad(self, z):
        # grad log p = -(z + N Sigma^-1 (z + Delta - mean(x))), the gradient of section 4.1
        return ValueAndGrad(self._log_joint(z), self._n_precision * (self._residual - z) - z)

    def _fisher_information(self, z):
        return tf.linalg.diag(self._n_precision + tf.ones_like(z))  # lam, wherever z is


def evidence(statistics: GaussianStatistics, delta, log_sigma):
    """Log p(D), exactly: ``[..., d] -> [...]``, in nats.

    Per dimension -1/2 [N log 2 pi + (N-1) log v + log(v + N) + S/v + N m^2/(v + N)].
    """
    n, mean, s = statistics
    v = tf.exp(2.0 * log_sigma)
    terms = n * LOG_TWO_PI + (n - 1.0) * 2.0 * log_sigma + tf.math.log(v + n) + s / v
    terms += n * tf.square(mean - delta) / (v + n)
    return -0.5 * tf.reduce_sum(terms, axis=-1)


def posterior(statistics: GaussianStatistics, delta, log_sigma) -> tfp.distributions.Distribution:
    """p(z | D) = N(m*, 1/lam) with lam = 1 + N/v and m* = (N/v) m / lam; it factorises over dimensions."""
    n, mean, _ = statistics
    n_precision = n * tf.exp(-2.0 * log_sigma)
    lam = 1.0 + n_precision
    return tfd.MultivariateNormalDiag(n_precision * (mean - delta) / lam, tf.math.rsqrt(lam))


class MaximumLikelihood(NamedTuple):
    """The maximiser of the evidence: `delta` and `sigma`, both ``[..., d]``."""

    delta: tf.Tensor
    sigma: tf.Tensor


def maximum_likelihood(statistics: GaussianStatistics) -> MaximumLikelihood:
    """Delta_hat = mean(x); v_hat = (-a + sqrt(a^2 + 4 S))/2 with a = N - 1 - S/N.

    For an unobserved dimension, N = 0, all values are as likely; it gets the mean that stands there, and sigma = 1.
    """
    n, mean, s = statistics
    a = n - 1.0 - tf.math.divide_no_nan(s, n)
    root = tf.sqrt(tf.square(a) + 4.0 * s)
    # of the two equal forms the one without cancellation: a is near N, so -a + root would lose every digit
    v = tf.where(a > 0, 2.0 * s / (a + root), 0.5 * (root - a))
    return MaximumLikelihood(mean, tf.sqrt(v))


def hamiltonian_gap(
    statistics: GaussianStatistics, delta, log_sigma, step_sizes, schedule, *, momentum_scale=None, shift=None
):
    """What each dimension takes from the evidence in the Hamiltonian ELBO with q0 = N(0, I): ``[..., d]``, nats, >= 0.

    The posterior is Gaussian, so every leapfrog step is linear in (z - m*, rho), dimension by dimension. With
    P_k = diag(1, alpha_k) leapfrog(eps_k), M = P_K..P_1, C = M diag(1, 1/beta_0) M^T and u = M (-m*, 0)^T, it is

        1/2 [lam C11 + C22 + lam u1^2 + u2^2 - 2 - log lam].

    With a momentum that is not tied to the tempering, of scale s, 1/beta_0 becomes s^2, and sum_k log alpha_k + log s
    is taken off; with a shift nu, u2 becomes u2 - nu.

    Args:
        statistics: Of the data D.
        delta: ``[..., d]``.
        log_sigma: ``[..., d]``.
        step_sizes: K tensors ``[..., d]``: eps of each step.
        schedule: `TemperingSchedule` with tensors ``[...]``.
        momentum_scale: ``[..., d]``, s; None where it is tied.
        shift: ``[..., d]``, nu; None where it is 0.
    """
    n, mean, _ = statistics
    n_precision = n * tf.exp(-2.0 * log_sigma)
    lam = 1.0 + n_precision
    m_star = n_precision * (mean - delta) / lam
    m11, m12, m21, m22 = tf.ones_like(lam), tf.zeros_like(lam), tf.zeros_like(lam), tf.ones_like(lam)
    for eps, alpha in zip(step_sizes, schedule.alphas, strict=True):
        h = tf.square(eps) * lam
        diagonal, lower = 1.0 - 0.5 * h, -eps * lam * (1.0 - 0.25 * h)
        alpha = alpha[..., None]
        m11, m12, m21, m22 = (
            diagonal * m11 + eps * m21,
            diagonal * m12 + eps * m22,
            alpha * (lower * m11 + diagonal * m21),
            alpha * (lower * m12 + diagonal * m22),
        )
    scale = schedule.inv_sqrt_beta_0[..., None] if momentum_scale is None else momentum_scale
    momentum_variance = tf.square(scale)
    c11 = tf.square(m11) + tf.square(m12) * momentum_variance
    c22 = tf.square(m21) + tf.square(m22) * momentum_variance
    u2 = m21 * m_star if shift is None else m21 * m_star + shift
    gap = 0.5 * (lam * c11 + c22 + lam * tf.square(m11 * m_star) + tf.square(u2) - 2.0 - tf.math.log(lam))
    if momentum_scale is None:
        return gap
    log_alphas = tf.add_n([tf.math.log(alpha) for alpha in schedule.alphas])
    return gap - tf.math.log(momentum_scale) - log_alphas[..., None]


def exact_hamiltonian_elbo(statistics: GaussianStatistics, delta, log_sigma, step_sizes, schedule):
    """The Hamiltonian ELBO with q0 = N(0, I) in closed form: ``[...]``, in nats; arguments as `hamiltonian_gap`."""
    gap = hamiltonian_gap(statistics, delta, log_sigma, step_sizes, schedule)
    return evidence(statistics, delta, log_sigma) - tf.reduce_sum(gap, axis=-1)


def annealed_gap(statistics: GaussianStatistics, delta, log_sigma, step_sizes, temperatures, kept):
    """What each dimension takes from the evidence in the bound of an `AnnealedFlow` from N(0, I): ``[..., d]``, nats.

    With r = N(0, I). Every pi_b is Gaussian, of precision lam_b = 1 - b + b lam about b lam m*/lam_b, so mean and
    covariance of (z, rho) go through refreshments and steps in closed form, and the gap is

        1/2 [lam (Var z_T + (E z_T - m*)^2) - log lam - 1] + 1/2 sum_t (E rho_t^2 - E rho'_t^2).

    Args:
        statistics: Of the data D.
        delta: ``[..., d]``.
        log_sigma: ``[..., d]``.
        step_sizes: For each of T transitions a list of n tensors ``[..., d]``: eps of each step.
        temperatures: b_1..b_T.
        kept: eta, what each transition but the first keeps of the momentum.
    """
    n, mean, _ = statistics
    n_precision = n * tf.exp(-2.0 * log_sigma)
    lam = 1.0 + n_precision
    m_star = n_precision * (mean - delta) / lam
    kept = tf.convert_to_tensor(kept, m_star.dtype)
    z, rho = tf.zeros_like(m_star), tf.zeros_like(m_star)  # the means
    zz, zr, rr = tf.ones_like(lam), tf.zeros_like(lam), tf.ones_like(lam)  # the covariance
    gained = tf.zeros_like(m_star)  # sum of E rho_t^2 - E rho'_t^2
    for t, (of_steps, b) in enumerate(zip(step_sizes, temperatures, strict=True)):
        if t > 0:
            rho, zr, rr = kept * rho, kept * zr, 1.0 + tf.square(kept) * (rr - 1.0)
        gained -= rr + tf.square(rho)
        lam_b = 1.0 - b + b * lam
        centre = b * lam * m_star / lam_b
        for eps in of_steps:
            h = tf.square(eps) * lam_b
            diagonal, lower = 1.0 - 0.5 * h, -eps * lam_b * (1.0 - 0.25 * h)
            offset = z - centre
            z, rho = centre + diagonal * offset + eps * rho, lower * offset + diagonal * rho
            zz, zr, rr = (
                tf.square(diagonal) * zz + 2.0 * diagonal * eps * zr + tf.square(eps) * rr,
                diagonal * lower * zz + (tf.square(diagonal) + eps * lower) * zr + diagonal * eps * rr,
                tf.square(lower) * zz + 2.0 * lower * diagonal * zr + tf.square(diagonal) * rr,
            )
        gained += rr + tf.square(rho)
    return 0.5 * (lam * (zz + tf.square(z - m_star)) - tf.math.log(lam) - 1.0 + gained)
