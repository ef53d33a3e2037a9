"""Which trainings there are, how they are done, and what they stand beside."""

import dataclasses

from reproduce.configs import TABLE1_PRESETS
from reproduce.judging.presets import JUDGE_PRESETS, JudgePreset


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model, whatever its seed.

    Attributes:
        num_moves: M; 0 without refinement.
        num_leapfrog_steps: L of each move; of the flow, where there is no refinement; 0 for the VAE.
        shear: Whether A stands in front of the decoder.
        label: What a reader calls it.
    """

    num_moves: int
    num_leapfrog_steps: int
    shear: bool
    label: str


CELLS = {
    "vae": Cell(0, 0, False, "VAE"),
    "k5-free": Cell(0, 5, False, "HVAE, K = 5, free tempering"),
    **{
        f"m{m}-l5{'-shear' if shear else ''}": Cell(
            m, 5, shear, f"HMC-VAE, M = {m}, L = 5{', with A' if shear else ''}"
        )
        for m in (1, 5)
        for shear in (False, True)
    },
}
REFINED = tuple(name for name, cell in CELLS.items() if cell.num_moves)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How every cell is trained; one protocol for all of a table.

    Attributes:
        dataset: ``"mnist"``, another TFDS image set, or ``"digits"``.
        limit: First images of each split to keep (train, validation, test); None: all.
        max_epochs: Training ends there; the last epoch's weights are judged.
        batch_size: Images a step.
        learning_rate: Of Adamax, along a cosine down to zero.
        latent_size: l.
        hidden_units: Of the fully connected layers.
        filters: Of the convolutions; none for dense networks.
        warm_up_steps: First batches without refinement.
        step_size: Initial eps, in units of the encoder's standard deviations.
        target_acceptance: Of the chains.
        hvae_step_size: Initial eps of HVAE.
    """

    dataset: str
    max_epochs: int
    batch_size: int
    learning_rate: float
    latent_size: int
    hidden_units: int
    filters: tuple[int, ...]
    warm_up_steps: int
    limit: tuple[int, int, int] | None = None
    step_size: float = 0.1
    target_acceptance: float = 0.67
    hvae_step_size: float = 0.2


@dataclasses.dataclass(frozen=True)
class Preset:
    """A table.

    Attributes:
        protocol: How its cells are trained.
        judge: How their decoders are judged.
        cells: Which are trained.
        beside: Names of runs of Table 1 that stand beside them.
        exact: Whether the problems with known answers belong to it.
    """

    protocol: Protocol
    judge: JudgePreset
    cells: tuple[str, ...]
    beside: tuple[str, ...] = ()
    exact: bool = False


_BUDGET = TABLE1_PRESETS["budget"].config

PRESETS = {
    "quick": Preset(
        Protocol("digits", 40, 50, 5e-3, 16, 128, (), 100),
        JUDGE_PRESETS["quick"],
        ("vae", "m1-l5", "m5-l5", "m5-l5-shear"),
        exact=True,
    ),
    "budget": Preset(
        Protocol(
            _BUDGET.dataset, _BUDGET.max_epochs, _BUDGET.batch_size, _BUDGET.learning_rate, _BUDGET.latent_size,
            _BUDGET.hidden_units, _BUDGET.filters, 500,
        ),
        dataclasses.replace(JUDGE_PRESETS["standard"], images=400),  # as many as Table 1's models were judged on
        REFINED,
        ("vae-seed0", "vae-seed1", "vae-seed2", "k5-free-seed0", "k5-none-seed0"),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell trained from one seed."""

    cell: str
    seed: int

    @property
    def name(self) -> str:
        """Of its record, its model and its pictures."""
        return f"{self.cell}-seed{self.seed}"


def configuration(run: Run, protocol: Protocol) -> dict:
    """What a training depends on, and what its record is a record of."""
    cell = dataclasses.asdict(CELLS[run.cell])
    del cell["label"]
    return {"cell": run.cell, **cell, **dataclasses.asdict(protocol)}
