"""What the dimensions of z tell of x: active units and the rate of each."""

from typing import NamedTuple

import numpy as np

ACTIVE = 0.01  # the threshold of Burda, Grosse & Salakhutdinov (2016), section 5.2


class Activity(NamedTuple):
    """What each latent dimension does, over a set of events.

    Attributes:
        variance: ``[l]``, the variance over events of the posterior mean E[z|x]; estimated without bias where the means
            are, so that a dimension that does nothing may have a small negative number.
        active: ``[l]``, whether that is above the threshold.
        rate: ``[l]``, nats per event: the mean of KL(q0(z_i|x) || N(0, 1)), q0 being the encoder's Gaussian, where a
            flow starts. For a diagonal q0 and no flow they add up to KL(q0(z|x) || p(z)).
    """

    variance: np.ndarray
    active: np.ndarray
    rate: np.ndarray

    @property
    def num_active(self) -> int:
        """How many dimensions are active."""
        return int(np.sum(self.active))


def active_units(means, threshold: float = ACTIVE) -> np.ndarray:
    """Which dimensions of z tell of x: those whose posterior mean varies with x (Burda et al. 2016).

    Args:
        means: ``[n, l]``, E[z|x] of n >= 2 events.
        threshold: The variance over events that makes a dimension active.

    Returns:
        ``[l]``, bool.

    Raises:
        ValueError: If the means are of another shape.
    """
    means = np.asarray(means, np.float64)
    if means.ndim != 2 or len(means) < 2:
        raise ValueError(f"means have shape {means.shape}; expected [n, l], a posterior mean for each of n >= 2 events")
    return np.var(means, axis=0, ddof=1) > threshold


def activity(samples, q0_mean, q0_standard_deviation, threshold: float = ACTIVE) -> Activity:
    """The `Activity` of a posterior that is sampled.

    The mean of S samples varies by a part of the posterior's own variance too, which is taken off.

    Args:
        samples: ``[S, n, l]`` of z given each of n >= 2 events; one alone, S = 1, is taken for the posterior mean.
        q0_mean: ``[n, l]``.
        q0_standard_deviation: ``[n, l]``, positive, the marginal ones.
        threshold: See `active_units`.

    Raises:
        ValueError: If there are fewer than two events.
    """
    samples, mean, deviation = (np.asarray(a, np.float64) for a in (samples, q0_mean, q0_standard_deviation))
    if samples.shape[1] < 2:
        raise ValueError(f"x holds {samples.shape[1]} events; expected two or more, for a variance over them")
    variance = np.var(samples.mean(axis=0), axis=0, ddof=1)
    if len(samples) > 1:
        variance = variance - np.mean(np.var(samples, axis=0, ddof=1), axis=0) / len(samples)
    rate = 0.5 * (mean**2 + deviation**2 - 1.0) - np.log(deviation)
    return Activity(variance, variance > threshold, rate.mean(axis=0))
