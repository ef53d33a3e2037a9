"""HMC with its accept step on N(0, 1), as a linear operator on densities: by quadrature, without sampling.

For z' to follow z in one move, the momentum has to be rho = (z' - a z)/b, where L leapfrog steps are the matrix
[[a, b], [c, d]] on (z, rho). So a move takes a density q to

    (q T)(z') = int q(z) N(rho) alpha(z, rho)/|b| dz + q(z') (1 - int N(rho) alpha(z', rho)/|b| dz''),

alpha being the probability of acceptance. Everything is a sum over one grid.
"""

import math
from typing import NamedTuple

import numpy as np

WIDTH, POINTS = 8.0, 1201


class Law(NamedTuple):
    """A density on a grid.

    Attributes:
        grid: ``[n]``, evenly spaced.
        density: ``[n]``.
    """

    grid: np.ndarray
    density: np.ndarray

    @property
    def spacing(self) -> float:
        """Of the grid."""
        return float(self.grid[1] - self.grid[0])

    def mean_of(self, values: np.ndarray) -> float:
        """The expectation of values on the grid ``[n]``."""
        return float(self.spacing * np.sum(self.density * values))


def normal_law(mean: float, standard_deviation: float, points: int = POINTS) -> Law:
    """N(mean, sd^2) on the grid."""
    grid = np.linspace(-WIDTH, WIDTH, points)
    return Law(grid, _normal((grid - mean) / standard_deviation) / standard_deviation)


def kl_to_target(law: Law) -> float:
    """KL(q || N(0, 1)) in nats."""
    inside = law.density > 0
    ratio = np.zeros_like(law.density)
    ratio[inside] = np.log(law.density[inside]) - np.log(_normal(law.grid[inside]))
    return law.mean_of(ratio)


class MoveOperator:
    """One move on N(0, 1).

    Args:
        step_size: eps, in units of the target's standard deviation; L steps must not come back to where they began.
        num_leapfrog_steps: L.
        points: Of the grid.
    """

    def __init__(self, step_size: float, num_leapfrog_steps: int, points: int = POINTS):
        h = step_size**2
        step = np.array([[1.0 - 0.5 * h, step_size], [-step_size * (1.0 - 0.25 * h), 1.0 - 0.5 * h]])
        (a, b), (c, d) = np.linalg.matrix_power(step, num_leapfrog_steps)
        z = np.linspace(-WIDTH, WIDTH, points)
        rho = (z[None, :] - a * z[:, None]) / b
        energy = z[:, None] ** 2 + rho**2 - z[None, :] ** 2 - (c * z[:, None] + d * rho) ** 2
        accepted = _normal(rho) / abs(b) * np.exp(np.minimum(0.5 * energy, 0.0))
        self._accepted = (z[1] - z[0]) * accepted
        self._stays = 1.0 - self._accepted.sum(axis=1)

    def __call__(self, law: Law) -> Law:
        """The law after one move."""
        return law._replace(density=law.density @ self._accepted + law.density * self._stays)

    def acceptance(self, law: Law) -> float:
        """The probability that a move from this law is accepted."""
        return 1.0 - law.mean_of(self._stays)


def _normal(value):
    return np.exp(-0.5 * value**2) / math.sqrt(2.0 * math.pi)
