"""The dense networks: events of any shape, where weights start, and a model made of them."""

import keras
import numpy as np
import pytest

import hvae_tf
from hvae_tf.networks import dense_decoder, dense_encoder


@pytest.mark.parametrize("event_shape", [(4,), (1,), (7, 3), (6, 5, 2), (2, 3, 4, 2)])
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_events_of_any_shape_come_back(event_shape, outputs):
    encoder, decoder = dense_encoder(event_shape, 3, (6,)), dense_decoder(event_shape, 3, outputs_per_channel=outputs)
    mean, deviation = encoder(np.random.default_rng(0).normal(size=(5, *event_shape)))
    assert mean.shape == deviation.shape == (5, 3)
    assert np.all(deviation.numpy() > 0)
    assert decoder.output_shape == (None, *event_shape[:-1], event_shape[-1] * outputs)
    assert decoder(mean).shape[1:] == decoder.output_shape[1:]


def test_hidden_layers_are_those_asked_for_and_the_decoders_its_mirror():
    encoder, decoder = (network(4, 3, (7, 5), name="n") for network in (dense_encoder, dense_decoder))
    assert encoder.count_params() == (4 * 7 + 7) + (7 * 5 + 5) + 2 * (5 * 3 + 3)
    assert decoder.count_params() == (3 * 5 + 5) + (5 * 7 + 7) + (7 * 4 + 4)
    assert encoder.input_shape == (None, 4)  # a number is the length of a row
    linear = dense_decoder((4,), 3, ())
    assert linear.count_params() == 3 * 4 + 4


def test_standard_deviations_are_positive_far_away():
    _, deviation = dense_encoder((3,), 2, ())(np.array([[1e8, -1e8, 1e8], [-1e8, 1e8, -1e8]], np.float32))
    assert np.all(deviation.numpy() > 0)


def test_initial_weights_are_a_function_of_the_seed():
    for network in (dense_encoder, dense_decoder):
        a, b, c = (network((3, 2), 2, (4, 4), seed=s).get_weights() for s in (1, 1, 2))
        assert all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))
        assert all(not np.array_equal(v, w) for v, w in zip(a, c, strict=True) if v.ndim > 1)
        assert not np.array_equal(a[2], a[4][:, : a[2].shape[1]])


@pytest.mark.parametrize("bias", [-1.5, [0.5, -1.0, 2.0, 0.0], np.linspace(-3, 3, 5 * 4).reshape(5, 4)])
def test_output_bias_is_where_the_outputs_start(bias):
    arguments = {"event_shape": (5, 2), "latent_size": 2, "outputs_per_channel": 2, "dtype": "float64"}
    decoder, plain = dense_decoder(**arguments, output_bias=bias), dense_decoder(**arguments)
    z = np.array([[0.3, -2.0]])
    np.testing.assert_allclose(decoder(z) - plain(z), np.broadcast_to(bias, (1, 5, 4)), atol=1e-12)
    again = keras.Model.from_config(decoder.get_config())
    again.set_weights(decoder.get_weights())
    np.testing.assert_array_equal(again(z), decoder(z))


def test_a_model_of_them_is_trained_and_saved(tmp_path):
    rng, shape = np.random.default_rng(0), (1, 1, 4)
    x = rng.normal(size=(200, 1)) * np.array([1.0, -2.0, 0.5, 1.5]) + 0.1 * rng.normal(size=(200, 4))
    x = x.reshape(200, *shape).astype(np.float32)
    networks = dense_encoder(shape, 1, (16,)), dense_decoder(shape, 1, (16,), outputs_per_channel=2)
    model = hvae_tf.VAE(*networks, likelihood="normal")
    model.compile(keras.optimizers.Adam(0.01))
    before = model.elbo(x, num_samples=5).mean()
    model.fit(x, batch_size=50, epochs=20, verbose=0)
    assert model.elbo(x, num_samples=5).mean() > before + 0.5
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.elbo(x[:20]), model.elbo(x[:20]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_shape": ()}, r"event_shape is \(\); expected one size or more"),
        ({"event_shape": (4, 0)}, r"event_shape\[1\] is 0; expected an integer of at least 1"),
        ({"event_shape": "4"}, r"event_shape\[0\] is '4'"),
        ({"latent_size": 0}, "latent_size is 0"),
        ({"hidden_units": (8, -1)}, r"hidden_units\[1\] is -1"),
        ({"hidden_units": 2.5}, r"hidden_units\[0\] is 2.5"),
        ({"seed": -1}, "seed is -1"),
    ],
)
@pytest.mark.parametrize("network", [dense_encoder, dense_decoder])
def test_bad_sizes_are_named(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**({"event_shape": (4,), "latent_size": 2} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outputs_per_channel": 0}, "outputs_per_channel is 0"),
        ({"output_bias": [1.0, 2.0]}, r"output_bias has shape \(2,\); expected one of \(\), \(4,\)$"),
        ({"output_bias": np.nan}, "output_bias holds values that are not finite"),
    ],
)
def test_bad_outputs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        dense_decoder((4,), 2, **arguments)
