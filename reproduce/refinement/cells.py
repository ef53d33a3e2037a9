"""Which trainings there are, how they are done, and what they stand beside."""

import dataclasses

from reproduce.configs import TABLE1_PRESETS
from reproduce.judged.protocol import Cell, Preset, Protocol
from reproduce.judging.presets import JUDGE_PRESETS


@dataclasses.dataclass(frozen=True)
class RefinedCell(Cell):
    """A VAE whose decoder learns from refined latents, or one of those that it is held against.

    Attributes:
        num_moves: M; 0 without refinement.
        num_leapfrog_steps: L of each move; of the flow, where there is no refinement; 0 for the VAE.
        shear: Whether A stands in front of the decoder.
    """

    num_moves: int = 0
    num_leapfrog_steps: int = 0
    shear: bool = False

    @property
    def evaluations(self) -> int:
        return 1 + max(self.num_moves, 1) * self.num_leapfrog_steps

    def make(self, encoder, decoder, protocol, seed):
        import hvae_tf

        if self.num_moves:
            return hvae_tf.HMCVAE(
                encoder, decoder, self.num_moves, self.num_leapfrog_steps, shear=self.shear,
                step_size=protocol.step_size, target_acceptance=protocol.target_acceptance,
                warm_up_steps=protocol.warm_up_steps, seed=seed,
            )  # fmt: skip
        if self.num_leapfrog_steps:
            return hvae_tf.HVAE(
                encoder, decoder, self.num_leapfrog_steps, tempering="free", step_size=protocol.hvae_step_size,
                step_size_per="step", seed=seed,
            )  # fmt: skip
        return hvae_tf.VAE(encoder, decoder, seed=seed)


CELLS = {
    "vae": RefinedCell("VAE"),
    "k5-free": RefinedCell("HVAE, K = 5, free tempering", num_leapfrog_steps=5),
    **{
        f"m{m}-l5{'-shear' if shear else ''}": RefinedCell(
            f"HMC-VAE, M = {m}, L = 5{', with A' if shear else ''}", m, 5, shear
        )
        for m in (1, 5)
        for shear in (False, True)
    },
}
REFINED = tuple(name for name, cell in CELLS.items() if cell.num_moves)


@dataclasses.dataclass(frozen=True)
class RefinementProtocol(Protocol):
    """How every cell is trained; one protocol for all of a table.

    Attributes:
        warm_up_steps: First batches without refinement.
        step_size: Initial eps, in units of the encoder's standard deviations.
        target_acceptance: Of the chains.
        hvae_step_size: Initial eps of HVAE.
    """

    warm_up_steps: int = 500
    step_size: float = 0.1
    target_acceptance: float = 0.67
    hvae_step_size: float = 0.2


@dataclasses.dataclass(frozen=True)
class RefinementPreset(Preset):
    """A table.

    Attributes:
        beside: Cells of Table 1 whose runs stand beside them.
        exact: Whether the problems with known answers belong to it.
    """

    beside: tuple[str, ...] = ()
    exact: bool = False


_BUDGET = TABLE1_PRESETS["budget"].config

PRESETS = {
    "quick": RefinementPreset(
        RefinementProtocol("digits", 40, 50, 5e-3, 16, 128, (), warm_up_steps=100),
        JUDGE_PRESETS["quick"],
        CELLS,
        ("vae", "m1-l5", "m5-l5", "m5-l5-shear"),
        exact=True,
    ),
    "budget": RefinementPreset(
        RefinementProtocol(
            _BUDGET.dataset, _BUDGET.max_epochs, _BUDGET.batch_size, _BUDGET.learning_rate, _BUDGET.latent_size,
            _BUDGET.hidden_units, _BUDGET.filters,
        ),
        dataclasses.replace(JUDGE_PRESETS["standard"], images=1000),
        CELLS,
        REFINED,
        beside=("vae", "k5-free", "k5-none", "k10-free"),
    ),
}  # fmt: skip
