"""The model: its short form, its objects, saving; the flow's mathematics is tested with the flows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import HVAE, HVI, HVIFlow
from hvae_tf.flows.reverse import NetworkReverse

LATENT_SIZE = 2


def test_the_short_form_is_the_flow_as_an_object(networks):
    short = HVI(*networks(), 2, 3, reverse="linear", step_size=0.05)
    flow = HVIFlow(LATENT_SIZE, 2, 3, reverse="linear", step_size=0.05)
    assert HVI(*networks(), flow=flow).flow is flow
    assert short.flow.get_config() == flow.get_config()


def test_the_defaults(networks):
    flow = HVI(*networks()).flow
    assert (flow.num_transitions, flow.num_leapfrog_steps) == (1, 4)
    assert isinstance(flow.reverse, NetworkReverse)


def test_it_starts_as_the_untempered_hvae(networks, images):
    model = HVI(*networks(), 1, 1, momentum_scale=1.0, step_size=0.1)
    other = HVAE(*networks(), 1, "none", step_size=0.1)
    np.testing.assert_allclose(model.elbo(images), other.elbo(images), rtol=1e-5)


@pytest.mark.slow
def test_the_reverse_network_is_trained_saved_and_loaded(networks, images, tmp_path):
    reverse = NetworkReverse((4,), seed=1)
    flow = HVIFlow(LATENT_SIZE, 1, 1, reverse=reverse, adjoint="checkpoint")
    model = HVI(*networks(), flow=flow)
    before = [weight.numpy() for weight in model.flow_layer.weights]
    assert len(before) == 2 + 4  # step sizes, scales, and a network of two layers
    model.compile(keras.optimizers.Adamax(0.05))
    model.fit(images, batch_size=12, epochs=2, verbose=0)
    for weight, value in zip(model.flow_layer.weights, before, strict=True):
        assert not np.array_equal(weight, value), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, HVI)
    for weight, again in zip(model.flow_layer.weights, loaded.flow_layer.weights, strict=True):
        np.testing.assert_array_equal(weight, again, err_msg=weight.path)
    np.testing.assert_array_equal(loaded.elbo(images), model.elbo(images))


def test_a_flow_and_its_options_are_refused(networks):
    with pytest.raises(ValueError, match="HVI was given a flow and reverse, num_transitions"):
        HVI(*networks(), 2, flow=HVIFlow(LATENT_SIZE), reverse="linear")


def test_float64(networks):
    flow = HVI(*networks("float64"), 1, 1, dtype="float64").flow
    assert flow.dtype == flow.momentum.dtype == flow.reverse.dtype == tf.float64
