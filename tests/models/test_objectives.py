"""The models' bounds and likelihoods against a linear-Gaussian decoder, for which log p(x) is known; in float64.

x = W z + b + s e, so p(x) = N(b, W W^T + s^2 I) and p(z|x) = N(A^T (x - b), P^-1) with P = I + W^T W / s^2.
The columns of W are orthogonal, so the posterior is in the family of q0.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.dynamics.tempering import FixedTempering, FreeTempering
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.iwae import IWAE
from hvae_tf.models.vae import VAE

SHAPE, LATENT, SCALE = (3, 2, 1), 2, 0.7
SIZE = 6
DRAWS = 4000


class Problem(NamedTuple):
    encoder: keras.Model
    decoder: keras.Model
    x: np.ndarray
    log_p: np.ndarray
    kl: np.ndarray

    def model(self, cls, *args, **kwargs):
        return cls(self.encoder, self.decoder, *args, likelihood="normal", dtype="float64", **kwargs)


def linear_gaussian(seed, shift=0.0, stretch=1.0):
    """q0 is the posterior, moved by `shift` and with standard deviations times `stretch`."""
    rng = np.random.default_rng([seed, 77])
    W = np.linalg.qr(rng.normal(size=(SIZE, LATENT)))[0] * [1.5, 0.6]
    b = rng.normal(size=SIZE)
    precision = 1.0 + np.sum(W**2, axis=0) / SCALE**2
    A = W / SCALE**2 / precision

    z = keras.Input([LATENT], dtype="float64")
    outputs = keras.layers.Dense(2 * SIZE, dtype="float64")
    decoder = keras.Model(z, keras.layers.Reshape((*SHAPE[:2], 2), dtype="float64")(outputs(z)))
    kernel, bias = np.zeros((LATENT, SIZE, 2)), np.full((SIZE, 2), np.log(SCALE))
    kernel[..., 0], bias[:, 0] = W.T, b
    outputs.set_weights([kernel.reshape(LATENT, -1), bias.ravel()])

    x = keras.Input(SHAPE, dtype="float64")
    flat = keras.layers.Flatten(dtype="float64")(x)
    mean, deviation = (keras.layers.Dense(LATENT, a, dtype="float64") for a in ("linear", "exponential"))
    encoder = keras.Model(x, [mean(flat), deviation(flat)])
    mean.set_weights([A, shift - A.T @ b])
    deviation.set_weights([np.zeros((SIZE, LATENT)), np.log(stretch / np.sqrt(precision))])

    data = rng.normal(size=(5, LATENT)) @ W.T + b + SCALE * rng.normal(size=(5, SIZE))
    covariance = W @ W.T + SCALE**2 * np.eye(SIZE)
    residual = data - b
    quadratic = np.sum(residual * np.linalg.solve(covariance, residual.T).T, axis=-1)
    log_p = -0.5 * (quadratic + np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    kl = np.sum(0.5 * (stretch**2 - 1.0 - np.log(stretch**2) + shift**2 * precision))
    return Problem(encoder, decoder, data.reshape(-1, *SHAPE), log_p, np.full(len(data), kl))


@pytest.fixture(scope="module")
def exact(seed):
    return linear_gaussian(seed)


@pytest.fixture(scope="module")
def rough(seed):
    return linear_gaussian(seed, shift=0.2, stretch=1.3)


@pytest.fixture(scope="module")
def flows(rough):
    """name -> its model of the rough problem; made once, so that each graph is traced once."""
    return functools.cache(lambda name: FLOWS[name](rough))


def elbo_draws(model, x, seed):
    """Independent draws of the ELBO's estimate for one image, ``[DRAWS]``."""
    return model.elbo(np.repeat(x[None], DRAWS, axis=0), seed=seed, batch_size=DRAWS)


def weight_draws(model, x, seed, num_samples=1):
    """Independent draws of the log of the mean of `num_samples` weights, ``[DRAWS]``."""
    repeated = np.repeat(x[None], DRAWS, axis=0)
    return model.log_likelihood(repeated, num_samples, seed, batch_size=DRAWS).value


def difference_in_standard_errors(a, b):
    return abs(a.mean() - b.mean()) / np.sqrt(a.var() / len(a) + b.var() / len(b))


def hvae(problem, tempering, K=2, **kwargs):
    return problem.model(HVAE, K, tempering, step_size=0.3, max_step_size=0.6, **kwargs)


