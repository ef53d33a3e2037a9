"""Events of any shape: rows of a table, sequences, images; and likelihoods with variables of their own."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.models.hvae import HVAE
from hvae_tf.models.vae import VAE
from hvae_tf.targets.decoder import DecoderTarget
from hvae_tf.targets.likelihoods import Normal
from tests.marks import slow

LATENT = 2
EVENTS = {"row": (5,), "sequence": (4, 3), "image": (3, 4, 2), "volume": (2, 3, 2, 2)}


def networks(event_shape, outputs_per_channel=1, dtype="float32"):
    size = int(np.prod(event_shape))
    x = keras.Input(event_shape, dtype=dtype)
    h = keras.layers.Dense(6, "tanh", dtype=dtype)(keras.layers.Flatten(dtype=dtype)(x))
    heads = [keras.layers.Dense(LATENT, a, dtype=dtype)(h) for a in ("linear", "softplus")]
    z = keras.Input([LATENT], dtype=dtype)
    h = keras.layers.Dense(size * outputs_per_channel, dtype=dtype)(keras.layers.Dense(6, "tanh", dtype=dtype)(z))
    shape = (*event_shape[:-1], event_shape[-1] * outputs_per_channel)
    return keras.Model(x, heads), keras.Model(z, keras.layers.Reshape(shape, dtype=dtype)(h))


@pytest.mark.parametrize("name", slow(EVENTS, "image", "sequence", "volume"))
def test_a_model_takes_events_of_any_shape(name, seed, tmp_path):
    event_shape = EVENTS[name]
    x = np.random.default_rng(seed).normal(size=(12, *event_shape)).astype(np.float32)
    model = HVAE(*networks(event_shape, 2), 2, step_size=0.05, likelihood="normal")
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, batch_size=6, verbose=0)
    assert model.sample(3).shape == (3, *event_shape)
    assert model.sample(3, draw=True).shape == (3, *event_shape)
    assert model.reconstruct(x).shape == model.predict(x, verbose=0).shape == x.shape
    assert model.sample_posterior(x, 3).shape == (3, 12, LATENT)
    assert model.log_likelihood(x, 4).value.shape == (12,)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras").elbo(x), model.elbo(x))


@pytest.mark.parametrize("name", EVENTS)
def test_the_likelihood_sums_over_all_axes_of_an_event(name, seed):
    rng, event_shape = np.random.default_rng(seed), EVENTS[name]
    _, decoder = networks(event_shape, 2, "float64")
    x, z = rng.normal(size=(5, *event_shape)), rng.normal(size=(3, 5, LATENT))
    target = DecoderTarget(decoder, x, "normal")
    outputs = decoder(z.reshape(-1, LATENT)).numpy().reshape(3, 5, *event_shape[:-1], -1)
    mean, log_scale = np.split(outputs, 2, axis=-1)
    terms = -0.5 * ((x - mean) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2.0 * np.pi)
    expected = terms.reshape(3, 5, -1).sum(axis=-1)
    np.testing.assert_allclose(target.log_likelihood(z), expected, rtol=1e-12)
    prior = -0.5 * (z**2).sum(-1) - 0.5 * LATENT * np.log(2.0 * np.pi)
    np.testing.assert_allclose(target.log_joint(z), expected + prior, rtol=1e-12)


@pytest.mark.slow
def test_a_learned_scale_is_trained_counted_saved_and_finds_the_noise(seed, tmp_path):
    """Rows whose columns have noise of unlike sizes; one number for each column is learned."""
    rng = np.random.default_rng(seed)
    scale, loading = np.array([0.4, 0.6, 0.5, 0.8, 0.3]), [1.0, -1.5, 1.2, -0.8, 1.0]
    x = (np.outer(rng.normal(size=2000), loading) + scale * rng.normal(size=(2000, 5))).astype(np.float32)
    x_in, z_in = keras.Input([5]), keras.Input([1])
    heads = [keras.layers.Dense(1)(x_in), keras.layers.Dense(1, "softplus")(x_in)]
    decoder = keras.Model(z_in, keras.layers.Dense(5)(z_in))
    model = VAE(keras.Model(x_in, heads), decoder, likelihood=Normal("learned", initial_scale=2.0))
    assert [w.name for w in model.likelihood_layer.trainable_weights] == ["log_scale"]
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(x, batch_size=100, epochs=30, verbose=0)
    np.testing.assert_allclose(np.exp(model.likelihood.log_scale), scale, rtol=0.15, atol=0.0)
    lines = []
    model.summary(print_fn=lines.append)
    assert " likelihood: log_scale [5]" in lines
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.likelihood.log_scale, model.likelihood.log_scale)
    np.testing.assert_array_equal(loaded.elbo(x[:50]), model.elbo(x[:50]))


@pytest.mark.parametrize("scale", [0.3, [0.2, 0.5, 3.0]])
def test_a_fixed_scale_is_the_formula_and_is_saved(scale, seed, tmp_path):
    rng, event = np.random.default_rng(seed), (4, 3)
    x, z = rng.normal(size=(6, *event)), rng.normal(size=(6, LATENT))
    model = VAE(*networks(event, dtype="float64"), likelihood=Normal(scale), dtype="float64")
    assert not model.likelihood_layer.weights  # nothing is trained
    sigma = np.broadcast_to(scale, event)
    residual = (x - model.decode(z)) / sigma
    expected = -0.5 * np.sum(residual**2, axis=(1, 2)) - np.sum(np.log(sigma)) - 6.0 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(model.target(x).log_likelihood(z), expected, rtol=1e-12)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.likelihood.scale == scale
    np.testing.assert_array_equal(loaded.target(x).log_likelihood(z), model.target(x).log_likelihood(z))
    with pytest.raises(ValueError, match=r"scale has shape \(2,\) for events of 3 channels; expected a number, or one"):
        VAE(*networks(event), likelihood=Normal([0.1, 0.2]))


@pytest.mark.parametrize("beta", [0.25, 4.0])
def test_a_weight_of_the_rate_is_a_fixed_scale(beta, seed):
    """What docs/faq.md says: beta times the loss at scale s sqrt(beta) is the beta-VAE's at s, up to a number."""
    size, scale = 5, 0.7
    both, x = networks((size,)), np.random.default_rng(seed).normal(size=(8, size)).astype(np.float32)

    def parts(scale):
        logs = VAE(*both, likelihood=Normal(scale), kl="analytic").evaluate(x, verbose=0, return_dict=True)
        return logs["reconstruction"] - 0.5 * size * np.log(2.0 * np.pi * scale**2), logs["rate"]

    (squares, rate), (wider, same_rate) = parts(scale), parts(scale * np.sqrt(beta))
    assert rate == pytest.approx(same_rate, rel=1e-5)
    np.testing.assert_allclose(squares + beta * rate, beta * (wider + same_rate), rtol=1e-5)


