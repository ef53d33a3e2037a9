"""Softplus: its values, its derivatives, its range."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.networks.activations import positive_softplus, softplus


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_softplus_has_its_definitions_values_and_three_derivatives(dtype):
    x = np.concatenate([np.linspace(-80.0, 80.0, 641), [-1e30, 1e30]])
    s = 1.0 / (1.0 + np.exp(-np.clip(x, -700, 700)))
    expected = [np.logaddexp(0.0, x), s, s * (1 - s), s * (1 - s) * (1 - 2 * s)]
    point = tf.constant(x, dtype)
    with tf.GradientTape() as third:
        third.watch(point)
        with tf.GradientTape() as second:
            second.watch(point)
            with tf.GradientTape() as first:
                first.watch(point)
                value = softplus(point)
            slope = first.gradient(value, point)
        curvature = second.gradient(slope, point)
    tolerance = 4 * np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(value, expected[0], rtol=tolerance, atol=np.finfo(dtype.as_numpy_dtype).tiny)
    for found, known in zip([slope, curvature, third.gradient(curvature, point)], expected[1:], strict=True):
        np.testing.assert_allclose(found, known, atol=2 * tolerance)


def test_softplus_is_finite_in_half_precision():
    x = np.array([-20.0, 0.0, 5.0, 11.0, 12.0, 20.0, 3e4])
    np.testing.assert_allclose(softplus(tf.constant(x, tf.float16)), np.logaddexp(0.0, x), rtol=2e-3, atol=1e-3)


def test_standard_deviations_are_never_zero():
    assert np.all(positive_softplus(tf.constant([-1e30, -200.0, 0.0])).numpy() > 0)
