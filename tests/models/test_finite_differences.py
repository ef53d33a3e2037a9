"""Gradients of the loss that `fit` follows, through encoder, flow and decoder, against finite differences."""

import functools

import keras
import numpy as np
import pytest

from hvae_tf.dynamics.tempering import FreeTempering
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.iwae import IWAE
from hvae_tf.models.vae import VAE

MODELS = {
    "vae": lambda e, d, **k: VAE(e, d, **k),
    "vae-analytic": lambda e, d, **k: VAE(e, d, kl="analytic", **k),
    "vae-sampled": lambda e, d, **k: VAE(e, d, kl="sampled", **k),
    "iwae": lambda e, d, **k: IWAE(e, d, 3, **k),
    "hvae-free": lambda e, d, **k: HVAE(e, d, 3, FreeTempering(0.8), step_size_per="step", **k),
    "hvae-sampled": lambda e, d, **k: HVAE(e, d, 1, "free", kl="sampled", **k),
    "hvae-fixed": lambda e, d, **k: HVAE(e, d, 2, "fixed", **k),
    "planar": lambda e, d, **k: FlowVAE(e, d, functools.partial(PlanarFlow, num_layers=2), **k),
}


def check_every_gradient(model, x, seed):
    """One step of gradient descent at rate 1 moves each weight by the loss's slope, as Keras reports the loss."""
    model.compile(keras.optimizers.SGD(1.0))
    weights = model.get_weights()

    def loss():
        model.batches_seen.assign(0)  # the same noise each time
        return model.train_on_batch(x)[0]

    loss()
    gradients = [before - after for before, after in zip(weights, model.get_weights(), strict=True)]
    assert len(gradients) == len(model.trainable_variables)
    rng, h = np.random.default_rng(seed), 1e-5
    for i, (variable, gradient) in enumerate(zip(model.trainable_variables, gradients, strict=True)):
        direction = rng.normal(size=gradient.shape)
        losses = []
        for sign in (1, -1):
            model.set_weights([w + sign * h * direction if i == j else w for j, w in enumerate(weights)])
            losses.append(loss())
        slope, expected = (losses[0] - losses[1]) / (2 * h), np.sum(gradient * direction)
        assert abs(expected) > 1e-5, variable.path
        assert slope == pytest.approx(expected, rel=1e-5, abs=2e-8), variable.path


@pytest.mark.parametrize("name", MODELS)
def test_gradients_in_float64(name, networks, images, seed):
    model = MODELS[name](*networks("float64", filters=(3, 4)), dtype="float64")
    check_every_gradient(model, images[:5].astype(np.float64), seed)


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_gradients_with_a_full_covariance(kl, networks, images, seed):
    model = VAE(*networks("float64", covariance="full"), kl=kl, dtype="float64")
    check_every_gradient(model, images[:5].astype(np.float64), seed)


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def test_keras_settings_make_everything_float64(float64, networks, images, seed):
    rng = np.random.default_rng(seed)
    model = HVAE(*networks(outputs_per_channel=2), 1, likelihood="normal")
    assert {weight.dtype for weight in model.weights} == {"float64"}
    x = images[:5] + 0.1 * rng.normal(size=images[:5].shape)
    check_every_gradient(model, x, seed)
    assert model.elbo(x).dtype == model.log_likelihood(x, 2).value.dtype == model.sample(1).dtype == np.float64
