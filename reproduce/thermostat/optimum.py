"""The least gap of HVAE on the Gaussian model: searched for on its closed form, and a floor that needs no search."""

import numpy as np
import scipy.optimize
import tensorflow as tf

from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.numerics import logit
from hvae_tf.targets.gaussian import hamiltonian_gap
from reproduce.auxiliary.exact import tied_tempering_gap
from reproduce.thermostat.settings import Gaussian

MAX_STEP_SIZE = 2.0
# eps in units of the posterior's scale is an angle, which has local optima; 2 is where leapfrog becomes unstable, and
# tempering, which damps, moves that outwards a little
ANGLE_GRID = np.linspace(0.002, 2.6, 2600)
FIRST_SCALES = 1.0 + np.geomspace(1e-3, 1e3, 241)  # 1/sqrt(beta_0) of the fixed scheme
ZOOMS = 4  # of the grid, each twenty times as fine
STARTS = 7  # of the free one
ROUNDS = 6  # of all angles anew and of L-BFGS, at most


def volume_floor(precisions) -> float:
    """What every tied HVAE takes from the evidence at least, in nats: sum_d [sqrt(lam_d) - 1 - 1/2 log lam_d].

    For a posterior N(m*, diag 1/lam), q0 = N(0, I), momenta N(0, I/beta_0) and step sizes by dimension, whatever K,
    eps and alphas.

    Proof. Dimensions move apart from each other, each by a map of (z, rho) with |det| = prod alpha_k = sqrt(beta_0). So
    what comes out has the entropy log(2 pi e) - 1/2 log beta_0 + 1/2 log beta_0 = log(2 pi e). The gap is its KL to
    N(m*, 1/lam) N(0, 1), which is 1/2 tr C - 1 - 1/2 log lam, C being the second moments of (sqrt(lam) (z - m*), rho),
    whose entropy is log(2 pi e) + 1/2 log lam. No law with these moments has more than log(2 pi e) + 1/2 log det C, so
    det C >= lam, and 1/2 tr C >= sqrt(det C) >= sqrt(lam).

    An untied momentum, a thermostat and annealing with refreshments change the volume or the entropy, and may go below.
    """
    return sum(map(tied_tempering_gap, precisions))


class ClosedForm:
    """The gap of HVAE as a function of its parameters, one eps a dimension for all K steps.

    Args:
        of: The problem, a `Held`.
        schedule: Name of the tempering.
        settings: Of the experiment.
    """

    def __init__(self, of, schedule: str, settings: Gaussian):
        self.of, self.settings = of, settings
        self.flow = HamiltonianFlow(
            settings.dimension, settings.steps, schedule, step_size=0.1, max_step_size=MAX_STEP_SIZE, dtype=tf.float64
        )
        self._variables = sorted(self.flow.trainable_variables, key=lambda variable: "step_size" not in variable.name)
        sizes = [variable.shape.num_elements() for variable in self._variables]
        self._cuts, self._count = np.cumsum(sizes)[:-1], sum(sizes)
        self.initial_rest = np.concatenate([np.zeros(0), *(np.ravel(variable) for variable in self._variables[1:])])
        self._gap_and_gradient = tf.function(self._evaluate)

    def _gaps(self, step_size):
        """``[..., d]``, at the schedule as it stands."""
        steps = [step_size] * self.settings.steps
        of = self.of
        return hamiltonian_gap(of.statistics, of.delta, of.log_sigma, steps, self.flow.schedule())

    def _evaluate(self):
        with tf.GradientTape() as tape:
            gap = tf.reduce_sum(self._gaps(self.flow.step_sizes))
        return gap, tape.gradient(gap, self._variables)

    def _assign(self, flat):
        for variable, part in zip(self._variables, np.split(flat, self._cuts), strict=True):
            variable.assign(part.reshape(variable.shape))

    def _function(self, flat):
        self._assign(flat)
        gap, gradients = self._gap_and_gradient()
        return float(gap), np.concatenate([np.ravel(gradient) for gradient in gradients])

    def minimise(self, step_size, rest) -> tuple[float, np.ndarray, np.ndarray]:
        """L-BFGS from one start: (gap, eps ``[d]``, the schedule's parameters)."""
        fraction = np.clip(step_size / MAX_STEP_SIZE, 1e-6, 0.99)
        found = scipy.optimize.minimize(
            self._function, np.concatenate([logit(fraction), rest]), jac=True, method="L-BFGS-B",
            bounds=[(-12.0, 12.0)] * self._count, options={"maxiter": 1000},
        )  # fmt: skip
        self._assign(found.x)
        return (
            float(found.fun),
            self.flow.step_sizes.numpy(),
            found.x[self._cuts[0] if len(self._cuts) else self._count :],
        )

    def best_step_sizes(self, rest) -> tuple[float, np.ndarray]:
        """The least gap on a grid of angles, dimension by dimension, the schedule held: (gap, eps ``[d]``).

        Given the schedule no dimension knows of another, so that this is the least there is, but for valleys that are
        narrower than the first grid.
        """
        self._assign(np.concatenate([np.zeros(self.settings.dimension), rest]))
        angles, width = np.broadcast_to(ANGLE_GRID[:, None], (len(ANGLE_GRID), len(self.of.precisions))), ANGLE_GRID[0]
        for _ in range(ZOOMS):
            grid = np.clip(angles / np.sqrt(self.of.precisions), 1e-6 * MAX_STEP_SIZE, 0.99 * MAX_STEP_SIZE)
            gaps = self._gaps(tf.constant(grid)).numpy()
            gaps = np.where(np.isfinite(gaps), gaps, np.inf)
            best = gaps.argmin(axis=0), np.arange(len(self.of.precisions))
            angles = angles[best] + width * np.linspace(-1.0, 1.0, 41)[:, None]
            width /= 20.0
        return gaps[best].sum(), grid[best]


