"""A bridge gives both ends from one evaluation, and its mixtures are what autodiff says they are."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import LogDensityTarget, parallel
from hvae_tf.densities import DiagonalGaussian, standard_normal, standard_normal_log_prob
from hvae_tf.targets.bridge import BridgedTarget
from hvae_tf.targets.sharded import ShardedTarget

SIZE = 3


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def quartic(z):
    return -0.25 * tf.reduce_sum(z**4, axis=-1) + tf.sin(z[..., 0])


@pytest.fixture
def q0(seed):
    """For each of five images."""
    return DiagonalGaussian(normal(5, SIZE, seed=seed), tf.exp(0.3 * normal(5, SIZE, seed=seed + 1)))


@pytest.fixture
def counted():
    """A target and the list of the shapes that it was evaluated at."""
    shapes = []

    class Counting(LogDensityTarget):
        def _value_and_grad(self, z):
            shapes.append(z.shape)
            return super()._value_and_grad(z)

    return Counting(quartic, SIZE), shapes


def test_gaussian_is_tfps(q0, seed):
    exact = tfp.distributions.MultivariateNormalDiag(*q0)
    noise = normal(4, 5, SIZE, seed=seed + 2)
    z = q0.sample(noise)
    np.testing.assert_allclose(q0.log_prob(z), exact.log_prob(z), rtol=1e-12)
    np.testing.assert_allclose(q0.log_prob_of_noise(noise), exact.log_prob(z), rtol=1e-12)
    np.testing.assert_allclose(q0.entropy(), exact.entropy(), rtol=1e-12)
    value, grad = q0.value_and_grad(z)
    expected = tfp.math.value_and_gradient(exact.log_prob, z)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-10)
    assert q0.event_size == SIZE


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0])
def test_mixtures_are_those_of_autodiff(b, q0, seed):
    z = normal(4, 5, SIZE, seed=seed + 2)
    found = BridgedTarget(q0, LogDensityTarget(quartic, SIZE)).evaluate(z).at(b)
    mixed = LogDensityTarget(lambda z: (1.0 - b) * q0.log_prob(z) + b * quartic(z), SIZE).value_and_grad(z)
    np.testing.assert_allclose(found.log_joint, mixed.log_joint, rtol=1e-12)
    np.testing.assert_allclose(found.grad, mixed.grad, rtol=1e-10, atol=1e-12)


def test_one_evaluation_serves_every_temperature(q0, counted, seed):
    target, shapes = counted
    evaluation = BridgedTarget(q0, target).evaluate(normal(4, 5, SIZE, seed=seed))
    for b in np.linspace(0.0, 1.0, 7):
        assert evaluation.at(b).grad.shape == (4, 5, SIZE)
        assert evaluation.log_ratio.shape == (4, 5)
    assert shapes == [(4, 5, SIZE)]


def test_from_the_prior_the_ratio_is_the_likelihood(seed):
    z = normal(4, 5, SIZE, seed=seed)
    target = LogDensityTarget(lambda z: quartic(z) + standard_normal_log_prob(z), SIZE)
    evaluation = BridgedTarget(standard_normal([5, SIZE], tf.float64), target).evaluate(z)
    np.testing.assert_allclose(evaluation.log_ratio, quartic(z), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(evaluation.grad_start, -z, rtol=1e-12)


def test_ends_of_unlike_size_are_refused():
    with pytest.raises(ValueError, match="start has event size 2, the target 3; expected one size l"):
        BridgedTarget(standard_normal([5, 2]), LogDensityTarget(quartic, SIZE))


@pytest.mark.parametrize("num_parts", [1, 2, 3, 7])
def test_parts_of_a_batch_change_nothing(num_parts, seed, monkeypatch):
    monkeypatch.setattr(parallel, "_num_parts", num_parts)
    shift, z = normal(5, 1, seed=seed), normal(4, 5, SIZE, seed=seed + 1)

    def make(shift):
        return LogDensityTarget(lambda z: quartic(z - shift), SIZE)

    sharded, whole = ShardedTarget(make, [shift], SIZE), make(shift)
    np.testing.assert_allclose(sharded.log_joint(z), whole.log_joint(z), rtol=1e-13)
    for part, expected in zip(sharded.value_and_grad(z), whole.value_and_grad(z), strict=True):
        assert part.shape == expected.shape
        np.testing.assert_allclose(part, expected, rtol=1e-13)
