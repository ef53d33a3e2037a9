"""The problem of section 4.1: true parameters, simulated data, groups of runs, and what errors are measured against."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.targets import gaussian
from hvae_tf.targets.gaussian import GaussianStatistics
from reproduce.gaussian.configs import GaussianConfig


def seed_pair(*key: int) -> np.ndarray:
    """A stateless int32 seed that is a function of `key` alone."""
    return (np.random.SeedSequence(key).generate_state(2) & 0x7FFFFFFF).astype(np.int32)


def true_parameters(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Delta and sigma of the paper, both ``[d]``: sigma is quadratic, 1 at both ends and 0.1 in the middle."""
    r = np.arange(d) - (d - 1) / 2
    sigma = 36.0 / (10.0 * (d - 1) ** 2) * r**2 + 0.1 if d > 1 else np.ones(1)
    return r / 5.0, sigma


@functools.lru_cache(maxsize=256)
def simulate(d: int, dataset: int, num_observations: int, seed: int) -> GaussianStatistics:
    """The sufficient statistics, in float64, of data set number `dataset` of size d."""
    delta, sigma = true_parameters(d)
    model = gaussian.gaussian_offset_model(delta, sigma, num_observations)
    x = model.sample(seed=tf.constant(seed_pair(seed, d, dataset)))["x"]
    return gaussian.sufficient_statistics(x.numpy())


def squared_errors(d: int, delta, sigma) -> dict[str, float]:
    """|Delta - Delta_hat|^2, |sigma - sigma_hat|^2 and their sum, which Figure 1 plots."""
    true_delta, true_sigma = true_parameters(d)
    delta_error = float(np.sum(np.square(delta - true_delta)))
    sigma_error = float(np.sum(np.square(sigma - true_sigma)))
    return {"delta_error": delta_error, "sigma_error": sigma_error, "theta_error": delta_error + sigma_error}


def maximum_evidence(statistics: GaussianStatistics) -> float:
    """The maximum of log p(D) over theta, in nats."""
    delta, sigma = gaussian.maximum_likelihood(statistics)
    return float(gaussian.evidence(statistics, delta, tf.math.log(sigma)))


class Group(NamedTuple):
    """Runs that train side by side on one leading axis, R of them padded to the largest size D.

    A padded dimension is one with no observations, and its noise is zero, so it stays at zero and adds nothing. Runs
    share no parameter, so what a run gives does not depend on its company.

    Attributes:
        runs: R pairs (d, number of the data set); runs of one size are neighbours.
        each: The statistics of each run's data, ``[d]``, float64.
        statistics: The same, padded, ``[R, D]``; N is 0 where padded.
        mask: ``[R, D]``, True where the dimension exists.
    """

    runs: tuple[tuple[int, int], ...]
    each: tuple[GaussianStatistics, ...]
    statistics: GaussianStatistics
    mask: np.ndarray

    @property
    def padding(self) -> np.ndarray:
        """``[R]``, float32: how many dimensions of each run are padded."""
        return self.mask.shape[1] - np.array([d for d, _ in self.runs], np.float32)


def make_group(runs, config: GaussianConfig, seed: int) -> Group:
    """Simulates the runs' data and pads their statistics to one size."""
    size = max(d for d, _ in runs)
    each = [simulate(d, i, config.num_observations, seed) for d, i in runs]
    mask = np.array([np.arange(size) < d for d, _ in runs])
    statistics = GaussianStatistics(
        config.num_observations * mask.astype(np.float64),
        pad([s.mean for s in each], size),
        pad([s.centred_second_moment for s in each], size),
    )
    return Group(tuple(runs), tuple(each), statistics, mask)


def pad(values, size: int) -> np.ndarray:
    """Arrays ``[d]`` of unlike d as one of shape ``[R, size]``, with zeros behind."""
    return np.stack([np.pad(np.asarray(value), (0, size - len(value))) for value in values])
