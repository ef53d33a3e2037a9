"""The model: its short form, its objects, saving; the flow's mathematics is tested with the flows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import HVAE, UHA, VAE, AnnealedFlow

LATENT_SIZE = 2


def test_the_short_form_is_the_flow_as_an_object(networks):
    short = UHA(*networks(), 3, 2, refreshment="learned", step_size=0.05)
    flow = AnnealedFlow(LATENT_SIZE, 3, 2, refreshment="learned", step_size=0.05)
    assert UHA(*networks(), flow=flow).flow is flow
    assert short.flow.get_config() == flow.get_config()


def test_all_kept_and_hot_it_is_the_untempered_hvae(networks, images):
    model = UHA(*networks(), 1, refreshment=1.0, temperatures=1.0, step_size=0.1)
    other = HVAE(*networks(), 1, "none", step_size=0.1)
    np.testing.assert_allclose(model.elbo(images), other.elbo(images), rtol=1e-5)


def test_it_starts_from_a_vae_and_is_trained_saved_and_loaded(networks, images, tmp_path):
    vae = VAE(*networks())
    model = UHA(vae.encoder, vae.decoder, 2, refreshment="learned", adjoint="checkpoint")
    np.testing.assert_array_equal(model.posterior(images).mean, vae.posterior(images).mean)
    before = [weight.numpy() for weight in model.flow_layer.weights]
    assert len(before) == 3  # step sizes, temperatures, eta
    model.compile(keras.optimizers.Adamax(0.05))
    model.fit(images, batch_size=12, epochs=2, verbose=0)
    for weight, value in zip(model.flow_layer.weights, before, strict=True):
        assert not np.array_equal(weight, value), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, UHA)
    for weight, again in zip(model.flow_layer.weights, loaded.flow_layer.weights, strict=True):
        np.testing.assert_array_equal(weight, again, err_msg=weight.path)
    np.testing.assert_array_equal(loaded.elbo(images), model.elbo(images))


@pytest.mark.parametrize("arguments", [{}, {"num_temperatures": 1, "flow": True}, {"refreshment": 0.0, "flow": True}])
def test_a_flow_or_its_options_are_asked_for(networks, arguments):
    if "flow" in arguments:
        arguments = arguments | {"flow": AnnealedFlow(LATENT_SIZE, 1)}
    with pytest.raises(ValueError, match="UHA takes num_temperatures with options of its flow, or flow="):
        UHA(*networks(), **arguments)


def test_float64(networks):
    flow = UHA(*networks("float64"), 1, dtype="float64").flow
    assert flow.dtype == flow.momentum.dtype == flow.temperatures.dtype == tf.float64
