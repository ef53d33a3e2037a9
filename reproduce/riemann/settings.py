"""What is run, by preset; no framework is imported here."""

import dataclasses

SAMPLERS = ("HMC", "HMC, covariance as metric", "RMHMC")
TARGETS = ("logistic", "banana", "funnel")
METHODS = ("none", "dense", "fisher")
LATENT_SIZE, HIDDEN_UNITS, BATCH_SIZE, LEARNING_RATE = 8, (64,), 50, 5e-3


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How samplers are compared.

    Attributes:
        chains: Side by side, from exact draws.
        pilot_steps: Of each chain, for each step size and length tried: moves times their length.
        steps: Of each chain, of the one that is kept.
        lengths: Steps of a trajectory that are tried.
        seed: Of all draws.
    """

    chains: int = 64
    pilot_steps: int = 800
    steps: int = 4000
    lengths: tuple[int, ...] = (1, 2, 4, 8, 16)
    seed: int = 0


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