def test_a_likelihood_with_variables_serves_one_decoder():
    """Two models would train one noise scale; the second one's events need not even have its channels."""
    learned = Normal("learned")
    first = VAE(*networks((5, 1)), likelihood=learned)
    with pytest.raises(ValueError, match="built already, for events of 1 channels, and got events of 6; make a lik"):
        VAE(*networks((6,)), likelihood=learned)
    with pytest.raises(ValueError, match="which another model, perhaps one that is gone, trains with its own decoder"):
        VAE(*networks((5, 1)), likelihood=learned)
    for again in (first, HVAE(first.encoder, first.decoder, 1, likelihood=learned), copy.deepcopy(first)):
        found = again.target(np.zeros([2, 5, 1], np.float32)).log_likelihood(tf.zeros([2, LATENT]))
        assert found.shape == (2,)  # one model's targets, models with one decoder, copies
    plain = Normal()
    for _ in range(2):
        VAE(*networks((5, 1), 2), likelihood=plain)  # nothing is shared where there are no variables


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fixed",), "unknown scale 'fixed'; accepted: decoder, learned, or positive numbers"),
        ((0.0,), "scale is 0.0; expected positive finite"),
        (([0.1, np.nan],), "scale is .*nan.*; expected positive finite"),
        ((True,), "scale is True; expected positive finite"),
        ((np.ones([2, 2]),), "expected positive finite standard deviations, one or one for each channel"),
        (("learned", 0.0), "initial_scale is 0.0; expected positive finite"),
        (("learned", np.inf), "initial_scale is inf"),
    ],
)
def test_bad_arguments_of_the_normal_likelihood_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Normal(*arguments)


def test_a_decoder_of_another_rank_is_named():
    _, decoder = networks((4, 3))
    with pytest.raises(
        ValueError, match=r"puts out \(None, 4, 3\) for examples of shape \[12\]; expected \(None, outputs\)"
    ):
        DecoderTarget(decoder, tf.zeros([2, 12]))
