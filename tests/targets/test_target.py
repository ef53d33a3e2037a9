"""A target checks shapes at its boundary and gives gradients that can be differentiated again."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import GaussianOffsetTarget, LogDensityTarget
from hvae_tf.targets.gaussian import sufficient_statistics

SIZE = 3


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


@pytest.fixture
def targets(seed):
    """The same density twice: with its gradient in closed form, and as a bare function of z."""
    statistics = sufficient_statistics(normal(7, SIZE, seed=seed).numpy())
    delta, log_sigma = tf.unstack(0.5 * normal(2, SIZE, seed=seed + 1))
    closed = GaussianOffsetTarget(statistics, delta, log_sigma)
    return closed, LogDensityTarget(closed.log_joint, SIZE)


@pytest.mark.parametrize("leading", [(), (4,), (2, 4)], ids=str)
def test_autodiff_gradient_equals_the_closed_form(targets, leading, seed):
    z = normal(*leading, SIZE, seed=seed)
    closed, autodiff = (target.value_and_grad(z) for target in targets)
    assert autodiff.log_joint.shape == leading
    assert autodiff.grad.shape == (*leading, SIZE)
    np.testing.assert_array_equal(autodiff.log_joint, closed.log_joint)
    np.testing.assert_array_equal(autodiff.log_joint, targets[1].log_joint(z))
    np.testing.assert_allclose(autodiff.grad, closed.grad, rtol=1e-12, atol=1e-12)


def hessian_vector_product(target, z, vector):
    with tf.GradientTape() as tape:
        tape.watch(z)
        projected = tf.reduce_sum(target.value_and_grad(z).grad * vector)
    return tape.gradient(projected, z)


def test_gradients_can_be_differentiated_again(targets, seed):
    z, vector = tf.unstack(normal(2, 4, SIZE, seed=seed))
    closed, autodiff = (hessian_vector_product(target, z, vector) for target in targets)
    np.testing.assert_allclose(autodiff, closed, rtol=1e-12, atol=1e-12)
    quartic = LogDensityTarget(lambda z: -0.25 * tf.reduce_sum(z**4, axis=-1), SIZE)
    np.testing.assert_allclose(hessian_vector_product(quartic, z, vector), -3.0 * z**2 * vector, rtol=1e-12)


def test_numpy_points_are_taken(targets, seed):
    z = normal(4, SIZE, seed=seed)
    for target in targets:
        np.testing.assert_array_equal(target.value_and_grad(z.numpy()).grad, target.value_and_grad(z).grad)


@pytest.mark.parametrize("shape", [(), (2,), (SIZE, 1), (5, SIZE + 1)], ids=str)
@pytest.mark.parametrize("method", ["log_joint", "value_and_grad"])
def test_a_point_of_another_size_is_refused(targets, method, shape):
    for target in targets:
        with pytest.raises(ValueError, match=r"z has shape .*; expected \[..., 3\]"):
            getattr(target, method)(tf.zeros(shape, tf.float64))


@pytest.mark.parametrize(
    "log_joint",
    [lambda z: -(z**2), lambda z: -tf.reduce_sum(z**2), lambda z: -tf.reduce_sum(z**2, axis=0)],
    ids=["no sum", "sum over all", "sum over the wrong axis"],
)
@pytest.mark.parametrize("method", ["log_joint", "value_and_grad"])
def test_a_log_joint_that_is_not_one_value_for_each_point_is_refused(method, log_joint):
    with pytest.raises(ValueError, match=r"LogDensityTarget gave log_joint of shape .* one value for each z"):
        getattr(LogDensityTarget(log_joint, SIZE), method)(tf.zeros([4, SIZE]))


def test_density_that_ignores_z_has_zero_gradient():
    value = LogDensityTarget(lambda z: tf.zeros(z.shape[:-1], z.dtype), 2).value_and_grad(tf.ones([3, 2]))
    np.testing.assert_array_equal(value.grad, np.zeros([3, 2]))