def least_hamiltonian(of, schedule: str, settings: Gaussian, alphas=None) -> dict:
    """The least gap that is found for HVAE, and where.

    Without tempering, and with the fixed scheme, whose one parameter is on a grid as well, the search covers everything
    there is. With the free scheme it goes from `STARTS` schedules, and from `alphas`, to local optima, of each of which
    all angles are looked at anew.

    Args:
        of: The problem, a `Held`.
        schedule: Name of the tempering.
        settings: Of the experiment.
        alphas: ``[K]``, where the free scheme starts besides, such as the best of the fixed one.

    Returns:
        ``gap`` in nats, ``step_sizes`` ``[d]``, ``alphas`` ``[K]``, and the gaps of all ``starts``, sorted.
    """
    form = ClosedForm(of, schedule, settings)
    best, ends = (np.inf, np.zeros(0), form.initial_rest), []
    others = [] if alphas is None else [logit(np.asarray(alphas))]
    for rest in [*_schedules(form, schedule, settings), *others]:
        found = np.inf, np.zeros(0), rest
        for _ in range(ROUNDS):
            gap, eps = form.best_step_sizes(found[2])
            new = min((gap, eps, found[2]), form.minimise(eps, found[2]), key=lambda result: result[0])
            if new[0] > found[0] - 1e-6:
                break
            found = new
        ends.append(found[0])
        best = min(best, found, key=lambda result: result[0])
    form.best_step_sizes(best[2])  # which leaves the schedule there
    return {
        "gap": best[0],
        "step_sizes": best[1],
        "alphas": [float(alpha) for alpha in form.flow.schedule().alphas],
        "starts": sorted(ends),
    }


def _schedules(form: ClosedForm, schedule: str, settings: Gaussian) -> list[np.ndarray]:
    """Parameters of schedules to start from."""
    if schedule == "none":
        return [form.initial_rest]
    if schedule == "fixed":
        tried = [np.array([np.log(scale - 1.0)]) for scale in FIRST_SCALES]
        return sorted(tried, key=lambda rest: form.best_step_sizes(rest)[0])[:3]
    rng = np.random.default_rng(settings.seed)
    # momenta scaled down alike by every step; then by each as it comes, and many not at all
    alike = [np.full(settings.steps, logit(scale ** (-1.0 / settings.steps))) for scale in (1.5, 3.0, 6.0, 12.0)]
    spread = [np.clip(rng.normal(1.5, 2.0, size=settings.steps), -6.0, 8.0) for _ in range(STARTS - len(alike))]
    return [*alike, *spread]