def planar(problem):
    """A gentle planar flow: where a flow starts by itself, its weights have too long a tail to be judged by."""
    model = problem.model(FlowVAE, functools.partial(PlanarFlow, num_layers=3))
    model.flow_layer.set_weights([np.array([0.2, 0.1]), np.array([0.8, -0.5]), np.array(0.1)])
    return model


FLOWS = {
    "vae": lambda problem: problem.model(VAE),
    "vae-analytic": lambda problem: problem.model(VAE, kl="analytic"),
    "planar": planar,
    "none": lambda problem: hvae(problem, "none"),
    "fixed": lambda problem: hvae(problem, FixedTempering(1.6), K=3),
    "free": lambda problem: hvae(problem, FreeTempering(0.8), step_size_per="step"),
}


def test_at_the_posterior_the_vae_is_exact(exact, seed, z_score):
    model = exact.model(VAE)
    estimate = model.log_likelihood(exact.x, num_samples=3, chunk_size=2)
    np.testing.assert_allclose(estimate.value, exact.log_p, rtol=1e-10)
    np.testing.assert_allclose(estimate.standard_error, 0.0, atol=1e-7)
    assert z_score(elbo_draws(model, exact.x[0], seed), exact.log_p[0]) < 5


def test_the_vaes_bound_falls_short_by_the_divergence(rough, flows, seed, z_score):
    model = flows("vae")
    draws = elbo_draws(model, rough.x[0], seed)
    assert z_score(draws, rough.log_p[0] - rough.kl[0]) < 5
    assert z_score(draws, rough.log_p[0]) > 5
    # the loss that Keras reports is the same number
    repeated = np.repeat(rough.x[:1], DRAWS, axis=0)
    loss, reconstruction, rate = model.evaluate(repeated, batch_size=DRAWS, verbose=0)
    assert loss == pytest.approx(reconstruction + rate, rel=1e-12)
    assert abs(-loss - (rough.log_p[0] - rough.kl[0])) < 5 * draws.std() / np.sqrt(DRAWS)


def test_the_rate_is_the_divergence_from_the_prior(rough, flows, seed):
    repeated = np.repeat(rough.x[:1], DRAWS, axis=0)
    kl = float(flows("vae").posterior(rough.x[:1]).kl_to_standard_normal()[0])
    _, _, rate = flows("vae-analytic").evaluate(repeated, batch_size=DRAWS, verbose=0)
    assert rate == pytest.approx(kl, rel=1e-6)  # Keras adds up in float32
    _, _, rate = flows("vae").evaluate(repeated, batch_size=DRAWS, verbose=0)
    z = flows("vae").sample_posterior(rough.x[:1], DRAWS, seed)[:, 0]
    standard_error = np.std(0.5 * np.sum(z**2, axis=-1)) / np.sqrt(DRAWS)  # the prior is sampled, q0's entropy is not
    assert abs(rate - kl) < 5 * standard_error
    assert abs(rate - 0.5 * LATENT - kl) > 5 * standard_error  # had l/2 been forgotten


@pytest.mark.parametrize("name", ["planar", "fixed"])
def test_the_reconstruction_is_that_of_the_flows_end(name, rough, flows, seed):
    model, repeated = flows(name), np.repeat(rough.x[:1], DRAWS, axis=0)
    loss, reconstruction, rate = model.evaluate(repeated, batch_size=DRAWS, verbose=0)
    assert loss == pytest.approx(reconstruction + rate, rel=1e-12)
    z = model.sample_posterior(rough.x[:1], DRAWS, seed)
    draws = -model.target(rough.x[:1]).log_likelihood(z)[:, 0].numpy()
    standard_error = np.sqrt(2.0) * draws.std() / np.sqrt(DRAWS)
    assert abs(reconstruction - draws.mean()) < 5 * standard_error
    assert abs(loss - draws.mean()) > 5 * standard_error  # had the rate not been taken out
    # a bound on what z_K tells of x, which is at least 0
    assert rate > 0.0


@pytest.mark.parametrize("name", FLOWS)
def test_log_likelihood_finds_the_exact_value(name, rough, flows, seed):
    estimate = flows(name).log_likelihood(rough.x, 4000, seed, chunk_size=1000)
    assert np.max(np.abs(estimate.value - rough.log_p) / estimate.standard_error) < 5
    assert np.all(estimate.standard_error < 0.05)


