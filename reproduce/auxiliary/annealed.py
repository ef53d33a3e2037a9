"""All that the report on annealed flows is made of: closed forms, and flows trained on the beta-binomial posterior."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from hvae_tf.flows.accept_reject import AcceptRejectFlow
from hvae_tf.flows.annealed import AnnealedFlow
from hvae_tf.flows.flow import Flow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.score import ScoreReverse
from hvae_tf.targets.beta_binomial import BetaBinomialTarget
from reproduce.auxiliary.annealing import BestAnnealing, best_annealing
from reproduce.auxiliary.beta_binomial import MAX_STEP_SIZE, References, hvi_flow, references
from reproduce.auxiliary.training import Trained, Training, train

LAM = 1e4
TEMPERATURES = (1, 2, 4, 8, 16)
KEPT = {None: "best η", 0.0: "η = 0 (Langevin)", 1.0: "η = 1 (never refreshed)"}
CENTRES = (0.0, 1.0)
COUNTS = (4, 8)  # T of the trained flows: T + 1 gradient evaluations


class Results(NamedTuple):
    """What was found.

    Attributes:
        best: The smallest gaps on a Gaussian posterior of precision `LAM`, by (m*, eta or None, T).
        references: Of the beta-binomial posterior.
        fits: What was trained on it, by (method, T).
        training: How.
    """

    best: dict[tuple[float, float | None, int], BestAnnealing]
    references: References
    fits: dict[tuple[str, int], Trained]
    training: Training


def up_to(longest: int, counts: tuple[int, ...]) -> list[int]:
    """Those that are not larger."""
    return [T for T in counts if not longest < T]


def methods(T: int, training: Training, scale) -> dict[str, Callable[[], Flow]]:
    """Flows with T + 1 gradient evaluations each, in units of `scale` ``[2]``."""
    common = {"max_step_size": MAX_STEP_SIZE, "dtype": tf.float64}

    def annealed(**options):
        return AnnealedFlow(2, T, step_size=0.5 * scale, **common, **options)

    def score():
        return ScoreReverse(training.hidden_units, sees=("z", "grad", "momentum"), seed=training.seed)

    return {
        "HVAE, free tempering": lambda: HamiltonianFlow(2, T, "free", step_size=0.5 * scale / T, **common),
        "HVI": lambda: hvi_flow(T, training, scale),
        "UHA": lambda: annealed(refreshment="learned"),
        "L-MCVAE (UHA, η = 0)": lambda: annealed(refreshment=0.0),
        "LDVI": lambda: annealed(refreshment="learned", reverse=score()),
        "LDVI, η = 0": lambda: annealed(refreshment=0.0, reverse=score()),
        "A-MCVAE": lambda: AcceptRejectFlow(2, T, step_size=0.5 * scale, **common),
    }


def make_results(training: Training, say: Callable[[str], None], longest: int = TEMPERATURES[-1]) -> Results:
    """Everything; `say` is told what was done.

    Args:
        training: Of each flow on the beta-binomial posterior.
        say: Takes a line of text.
        longest: The largest T.
    """
    best = {}
    for centre in CENTRES:
        for kept in KEPT:
            for T in up_to(longest, TEMPERATURES):
                best[centre, kept, T] = best_annealing(LAM, centre, T, kept)
                say(f"Gaussian, m* = {centre:g}, {KEPT[kept]}, T = {T}: gap {best[centre, kept, T].gap:.4f}")
    target = BetaBinomialTarget()
    lines = references(target)
    start = lines.mean, lines.standard_deviation
    fits = {("mean field", 0): train(target, None, start, training)}
    for T in up_to(longest, COUNTS):
        for name, make in methods(T, training, lines.standard_deviation).items():
            fits[name, T] = fit = train(target, make(), start, training)
            say(f"{name}, {T} + 1: bound {fit.bound:.4f} ± {fit.standard_error:.4f}, {fit.seconds:.0f} s")
    return Results(best, lines, fits, training)
