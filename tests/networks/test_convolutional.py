"""The convolutional networks: their shapes, their number of weights, where their weights start."""

import keras
import numpy as np
import pytest

from hvae_tf.networks import TransposedConvolution, conv_decoder, conv_encoder


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
