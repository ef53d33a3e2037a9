"""A model's judge, on a linear-Gaussian decoder for which log p(x) is known; in float64."""

import numpy as np
import pytest

from hvae_tf.models.hvae import HVAE
from hvae_tf.models.vae import VAE
from tests.models.test_objectives import linear_gaussian

SHORT = {"num_chains": 6, "num_temperatures": 8, "num_leapfrog_steps": 2}


@pytest.fixture(scope="module")
def rough(seed):
    return linear_gaussian(seed, shift=0.6, stretch=0.7)


@pytest.fixture(scope="module")
def model(rough):
    return rough.model(VAE)


@pytest.mark.parametrize("start", ["encoder", "prior"])
def test_ais_finds_the_exact_value(start, rough, model, seed):
    """Equal events in one batch: the mean of their weights is p(x)."""
    repeated = np.repeat(rough.x[:1], 2000, axis=0)
    found = model.annealed_log_likelihood(repeated, start, seed=seed, batch_size=2000, **SHORT)
    weights = np.exp(found.log_weights.ravel() - rough.log_p[0])
    standard_error = weights.std() / np.sqrt(len(weights))
    assert standard_error < 0.1
    assert abs(weights.mean() - 1.0) < 5 * standard_error
    # a single estimate is a lower bound in expectation, and not far below
    values = found.estimate.value
    assert rough.log_p[0] - 1.0 < values.mean() < rough.log_p[0] + 5 * values.std() / np.sqrt(len(values))
    assert found.acceptance.shape == (SHORT["num_temperatures"] - 1, 2000)
    assert found.log_weights.shape == (SHORT["num_chains"], 2000)
    assert np.all((found.ess >= 1.0) & (found.ess <= SHORT["num_chains"]))


def test_annealing_comes_nearer_than_as_many_importance_samples(rough, model, seed):
    """With a q0 that is off, at equal numbers of evaluations."""
    repeated = np.repeat(rough.x[:1], 1000, axis=0)
    evaluations = SHORT["num_chains"] * ((SHORT["num_temperatures"] - 1) * SHORT["num_leapfrog_steps"] + 1)
    ais = model.annealed_log_likelihood(repeated, seed=seed, batch_size=1000, **SHORT).estimate.value
    sampled = model.log_likelihood(repeated, evaluations, seed, chunk_size=evaluations, batch_size=1000).value
    assert abs(ais.mean() - rough.log_p[0]) < abs(sampled.mean() - rough.log_p[0]) + 0.05


def test_bdmc_holds_the_exact_value_between_its_bounds(model, rough, seed):
    bounds = model.bdmc(400, seed=seed, batch_size=200, **SHORT)
    assert bounds.gap.value.shape == (400,)
    mean, error = bounds.gap.value.mean(), bounds.gap.value.std() / 20.0
    assert mean > -5 * error
    longer = model.bdmc(400, seed=seed, **SHORT | {"num_temperatures": 40}).gap.value
    assert longer.mean() < mean
    np.testing.assert_allclose(bounds.upper.value - bounds.lower.value, bounds.gap.value)


def test_results_are_functions_of_the_seed_and_batches_have_noise_of_their_own(model, rough):
    repeated = np.repeat(rough.x[:1], 4, axis=0)
    first, again, other = (
        model.annealed_log_likelihood(repeated, seed=seed, batch_size=2, **SHORT).log_weights for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == first.size
    assert not np.any(first == other)


def test_only_the_decoder_is_judged(rough, seed):
    """From the prior, a flow beside the decoder changes nothing."""
    x = rough.x[:3]
    plain, flowing = rough.model(VAE), rough.model(HVAE, 2, "fixed", step_size=0.3)
    a, b = (model.annealed_log_likelihood(x, "prior", seed=seed, **SHORT).log_weights for model in (plain, flowing))
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_progress_is_shown_where_asked_for(model, rough, capsys):
    model.annealed_log_likelihood(rough.x[:4], batch_size=2, verbose=1, **SHORT)
    assert "2/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.annealed_log_likelihood(x, "zero"), "unknown start 'zero'; accepted: encoder, prior"),
        (lambda m, x: m.annealed_log_likelihood(x, num_chains=0), "num_chains is 0"),
        (lambda m, x: m.annealed_log_likelihood(x, num_temperatures=0), "num_temperatures is 0"),
        (lambda m, x: m.annealed_log_likelihood(x, batch_size=0), "batch_size is 0"),
        (lambda m, x: m.annealed_log_likelihood(x[:, :2]), r"x has shape .*; expected \[B, 3, 2, 1\]"),
        (lambda m, x: m.bdmc(0), "num_simulated is 0"),
        (lambda m, x: m.bdmc(2, "zero"), "unknown start 'zero'"),
        (lambda m, x: m.bdmc(2, num_leapfrog_steps=0), "num_leapfrog_steps is 0"),
    ],
)
def test_bad_arguments_are_named(call, message, model, rough):
    with pytest.raises(ValueError, match=message):
        call(model, rough.x)
