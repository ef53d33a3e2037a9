"""Chains on Gaussians, on which the auxiliary bound has a closed form. No framework, no sampling."""

import math
from typing import NamedTuple

import numpy as np


class BivariateGaussian(NamedTuple):
    """log p(x, z) = -(z_1 - z_2)^2 / (2 narrow^2) - (z_1 + z_2)^2 / (2 wide^2), unnormalised; z in R^2.

    Attributes:
        narrow: Scale of the difference.
        wide: Scale of the sum.
    """

    narrow: float
    wide: float

    @property
    def precision(self) -> np.ndarray:
        """``[2, 2]``."""
        difference, total = self.narrow**-2.0, self.wide**-2.0
        return np.array([[difference + total, total - difference], [total - difference, difference + total]])

    @property
    def log_z(self) -> float:
        """The log of its integral, in nats."""
        return math.log(2.0 * math.pi) - 0.5 * float(np.linalg.slogdet(self.precision)[1])


class Chain(NamedTuple):
    """What T coordinate moves make of a Gaussian start, and what the bound is then; in nats.

    Attributes:
        mean: ``[2]``, of z_T.
        covariance: ``[2, 2]``, of z_T.
        bound: The auxiliary bound with the best linear-Gaussian reverse model for each move.
    """

    mean: np.ndarray
    covariance: np.ndarray
    bound: float


def coordinate_moves(target: BivariateGaussian, mean, covariance, num_moves: int, overrelaxation: float) -> Chain:
    """T moves of one coordinate after the other: z_i' ~ N(m_i + a (z_i - m_i), v_i (1 - a^2)).

    m_i and v_i are the conditional moments of coordinate i; a = 0 is Gibbs sampling. Whatever a in (-1, 1), the target
    is left as it is. All joint laws are Gaussian, so the best r(z_{t-1} | z_t) is a regression, and

        bound = E log p(x, z_T) + sum_t [E log r_t - E log q_t] - E log q0.

    Args:
        target: What the moves leave as it is.
        mean: ``[2]``, of q0.
        covariance: ``[2, 2]``, of q0.
        num_moves: T >= 0.
        overrelaxation: a.
    """
    precision, a = target.precision, overrelaxation
    mean, covariance = np.array(mean, np.float64), np.array(covariance, np.float64)
    bound = 0.5 * np.linalg.slogdet(2.0 * math.pi * math.e * covariance)[1]
    for t in range(num_moves):
        i = t % 2
        j = 1 - i
        move = np.eye(2)
        move[i] = 0.0
        move[i, i], move[i, j] = a, -(1.0 - a) * precision[i, j] / precision[i, i]
        noise = (1.0 - a * a) / precision[i, i]
        new = move @ covariance @ move.T
        new[i, i] += noise
        across = (covariance @ move.T)[i]  # of the coordinate as it was with z_t
        left = covariance[i, i] - across @ np.linalg.solve(new, across)
        bound += 0.5 * (math.log(noise) - math.log(left))  # E log r_t - E log q_t
        mean, covariance = move @ mean, new
    bound += -0.5 * float(np.sum(precision * (covariance + np.outer(mean, mean))))
    return Chain(mean, covariance, float(bound))


def elbo_of(target: BivariateGaussian, mean, covariance) -> float:
    """The plain ELBO of a Gaussian: log Z less its Kullback-Leibler divergence from the target."""
    fit = -0.5 * float(np.sum(target.precision * (covariance + np.outer(mean, mean))))
    return fit + 0.5 * float(np.linalg.slogdet(2.0 * math.pi * math.e * np.asarray(covariance))[1])


def best_overrelaxation(target, mean, covariance, num_moves: int) -> float:
    """The a in (-1, 1), one for all moves, whose bound is the largest."""
    from scipy import optimize

    grid = np.linspace(-0.99, 0.99, 199)
    bounds = [coordinate_moves(target, mean, covariance, num_moves, a).bound for a in grid]
    best = grid[int(np.argmax(bounds))]
    found = optimize.minimize_scalar(
        lambda a: -coordinate_moves(target, mean, covariance, num_moves, a).bound,
        bounds=(max(best - 0.01, -0.999), min(best + 0.01, 0.999)), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return float(found.x)


class LinearReverseAnswer(NamedTuple):
    """One transition in one dimension, of leapfrog on a Gaussian posterior from q0 = N(0, 1).

    Attributes:
        gap: log p(x) less the bound with the best linear-Gaussian reverse model, in nats.
        offset: c of that model, N(c + b z, scale^2).
        slope: b.
        scale: The scale.
    """

    gap: float
    offset: float
    slope: float
    scale: float


def linear_reverse(lam: float, centre: float, step_size: float, momentum_scale: float, num_steps: int):
    """HVI's best bound on the posterior N(centre, 1/lam), T = 1, momenta of N(0, s^2), n steps, in closed form.

    With M the n steps' matrix on (z - centre, v): V = M11^2 + M12^2 s^2 is the variance of z_1, the regression of v_1
    on z_1 is the best reverse model, and gap = 1/2 [lam (V + M11^2 centre^2) - 1 - log(lam V)].
    """
    h = step_size**2 * lam
    step = np.array([[1.0 - 0.5 * h, step_size], [-step_size * lam * (1.0 - 0.25 * h), 1.0 - 0.5 * h]])
    m = np.linalg.matrix_power(step, num_steps)
    covariance = m @ np.diag([1.0, momentum_scale**2]) @ m.T
    variance, slope = covariance[0, 0], covariance[0, 1] / covariance[0, 0]
    mean_z, mean_v = centre - m[0, 0] * centre, -m[1, 0] * centre
    gap = 0.5 * (lam * (variance + m[0, 0] ** 2 * centre**2) - 1.0 - math.log(lam * variance))
    left = momentum_scale**2 / variance  # the determinant of the covariance is s^2
    return LinearReverseAnswer(float(gap), float(mean_v - slope * mean_z), float(slope), math.sqrt(left))


def quarter_turn(lam: float, num_steps: int) -> float:
    """The step size at which n leapfrog steps are a quarter of a turn: nothing of z_0 is left in z_n."""
    return math.sqrt(2.0 * (1.0 - math.cos(0.5 * math.pi / num_steps)) / lam)


def matched_momentum_scale(lam: float, num_steps: int) -> float:
    """The scale of momenta with which a quarter turn ends in the posterior's spread: the gap is 0 for any centre."""
    spread = linear_reverse(lam, 0.0, quarter_turn(lam, num_steps), 1.0, num_steps)
    return spread.scale / math.sqrt(lam)


def tied_tempering_gap(lam: float) -> float:
    """What HVAE with one tempered step takes at its best, in one dimension with the posterior's centre at 0."""
    return math.sqrt(lam) - 1.0 - 0.5 * math.log(lam)
