"""Overdispersed counts: a posterior in two dimensions that is skewed, correlated and heavy-tailed.

    y_j ~ BetaBinomial(n_j, a, b),  a = m K,  b = (1 - m) K,      p(m, K) = 1 / (m (1 - m) (1 + K)^2),

in theta = (logit m, log K); with the Jacobian of theta the log prior is theta_2 - 2 log(1 + e^theta_2), flat in
theta_1. The binomial coefficients, which do not depend on theta, are left out. The counts that come with it, deaths
from cancer among those at risk in twenty cities, are those of the demo `cancerRatesEb` of the public toolbox pmtk3.
"""

import numpy as np
import tensorflow as tf

from hvae_tf.targets.target import Target

SHIFT = 10  # Stirling's series is taken at 10 or above: exact to 1e-12
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)

DEATHS = (0, 0, 2, 0, 1, 1, 0, 2, 1, 3, 0, 1, 1, 1, 54, 0, 0, 1, 3, 0)
AT_RISK = (
    1083, 855, 3461, 657, 1208, 1025, 527, 1668, 583, 582, 917, 857, 680, 917, 53637, 874, 395, 581, 588, 383,
)  # fmt: skip


def log_rising_factorial(x: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
    """Log Gamma(x + n) - log Gamma(x) for x > 0, n >= 0, of one floating type; shapes broadcast.

    The difference of the two log-gammas loses its digits where x is much larger than n; this does not. Made of plain
    operations, it can be differentiated as often as one likes.
    """
    start = x + SHIFT
    end = start + n
    steps = tf.range(SHIFT, dtype=x.dtype)
    below = tf.reduce_sum(tf.math.log1p(n[..., None] / (x[..., None] + steps)), axis=-1)
    value = (end - 0.5) * tf.math.log1p(n / start) + n * (tf.math.log(start) - 1.0)
    return value + _remainder(end) - _remainder(start) - below


def _remainder(x):
    """What Stirling's formula lacks of log Gamma(x)."""
    reciprocal = 1.0 / x
    square, value = tf.square(reciprocal), STIRLING[-1]
    for coefficient in STIRLING[-2::-1]:
        value = value * square + coefficient
    return value * reciprocal


class BetaBinomialTarget(Target):
    """Log p(y, theta) at theta ``[..., 2]``, in float64: float32 has not the digits.

    Args:
        successes: y_j, ``[J]``; by default the deaths of the example above.
        trials: n_j, ``[J]``.

    Raises:
        ValueError: If they are not integers with 0 <= y_j <= n_j, of one shape; by its methods, if theta is no float64.
    """

    event_size = 2

    def __init__(self, successes=DEATHS, trials=AT_RISK):
        successes, trials = np.asarray(successes), np.asarray(trials)
        if successes.ndim != 1 or successes.shape != trials.shape:
            raise ValueError(f"successes have shape {successes.shape}, trials {trials.shape}; expected [J] for both")
        if not np.all((successes == np.round(successes)) & (trials == np.round(trials))):
            raise ValueError("successes and trials hold values that are no integers; give counts")
        if np.any((successes < 0) | (successes > trials)):
            raise ValueError("expected 0 <= successes <= trials in every entry")
        self._successes = tf.constant(successes, tf.float64)
        self._trials = tf.constant(trials, tf.float64)

    def _log_joint(self, z):
        if z.dtype != tf.float64:
            raise ValueError(f"theta is {z.dtype.name}; expected float64, whose digits the log-gammas need")
        logit_m, log_total = z[..., :1], z[..., 1:]
        total = tf.exp(log_total)
        counts = [self._successes, self._trials - self._successes, self._trials]
        sizes = [tf.sigmoid(logit_m) * total, tf.sigmoid(-logit_m) * total, total]  # a, b, a + b
        sizes = tf.concat([size * tf.ones_like(self._trials) for size in sizes], axis=-1)
        signs = tf.concat([one * tf.ones_like(self._trials) for one in (1.0, 1.0, -1.0)], axis=-1)
        terms = signs * log_rising_factorial(sizes, tf.concat(counts, axis=-1))
        prior = log_total - 2.0 * tf.nn.softplus(log_total)
        return tf.reduce_sum(terms, axis=-1) + prior[..., 0]
