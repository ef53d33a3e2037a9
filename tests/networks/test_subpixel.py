"""The transposed convolution: against its definition, zero insertion and a plain convolution, for any geometry."""

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.networks.subpixel import (
    TransposedConvolution,
    choose_block,
    conv2d_transpose,
    subpixel_conv2d_transpose,
)
from tests.networks.numpy_network import convolution, transposed_convolution

SETTINGS = hypothesis.settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def geometries(draw):
    size = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kernel_size = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    return size, kernel_size, draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))


def arrays(geometry, seed=0):
    size, kernel_size, stride, maps, depth = geometry
    rng = np.random.default_rng([seed, *size, *kernel_size, stride, maps, depth])
    x = rng.normal(size=(2, *(-(-n // stride) for n in size), depth))
    return x, rng.normal(size=(*kernel_size, maps, depth))


@SETTINGS
@hypothesis.given(geometry=geometries(), block=st.sampled_from([None, 1, 2, 3]))
@hypothesis.example(geometry=((7, 8), (5, 5), 2, 1, 3), block=None)
@hypothesis.example(geometry=((1, 1), (6, 6), 1, 1, 1), block=1)
@hypothesis.example(geometry=((9, 9), (1, 2), 4, 2, 2), block=2)
def test_every_route_is_zero_insertion_and_a_plain_convolution(geometry, block):
    size, _, stride, _, _ = geometry
    x, kernel = arrays(geometry)
    known = transposed_convolution(x, kernel, size, stride)
    tensorflows = tf.nn.conv2d_transpose(x, kernel, [2, *size, kernel.shape[2]], stride)
    np.testing.assert_allclose(tensorflows, known, atol=1e-12)
    forwards = convolution(known, kernel, stride)
    np.testing.assert_allclose(forwards, tf.nn.conv2d(known, kernel, stride, "SAME"), atol=1e-11)
    subpixel = subpixel_conv2d_transpose(tf.constant(x), tf.constant(kernel), size, stride=stride, block=block)
    np.testing.assert_allclose(subpixel, known, atol=1e-12)
    np.testing.assert_allclose(
        conv2d_transpose(tf.constant(x), tf.constant(kernel), size, stride=stride), known, atol=1e-12
    )


@SETTINGS
@hypothesis.given(geometry=geometries(), many=st.booleans())
def test_the_layer_is_keras_s_where_keras_reaches_the_size(geometry, many):
    (h, w), kernel_size, _, maps, depth = geometry
    size, maps, k = (2 * h, 2 * w), maps + 16 * many, kernel_size[0]
    x, kernel = arrays((size, (k, k), 2, maps, depth))
    ours = TransposedConvolution(maps, size, k, dtype="float64")
    ours(x)
    ours.kernel.assign(kernel)
    theirs = keras.layers.Conv2DTranspose(maps, k, 2, padding="same", dtype="float64")
    theirs.build(x.shape)
    theirs.set_weights([kernel, np.zeros(maps)])
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-12)


@pytest.mark.parametrize("error", [{"flipped": False}, {"shift": 1}])
def test_planted_errors_in_the_geometry_are_seen(error):
    geometry = (7, 8), (5, 5), 2, 1, 3
    x, kernel = arrays(geometry)
    right, wrong = transposed_convolution(x, kernel, (7, 8), 2), transposed_convolution(x, kernel, (7, 8), 2, **error)
    assert np.abs(right - wrong).max() > 0.1


@pytest.mark.parametrize("maps", [2, 17])  # by blocks, and by TensorFlow's own
@pytest.mark.parametrize("block", [None, 1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(7, 8), (4, 1), (28, 27)])
def test_growing_is_the_adjoint_of_the_same_convolution(block, kernel_size, size, maps, seed):
    rng = np.random.default_rng(seed)
    small = [-(-n // 2) for n in size]
    kernel = tf.constant(rng.normal(size=(kernel_size, kernel_size, maps, 3)))
    x, y = tf.constant(rng.normal(size=(2, *small, 3))), tf.constant(rng.normal(size=(2, *size, maps)))
    left = tf.reduce_sum(x * tf.nn.conv2d(y, kernel, 2, "SAME"))
    grown = (
        conv2d_transpose(x, kernel, size) if block is None else subpixel_conv2d_transpose(x, kernel, size, block=block)
    )
    np.testing.assert_allclose(tf.reduce_sum(grown * y), left, rtol=1e-10)


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize(("size", "stride"), [((7, 8), 2), ((28, 27), 2), ((7, 8), 1), ((10, 8), 3)])
def test_both_routes_have_the_same_gradients_of_both_orders(size, stride, block, seed):
    rng = np.random.default_rng(seed)
    small = [-(-n // stride) for n in size]
    kernel, x = tf.constant(rng.normal(size=(5, 5, 1, 3))), tf.constant(rng.normal(size=(2, *small, 3)))
    cotangent, weights = tf.constant(rng.normal(size=(2, *size, 1))), tf.constant(rng.normal(size=x.shape))

    def gradients(grow):
        with tf.GradientTape() as outer:
            outer.watch([x, kernel, cotangent])
            with tf.GradientTape() as inner:
                inner.watch([x, kernel])
                value = tf.reduce_sum(cotangent * tf.nn.softplus(grow(x, kernel, size)))
            first = inner.gradient(value, [x, kernel])
            scalar = tf.reduce_sum(first[0] * weights) + tf.reduce_sum(tf.square(first[1]))
        return [value, *first, *outer.gradient(scalar, [x, kernel, cotangent])]

    def tensorflows(x, kernel, size):
        return tf.nn.conv2d_transpose(x, kernel, [2, *size, 1], stride)

    def ours(x, kernel, size):
        return subpixel_conv2d_transpose(x, kernel, size, stride=stride, block=block)

    for a, b in zip(gradients(ours), gradients(tensorflows), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_blocks_are_as_large_as_pays():
    assert choose_block(tf.zeros([5, 5, 1, 16])) == 2  # 16 of 16 lanes are used, by blocks of 2 x 2 only 4
    assert choose_block(tf.zeros([5, 5, 3, 16])) == choose_block(tf.zeros([5, 5, 16, 32])) == 1


def test_a_transposed_convolution_checks_its_input():
    with pytest.raises(ValueError, match=r"cannot grow to \(7, 7\); expected \(4, 4\)"):
        TransposedConvolution(2, (7, 7))(np.zeros((1, 3, 4, 2), np.float32))
    with pytest.raises(ValueError, match="unknown bias 'row'; accepted: map, pixel"):
        TransposedConvolution(2, (7, 7), bias="row")
