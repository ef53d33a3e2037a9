"""Factor analysis: a linear-Gaussian decoder whose posterior has a full covariance, known exactly; in float64.

x = W z + b + s e: p(x) = N(b, W W^T + s^2 I), p(z|x) = N(S^-1 W^T (x - b) / s^2, S^-1), S = I + W^T W / s^2.
"""

from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import VAE, FullGaussian, dense_decoder, dense_encoder
from hvae_tf.networks.activations import MIN_STANDARD_DEVIATION

SIZE, LATENT, SCALE, DRAWS = 6, 3, 0.7, 4000


class Problem(NamedTuple):
    decoder: keras.Model
    encoders: dict[str, keras.Model]
    x: np.ndarray
    log_p: np.ndarray
    precision: np.ndarray

    def model(self, covariance, **kwargs):
        return VAE(self.encoders[covariance], self.decoder, likelihood="normal", dtype="float64", **kwargs)


def inverse_softplus(value):
    return np.log(np.expm1(value - MIN_STANDARD_DEVIATION))


def encoder(covariance, kernel, bias, scale):
    """A network of the library's that gives this mean, and this scale for every x."""
    made = dense_encoder(SIZE, LATENT, (), covariance=covariance, dtype="float64")
    made.get_layer("mean").set_weights([kernel, bias])
    diagonal = inverse_softplus(np.diag(scale))
    made.get_layer("standard_deviation").set_weights([np.zeros((SIZE, LATENT)), diagonal])
    if covariance == "full":
        places = tf.reshape(made.get_layer("scale_tril")([np.zeros((1, 3)), np.array([[1.0, 2.0, 3.0]])]), [3, 3])
        below = [scale[places.numpy() == i][0] for i in (1, 2, 3)]  # wherever the layer puts them
        made.get_layer("below_diagonal").set_weights([np.zeros((SIZE, 3)), np.array(below)])
    return made


