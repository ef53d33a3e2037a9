"""A model's judge, on a linear-Gaussian decoder for which log p(x) is known; in float64."""

import keras
import numpy as np
import pytest

from hvae_tf import HMCVAE, HVI, IWAE, UHA, dense_encoder
from hvae_tf.bounds.annealer import Annealer
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.vae import VAE
from tests.marks import slow
from tests.models.test_objectives import SIZE, linear_gaussian

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


def test_longer_chains_have_the_smaller_gap(model, rough, seed):
    bounds = model.bdmc(400, seed=seed, batch_size=200, **SHORT)
    assert bounds.gap.value.shape == (400,)
    mean, error = bounds.gap.value.mean(), bounds.gap.value.std() / 20.0
    assert mean > -5 * error
    longer = model.bdmc(400, seed=seed, **SHORT | {"num_temperatures": 40}).gap.value
    assert longer.mean() < mean
    np.testing.assert_allclose(bounds.upper.value - bounds.lower.value, bounds.gap.value)


def test_pilots_chains_and_batches_have_noise_of_their_own(model, rough, monkeypatch):
    seeds = []

    def told(method):
        def call(self, *args, **kwargs):
            seeds.append(tuple(np.asarray(args[-1]).tolist()))
            return method(self, *args, **kwargs)

        return call

    for name in ("tune", "forward", "reverse"):
        monkeypatch.setattr(Annealer, name, told(getattr(Annealer, name)))
    model.bdmc(4, batch_size=2, **SHORT)
    model.annealed_log_likelihood(rough.x[:4], batch_size=2, **SHORT)
    assert len(set(seeds)) == len(seeds) == 3 * 2 + 2 * 2


def test_bdmc_bounds_what_each_of_its_events_has(model, rough, seed):
    """From both sides of the exact log p(x) of the very events that were simulated."""
    layer = next(layer for layer in rough.decoder.layers if layer.get_weights())
    kernel, bias = (w.reshape(*w.shape[:-1], SIZE, 2)[..., 0] for w in layer.get_weights())  # W', b
    covariance, drawn, graph = kernel.T @ kernel + 0.7**2 * np.eye(SIZE), [], model._decode_sample_graph
    model._decode_sample_graph = lambda *args: drawn.append(graph(*args)) or drawn[-1]
    bounds = model.bdmc(400, seed=seed, batch_size=200, **SHORT | {"num_temperatures": 40})
    model._decode_sample_graph = graph
    residual = np.concatenate(drawn).reshape(400, SIZE) - bias
    quadratic = np.sum(residual * np.linalg.solve(covariance, residual.T).T, axis=-1)
    exact = -0.5 * (quadratic + np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    assert len(np.unique(exact)) == 400  # no batch is another's again
    for short in (exact - bounds.lower.value, bounds.upper.value - exact):
        assert short.mean() / (short.std() / 20.0) > -5.0
        assert short.mean() < 0.1  # reverse chains from another event's draw: 0.27


def test_results_are_functions_of_the_seed_and_batches_have_noise_of_their_own(model, rough):
    repeated = np.repeat(rough.x[:1], 4, axis=0)
    first, again, other = (
        model.annealed_log_likelihood(repeated, seed=seed, batch_size=2, **SHORT).log_weights for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == first.size
    assert not np.any(first == other)


JUDGED = {
    "hvae": (HVAE, (2, "fixed"), {"step_size": 0.3}),
    "iwae": (IWAE, (), {"num_samples": 3}),
    "hvi": (HVI, (1, 2), {}),
    "uha": (UHA, (2,), {}),
    "hmc-vae": (HMCVAE, (2, 3), {"shear": False}),
}


@pytest.mark.parametrize("start", slow(["encoder", "prior"], "prior"))
@pytest.mark.parametrize("name", JUDGED)
def test_only_the_decoder_is_judged(name, start, rough, model, seed):
    """Whatever stands beside decoder and encoder changes nothing."""
    kind, arguments, options = JUDGED[name]
    other = rough.model(kind, *arguments, **options)
    a, b = (m.annealed_log_likelihood(rough.x[:3], start, seed=seed, **SHORT).log_weights for m in (model, other))
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_few_chains_are_told(rough, seed):
    """By both methods, where one chain of a few carries all the weight: a q0 that is far off, two temperatures."""
    far = linear_gaussian(seed, shift=4.0, stretch=0.2).model(VAE)
    short = SHORT | {"num_temperatures": 2}
    with pytest.warns(RuntimeWarning, match="fewer than 2 chains carry the weight"):
        far.annealed_log_likelihood(rough.x, **short)
    with pytest.warns(RuntimeWarning, match="fewer than 2 chains carry the weight"):
        far.bdmc(20, **short)


def test_whole_numbers_are_judged_too(seed, z_score):
    """A categorical likelihood, l = 1: the mean weight is the integral over z."""
    encoder = dense_encoder((3,), latent_size=1, hidden_units=(4,), dtype="float64")
    rng = np.random.default_rng(seed)
    z = keras.Input([1], dtype="float64")
    decoder = keras.Model(z, keras.layers.Dense(3 * 4, dtype="float64")(z))
    decoder.set_weights([rng.normal(size=weight.shape) for weight in decoder.get_weights()])
    model = VAE(encoder, decoder, likelihood="categorical", dtype="float64")
    grid = np.linspace(-9.0, 9.0, 3001)[:, None]
    x = np.array([[0.0, 3.0, 1.0]])
    logits = np.reshape(decoder(grid), [-1, 3, 4])
    log_p = np.sum(logits[:, range(3), x[0].astype(int)] - np.log(np.sum(np.exp(logits), axis=-1)), axis=-1)
    exact = np.log(np.sum(np.exp(log_p - 0.5 * grid[:, 0] ** 2)) * (grid[1, 0] - grid[0, 0]) / np.sqrt(2.0 * np.pi))
    # from the prior: the untrained encoder is far narrower than the posterior, and weights from there have no variance
    found = model.annealed_log_likelihood(np.repeat(x, 2000, axis=0), "prior", seed=seed, batch_size=2000, **SHORT)
    weights = np.exp(found.log_weights.ravel() - exact)
    assert weights.std() < 0.01 * np.sqrt(weights.size)
    assert z_score(weights, 1.0) < 5.0
    assert z_score(weights, 1.05) > 5.0  # and would see five per cent


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
