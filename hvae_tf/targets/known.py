"""Targets whose evidence is known, to hold an approximation against: small ones, each difficult in its own way.

    target = KNOWN_TARGETS["funnel"].make()

The evidence is exact where the density is normalised; else it comes from quadrature to all digits given here, and
tests/targets/test_known.py makes it anew.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.densities import FullGaussian
from hvae_tf.targets.banana import BananaTarget
from hvae_tf.targets.beta_binomial import BetaBinomialTarget
from hvae_tf.targets.funnel import FunnelTarget
from hvae_tf.targets.logistic_regression import LogisticRegressionTarget
from hvae_tf.targets.target import LogDensityTarget, Target


class KnownTarget(NamedTuple):
    """A target in float64 with its evidence.

    Attributes:
        title: What it is, in a few words.
        difficulty: What an approximation has to cope with.
        make: The target itself.
        log_evidence: log p(x) in nats.
        mean: ``[l]``, where an approximation may start.
        standard_deviation: ``[l]``, of that start.
    """

    title: str
    difficulty: str
    make: Callable[[], Target]
    log_evidence: float
    mean: tuple[float, ...]
    standard_deviation: tuple[float, ...]


def autoregressive_gaussian(event_size: int = 10, correlation: float = 0.9) -> Target:
    """N(0, C) with C_ij = correlation^|i - j|, normalised: unit variances, and scales from 0.05 to 0.9 * l."""
    index = np.arange(event_size)
    factor = np.linalg.cholesky(correlation ** np.abs(index[:, None] - index))
    law = FullGaussian(tf.zeros([event_size], tf.float64), tf.constant(factor))
    return LogDensityTarget(law.log_prob, event_size)


def two_modes(distance: float = 4.0) -> Target:
    """An equal mixture of two unit Gaussians in two dimensions, so far apart; normalised."""
    centre = np.array([0.5 * distance, 0.0])

    def log_prob(z):
        sides = [-0.5 * tf.reduce_sum(tf.square(z - side), axis=-1) for side in (centre, -centre)]
        return tf.reduce_logsumexp(tf.stack(sides), axis=0) - np.log(2.0) - np.log(2.0 * np.pi)

    return LogDensityTarget(log_prob, 2)


def _standard(event_size):
    return (0.0,) * event_size, (1.0,) * event_size


KNOWN_TARGETS = {
    "gaussian": KnownTarget(
        "AR(1) Gaussian, l = 10, correlation 0.9", "correlations", autoregressive_gaussian, 0.0, *_standard(10)
    ),
    "logistic": KnownTarget(
        "logistic regression, l = 2, five observations", "hardly anything: nearly Gaussian",
        LogisticRegressionTarget, -2.5707075073, *_standard(2),
    ),
    "banana": KnownTarget("banana, l = 2", "a ridge that bends", BananaTarget, 0.0, *_standard(2)),
    "modes": KnownTarget("two unit Gaussians 4 apart, l = 2", "two modes", two_modes, 0.0, *_standard(2)),
    "funnel": KnownTarget("funnel, l = 2, s = 1.5", "scales that change", FunnelTarget, 0.0, *_standard(2)),
    "neal": KnownTarget(
        "Neal's funnel, l = 10, s = 3", "scales that change by orders of magnitude",
        lambda: FunnelTarget(10, 3.0), 0.0, *_standard(10),
    ),
    "beta-binomial": KnownTarget(
        "beta-binomial counts, l = 2", "skewness, correlation and a heavy tail",
        BetaBinomialTarget, -570.7086106, (-6.8, 7.9), (0.3, 1.4),
    ),
}  # fmt: skip
