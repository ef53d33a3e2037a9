"""How noisy the estimators are: the gradient that the encoder gets, and the bound's value, over draws."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.bounds.estimators import ElboEstimator

LIBRARY = {
    "analytic KL": ("analytic", "standard"),
    "prior sampled": ("prior-sampled", "standard"),
    "all sampled": ("sampled", "standard"),
    "path": ("sampled", "path"),
}
SCORES = ("score function", "score function, baseline")
DIRECTIONS = 10


class Noise(NamedTuple):
    """What was measured of one estimator.

    Attributes:
        estimator: Its name.
        epochs: Of training before.
        variance: Trace of the covariance of the encoder's gradient of the mean bound of the events.
        variance_error: The standard error of that, over draws.
        value_deviation: Standard deviation of that mean bound, nats.
        mean_deviation: How far the gradient's mean lies from that of the analytic KL, in standard errors: the worst of
            ten random directions.
    """

    estimator: str
    epochs: int
    variance: float
    variance_error: float
    value_deviation: float
    mean_deviation: float


def estimators(model) -> dict[str, Callable]:
    """By name, what maps a draw and a baseline ``[n]`` to (values, what is differentiated), both ``[1, n]``."""

    def of_the_library(kl, gradient):
        estimator = ElboEstimator(kl, gradient)

        def estimate(draw, baseline):
            values = estimator.elbo(draw)
            return values, values

        return estimate

    def score(with_baseline):
        def estimate(draw, baseline):
            """E f(z) has the gradient E (f(z) - b) grad log q(z), with f = log p(x, z) - log q(z) held."""
            held = tf.stop_gradient(draw.z_0)
            log_q = draw.q0.log_prob(held)
            f = tf.stop_gradient(draw.result.log_joint - log_q)
            return f, (f - baseline if with_baseline else f) * log_q

        return estimate

    made = {name: of_the_library(*choices) for name, choices in LIBRARY.items()}
    return made | {name: score("baseline" in name) for name in SCORES}


def measure(model, x, epochs: int, draws: int, seed: int) -> list[Noise]:
    """All estimators on the same draws of the events ``[n, ...]``."""
    x = tf.constant(x)
    variables = model.encoder.trainable_variables
    baseline = tf.constant(model.elbo(x, 20, seed=seed + 1))
    rng = np.random.default_rng(seed)
    found, reference = [], None
    for name, estimate in estimators(model).items():

        def one(noise, estimate=estimate):
            with tf.GradientTape() as tape:
                draw = model._draw(x, model.posterior(x), noise, ())
                values, differentiated = estimate(draw, baseline)
                loss = tf.reduce_mean(differentiated)
            gradient = tape.gradient(loss, variables)
            return tf.reduce_mean(values), tf.concat([tf.reshape(g, [-1]) for g in gradient], axis=0)

        graph = tf.function(one)
        shape = [1, len(x), model.latent_size]
        pairs = [graph(tf.random.stateless_normal(shape, [seed, i])) for i in range(draws)]
        values, gradients = (np.array(parts, np.float64) for parts in zip(*pairs, strict=True))
        squares = np.sum(np.square(gradients - gradients.mean(axis=0)), axis=1) * draws / (draws - 1)
        if reference is None:
            directions = rng.normal(size=(DIRECTIONS, gradients.shape[1]))
            reference = gradients @ directions.T
        # the draws are the same, so their differences are judged; the first row is zero against itself
        difference = gradients @ directions.T - reference
        error = difference.std(axis=0, ddof=1) / np.sqrt(draws)
        worst = float(np.max(np.abs(difference.mean(axis=0)) / error)) if np.all(error > 0) else 0.0
        variance, variance_error = squares.mean(), squares.std(ddof=1) / np.sqrt(draws)
        found.append(Noise(name, epochs, float(variance), float(variance_error), float(values.std(ddof=1)), worst))
    return found
