"""What is run, by preset; no framework is imported here."""

import dataclasses

from reproduce.riemann.settings import Digits

SCHEDULES = ("none", "fixed", "free")  # of the temperature, and of HVAE's tempering
LEARNED = "learned"  # in the place of a thermostat's mass
METHODS = {  # on digits: (flow, schedule)
    "VAE": ("", ""),
    "HVAE, none": ("hamiltonian", "none"),
    "HVAE, free": ("hamiltonian", "free"),
    "Nosé–Hoover, τ = 1": ("nose-hoover", "none"),
    "Nosé–Hoover, τ free": ("nose-hoover", "free"),
}


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """The Gaussian model of section 4.1, and how flows are trained on it.

    Attributes:
        dimension: d.
        observations: N; few, so that the posterior is not a hundred times narrower than q0 = N(0, I).
        steps: K.
        masses: Q, of the thermostats that keep theirs.
        iterations: Of Adam.
        batch_size: Draws of each.
        learning_rate: At the start of a cosine.
        draws: For the bound that is reported.
        seed: Of data and noise.
    """

    dimension: int = 11
    observations: int = 10
    steps: int = 10
    masses: tuple[float, ...] = (1.0, 16.0, 256.0)
    iterations: int = 800
    batch_size: int = 128
    learning_rate: float = 0.02
    draws: int = 500_000
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Preset:
    """All of it; K on digits is the only one of `digits.steps`."""

    gaussian: Gaussian
    digits: Digits


PRESETS = {
    "standard": Preset(Gaussian(), Digits(steps=(4,))),
    "quick": Preset(Gaussian(masses=(4.0, 64.0), steps=4, iterations=150, draws=4000), Digits(5, (2,), 1, 20, 20, 10)),
}


def digits_name(method: str, seed: int) -> str:
    """What the record of a training on digits is called."""
    flow, schedule = METHODS[method]
    return f"digits-{f'{flow}-{schedule}' if flow else 'vae'}-seed{seed}"
