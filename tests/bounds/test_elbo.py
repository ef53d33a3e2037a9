"""The bounds against tfp, against each other, and on constants."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import TEMPERINGS, DiagonalGaussian, FlowResult, GaussianOffsetTarget, HamiltonianFlow
from hvae_tf.bounds.elbo import elbo_sample, iwae_bound, log_weight
from hvae_tf.densities import standard_normal, standard_normal_log_prob
from hvae_tf.dynamics.tempering import FixedTempering, ReleasedFixedTempering
from hvae_tf.targets.gaussian import sufficient_statistics

tfd = tfp.distributions
SIZE = 3


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def test_gaussian_densities_are_those_of_tfp(seed):
    mean, log_sigma, noise = tf.unstack(normal(3, 20, SIZE, seed=seed))
    q0 = DiagonalGaussian(mean, tf.exp(log_sigma))
    reference = tfd.MultivariateNormalDiag(mean, tf.exp(log_sigma))
    z = q0.sample(noise)
    np.testing.assert_allclose(z, mean + tf.exp(log_sigma) * noise, rtol=1e-14)
    np.testing.assert_allclose(q0.log_prob_of_noise(noise), reference.log_prob(z), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(q0.log_prob(z), reference.log_prob(z), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(q0.entropy(), reference.entropy(), rtol=1e-12, atol=1e-12)
    standard = tfd.MultivariateNormalDiag(tf.zeros(SIZE, tf.float64))
    np.testing.assert_allclose(standard_normal_log_prob(noise), standard.log_prob(noise), rtol=1e-12)


@pytest.mark.parametrize("standard", [False, True])
def test_gradients_of_densities_are_those_of_autodiff(standard, seed):
    mean, log_sigma, z = tf.unstack(normal(3, 20, SIZE, seed=seed))
    q0 = standard_normal(SIZE, tf.float64) if standard else DiagonalGaussian(mean, tf.exp(log_sigma))
    with tf.GradientTape() as tape:
        tape.watch(z)
        expected = q0.log_prob(z)
    value, grad = q0.value_and_grad(z)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(grad, tape.gradient(expected, z), rtol=1e-12, atol=1e-12)
    assert q0.event_size == SIZE


class Sample:
    """One large sample of Algorithm 1 with a q0 that has a scale of its own."""

    def __init__(self, tempering, seed, num_samples=20_000):
        data = np.random.default_rng(seed).normal(size=[8, SIZE])
        zeros = tf.zeros(SIZE, tf.float64)
        target = GaussianOffsetTarget(sufficient_statistics(data), zeros, zeros)
        hot = {"fixed": FixedTempering(2.0), "fixed-released": ReleasedFixedTempering(2.0)}
        flow = HamiltonianFlow(SIZE, 3, hot.get(tempering, tempering), step_size=0.1, dtype=tf.float64)
        q0 = DiagonalGaussian(zeros, tf.exp(tf.constant([-0.5, 0.0, 0.2], tf.float64)))
        noise, self.gamma = tf.unstack(normal(2, num_samples, SIZE, seed=seed))
        self.rho_0 = self.gamma * flow.schedule().inv_sqrt_beta_0
        self.rho_k = flow.move(target, q0.sample(noise), self.rho_0)[0].rho
        self.result = flow.transform(target, q0.sample(noise), self.gamma)
        self.log_q0, self.entropy = q0.log_prob_of_noise(noise), q0.entropy()
        self.plain = log_weight(self.result, self.log_q0)


@pytest.fixture(scope="module", params=TEMPERINGS)
def sample(request, seed) -> Sample:
    return Sample(request.param, seed)


def test_rao_blackwellised_mean_is_the_plain_mean(sample, z_score):
    assert z_score(elbo_sample(sample.result, sample.log_q0) - sample.plain, 0.0) < 5.0
    assert z_score(elbo_sample(sample.result, -sample.entropy) - sample.plain, 0.0) < 5.0


def test_rao_blackwellised_is_equation_12(sample):
    """Log p(x, z_K) - |rho_K|^2/2 - log q0(z_0|x) + l/2."""
    quadratic = 0.5 * tf.reduce_sum(tf.square(sample.rho_k), axis=-1)
    expected = sample.result.log_joint - quadratic - sample.log_q0 + 0.5 * SIZE
    np.testing.assert_allclose(elbo_sample(sample.result, sample.log_q0), expected, rtol=1e-12)


def test_a_forgotten_constant_is_seen(sample, z_score):
    without_half_l = elbo_sample(sample.result, sample.log_q0) - 0.5 * SIZE
    assert z_score(without_half_l - sample.plain, 0.0) > 5.0


def test_the_first_momentum_for_the_last_is_seen(sample, z_score):
    wrong = 0.5 * (SIZE - tf.reduce_sum(tf.square(sample.rho_0), axis=-1))
    wrong = sample.result._replace(expected_log_ratio=wrong)
    assert z_score(elbo_sample(wrong, sample.log_q0) - sample.plain, 0.0) > 5.0


def test_plain_and_rao_blackwellised_differ_by_noise_alone(sample):
    """By |gamma_0|^2/2 - l/2, in which no parameter stands: their gradients are the same, sample by sample."""
    difference = sample.plain - elbo_sample(sample.result, sample.log_q0)
    expected = 0.5 * tf.reduce_sum(tf.square(sample.gamma), axis=-1) - 0.5 * SIZE
    np.testing.assert_allclose(difference, expected, rtol=0, atol=1e-10)


def test_plain_has_less_variance_on_a_gaussian_target(sample):
    """By l/2 at least, wherever leapfrog is stable.

    The plain weight's |gamma_0|^2/2 offsets the energy that the first momentum leaves in -U(z_K) - |rho_K|^2/2;
    replaced by its mean, it offsets nothing. So the Rao-Blackwellised form is one of fewer terms, not of less variance.
    """
    rao_blackwellised = np.var(elbo_sample(sample.result, sample.log_q0))
    assert np.var(sample.plain) < rao_blackwellised - 0.25 * SIZE


def test_bounds_on_constants():
    result = FlowResult(*(tf.constant(value, tf.float64) for value in ([0.0, 0.0], -3.0, 0.5, 0.25)))
    assert float(log_weight(result, 1.25)) == -3.0 - 1.25 + 0.5
    assert float(elbo_sample(result, 1.25)) == -3.0 - 1.25 + 0.25


def test_iwae_bound_of_one_sample_is_its_log_weight(seed):
    log_weights = normal(1, 7, seed=seed)
    np.testing.assert_allclose(iwae_bound(log_weights), log_weights[0], rtol=1e-14)


def test_iwae_bound_on_constants():
    log_weights = tf.math.log(tf.constant([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], tf.float64))
    np.testing.assert_allclose(iwae_bound(log_weights, axis=1), np.log([2.0, 5.0]), rtol=1e-14)
    np.testing.assert_allclose(iwae_bound(log_weights, axis=0), np.log([3.0, 3.5, 4.0]), rtol=1e-14)


def test_iwae_bound_grows_with_the_number_of_samples(seed):
    """The same 60 weights in ever larger groups: by Jensen's inequality no grouping can lose."""
    log_weights = 2.0 * normal(60, seed=seed)
    means = [float(tf.reduce_mean(iwae_bound(tf.reshape(log_weights, [-1, size]), axis=1))) for size in (1, 5, 15, 60)]
    assert means == sorted(means)
    assert means[-1] - means[0] > 0.1


def test_iwae_bound_of_huge_and_tiny_weights():
    for shift in (-1e5, 1e5):
        log_weights = tf.constant([shift, shift + np.log(3.0)], tf.float64)
        np.testing.assert_allclose(iwae_bound(log_weights), shift + np.log(2.0), rtol=1e-14)
