"""The best that flows can do on a Gaussian posterior in one dimension, from q0 = N(0, 1): closed forms, optimised."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.targets.gaussian import GaussianStatistics, annealed_gap


class BestAnnealing(NamedTuple):
    """Where an annealed flow takes least from the evidence.

    Attributes:
        gap: In nats.
        angles: ``[T]``, eps_t sqrt(lam_t): 2 is where leapfrog becomes unstable, sqrt 2 a quarter of a turn.
        temperatures: ``[T]``, b_t.
        kept: eta.
    """

    gap: float
    angles: np.ndarray
    temperatures: np.ndarray
    kept: float


class UnitProblem(NamedTuple):
    """The Gaussian offset model in one dimension whose posterior is N(centre, 1/lam): arguments of its closed forms."""

    statistics: GaussianStatistics
    delta: tf.Tensor
    log_sigma: tf.Tensor


def unit_problem(lam: float, centre: float) -> UnitProblem:
    """Of lam - 1 observations of unit variance, lam > 1, without spread about their mean."""
    one = tf.ones([1], tf.float64)
    statistics = GaussianStatistics((lam - 1.0) * one, centre * lam / (lam - 1.0) * one, 0.0 * one)
    return UnitProblem(statistics, 0.0 * one, 0.0 * one)


def best_annealing(lam: float, centre: float, num_temperatures: int, kept: float | None = None) -> BestAnnealing:
    """The smallest gap of UHA over step sizes, temperatures and eta, by BFGS in float64.

    Args:
        lam: The posterior's precision.
        centre: m*, its mean.
        num_temperatures: T.
        kept: eta, if it is not to be chosen.
    """
    from scipy import optimize

    T, problem = num_temperatures, unit_problem(lam, centre)

    def numbers(parameters):
        temperatures = tf.cumsum(tf.nn.softmax(parameters[T : 2 * T + 1]))[:-1]
        angles = tf.exp(parameters[:T])
        eta = tf.sigmoid(parameters[-1]) if kept is None else tf.constant(kept, tf.float64)
        return angles, temperatures, eta

    @tf.function
    def gap_and_gradient(parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            angles, temperatures, eta = numbers(parameters)
            steps = tf.unstack(angles / tf.sqrt(1.0 - temperatures + temperatures * lam))
            value = annealed_gap(*problem, [[eps] for eps in steps], tf.unstack(temperatures), eta)[0]
        return value, tape.gradient(value, parameters)

    def evaluate(parameters):
        return [part.numpy() for part in gap_and_gradient(tf.constant(parameters, tf.float64))]

    # precisions in geometric progression, and little kept: near where the optimum is
    progression = np.exp(np.linspace(-np.log(lam), 0.0, T + 2))[1:-1]
    increments = np.diff(progression, prepend=0.0, append=1.0)
    start = np.concatenate([np.full(T, 0.5 * np.log(2.0)), np.log(increments), [-4.0]])
    found = optimize.minimize(evaluate, start, jac=True, method="BFGS", options={"maxiter": 2000, "gtol": 1e-7})
    angles, temperatures, eta = (part.numpy() for part in numbers(tf.constant(found.x)))
    return BestAnnealing(float(found.fun), angles, temperatures, float(eta))
