"""The model with refined latents: whose gradient goes where, exactly; its step size; saved, resumed, refused."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import HMCVAE, HVAE, VAE, likelihoods
from hvae_tf.data import TrainBatches, load
from hvae_tf.models import hmc_vae
from hvae_tf.networks import conv_decoder, conv_encoder, dense_decoder, dense_encoder
from hvae_tf.networks.shear import shear_of
from hvae_tf.targets.factor_analysis import FactorAnalysisTarget
from hvae_tf.training import fit, state_variables
from tests.training.scripted import assert_same, stop_at

B, D, LATENT = 3, 4, 2


def compiled(model, **kwargs):
    model.compile(keras.optimizers.Adamax(0.02), **kwargs)
    return model


def gradients_of(model, x, seed, variables):
    """Of the mean of what a training step ascends, as a graph would have them."""

    @tf.function(autograph=False)
    def run(pair):
        with tf.GradientTape() as tape:
            objective = tf.reduce_mean(model._batch_terms(x, pair, True).bound)
        return tape.gradient(objective, [variable.value for variable in variables])

    return lambda number: [part.numpy() for part in run(tf.constant([seed, number]))]


# ---- factor analysis: the exact gradient


def factor_analysis(seed, **kwargs):
    """A model with linear networks and a learned noise scale, its data, and the exact target; the encoder is off."""
    random = np.random.default_rng(seed)
    decoder = dense_decoder((D,), LATENT, (), dtype="float64")
    weights, bias, log_scale = random.normal(size=(D, LATENT)), random.normal(size=D), -0.3
    decoder.get_layer("outputs").kernel.assign(weights.T)
    decoder.get_layer("outputs").bias.assign(bias)
    encoder = dense_encoder((D,), LATENT, (), dtype="float64")
    encoder.get_layer("standard_deviation").kernel.assign(np.zeros((D, LATENT)))
    likelihood = likelihoods.Normal("learned", initial_scale=np.exp(log_scale))
    settings = {"likelihood": likelihood, "seed": seed, "dtype": "float64", "step_size": 0.6} | kwargs
    model = HMCVAE(encoder, decoder, **settings)
    x = random.normal(size=(B, D))
    return model, tf.constant(x), FactorAnalysisTarget(tf.constant(x), weights, bias, np.exp(log_scale))


def deviation(seed, expected, num_moves=12, repeats=24, **kwargs):
    """How far the decoder's gradient is from a `ParameterGradient`, in standard errors."""
    model, x, target = factor_analysis(seed, num_moves=num_moves, num_leapfrog_steps=3, num_samples=250, **kwargs)
    outputs, log_scale = model.decoder.get_layer("decoder").get_layer("outputs"), model.likelihood_layer.weights[0]
    gradients = gradients_of(model, x, seed, [outputs.kernel, outputs.bias, log_scale])
    # a learned noise scale is one number for each channel
    parts = [np.concatenate([np.ravel(part) for part in gradients(i)]) for i in range(repeats)]
    exact = expected(target)
    wanted = np.concatenate([exact.weights.numpy().T.ravel(), exact.bias, log_scale_gradients(target, expected)])
    parts = np.array(parts)
    return np.max(np.abs(parts.mean(0) - wanted) / (parts.std(0, ddof=1) / repeats**0.5))


def log_scale_gradients(target, expected):
    """d/d log s_i of channels with scales of their own: E r_i^2 - 1, by the same moments."""
    q0 = target.posterior() if expected is FactorAnalysisTarget.evidence_gradient else target.q0
    covariance = q0.scale_tril @ tf.linalg.matrix_transpose(q0.scale_tril)
    scaled = target._weights / target._scale
    spread = tf.linalg.diag_part(scaled @ covariance @ tf.transpose(scaled)[None])
    return tf.reduce_mean(target._residual(q0.mean) ** 2 + spread, axis=0).numpy() - 1.0


def test_the_decoder_ascends_the_evidence(seed):
    assert deviation(seed, FactorAnalysisTarget.evidence_gradient) < 5.0


