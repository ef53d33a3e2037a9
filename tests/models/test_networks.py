"""The networks: their shapes, their number of weights, and the transposed convolution against its definition."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.activations import positive_softplus, softplus
from hvae_tf.models.networks import conv_decoder, conv_encoder
from hvae_tf.models.transposed_convolution import TransposedConvolution, choose_block, grow, grow_by_blocks


def test_the_defaults_are_the_papers():
    encoder, decoder = conv_encoder(), conv_decoder()
    assert encoder.output_shape == [(None, 64), (None, 64)]
    assert decoder.output_shape == (None, 28, 28, 1)
    convolutions = [layer.output.shape[1:] for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions == [(14, 14, 16), (7, 7, 32), (4, 4, 32)]
    transposed = [layer.output.shape[1:] for layer in decoder.layers if isinstance(layer, TransposedConvolution)]
    assert transposed == [(7, 7, 32), (14, 14, 16), (28, 28, 1)]
    assert encoder.get_layer("flatten").output.shape[1:] == (512,)
    # weights and biases, layer by layer
    assert encoder.count_params() == (400 + 16) + (12800 + 32) + (25600 + 32) + (230400 + 450) + 2 * (28800 + 64)
    assert decoder.count_params() == (28800 + 450) + (230400 + 512) + (25600 + 32) + (12800 + 16) + (400 + 1)


@pytest.mark.parametrize(
    ("image_shape", "filters", "outputs", "kernel_size"),
    [((1, 1, 1), (2,), 1, 5), ((7, 5, 3), (2, 3), 2, 5), ((9, 16, 2), (4, 2, 3, 2), 3, 4), ((30, 27, 1), (2, 2), 1, 3)],
)
def test_any_size_comes_back(image_shape, filters, outputs, kernel_size):
    arguments = {"image_shape": image_shape, "latent_size": 3, "hidden_units": 4, "filters": filters}
    mean, deviation = conv_encoder(**arguments, kernel_size=kernel_size)(np.ones((2, *image_shape)))
    assert mean.shape == deviation.shape == (2, 3)
    decoder = conv_decoder(**arguments, kernel_size=kernel_size, outputs_per_channel=outputs)
    assert (
        decoder(mean).shape == decoder.compute_output_shape((2, 3)) == (2, *image_shape[:2], image_shape[2] * outputs)
    )


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
    grown = grow(x, kernel, size) if block is None else grow_by_blocks(x, kernel, size, block)
    np.testing.assert_allclose(tf.reduce_sum(grown * y), left, rtol=1e-10)


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("size", [(7, 8), (28, 27)])
def test_both_routes_have_the_same_gradients_of_both_orders(size, block, seed):
    rng = np.random.default_rng(seed)
    small = [-(-n // 2) for n in size]
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
        return tf.nn.conv2d_transpose(x, kernel, [2, *size, 1], 2)

    def ours(x, kernel, size):
        return grow_by_blocks(x, kernel, size, block)

    for a, b in zip(gradients(ours), gradients(tensorflows), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_blocks_are_as_large_as_pays():
    assert choose_block(tf.zeros([5, 5, 1, 16])) == 2  # 16 of 16 lanes are used, by blocks of 2 x 2 only 4
    assert choose_block(tf.zeros([5, 5, 3, 16])) == choose_block(tf.zeros([5, 5, 16, 32])) == 1


def test_initial_weights_are_a_function_of_the_seed():
    sizes = {"image_shape": (6, 6, 1), "latent_size": 2, "hidden_units": 4, "filters": (2, 2)}
    for network in (conv_encoder, conv_decoder):
        a, b, c = (network(**sizes, seed=s).get_weights() for s in (1, 1, 2))
        assert all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))
        assert all(not np.array_equal(v, w) for v, w in zip(a, c, strict=True) if v.ndim > 1)
    encoder, decoder = conv_encoder(**sizes), conv_decoder(**sizes)
    kernel = encoder.get_layer("mean").kernel.numpy()
    assert not np.array_equal(kernel, encoder.get_layer("standard_deviation").kernel.numpy())
    assert np.abs(kernel).max() <= np.sqrt(6.0 / (4 + 2))  # Glorot's bound
    assert not np.array_equal(encoder.get_layer("hidden").kernel[:2], decoder.get_layer("hidden").kernel)


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


@pytest.mark.parametrize("bias", [-1.5, [0.5, -1.0], np.linspace(-3, 3, 5 * 4 * 2).reshape(5, 4, 2)])
def test_output_bias_is_where_the_outputs_start(bias):
    sizes = {"image_shape": (5, 4, 2), "latent_size": 2, "hidden_units": 3, "filters": (2, 2)}
    decoder, plain = conv_decoder(**sizes, output_bias=bias), conv_decoder(**sizes)
    z = np.array([[0.3, -2.0]])
    np.testing.assert_allclose(decoder(z) - plain(z), np.broadcast_to(bias, (1, 5, 4, 2)), atol=1e-5)
    again = keras.Model.from_config(decoder.get_config())
    again.set_weights(decoder.get_weights())
    np.testing.assert_array_equal(again(z), decoder(z))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (28, 28)}, r"image_shape is \(28, 28\); expected \(height, width, channels\)"),
        ({"image_shape": 28}, r"image_shape is 28 .*expected \(H, W, C\)"),
        ({"image_shape": (28, 0, 1)}, r"image_shape\[1\] is 0; expected an integer of at least 1"),
        ({"latent_size": 0}, "latent_size is 0"),
        ({"latent_size": 2.5}, "latent_size is 2.5"),
        ({"hidden_units": -1}, "hidden_units is -1"),
        ({"filters": ()}, "filters is empty"),
        ({"filters": (3, 0)}, r"filters\[1\] is 0"),
        ({"kernel_size": 0}, "kernel_size is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
@pytest.mark.parametrize("network", [conv_encoder, conv_decoder])
def test_bad_sizes_are_named(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outputs_per_channel": 0}, "outputs_per_channel is 0"),
        ({"output_bias": [1.0, 2.0]}, r"output_bias has shape \(2,\); expected one of \(\), \(1,\), \(28, 28, 1\)"),
        ({"output_bias": -np.inf}, "clip the pixels' means away from 0 and 1"),
    ],
)
def test_bad_outputs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        conv_decoder(**arguments)


def test_a_transposed_convolution_checks_its_input():
    with pytest.raises(ValueError, match=r"cannot grow to \(7, 7\); expected \(4, 4\)"):
        TransposedConvolution(2, (7, 7))(np.zeros((1, 3, 4, 2), np.float32))
    with pytest.raises(ValueError, match="unknown bias 'row'; accepted: map, pixel"):
        TransposedConvolution(2, (7, 7), bias="row")
