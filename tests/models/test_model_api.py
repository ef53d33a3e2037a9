"""What a trained model is asked for: samples, reconstructions, encodings, bounds, likelihoods; and bad arguments."""

import keras
import numpy as np
import pytest

from hvae_tf.flows.flow import IdentityFlow
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.hvi import HVI
from hvae_tf.models.iwae import IWAE
from hvae_tf.models.uha import UHA
from hvae_tf.models.vae import VAE
from hvae_tf.networks import conv_decoder, conv_encoder


@pytest.fixture(scope="module")
def model(networks):
    return HVAE(*networks(), 2)


def test_shapes(model, images):
    n = len(images)
    assert model.sample(7, batch_size=3).shape == (7, 6, 5, 1)
    assert model.sample_posterior(images, 3, chunk_size=2, batch_size=10).shape == (3, n, 2)
    assert model.reconstruct(images, seed=1, batch_size=10).shape == images.shape
    assert model.elbo(images, 3, batch_size=10).shape == (n,)
    estimate = model.log_likelihood(images, 5, chunk_size=2, batch_size=10)
    assert estimate.value.shape == estimate.standard_error.shape == (n,)
    assert np.all(estimate.standard_error > 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, seed: m.sample(4, seed=seed),
        lambda m, x, seed: m.sample(4, seed=seed, draw=True),
        lambda m, x, seed: m.sample_posterior(x, 2, seed=seed),
        lambda m, x, seed: m.reconstruct(x, seed=seed),
        lambda m, x, seed: m.elbo(x, 2, seed=seed),
        lambda m, x, seed: m.log_likelihood(x, 4, seed=seed, chunk_size=2).value,
    ],
)
def test_results_are_functions_of_the_seed(model, images, call):
    x = images[:5]
    np.testing.assert_array_equal(call(model, x, 3), call(model, x, 3))
    assert not np.array_equal(call(model, x, 3), call(model, x, 4))


def test_batches_and_chunks_do_not_share_noise(model, images):
    """Equal images in unlike batches, and unlike chunks of samples, are drawn apart."""
    same = np.repeat(images[:1], 4, axis=0)
    assert len(np.unique(model.elbo(same, batch_size=2))) == 4
    assert len(np.unique(model.sample_posterior(same, 2, batch_size=2)[..., 0])) == 8
    whole, chunked = (model.elbo(same, 8, chunk_size=chunk) for chunk in (4, 8))
    assert not np.array_equal(whole, chunked)


def test_samples_are_probabilities_or_draws(model):
    probabilities, draws = model.sample(50, seed=1), model.sample(50, seed=1, draw=True)
    assert set(np.unique(draws)) == {0.0, 1.0}
    # draws of the same images: they follow the probabilities
    standard_error = np.sqrt(np.sum(probabilities * (1 - probabilities)))
    assert abs(draws.sum() - probabilities.sum()) < 5 * standard_error


def test_memory_is_bounded_and_the_encoder_runs_once_a_batch(counted, images):
    encoder, encoder_counter, decoder, decoder_counter = counted
    model = HVAE(encoder, decoder, 1)
    encoder_counter.reset()  # a new model looks once at what its encoder gives
    model.log_likelihood(images[:5], num_samples=7, chunk_size=3, batch_size=2)
    assert int(encoder_counter.runs) == 3
    assert int(decoder_counter.runs) == 3 * 3 * 2  # batches, chunks, K + 1
    assert int(decoder_counter.rows) == 3 * 2
    decoder_counter.reset()
    model.sample_posterior(images[:5], num_samples=7, chunk_size=3, batch_size=2)
    assert int(decoder_counter.rows) == 3 * 2
    # unlike sizes of batch and chunk are one graph
    assert model._log_weight_graph.experimental_get_tracing_count() == 1


def test_progress_is_shown_where_asked_for(model, images, capsys):
    model.log_likelihood(images[:5], 4, chunk_size=2, batch_size=2)
    assert capsys.readouterr().out == ""
    model.log_likelihood(images[:5], 4, chunk_size=2, batch_size=2, verbose=1)
    assert "6/6" in capsys.readouterr().out  # batches times chunks