def test_without_moves_it_is_biased(seed):
    assert deviation(seed, FactorAnalysisTarget.evidence_gradient, warm_up_steps=1) > 20.0


@pytest.mark.slow
def test_a_decoder_that_learns_from_both_terms_is_seen(seed, monkeypatch):
    monkeypatch.setattr(hmc_vae, "_held", lambda evaluation, z: current(z))
    made = HMCVAE.__init__

    def remember(self, *args, **kwargs):
        made(self, *args, **kwargs)
        nonlocal model
        model = self

    model = None
    monkeypatch.setattr(HMCVAE, "__init__", remember)
    x = tf.constant(np.random.default_rng(seed).normal(size=(B, D)))

    def current(z):
        return model.target(x).log_joint(z)

    assert deviation(seed, FactorAnalysisTarget.evidence_gradient) > 20.0


@pytest.mark.slow
def test_accepting_everything_is_seen(seed, monkeypatch):
    from hvae_tf.dynamics import metropolis

    monkeypatch.setattr(metropolis, "kinetic_energy", lambda rho: tf.zeros_like(rho[..., 0]))
    assert deviation(seed, FactorAnalysisTarget.evidence_gradient) > 20.0


# ---- beside a VAE of the same noise


def dense_networks(covariance="diagonal"):
    """For the events of `images`, in float64."""
    shape = (6, 5, 1)
    encoder = dense_encoder(shape, LATENT, (4,), covariance=covariance, dtype="float64")
    return encoder, dense_decoder(shape, LATENT, (4,), dtype="float64")


@pytest.mark.parametrize("options", [{}, {"kl": "analytic"}, {"gradient": "path"}, {"covariance": "full"}])
def test_the_encoder_ascends_the_elbo_of_a_vae(options, images, seed):
    covariance = options.get("covariance", "diagonal")
    options = {key: value for key, value in options.items() if key != "covariance"}
    x, found = tf.constant(images[:5], tf.float64), []
    model = HMCVAE(*dense_networks(covariance), 2, 2, shear=False, dtype="float64", **options)
    for each in (model, VAE(*dense_networks(covariance), dtype="float64", **options)):
        with tf.GradientTape() as tape:
            objective = tf.reduce_sum(each._batch_terms(x, tf.constant([seed, 0]), True).bound)
        found.append(tape.gradient(objective, [variable.value for variable in each.encoder.trainable_variables]))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    assert max(np.max(np.abs(part)) for part in found[0]) > 1e-3


def test_warm_up_is_a_vae(images):
    """Three batches of it are a VAE's, the fourth is not."""
    model = compiled(HMCVAE(*dense_networks(), 2, 2, shear=False, warm_up_steps=3, dtype="float64"), run_eagerly=True)
    other = compiled(VAE(*dense_networks(), dtype="float64"), run_eagerly=True)
    for number in range(4):
        logs = [each.train_on_batch(images[:8], return_dict=True) for each in (model, other)]
        weights = zip(model.trainable_weights, other.trainable_weights, strict=True)
        assert all(np.allclose(a, b, rtol=1e-7) for a, b in weights) == (number < 3)
        assert (float(logs[0]["acceptance"]) > 0.0) == (number == 3)
        assert (model.step_size.numpy() == np.float64(0.1)) == (number < 3)
        assert float(logs[0]["loss"]) == pytest.approx(float(logs[1]["loss"]), rel=1e-6)


def test_a_training_step_costs_its_moves(counted, images, seed):
    """M L + 1 evaluations, and the decoder's own term; one without training."""
    encoder, encoder_counter, decoder, decoder_counter = counted
    model = HMCVAE(encoder, decoder, 3, 2, num_samples=2, shear=False)
    for training, runs in ((True, 3 * 2 + 1 + 1), (False, 1)):
        encoder_counter.reset()
        decoder_counter.reset()
        model._batch_terms(tf.constant(images), tf.constant([seed, 1]), training)
        assert (int(encoder_counter.runs), int(decoder_counter.runs)) == (1, runs)
        assert int(decoder_counter.rows) == 2 * len(images)