@pytest.fixture(scope="module")
def problem(seed):
    rng = np.random.default_rng([seed, 40])
    W, b = rng.normal(size=(SIZE, LATENT)), rng.normal(size=SIZE)
    precision = np.eye(LATENT) + W.T @ W / SCALE**2
    kernel = np.linalg.solve(precision, W.T / SCALE**2).T
    factor = np.linalg.cholesky(np.linalg.inv(precision))
    decoder = dense_decoder(SIZE, LATENT, (), outputs_per_channel=2, dtype="float64")
    constant = np.full(SIZE, np.log(SCALE))
    decoder.get_layer("outputs").set_weights([np.hstack([W.T, 0.0 * W.T]), np.concatenate([b, constant])])
    encoders = {
        "full": encoder("full", kernel, -b @ kernel, factor),
        "diagonal": encoder("diagonal", kernel, -b @ kernel, np.diag(np.diag(precision) ** -0.5)),
    }
    x = rng.normal(size=(5, LATENT)) @ W.T + b + SCALE * rng.normal(size=(5, SIZE))
    covariance = W @ W.T + SCALE**2 * np.eye(SIZE)
    quadratic = np.sum((x - b) * np.linalg.solve(covariance, (x - b).T).T, axis=-1)
    log_p = -0.5 * (quadratic + np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    return Problem(decoder, encoders, x, log_p, precision)


def repeated(problem):
    return np.repeat(problem.x[:1], DRAWS, axis=0)


def test_with_the_full_covariance_every_draw_is_the_evidence(problem, seed):
    model = problem.model("full", kl="sampled")
    assert isinstance(model.posterior(problem.x), FullGaussian)
    draws = model.elbo(repeated(problem), seed=seed, batch_size=DRAWS)
    np.testing.assert_allclose(draws, problem.log_p[0], rtol=1e-10)
    np.testing.assert_allclose(model.log_likelihood(problem.x, 3).value, problem.log_p, rtol=1e-10)
    assert np.std(problem.model("full").elbo(repeated(problem), batch_size=DRAWS)) > 0.1


@pytest.mark.parametrize("gradient", ["path", "standard"])
def test_with_the_full_covariance_the_path_gradient_is_zero_draw_by_draw(problem, gradient, seed):
    model = problem.model("full", kl="sampled", gradient=gradient)
    largest = 0.0
    for step in range(5):
        with tf.GradientTape() as tape:
            loss = model._step((problem.x, None, None), tf.constant([seed, step]), training=True)
        variables = model.encoder.trainable_variables
        largest = max(largest, *(np.max(np.abs(g)) for g in tape.gradient(loss, variables)))
    assert largest < 1e-9 if gradient == "path" else largest > 1e-2


@pytest.mark.parametrize("kl", ["analytic", "prior-sampled", "sampled"])
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_the_gap_is_what_the_family_leaves(covariance, kl, problem, seed, z_score):
    """None with the full covariance; 1/2 (sum log S_ii - log det S) with the best diagonal one, S the precision."""
    gap = 0.5 * (np.sum(np.log(np.diag(problem.precision))) - np.linalg.slogdet(problem.precision)[1])
    expected = problem.log_p[0] - (gap if covariance == "diagonal" else 0.0)
    draws = problem.model(covariance, kl=kl).elbo(repeated(problem), seed=seed, batch_size=DRAWS)
    if (covariance, kl) == ("full", "sampled"):
        np.testing.assert_allclose(draws, expected, rtol=1e-10)
    else:
        assert z_score(draws, expected) < 5
        assert z_score(draws, expected + gap * (1 if covariance == "diagonal" else -1)) > 5


@pytest.mark.slow
def test_annealing_starts_from_the_full_covariance(problem):
    """From the posterior itself every chain weighs p(x), whatever the number of temperatures; the prior gets near."""
    model = problem.model("full")
    settings = {"num_chains": 4, "num_temperatures": 5, "num_leapfrog_steps": 2}
    found = model.annealed_log_likelihood(problem.x, **settings)
    np.testing.assert_allclose(found.log_weights, np.tile(problem.log_p, (4, 1)), rtol=1e-9)
    longer = settings | {"num_temperatures": 100, "num_chains": 16}
    np.testing.assert_allclose(
        model.annealed_log_likelihood(problem.x, "prior", **longer).estimate.value, problem.log_p, atol=1.0
    )
    assert model.bdmc(4, **settings).gap.value == pytest.approx(0.0, abs=1e-8)


def test_parts_of_a_batch_give_the_whole(problem, monkeypatch):
    whole = problem.model("full").elbo(problem.x, 2)
    monkeypatch.setattr("hvae_tf.parallel._num_parts", 2)
    np.testing.assert_allclose(problem.model("full").elbo(problem.x, 2), whole, rtol=1e-12)


def test_only_the_lower_triangle_is_read(problem, seed):
    """An encoder may leave anything above the diagonal."""

    @keras.saving.register_keras_serializable("tests")
    class Above(keras.layers.Layer):
        def call(self, factor):
            return factor + tf.constant(np.triu(np.full((LATENT, LATENT), 7.0), 1))

    full = problem.encoders["full"]
    mean, factor = full.output
    above = keras.Model(full.input, [mean, Above(dtype="float64")(factor)])
    spoilt = VAE(above, problem.decoder, likelihood="normal", dtype="float64")
    np.testing.assert_array_equal(spoilt.elbo(problem.x, seed=seed), problem.model("full").elbo(problem.x, seed=seed))


def test_wrong_factors_are_named(problem):
    full = problem.encoders["full"]
    mean, factor = full.output
    for outputs, message in (
        (
            [mean, keras.layers.Reshape((1, 9), dtype="float64")(factor)],
            r"or a mean and a Cholesky factor \(None, l, l\)",
        ),
        ([mean, -factor], r"diagonals of Cholesky factors from -.* expected positive numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            VAE(keras.Model(full.input, outputs), problem.decoder, likelihood="normal", dtype="float64")
