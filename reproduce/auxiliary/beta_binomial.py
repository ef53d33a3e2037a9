"""The beta-binomial posterior: its evidence and the best Gaussian bounds by quadrature, and HVI's flow for it."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.flows.hvi import HVIFlow
from hvae_tf.flows.reverse import NetworkReverse
from reproduce.auxiliary.training import Training

GRID = ((-10.0, -2.0), (0.0, 34.0))  # of (logit m, log K): beyond it lies less than 1e-4 of the posterior's mass
START = np.array([-6.8, 7.9]), np.array([0.3, 1.4])  # where optimisations start: near the posterior's moments
MAX_STEP_SIZE = 4.0


class References(NamedTuple):
    """What bounds are held against, in nats.

    Attributes:
        log_z: log p(y).
        mean_field: The best bound of a Gaussian with diagonal covariance.
        full_covariance: The best bound of any Gaussian.
        mean: ``[2]``, of the best mean-field Gaussian.
        standard_deviation: ``[2]``, of the best mean-field Gaussian.
    """

    log_z: float
    mean_field: float
    full_covariance: float
    mean: np.ndarray
    standard_deviation: np.ndarray


def grid_log_joint(target, axes) -> np.ndarray:
    """Log p(y, theta) on the grid of these two axes, ``[len(axes[0]), len(axes[1])]``."""
    evaluate = tf.function(target.log_joint)
    rows = [np.stack(np.broadcast_arrays(x, axes[1]), axis=-1) for x in axes[0]]
    return np.stack([evaluate(tf.constant(row, tf.float64)).numpy() for row in rows])


def log_evidence(target, points: int = 240) -> float:
    """Log p(y) by the trapezoidal rule on a grid of `points` x 3 `points`, whose error falls exponentially with it."""
    axes = [np.linspace(*ends, count) for ends, count in zip(GRID, (points, 3 * points), strict=True)]
    values = grid_log_joint(target, axes)
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum() * np.prod([axis[1] - axis[0] for axis in axes])))


def best_gaussian(target, full: bool, nodes: int = 24, start=START) -> tuple[float, np.ndarray, np.ndarray]:
    """The largest ELBO of a Gaussian in two dimensions, its mean and its Cholesky factor, by Gauss-Hermite quadrature.

    Args:
        target: In float64.
        full: Whether of any covariance, or diagonal.
        nodes: In each dimension.
        start: (mean, standard deviation), ``[2]`` each, where the search starts.
    """
    from scipy import optimize

    x, weights = np.polynomial.hermite_e.hermegauss(nodes)
    noise = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    noise = tf.constant(noise, tf.float64)
    weights = tf.constant(np.outer(weights, weights).ravel() / weights.sum() ** 2, tf.float64)

    def factor(parameters):
        diagonal = tf.linalg.diag(tf.exp(parameters[2:4]))
        return diagonal + (parameters[4] * tf.constant([[0.0, 0.0], [1.0, 0.0]], tf.float64) if full else 0.0)

    @tf.function
    def negative_elbo(parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            theta = parameters[:2] + tf.linalg.matvec(factor(parameters), noise)
            entropy = tf.reduce_sum(parameters[2:4]) + 1.0 + np.log(2.0 * np.pi)
            value = -tf.reduce_sum(weights * target.log_joint(theta)) - entropy
        return value, tape.gradient(value, parameters)

    def value_and_gradient(parameters):
        return [part.numpy() for part in negative_elbo(tf.constant(parameters, tf.float64))]

    first = np.concatenate([start[0], np.log(start[1]), np.zeros(int(full))])
    found = optimize.minimize(value_and_gradient, first, jac=True, method="BFGS", options={"gtol": 1e-7})
    return float(-found.fun), found.x[:2], factor(tf.constant(found.x, tf.float64)).numpy()


def references(target) -> References:
    """All of them, by quadrature; some seconds."""
    mean_field, mean, factor = best_gaussian(target, full=False)
    return References(
        log_evidence(target), mean_field, best_gaussian(target, full=True)[0], mean, np.diag(factor).copy()
    )


def hvi_flow(num_leapfrog_steps: int, training: Training, scale) -> HVIFlow:
    """One transition of n steps in units of `scale` ``[2]``, with a reverse network that sees z and the gradient."""
    reverse = NetworkReverse(training.hidden_units, sees=("z", "grad"), seed=training.seed)
    step_size = 0.5 * np.asarray(scale) / num_leapfrog_steps
    return HVIFlow(
        2, 1, num_leapfrog_steps, reverse=reverse, step_size=step_size, max_step_size=MAX_STEP_SIZE, dtype=tf.float64,
    )  # fmt: skip
