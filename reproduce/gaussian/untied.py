"""HVAE whose momentum is not tied to its tempering, trained as Figure 1 has it, beside Figure 1's own records.

In the paper rho_0 has the scale 1/sqrt(beta_0), and the tempering brings it back to 1. Here that scale is one more
variable for each dimension, and where a shift is learned, so is the mean that the last momentum is held to have.
"""

import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.dynamics.tempering import FixedTempering, TemperingSchedule
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.targets.gaussian import hamiltonian_gap, maximum_likelihood
from reproduce.auxiliary.annealing import unit_problem
from reproduce.auxiliary.exact import tied_tempering_gap
from reproduce.gaussian import records
from reproduce.gaussian.configs import GaussianConfig
from reproduce.gaussian.methods import Hamiltonian
from reproduce.gaussian.problem import make_group, squared_errors
from reproduce.gaussian.trainer import Trainer

DIMS = (1, 3, 11, 51)
LAMS = (1e2, 1e4, 1e6)
CENTRES = (0.0, 1.0, 2.0)


class Variant(NamedTuple):
    """A line of the figure.

    Attributes:
        label: In tables and legends.
        num_steps: K.
        shift: Whether the last momentum's mean is learned.
    """

    label: str
    num_steps: int
    shift: bool = False


VARIANTS = {
    "untied-k1": Variant("K = 1, untied", 1),
    "untied-k1-shift": Variant("K = 1, untied, shift", 1, True),
    "untied-k10": Variant("K = 10, untied", 10),
}
TIED = {  # Figure 1's, by their names there
    "hvae-k1": "K = 1, tied (the paper's)",
    "hvae-k10": "K = 10, tied (the paper's)",
    "hvae-k1-untempered": "K = 1, no tempering",
    "hvae-k10-untempered": "K = 10, no tempering",
}
LABELS = TIED | {name: variant.label for name, variant in VARIANTS.items()}


class Untied(Hamiltonian):
    """HVAE with a momentum scale of its own. Its runs are of one size: what is padded would have a scale too.

    Args:
        variant: Which.
        *args: See `Method`, without the number of steps.
    """

    def __init__(self, variant: Variant, *args):
        self._variant = variant
        super().__init__(_tempering, variant.num_steps, *args)

    def make_flow(self, dtype) -> HamiltonianFlow:
        return HamiltonianFlow(
            self.size, self.num_steps, self._tempering(self.config), step_size=self.config.step_size,
            max_step_size=self.config.max_step_size, batch_shape=(self.num_runs,), dtype=dtype,
            momentum_scale="learned", shift=self._variant.shift,
        )  # fmt: skip

    def of_momentum(self, flow):
        zero = tf.zeros([self.num_runs, self.size], flow.dtype)
        found = {"momentum_scale": flow.momentum.scale(flow.schedule()), "shift": -flow.momentum.centred(zero)}
        return {name: tf.cast(value, tf.float64) for name, value in found.items()}


def _tempering(config):
    return FixedTempering(config.inv_sqrt_beta_0)


class Fit(NamedTuple):
    """One line at one size d, where its training ended; ``[datasets]``.

    Attributes:
        gap: log p(D) less the exact ELBO at the parameters found, nats.
        excess: |theta - theta_hat|^2 less that of the exact maximum likelihood on the same data.
    """

    gap: np.ndarray
    excess: np.ndarray


class Results(NamedTuple):
    """What was found.

    Attributes:
        config: The protocol.
        dims: The sizes d.
        fits: By line and d.
        optima: Rows (lam, m*, tied, untied, with a shift): the smallest gaps at K = 1 in one dimension, nats; the tied
            one where it has a formula.
    """

    config: GaussianConfig
    dims: tuple[int, ...]
    fits: dict[str, dict[int, Fit]]
    optima: list[tuple[float, float, float | None, float, float]]


def train(name: str, d: int, config: GaussianConfig, seed: int) -> Fit:
    """Trains one of `VARIANTS` on all data sets of size d, each by itself, side by side."""
    group = make_group([(d, i) for i in range(config.datasets)], config, seed)
    make = functools.partial(_make, VARIANTS[name])
    trainer = Trainer(name, group, config, seed, make=make)
    trainer.train(config.iterations)
    statistics = group.each
    errors = np.array([error["theta_error"] for error in trainer.errors()])
    return Fit(trainer.evidence() - trainer.exact_elbo(), errors - np.array([_of_ml(d, each) for each in statistics]))


def _make(variant, name, group, config, seed, released):
    return Untied(variant, group, config, seed, released)


def _of_ml(d, statistics) -> float:
    found = maximum_likelihood(statistics)
    return squared_errors(d, found.delta.numpy(), found.sigma.numpy())["theta_error"]


def recorded(name: str, d: int, found: records.Records) -> Fit | None:
    """The same of a line of Figure 1, from its records; None where there is none."""
    values = [found.results("corrected", name, result).get(d) for result in
              ("evidence", "exact_elbo", "theta_error", "ml_theta_error")]  # fmt: skip
    if any(value is None for value in values):
        return None
    evidence, elbo, error, of_ml = values
    return Fit(evidence - elbo, error - of_ml)


def optimum(lam: float, centre: float, shift: bool) -> float:
    """The gap of one untied step at its best settings, by the closed form: eps^2 lam = 2, s^2 = 1/2."""
    alpha = math.sqrt(2.0 / lam / (1.0 if shift else 1.0 + centre**2))
    step_size = math.sqrt(2.0 / lam)

    def one(value):
        return tf.constant([value], tf.float64)

    schedule = TemperingSchedule(tf.ones([], tf.float64), (tf.constant(alpha, tf.float64),))
    mean = one(alpha * step_size * lam / 2.0 * centre) if shift else None
    scale = one(math.sqrt(0.5))
    gap = hamiltonian_gap(*unit_problem(lam, centre), [one(step_size)], schedule, momentum_scale=scale, shift=mean)
    return abs(float(gap[0]))  # where it is 0, rounding has a sign


def make_results(config: GaussianConfig, dims, seed: int, figure1: Path, say: Callable[[str], None]) -> Results:
    """Everything; `say` is told what was done.

    Raises:
        RecordError: If Figure 1's records are damaged.
    """
    found = records.load(figure1)
    fits: dict[str, dict[int, Fit]] = {}
    for name in TIED:
        fits[name] = {d: fit for d in dims if (fit := recorded(name, d, found)) is not None}
    for name in VARIANTS:
        fits[name] = {}
        for d in dims:
            began = time.perf_counter()
            fits[name][d] = fit = train(name, d, config, seed)
            say(f"{LABELS[name]}, d = {d}: gap {fit.gap.mean():.3f}, {time.perf_counter() - began:.0f} s")
    optima = [
        (lam, centre, tied_tempering_gap(lam) if centre == 0.0 else None,
         optimum(lam, centre, False), optimum(lam, centre, True))
        for lam in LAMS for centre in CENTRES
    ]  # fmt: skip
    return Results(config, tuple(dims), fits, optima)
