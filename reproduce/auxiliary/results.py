"""All that HVI's report is made of, and how it comes about."""

from typing import NamedTuple

import numpy as np

from reproduce.auxiliary.exact import BivariateGaussian, best_overrelaxation, coordinate_moves, elbo_of
from reproduce.progress import Display, Stages

BIVARIATE = BivariateGaussian(narrow=0.15, wide=1.0)
START = np.zeros(2), np.diag([0.15, 0.15]) ** 2  # q0: as wide as the target is narrow
MOVES = (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20)
LEAPFROG_STEPS = (1, 4, 16)
COMPARED_AT = 4  # leapfrog steps of the Hamiltonian flows beside HVI


class MovesRow(NamedTuple):
    """Bounds after T coordinate moves, in nats.

    Attributes:
        num_moves: T.
        gibbs: With a = 0 and the best linear reverse model.
        best: With the best a, and the best linear reverse model for it.
        overrelaxation: That a.
        own_reverse: With the reversal of the moves themselves for a reverse model: what q0 alone gives, for any T.
    """

    num_moves: int
    gibbs: float
    best: float
    overrelaxation: float
    own_reverse: float


class Contour(NamedTuple):
    """The exact posterior on a grid, up to a constant.

    Attributes:
        axes: The grid's.
        log_density: ``[len(axes[0]), len(axes[1])]``.
    """

    axes: tuple[np.ndarray, np.ndarray]
    log_density: np.ndarray


class Moments(NamedTuple):
    """Of (logit m, log K)."""

    mean: np.ndarray
    standard_deviation: np.ndarray
    correlation: float
    skewness: float


class Results(NamedTuple):
    """What was found.

    Attributes:
        bivariate: The Gaussian that coordinates are moved on.
        moves: Its rows.
        references: Of the beta-binomial posterior, `beta_binomial.References`.
        fits: What was trained on it, `training.Trained`, by name.
        contour: That posterior on a grid.
        exact_moments: Its moments.
        training: How the fits were trained.
    """

    bivariate: BivariateGaussian
    moves: list[MovesRow]
    references: object
    fits: dict
    contour: Contour
    exact_moments: Moments
    training: object


def moments_of(values: np.ndarray, weights: np.ndarray | None = None) -> Moments:
    """The moments of points ``[n, 2]``, weighted or not; the skewness is that of log K."""
    mean = np.average(values, axis=0, weights=weights)
    centred = values - mean
    variance = np.average(centred**2, axis=0, weights=weights)
    across = np.average(centred.prod(axis=1), weights=weights)
    third = np.average(centred[:, 1] ** 3, weights=weights)
    return Moments(mean, np.sqrt(variance), float(across / np.sqrt(variance.prod())), float(third / variance[1] ** 1.5))


def bivariate_rows() -> list[MovesRow]:
    """The bound against T, in closed form."""
    rows = []
    for num_moves in MOVES:
        a = best_overrelaxation(BIVARIATE, *START, num_moves) if num_moves else 0.0
        gibbs, best = (coordinate_moves(BIVARIATE, *START, num_moves, value).bound for value in (0.0, a))
        rows.append(MovesRow(num_moves, gibbs, best, a, elbo_of(BIVARIATE, *START)))
    return rows


def make_results(training, display: Display) -> Results:
    """Everything: closed forms, quadrature, trainings; the display shows how far it is."""
    import tensorflow as tf

    from hvae_tf.flows.hamiltonian import HamiltonianFlow
    from hvae_tf.targets.beta_binomial import BetaBinomialTarget
    from reproduce.auxiliary import beta_binomial
    from reproduce.auxiliary.training import train

    # a mean field's training costs as much as two leapfrog steps do
    costs = {"mean field": 2.0, **{f"HVI, n = {n}": 2.0 + n for n in LEAPFROG_STEPS}}
    costs |= {f"HVAE, K = {COMPARED_AT}, {tempering}": 2.0 + COMPARED_AT for tempering in ("none", "free")}
    stages = Stages(display, 2.0 + sum(costs.values()))
    stages.begin("exact lines", 2.0)
    rows = bivariate_rows()
    target = BetaBinomialTarget()
    lines = beta_binomial.references(target)
    axes = np.linspace(-8.2, -5.4, 141), np.linspace(4.5, 13.5, 181)
    contour = Contour(axes, beta_binomial.grid_log_joint(target, axes))
    everywhere = tuple(np.linspace(*ends, count) for ends, count in zip(beta_binomial.GRID, (160, 480), strict=True))
    weights = np.exp(beta_binomial.grid_log_joint(target, everywhere) - lines.log_z)
    points = np.stack(np.meshgrid(*everywhere, indexing="ij"), axis=-1).reshape(-1, 2)

    start = lines.mean, lines.standard_deviation
    step_size = 0.5 * lines.standard_deviation / COMPARED_AT

    def hamiltonian(tempering):
        return HamiltonianFlow(
            2, COMPARED_AT, tempering, step_size=step_size, max_step_size=beta_binomial.MAX_STEP_SIZE, dtype=tf.float64
        )

    flows = {"mean field": lambda: None}
    for n in LEAPFROG_STEPS:
        flows[f"HVI, n = {n}"] = lambda n=n: beta_binomial.hvi_flow(n, training, lines.standard_deviation)
    for tempering in ("none", "free"):
        flows[f"HVAE, K = {COMPARED_AT}, {tempering}"] = lambda tempering=tempering: hamiltonian(tempering)
    fits = {}
    for name, make in flows.items():
        tell = stages.begin(name, costs[name])
        fits[name] = train(target, make(), start, training, tell)
    exact = moments_of(points, weights.ravel())
    return Results(BIVARIATE, rows, lines, fits, contour, exact, training)
