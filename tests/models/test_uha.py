"""The model: its short form, its objects, saving; the flow's mathematics is tested with the flows."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import HVAE, UHA, VAE, AcceptRejectFlow, AnnealedFlow, FlowVAE, fit
from hvae_tf.data import TrainBatches, load
from hvae_tf.networks import dense_decoder, dense_encoder
from tests.training.scripted import assert_same

LATENT_SIZE = 2


def networks(dtype=None):
    """Dense ones: quick to trace."""
    sizes = {"event_shape": (6, 5, 1), "latent_size": LATENT_SIZE, "hidden_units": (4,), "dtype": dtype}
    return dense_encoder(**sizes), dense_decoder(**sizes)


def test_the_short_form_is_the_flow_as_an_object():
    short = UHA(*networks(), 3, 2, refreshment="learned", step_size=0.05)
    flow = AnnealedFlow(LATENT_SIZE, 3, 2, refreshment="learned", step_size=0.05)
    assert UHA(*networks(), flow=flow).flow is flow
    assert short.flow.get_config() == flow.get_config()


@pytest.mark.slow
def test_all_kept_and_hot_it_is_the_untempered_hvae(images):
    model = UHA(*networks(), 1, refreshment=1.0, temperatures=1.0, step_size=0.1)
    other = HVAE(*networks(), 1, "none", step_size=0.1)
    np.testing.assert_allclose(model.elbo(images), other.elbo(images), rtol=1e-5)


@pytest.mark.slow
def test_it_starts_from_a_vae_and_is_trained_saved_and_loaded(images, tmp_path):
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
def test_a_flow_or_its_options_are_asked_for(arguments):
    if "flow" in arguments:
        arguments = arguments | {"flow": AnnealedFlow(LATENT_SIZE, 1)}
    with pytest.raises(ValueError, match="UHA takes num_temperatures with options of its flow, or flow="):
        UHA(*networks(), **arguments)


def test_float64():
    flow = UHA(*networks("float64"), 1, dtype="float64").flow
    assert flow.dtype == flow.momentum.dtype == flow.temperatures.dtype == tf.float64


@pytest.mark.slow
def test_accept_steps_between_encoder_and_decoder(images):
    """A-MCVAE: draws of one event are each other's baseline; saving and loading are tested with all flows."""
    model = FlowVAE(*networks(), functools.partial(AcceptRejectFlow, num_temperatures=1), num_samples=3)
    model.compile(keras.optimizers.Adamax(0.05))
    before = model.flow.step_sizes.numpy()
    model.fit(images, batch_size=12, epochs=1, verbose=0)
    assert np.all(model.flow.step_sizes != before)


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_where_the_other_does(tmp_path):
    """Bit for bit; what a kill leaves is tested with HVAE."""
    data = load("digits", limit=(20, 10, 1))
    shape = data.image_shape

    def run(folder, stop=None):
        networks = dense_encoder(shape, 2, (4,)), dense_decoder(shape, 2, (4,))
        model = UHA(*networks, 2, refreshment="learned", reverse="score")
        model.compile(keras.optimizers.Adam(0.01))

        def interrupt(batch, logs=None):
            if int(model.optimizer.iterations) == stop:
                raise KeyboardInterrupt

        fit(model, TrainBatches(data, 5, seed=4), data.binarised("validation"), folder, max_epochs=2, verbose=0,
            checkpoint_steps=2, checkpoint_seconds=None,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)])  # fmt: skip
        return model

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop=5)
    one, other = run(tmp_path / "stopped"), run(tmp_path / "whole")
    assert_same(tmp_path / "stopped", tmp_path / "whole")
    for weight, again in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, again, err_msg=weight.path)
