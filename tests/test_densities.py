"""Both Gaussians against TensorFlow Probability, in float64."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.densities import DiagonalGaussian, FullGaussian, gaussian

tfd = tfp.distributions
BATCH, SIZE, SAMPLES = 3, 4, 5


@pytest.fixture(params=["diagonal", "full"])
def pair(request, seed):
    """(ours, TFP's), for a batch."""
    rng = np.random.default_rng([seed, 4])
    mean, sd = rng.normal(size=(BATCH, SIZE)), rng.uniform(0.3, 2.0, size=(BATCH, SIZE))
    if request.param == "diagonal":
        return DiagonalGaussian(tf.constant(mean), tf.constant(sd)), tfd.MultivariateNormalDiag(mean, sd)
    factor = np.tril(rng.normal(size=(BATCH, SIZE, SIZE)), -1) + sd[..., None] * np.eye(SIZE)
    return FullGaussian(tf.constant(mean), tf.constant(factor)), tfd.MultivariateNormalTriL(mean, factor)


def test_densities_and_moments(pair, seed):
    ours, theirs = pair
    noise = tf.random.stateless_normal([SAMPLES, BATCH, SIZE], [seed, 1], dtype=tf.float64)
    z = ours.sample(noise)
    with tf.GradientTape() as tape:
        tape.watch(z)
        expected = theirs.log_prob(z)
    value, grad = ours.value_and_grad(z)
    for found in (value, ours.log_prob(z), ours.log_prob_of_noise(noise)):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(grad, tape.gradient(expected, z), rtol=1e-10)
    np.testing.assert_allclose(ours.noise_at(z), noise, rtol=1e-10)
    np.testing.assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-12)
    np.testing.assert_allclose(ours.standard_deviation, theirs.stddev(), rtol=1e-12)
    np.testing.assert_array_equal(ours.mean, theirs.mean())
    assert ours.event_size == SIZE


def test_the_divergence_from_a_standard_normal(pair):
    ours, theirs = pair
    prior = tfd.MultivariateNormalDiag(tf.zeros(SIZE, tf.float64))
    np.testing.assert_allclose(ours.kl_to_standard_normal(), tfd.kl_divergence(theirs, prior), rtol=1e-12)


def test_samples_have_the_covariance(pair, seed):
    ours, theirs = pair
    z = ours.sample(tf.random.stateless_normal([20_000, BATCH, SIZE], [seed, 2], dtype=tf.float64))
    covariance = tfp.stats.covariance(z)
    scale = theirs.stddev()[..., None] * theirs.stddev()[..., None, :]
    assert np.max(np.abs(covariance - theirs.covariance()) / scale) < 5 * np.sqrt(2 / 20_000)


def test_the_kind_follows_from_the_scales_shape():
    mean = tf.zeros([2, 3])
    assert isinstance(gaussian(mean, tf.ones([2, 3])), DiagonalGaussian)
    assert isinstance(gaussian(mean, tf.eye(3, batch_shape=[2])), FullGaussian)