# ---- the step size, and what is logged


def test_the_step_size_follows_the_acceptance_to_its_target(images):
    model = compiled(HMCVAE(*dense_networks(), 2, 2, adapt_rate=0.1, dtype="float64"))
    for step_size, factor in ((1e-3, 1.1), (1e3, 0.9)):
        model.step_size.assign(step_size)
        logs = model.train_on_batch(images, return_dict=True)
        assert float(model.step_size.numpy()) == pytest.approx(factor * step_size)
    assert float(logs["acceptance"]) < 0.1
    before = model.get_weights()
    assert model.test_on_batch(images, return_dict=True).keys() == {"loss", "reconstruction", "rate"}
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.step_size.assign(0.5)
    logs = [model.train_on_batch(images, return_dict=True) for _ in range(40)]
    assert np.mean([float(each["acceptance"]) for each in logs[-15:]]) == pytest.approx(0.67, abs=0.1)
    assert all(float(each["acceptance_low"]) < float(each["acceptance"]) for each in logs)
    assert 0.05 < np.mean([float(each["jump"]) for each in logs]) < 20.0
    assert float(logs[-1]["step_size"]) == pytest.approx(float(model.step_size.numpy()))


# ---- saved, and gone on with


def test_it_is_saved_and_loaded_with_step_size_and_shear(images, tmp_path):
    numbers = {"step_size": 0.3, "target_acceptance": 0.7, "warm_up_steps": 1, "seed": 2}
    model = compiled(HMCVAE(*dense_networks(), 1, 2, dtype="float64", **numbers), run_eagerly=True)
    for _ in range(2):
        model.train_on_batch(images)
    assert np.any(model.shear.below.numpy())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, HMCVAE)
    config, again = model.get_config(), loaded.get_config()
    assert {k: v for k, v in config.items() if k not in ("encoder", "decoder")} == {
        k: v for k, v in again.items() if k not in ("encoder", "decoder")
    }
    assert loaded.step_size.numpy() == model.step_size.numpy() != 0.3
    for each in (model, loaded):
        each.train_on_batch(images)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


