"""The Fisher information of targets against second derivatives of divergences, which do not know its formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import DecoderTarget, DiagonalGaussian, GaussianOffsetTarget, LogDensityTarget
from hvae_tf.targets.banana import BananaTarget
from hvae_tf.targets.derivatives import jacobian
from hvae_tf.targets.funnel import FunnelTarget
from hvae_tf.targets.gaussian import sufficient_statistics
from hvae_tf.targets.likelihoods import Bernoulli, Categorical, Likelihood, Normal
from hvae_tf.targets.logistic_regression import LogisticRegressionTarget

SIZE = 2


def small_decoder(outputs, event=(3, 2)):
    init = keras.initializers.RandomNormal(stddev=0.7, seed=4)
    z = keras.Input([SIZE], dtype="float64")
    h = keras.layers.Dense(5, "tanh", kernel_initializer=init, dtype="float64")(z)
    h = keras.layers.Dense(event[0] * outputs, kernel_initializer=init, dtype="float64")(h)
    return keras.Model(z, keras.layers.Reshape([event[0], outputs], dtype="float64")(h))


@pytest.mark.parametrize(
    ("likelihood", "outputs"),
    [
        (Bernoulli, 2),
        (Normal, 4),
        (lambda: Normal("learned", [0.5, 2.0]), 2),
        (lambda: Normal([0.5, 2.0]), 2),
        (Categorical, 6),
    ],
)
def test_a_decoders_information_is_the_curvature_of_the_divergence(likelihood, outputs):
    """KL(p(x|z) || p(x|z + d)) = 1/2 d^T G d + ..., the prior's precision beside it."""
    decoder, likelihood = small_decoder(outputs), likelihood()
    prior = DiagonalGaussian(tf.zeros([SIZE], tf.float64), tf.constant([0.5, 2.0], tf.float64))
    target = DecoderTarget(decoder, np.zeros([1, 3, 2]), likelihood, prior)
    z = tf.random.stateless_normal([4, 1, SIZE], [0, 1], dtype=tf.float64)

    def divergence(moved):
        ends = (likelihood.distribution(decoder(point[:, 0]), (3, 2)) for point in (z, moved))
        return tfp.distributions.kl_divergence(*ends)

    with tf.GradientTape() as outer:
        outer.watch(z_moved := tf.identity(z))
        with tf.GradientTape() as inner:
            inner.watch(z_moved)
            value = divergence(z_moved)
        slope = inner.gradient(value, z_moved)[:, 0]
    hessian = outer.batch_jacobian(slope, z_moved)[:, :, 0]
    expected = hessian + np.diag([4.0, 0.25])
    np.testing.assert_allclose(target.fisher_information(z)[:, 0], expected, rtol=1e-9, atol=1e-12)


def test_closed_forms_of_other_targets(seed):
    z = tf.random.stateless_normal([5, 2], [seed, 3], dtype=tf.float64)
    statistics = sufficient_statistics(np.random.default_rng(0).normal(size=[10, 2]))
    gaussian = GaussianOffsetTarget(statistics, tf.zeros([2], tf.float64), tf.constant([0.1, -0.3], tf.float64))
    for target in (gaussian, LogisticRegressionTarget()):  # where the Hessian knows nothing of the data
        _, hessian = jacobian(lambda z, target=target: target.value_and_grad(z).grad, z)
        np.testing.assert_allclose(target.fisher_information(z), -hessian, rtol=1e-10)
    # the expectation of the Hessian over what is below
    for target in (FunnelTarget(2, 1.5), BananaTarget(2.0, 0.5)):
        x, weights = np.polynomial.hermite_e.hermegauss(8)
        first = 0.7 / target.scale
        points = target.sample(tf.constant(np.stack([np.full(8, first), x], axis=-1)))
        _, hessian = jacobian(lambda z, target=target: target.value_and_grad(z).grad, points)
        expected = -np.einsum("n,nij->ij", weights / weights.sum(), hessian)
        found = np.einsum("n,nij->ij", weights / weights.sum(), target.fisher_information(points))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("target", [FunnelTarget(2, 0.7), BananaTarget(1.5, 0.4)])
def test_densities_are_normalised_and_draws_are_theirs(target, seed):
    axes = np.linspace(-7.0, 7.0, 141), np.linspace(-40.0, 40.0, 1601)
    rows = target.log_joint(tf.constant(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)))
    assert np.exp(rows).sum() * (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0]) == pytest.approx(1.0, abs=2e-4)
    z = target.sample(tf.random.stateless_normal([40_000, 2], [seed, 1], dtype=tf.float64)).numpy()
    density = np.exp(rows) / np.exp(rows).sum()
    for power in (1, 2):
        expected = np.sum(density.sum(1) * axes[0] ** power), np.sum(density.sum(0) * axes[1] ** power)
        error = (z**power).std(0) / 200.0
        assert np.all(np.abs((z**power).mean(0) - expected) < 5.0 * error + 1e-3)


@pytest.mark.parametrize("count", [2, 3])
def test_members_of_a_batch_keep_their_own_data(count, seed):
    """A target may hold a number for each event; with as many events as dimensions no shape tells them apart."""
    data = tf.constant([1.0, 10.0, 100.0][:count], tf.float64)

    def information(z):
        return tf.linalg.diag(1.0 + tf.square(data)[..., None] + tf.sin(z) * data[..., None])

    z = tf.random.stateless_normal([4, count, SIZE], [seed, 9], dtype=tf.float64)
    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), SIZE, information)
    value, slopes = jacobian(target.fisher_information, z)
    np.testing.assert_array_equal(value, target.fisher_information(z))
    expected = np.zeros([4, count, SIZE, SIZE, SIZE])
    for k in range(SIZE):
        expected[..., k, k, k] = np.cos(z[..., k]) * data
    np.testing.assert_allclose(slopes, expected, rtol=1e-12)


def test_what_has_no_information_says_so():
    class Plain(Likelihood):
        def check_outputs(self, num_outputs, num_channels): ...
        def check_values(self, x, num_outputs): ...
        def distribution(self, outputs, event_shape): ...

    target = DecoderTarget(small_decoder(2), np.zeros([1, 3, 2]), Plain())
    with pytest.raises(ValueError, match="Plain has no Fisher information"):
        target.fisher_information(tf.zeros([1, SIZE], tf.float64))
    wrong = LogDensityTarget(lambda z: z[..., 0], 2, lambda z: z)
    with pytest.raises(ValueError, match=r"shape \(4, 2\) at z of shape \(4, 2\); expected \[4, 2, 2\]"):
        wrong.fisher_information(tf.zeros([4, 2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FunnelTarget(1), "event_size is 1"),
        (lambda: BananaTarget(0.0), "scale is 0.0"),
        (lambda: LogisticRegressionTarget(np.ones([3, 2]), [0, 1]), r"features have shape \(3, 2\), labels \(2,\)"),
        (lambda: LogisticRegressionTarget(np.ones([2, 2]), [0, 2]), "other than 0 and 1"),
        (lambda: LogisticRegressionTarget(prior_scale=-1.0), "prior_scale is -1.0"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