class ExpectedTermsAsWeights(HVAE):
    """A planted error: the Rao-Blackwellised terms where the sampled ones belong."""

    def _draw_log_weight(self, draw):
        return self._draw_elbo(draw)


def test_planted_errors_are_seen(rough, seed, unkicked_integrator):
    for model in (
        rough.model(HVAE, 2, step_size=0.3, max_step_size=0.6, integrator=unkicked_integrator),
        rough.model(ExpectedTermsAsWeights, 2, FreeTempering(0.8), step_size=0.3),
    ):
        estimate = model.log_likelihood(rough.x, 4000, seed, chunk_size=1000)
        assert np.max(np.abs(estimate.value - rough.log_p) / estimate.standard_error) > 5


@pytest.mark.parametrize("name", FLOWS)
def test_expectations_in_closed_form_leave_the_mean_as_it_was(name, rough, flows, seed):
    model = flows(name)
    elbos, weights = elbo_draws(model, rough.x[1], seed), weight_draws(model, rough.x[1], seed)
    assert difference_in_standard_errors(elbos, weights) < 5
    assert difference_in_standard_errors(elbos - 0.5 * LATENT, weights) > 5  # had l/2 been forgotten
    assert elbos.mean() < rough.log_p[1] + 5 * elbos.std() / np.sqrt(DRAWS)


def test_more_samples_lessen_the_spread_of_an_elbo_alone(rough, flows, seed):
    model = flows("free")
    one, ten = elbo_draws(model, rough.x[0], seed), model.elbo(np.repeat(rough.x[:1], 500, axis=0), 10, chunk_size=4)
    assert difference_in_standard_errors(one, ten) < 5
    assert 0.5 < one.var() / ten.var() / 10 < 2


@pytest.mark.parametrize("flow", ["identity", "hamiltonian"])
def test_the_iwae_maximises_the_bound_of_its_samples(flow, rough, seed):
    hamiltonian = HamiltonianFlow(LATENT, 1, FixedTempering(1.3), step_size=0.3, dtype=tf.float64)
    model = rough.model(IWAE, 5, flow=hamiltonian if flow == "hamiltonian" else None, seed=seed)
    repeated = np.repeat(rough.x[:1], DRAWS, axis=0)
    loss, reconstruction, rate = model.evaluate(repeated, batch_size=DRAWS, verbose=0)
    elbo = -(reconstruction + rate)
    expected = weight_draws(model, rough.x[0], seed, num_samples=5)
    assert abs(-loss - expected.mean()) < 5 * np.sqrt(2.0) * expected.std() / np.sqrt(DRAWS)
    assert elbo < -loss < rough.log_p[0] + 5 * expected.std() / np.sqrt(DRAWS)
    single = weight_draws(model, rough.x[0], seed)
    assert abs(elbo - single.mean()) < 5 * np.sqrt(2.0) * single.std() / np.sqrt(DRAWS)


def test_sample_posterior_gives_the_flows_posterior(rough, flows, seed):
    """z_K, not z_0: for the VAE the moments of q0, for HVAE those of the flow run by hand, which are others."""
    mean, deviation = (t.numpy() for t in rough.encoder(rough.x[:1]))
    z = flows("vae").sample_posterior(rough.x[:1], DRAWS, seed)[:, 0]
    np.testing.assert_allclose(z.mean(axis=0), mean[0], atol=5 * deviation.max() / np.sqrt(DRAWS))
    np.testing.assert_allclose(z.std(axis=0), deviation[0], rtol=0.1)
    model = flows("none")
    noise = tf.random.stateless_normal([DRAWS, 1, LATENT], (seed, 1), dtype=tf.float64)
    momentum = tf.random.stateless_normal([DRAWS, 1, LATENT], (seed, 2), dtype=tf.float64)
    moved = model.flow.transform(model.target(rough.x[:1]), mean + deviation * noise, momentum).z[:, 0].numpy()
    z = model.sample_posterior(rough.x[:1], DRAWS, seed)[:, 0]
    standard_error = moved.std(axis=0) / np.sqrt(DRAWS)
    assert np.all(np.abs(z.mean(axis=0) - moved.mean(axis=0)) < 5 * np.sqrt(2.0) * standard_error)
    assert np.any(np.abs(z.mean(axis=0) - mean[0]) > 5 * standard_error)