@pytest.mark.slow
def test_it_loads_in_a_fresh_process(networks, images, tmp_path):
    model = HMCVAE(*networks(), 1, 2)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = f"""
import keras, numpy as np, hvae_tf
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
np.save({str(tmp_path / "found.npy")!r}, model.refine(np.load({str(tmp_path / "images.npy")!r})).z)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), model.refine(images).z)


@pytest.mark.slow
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path):
    data = load("digits", limit=(40, 20, 1))
    sizes = {"latent_size": 2, "hidden_units": 6, "filters": (2,), "kernel_size": 3}

    def run(folder, callbacks=()):
        networks = conv_encoder(data.image_shape, **sizes), conv_decoder(data.image_shape, **sizes)
        model = compiled(HMCVAE(*networks, 1, 2, warm_up_steps=2))
        fit(
            model, TrainBatches(data, 8, 1), data.binarised("validation"), folder, max_epochs=3, checkpoint_steps=2,
            checkpoint_seconds=None, callbacks=callbacks, verbose=0, restore_best=False,
        )  # fmt: skip
        return model

    expected = run(tmp_path / "whole")
    run(tmp_path / "parts", [stop_at(7)])
    found = run(tmp_path / "parts")
    rows = (tmp_path / "parts" / "history.csv").read_text().splitlines()
    assert {"acceptance", "acceptance_low", "jump", "step_size", "val_loss"} <= set(rows[0].split(","))
    assert "val_acceptance" not in rows[0]
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert any(variable is found.step_size for variable in state_variables(found))
    for a, b in zip(state_variables(expected), state_variables(found), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


# ---- refine, of any model


def test_any_model_refines(images, seed):
    model = HVAE(*dense_networks(), 1, "none", dtype="float64")
    start = model.sample_posterior(images, 2, seed)
    found = model.refine(images, num_samples=2, seed=seed, num_moves=3, num_leapfrog_steps=2, batch_size=10)
    assert [part.shape for part in found] == [(2, 24, 2), (2, 24), (2, 24), (24,)]
    np.testing.assert_allclose(found.log_joint, model.target(images).log_joint(found.z), rtol=1e-4)
    assert 0.3 < np.mean(found.acceptance) < 0.95
    again = model.refine(images, start, seed=seed, num_moves=3, num_leapfrog_steps=2, batch_size=10)
    assert np.mean(again.z != start) > 0.5
    still = model.refine(images, start[0], step_size=1e-9, num_moves=1)
    np.testing.assert_allclose(still.z[0], start[0], atol=1e-6)
    np.testing.assert_allclose(still.acceptance, 1.0, atol=1e-5)


def test_refined_latents_are_the_posterior_s(seed, z_score):
    """Of factor analysis, from an encoder that is off; and the encoder's own draws are not."""
    model, x, target = factor_analysis(seed)
    posterior = target.posterior()
    found = model.refine(x, num_samples=4000, num_moves=15, num_leapfrog_steps=3, step_size=0.4, seed=seed)
    centred = found.z - posterior.mean.numpy()
    products = (centred[..., None] * centred[..., None, :]).reshape(len(centred), -1)
    exact = np.broadcast_to(np.linalg.inv(target.precision()), (B, LATENT, LATENT)).ravel()
    assert z_score(centred.reshape(len(centred), -1), 0.0) < 5.0
    assert z_score(products, exact) < 5.0
    assert z_score(model.sample_posterior(x, 4000, seed) - posterior.mean.numpy(), 0.0) > 20.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e, d, x: HMCVAE(e, d, 0), "num_moves is 0; expected an integer of at least 1"),
        (lambda e, d, x: HMCVAE(e, d, step_size=0.0), "step_size is 0.0; expected a positive number"),
        (
            lambda e, d, x: HMCVAE(e, d, target_acceptance=1),
            "target_acceptance is 1; expected a number between 0 and 1",
        ),
        (lambda e, d, x: HMCVAE(e, d, adapt_rate=1.0), "adapt_rate is 1.0; expected a number from 0 to below 1"),
        (lambda e, d, x: HMCVAE(e, d, warm_up_steps=-1), "warm_up_steps is -1; expected an integer of at least"),
        (lambda e, d, x: HMCVAE(e, d, flow=None), "without a flow; FlowVAE's refine takes any model"),
        (lambda e, d, x: VAE(e, d).refine(x, np.zeros((3, 2))), r"z_0 has shape \(1, 3, 2\); expected \[S, 24, 2\]"),
        (lambda e, d, x: VAE(e, d).refine(x, np.full((24, 2), np.nan)), "z_0 holds values that are no finite numbers"),
        (lambda e, d, x: VAE(e, d).refine(x, step_size=-1.0), "step_size is -1.0; expected a positive number, or None"),
        (lambda e, d, x: VAE(e, d).refine(x, num_moves=0), "num_moves is 0; expected an integer of at least 1"),
    ],
)
def test_what_is_wrong_is_named(call, message, networks, images):
    with pytest.raises(ValueError, match=message):
        call(*networks(), images)


def test_the_step_size_of_refine_is_the_trained_one_or_a_pilots(networks, images):
    model = HMCVAE(*networks(), 1, 1, step_size=0.3, adapt_rate=0.0, warm_up_steps=2)
    assert model._trained_step_size() is None  # `refine` asks a pilot then
    for batches, trained in ((2, False), (3, True)):  # no chain has moved in warm-up
        model.batches_seen.assign(batches)
        assert (model._trained_step_size() is not None) == trained
    assert model._trained_step_size() == pytest.approx(0.3)
    model.batches_seen.assign(0)  # a new optimiser; what was found before stands
    model.step_size.assign(0.31)
    assert model._trained_step_size() == pytest.approx(0.31)


def test_a_shear_that_is_there_is_taken(networks):
    model = HMCVAE(*networks())
    assert shear_of(HMCVAE(model.encoder, model.decoder).decoder) is model.shear
    assert HMCVAE(*networks(), shear=False).shear is None
