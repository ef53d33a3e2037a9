"""The bounds against tfp, against each other, and on constants."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import (
    TEMPERINGS,
    FlowResult,
    GaussianOffsetTarget,
    HamiltonianFlow,
    gaussian_entropy,
    gaussian_log_prob,
    hamiltonian_elbo,
    hamiltonian_log_weight,
    iwae_bound,
    log_weight,
    standard_normal_log_prob,
    sufficient_statistics,
)

tfd = tfp.distributions
SIZE = 3


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def test_gaussian_densities_are_those_of_tfp(seed):
    mean, log_sigma, noise = tf.unstack(normal(3, 20, SIZE, seed=seed))
    q0 = tfd.MultivariateNormalDiag(mean, tf.exp(log_sigma))
    z = mean + tf.exp(log_sigma) * noise
    np.testing.assert_allclose(gaussian_log_prob(noise, log_sigma), q0.log_prob(z), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gaussian_entropy(log_sigma), q0.entropy(), rtol=1e-12, atol=1e-12)
    standard = tfd.MultivariateNormalDiag(tf.zeros(SIZE, tf.float64))
    np.testing.assert_allclose(standard_normal_log_prob(noise), standard.log_prob(noise), rtol=1e-12)


class Sample:
    """One large sample of Algorithm 1 with a q0 that has a scale of its own."""

    def __init__(self, tempering, seed, num_samples=20_000):
        data = np.random.default_rng(seed).normal(size=[8, SIZE])
        zeros = tf.zeros(SIZE, tf.float64)
        target = GaussianOffsetTarget(sufficient_statistics(data), zeros, zeros)
        flow = HamiltonianFlow(SIZE, 3, tempering, step_size=0.1, inv_sqrt_beta_0=2.0, dtype=tf.float64)
        self.log_sigma = tf.constant([-0.5, 0.0, 0.2], tf.float64)
        self.noise, self.gamma = tf.unstack(normal(2, num_samples, SIZE, seed=seed))
        self.rho = flow.initial_momentum(self.gamma)
        self.inv_sqrt_beta_0 = flow.schedule().inv_sqrt_beta_0
        self.result = flow(target, tf.exp(self.log_sigma) * self.noise, self.rho)
        self.log_q0 = gaussian_log_prob(self.noise, self.log_sigma)
        self.plain = hamiltonian_log_weight(self.result, self.log_q0, self.rho, self.inv_sqrt_beta_0)


@pytest.fixture(scope="module", params=TEMPERINGS)
def sample(request, seed) -> Sample:
    return Sample(request.param, seed)


def test_rao_blackwellised_mean_is_the_plain_mean(sample, z_score):
    assert z_score(hamiltonian_elbo(sample.result, sample.log_q0) - sample.plain, 0.0) < 5.0
    with_entropy = hamiltonian_elbo(sample.result, -gaussian_entropy(sample.log_sigma))
    assert z_score(with_entropy - sample.plain, 0.0) < 5.0


def test_a_forgotten_constant_is_seen(sample, z_score):
    without_half_l = hamiltonian_elbo(sample.result, sample.log_q0) - 0.5 * SIZE
    assert z_score(without_half_l - sample.plain, 0.0) > 5.0


def test_the_first_momentum_for_the_last_is_seen(sample, z_score):
    wrong = sample.result._replace(rho=sample.rho)
    assert z_score(hamiltonian_elbo(wrong, sample.log_q0) - sample.plain, 0.0) > 5.0


def test_plain_and_rao_blackwellised_differ_by_noise_alone(sample):
    """By |gamma_0|^2/2 - l/2, in which no parameter stands: their gradients are the same, sample by sample."""
    difference = sample.plain - hamiltonian_elbo(sample.result, sample.log_q0)
    expected = 0.5 * tf.reduce_sum(tf.square(sample.gamma), axis=-1) - 0.5 * SIZE
    np.testing.assert_allclose(difference, expected, rtol=0, atol=1e-10)


def test_plain_has_less_variance_on_a_gaussian_target(sample):
    """By l/2 at least, wherever leapfrog is stable.

    The plain weight's |gamma_0|^2/2 offsets the energy that the first momentum leaves in -U(z_K) - |rho_K|^2/2;
    replaced by its mean, it offsets nothing. So the Rao-Blackwellised form is one of fewer terms, not of less variance.
    """
    rao_blackwellised = np.var(hamiltonian_elbo(sample.result, sample.log_q0))
    assert np.var(sample.plain) < rao_blackwellised - 0.25 * SIZE


def constant_result(log_joint, rho, log_det):
    constant = lambda value: tf.constant(value, tf.float64)  # noqa: E731
    return FlowResult(constant([0.0, 0.0]), constant(rho), constant(log_joint), constant(log_det))


def test_log_weight_on_constants():
    assert float(log_weight(constant_result(-3.0, [0.0, 0.0], 0.5), 1.25)) == -3.0 - 1.25 + 0.5


def test_hamiltonian_elbo_on_constants():
    # log p - |rho|^2/2 - log q0 + l/2
    assert float(hamiltonian_elbo(constant_result(-3.0, [1.0, 2.0], 0.5), 1.25)) == -3.0 - 2.5 - 1.25 + 1.0


def test_hamiltonian_log_weight_on_constants():
    rho_0, inv_sqrt_beta_0 = tf.constant([2.0, 4.0], tf.float64), tf.constant(2.0, tf.float64)
    value = hamiltonian_log_weight(constant_result(-3.0, [1.0, 2.0], 0.5), 1.25, rho_0, inv_sqrt_beta_0)
    # the two normalisers 2 pi cancel; N(rho_0 | 0, I/beta_0) keeps the quadratic (1 + 4)/2 and -l log 2
    np.testing.assert_allclose(value, -3.0 - 2.5 - 1.25 + 2.5 + 2.0 * np.log(2.0) + 0.5, rtol=1e-14)


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