@pytest.mark.parametrize(("likelihood", "outputs"), [("normal", 2), ("categorical", 3)])
def test_other_likelihoods(likelihood, outputs, networks, seed):
    model = VAE(*networks(outputs_per_channel=outputs), likelihood=likelihood)
    x = model.sample(6, seed=seed, draw=True)
    assert x.shape == model.reconstruct(x).shape == (6, 6, 5, 1)
    if likelihood == "categorical":
        assert set(np.unique(x)) <= {0.0, 1.0, 2.0}
    assert np.isfinite(model.evaluate(x, verbose=0)[0])
    assert np.all(np.isfinite(model.elbo(x)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.sample(0), "n is 0; expected an integer of at least 1"),
        (lambda m, x: m.sample(2, seed=-1), r"seed is -1; expected an integer from 0 to 2\*\*31 - 1"),
        (lambda m, x: m.sample_posterior(x, 0), "num_samples is 0"),
        (lambda m, x: m.sample_posterior(x[0]), r"x has shape \(6, 5, 1\); expected \[B, 6, 5, 1\]"),
        (lambda m, x: m.sample_posterior(x[:0]), r"x has shape \(0, 6, 5, 1\)"),
        (lambda m, x: m.sample(2, batch_size=0), "batch_size is 0"),
        (lambda m, x: m.reconstruct(x, batch_size=0), "batch_size is 0"),
        (lambda m, x: m.reconstruct(x, seed=1, batch_size=0), "batch_size is 0"),
        (lambda m, x: m.elbo(x.astype(complex)), "x is of dtype complex128; expected real numbers"),
        (lambda m, x: m.reconstruct(x[..., 0]), r"x has shape \(24, 6, 5\)"),
        (lambda m, x: m.reconstruct(255 * x), r"from 0.0 to 255.0; .*scale and binarise x first"),
        (lambda m, x: m.elbo(x, 0), "num_samples is 0"),
        (lambda m, x: m.elbo(x, 1.5), "num_samples is 1.5"),
        (lambda m, x: m.elbo(x, chunk_size=0), "chunk_size is 0"),
        (lambda m, x: m.log_likelihood(x, 0), "num_samples is 0"),
        (lambda m, x: m.log_likelihood(x, chunk_size=-1), "chunk_size is -1"),
        (lambda m, x: m.log_likelihood(x, 2, batch_size=0), "batch_size is 0"),
        (lambda m, x: m.log_likelihood(x, 2, seed=0.5), "seed is 0.5"),
    ],
)
def test_bad_arguments_of_methods_are_named(call, message, model, images):
    with pytest.raises(ValueError, match=message):
        call(model, images)


def subclassed():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    return Subclassed(name="mine")


def one_headed(encoder):
    return keras.Model(encoder.input, encoder.output[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda e, d: VAE(e, conv_decoder((6, 5, 1), 3)),
            "the encoder gives latents of size 2, the decoder takes size 3",
        ),
        (
            lambda e, d: VAE(conv_encoder((6, 6, 1), 2), d),
            r"puts out \(None, 6, 5, 1\) for examples of shape \[6, 6, 1\]",
        ),
        (
            lambda e, d: VAE(e, d, likelihood="normal"),
            "normal likelihood .* expects a mean and a log",
        ),
        (lambda e, d: VAE(e, d, likelihood="gauss"), "unknown likelihood 'gauss'"),
        (lambda e, d: VAE(subclassed(), d), "the encoder 'mine' has no static shapes; make it a functional model"),
        (lambda e, d: VAE(e, subclassed()), "the decoder 'mine' has no static shapes"),
        (lambda e, d: VAE(one_headed(e), d), r"outputs of shape \(None, 2\); expected a mean and a standard deviation"),
        (lambda e, d: VAE(d, d), r"the encoder gives outputs of shape \(None, 6, 5, 1\); expected a mean"),
        (lambda e, d: VAE(e, d, seed=-1), "seed is -1"),
        (lambda e, d: IWAE(e, d, 0), "num_samples is 0"),
        (lambda e, d: IWAE(e, d, 3, gradient="path"), "gradient='path' is biased for the bound of 3 samples"),
        (lambda e, d: VAE(e, d, kl="closed"), "unknown kl 'closed'"),
        (lambda e, d: VAE(e, d, kl="analytic", gradient="path"), "take kl='sampled'"),
        (lambda e, d: VAE(e, d, num_samples=True), "num_samples is True"),
        (lambda e, d: VAE(e, d, flow=IdentityFlow(2)), "a VAE has no flow"),
        (lambda e, d: FlowVAE(e, d, "planar"), r"flow is 'planar'; expected a hvae_tf.Flow, or a function"),
        (lambda e, d: FlowVAE(e, d, lambda *a, **k: None), "flow is None; expected a hvae_tf.Flow"),
        (lambda e, d: FlowVAE(e, d, IdentityFlow(3)), "the flow has event_size 3; this model needs 2"),
        (
            lambda e, d: FlowVAE(e, d, IdentityFlow(2, dtype="float64")),
            "the flow has dtype .*float64.*; this model needs",
        ),
        (lambda e, d: HVAE(e, d), r"HVAE takes num_leapfrog_steps .*, or flow=HamiltonianFlow"),
        (
            lambda e, d: HVAE(e, d, 1, flow=IdentityFlow(2)),
            r"HVAE takes num_leapfrog_steps .*, or flow=HamiltonianFlow",
        ),
        (
            lambda e, d: HVAE(e, d, flow=IdentityFlow(2)),
            "HVAE got the flow IdentityFlow; expected HamiltonianFlow: Fl",
        ),
        (lambda e, d: UHA(e, d, flow=IdentityFlow(2)), "UHA got the flow IdentityFlow; expected AnnealedFlow"),
        (lambda e, d: HVI(e, d, flow=IdentityFlow), "HVI got the flow IdentityFlow; expected StochasticFlow"),
        (lambda e, d: HVAE(e, d, 0), "num_leapfrog_steps is 0"),
        (lambda e, d: HVAE(e, d, 1, "warm"), "unknown tempering 'warm'"),
        (lambda e, d: HVAE(e, d, 1, max_step_size=float("inf")), "max_step_size is inf; expected a positive finite"),
        (lambda e, d: HVAE(e, d, 1, step_size=0.6), r"expected values in \(0, max_step_size\)"),
        (lambda e, d: HVAE(e, d, 1, step_size_per="image"), "unknown step_size_per 'image'"),
    ],
)
def test_bad_arguments_of_models_are_named(make, message, networks):
    with pytest.raises(ValueError, match=message):
        make(*networks())
