"""What is run, by preset; no framework is imported here."""

import dataclasses

SAMPLERS = ("HMC", "HMC, covariance as metric", "RMHMC")
TARGETS = ("logistic", "banana", "funnel")
METHODS = ("none", "dense", "fisher")
LATENT_SIZE, HIDDEN_UNITS, BATCH_SIZE, LEARNING_RATE = 8, (64,), 50, 5e-3
# where eps K starts: near a quarter of a turn, which in the posterior's own units is 1.6, and in those of z less by its
# scale there; untempered flows feel little of eps, so a start far from it would be what is compared
TURN, FISHER_TURN = 1.1, 1.3


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How samplers are compared.

    Attributes:
        chains: Side by side, from exact draws.
        pilot_steps: Of each chain, for each step size and length tried: moves times their length.
        steps: Of each chain, of the one that is kept.
        lengths: Steps of a trajectory that are tried.
        seed: Of all draws.
        step_sizes: eps that are tried.
        longest_in_metric: Of the lengths, for RMHMC: in units of the metric a turn takes about six units of time.
        least_acceptance: Of what is taken: below it chains stick where the target is steep, and short ones do not show.
        most_unsolved: Of what is taken, the share of proposals in which an equation is not solved.
    """

    chains: int = 64
    pilot_steps: int = 2000
    steps: int = 4000
    lengths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    seed: int = 0
    step_sizes: tuple[float, ...] = (0.05, 0.1, 0.14, 0.2, 0.28, 0.4, 0.55, 0.7, 1.0, 1.4, 2.0)
    longest_in_metric: int = 32
    least_acceptance: float = 0.5
    most_unsolved: float = 1e-3

    def lengths_of(self, sampler: str) -> list[int]:
        """The lengths that are tried with a sampler."""
        return [length for length in self.lengths if sampler != "RMHMC" or length <= self.longest_in_metric]


@dataclasses.dataclass(frozen=True)
class Digits:
    """How models are trained on digits and judged.

    Attributes:
        epochs: Of each training.
        steps: K of the flows.
        seeds: Trainings of each cell.
        elbo_samples: For each test image.
        judged: First test images whose log p(x) is estimated by annealing.
        temperatures: Of that.
    """

    epochs: int = 40
    steps: tuple[int, ...] = (1, 2, 4)
    seeds: int = 3
    elbo_samples: int = 100
    judged: int = 60
    temperatures: int = 40


@dataclasses.dataclass(frozen=True)
class Preset:
    """All of it."""

    sampling: Sampling
    digits: Digits


PRESETS = {
    "standard": Preset(Sampling(), Digits()),
    "quick": Preset(Sampling(32, 80, 200, (1, 4)), Digits(5, (1, 2), 1, 20, 20, 10)),
}


def cells(digits: Digits) -> list[tuple[str, int]]:
    """(method, K), the plain VAE being K = 0 of no method."""
    return [("none", 0), *((method, steps) for steps in digits.steps for method in METHODS)]


def cell_name(method: str, steps: int, seed: int) -> str:
    """What the record of a training is called."""
    return f"digits-{f'{method}-k{steps}' if steps else 'vae'}-seed{seed}"
