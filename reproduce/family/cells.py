"""The relatives that are compared, each at as many evaluations of the decoder for an image and training step."""

import dataclasses
from collections.abc import Mapping

from reproduce.configs import TABLE1_PRESETS
from reproduce.judged.protocol import Cell, Preset, Protocol
from reproduce.judging.presets import JUDGE_PRESETS

EVALUATIONS = (6, 11)
MOVE_STEPS = 5  # L of HMC-VAE
# where eps starts, if not at 0.2: on a bridge it must be below twice the smallest scale of q0, which starts near 0.04
STEP_SIZES = {"uha": 0.05, "lmcvae": 0.05, "hmc": 0.1}
KINDS = ("iwae", "hvae-free", "hvae-none", "hvi", "uha", "lmcvae", "hmc")


@dataclasses.dataclass(frozen=True)
class FamilyProtocol(Protocol):
    """How every cell is trained.

    Attributes:
        warm_up_steps: First batches that HMC-VAE takes without refinement.
    """

    warm_up_steps: int = 500


@dataclasses.dataclass(frozen=True)
class FamilyCell(Cell):
    """A member of the family.

    Attributes:
        kind: ``"vae"``, one of `KINDS`, or ``"untied-fixed"`` and ``"untied-free"``, HVAE whose momentum has a learned
            scale of its own.
        steps: K of HVAE, n of HVI (T = 1), T of UHA and L-MCVAE (n = 1), M L of HMC-VAE, draws of IWAE less one.
        step_size: Initial eps; that of HMC-VAE is in units of the encoder's standard deviations.
        hidden_units: Of HVI's reverse network.
    """

    kind: str = "vae"
    steps: int = 0
    step_size: float = 0.2
    hidden_units: int = 0

    @property
    def evaluations(self) -> int:
        return self.steps + 1

    def make(self, encoder, decoder, protocol, seed):
        import hvae_tf
        from hvae_tf.flows.reverse import NetworkReverse

        options = {"step_size": self.step_size, "step_size_per": "step", "seed": seed}
        if self.kind.startswith("hvae"):
            tempering = self.kind.removeprefix("hvae-")
            return hvae_tf.HVAE(encoder, decoder, self.steps, tempering=tempering, **options)
        if self.kind.startswith("untied-"):
            tempering = self.kind.removeprefix("untied-")
            return hvae_tf.HVAE(encoder, decoder, self.steps, tempering, momentum_scale="learned", **options)
        if self.kind == "hvi":
            reverse = NetworkReverse((self.hidden_units,), seed=seed)
            del options["step_size_per"]
            return hvae_tf.HVI(encoder, decoder, 1, self.steps, reverse=reverse, **options)
        if self.kind in ("uha", "lmcvae"):
            refreshment = {"refreshment": 0.0} if self.kind == "lmcvae" else {"refreshment": "learned"}
            return hvae_tf.UHA(encoder, decoder, self.steps, **refreshment, **options)
        if self.kind == "hmc":
            return hvae_tf.HMCVAE(
                encoder, decoder, self.steps // MOVE_STEPS, MOVE_STEPS, shear=False, step_size=self.step_size,
                warm_up_steps=protocol.warm_up_steps, seed=seed,
            )  # fmt: skip
        if self.kind == "iwae":
            return hvae_tf.IWAE(encoder, decoder, num_samples=self.evaluations, seed=seed)
        return hvae_tf.VAE(encoder, decoder, seed=seed)


def _cell(kind: str, evaluations: int, hidden_units: int) -> FamilyCell:
    steps = evaluations - 1
    labels = {
        "iwae": f"IWAE, {evaluations} draws",
        "hvae-free": f"HVAE, K = {steps}, free tempering",
        "hvae-fixed": f"HVAE, K = {steps}, fixed tempering",
        "untied-free": f"HVAE, K = {steps}, free tempering, untied momentum",
        "untied-fixed": f"HVAE, K = {steps}, fixed tempering, untied momentum",
        "hvae-none": f"HVAE, K = {steps}, no tempering",
        "hvi": f"HVI, n = {steps}, reverse network",
        "uha": f"UHA, T = {steps}",
        "lmcvae": f"L-MCVAE, T = {steps}",
        "hmc": f"HMC-VAE, M = {steps // MOVE_STEPS}, L = {MOVE_STEPS}",
    }
    step_size = STEP_SIZES.get(kind, 0.2)
    return FamilyCell(labels[kind], kind, steps, step_size, hidden_units if kind == "hvi" else 0)


def family(hidden_units: int, evaluations=EVALUATIONS, kinds=KINDS) -> dict[str, FamilyCell]:
    """The VAE and cells of these kinds, by name; the reverse network of HVI has so many units."""
    cells = {"vae": FamilyCell("VAE")}
    return cells | {f"{kind}-{n}": _cell(kind, n, hidden_units) for n in evaluations for kind in kinds}


@dataclasses.dataclass(frozen=True)
class FamilyPreset(Preset):
    """A table.

    Attributes:
        beside: For cells that are the same model as one of Table 1, trained by the same protocol, the name of that;
            its runs stand in for them.
        title: Of the report.
        pairs: Cells that are compared image by image, the first less the second, beside each less the VAE.
        claims: Of papers, and the pairs that tell of each.
    """

    beside: Mapping[str, str] = dataclasses.field(default_factory=dict)
    title: str = "The family at equal numbers of evaluations"
    pairs: tuple[tuple[str, str], ...] = ()
    claims: Mapping[str, tuple[tuple[str, str], ...]] = dataclasses.field(default_factory=dict)


_BUDGET = TABLE1_PRESETS["budget"].config
_MNIST = FamilyProtocol(
    _BUDGET.dataset, _BUDGET.max_epochs, _BUDGET.batch_size, _BUDGET.learning_rate, _BUDGET.latent_size,
    _BUDGET.hidden_units, _BUDGET.filters,
)  # fmt: skip
_BESIDE = {"vae": "vae", "hvae-none-2": "k1-none", "hvae-none-6": "k5-none", "hvae-free-6": "k5-free"}
_BESIDE |= {"hvae-fixed-2": "k1-fixed"}
_BESIDE |= {"hvae-none-11": "k10-none", "hvae-free-11": "k10-free", "iwae-5": "iwae5"}


def _mnist(cells: dict[str, FamilyCell]) -> FamilyPreset:
    beside = {cell: other for cell, other in _BESIDE.items() if cell in cells}
    names = tuple(cell for cell in cells if cell not in beside)
    return FamilyPreset(_MNIST, JUDGE_PRESETS["standard"], cells, names, beside=beside)


PRESETS = {
    "quick": FamilyPreset(
        FamilyProtocol("digits", 40, 50, 5e-3, 16, 128, (), warm_up_steps=100),
        JUDGE_PRESETS["quick"],
        family(128),
        tuple(family(128)),
        seeds=(0, 1, 2),
    ),
    "budget": _mnist(family(300)),
}

# HVI with n = 1, 4, 8 and 16 beside untempered and tempered HVAE of as many evaluations, up to n = 8; the tempering is
# free where K > 1, and at K = 1, where free and fixed are one, Table 1's
_TEMPERED = {2: "fixed", 5: "free", 9: "free"}
_HVI = family(300, (2,), ("hvae-none", "hvae-fixed")) | family(300, (5, 6, 9), ("hvae-none", "hvae-free"))
_HVI |= family(300, (2, 5, 9, 17), ("hvi",))
_HVI = dict(sorted(_HVI.items(), key=lambda item: item[1].evaluations))
HVI_PRESET = _mnist(_HVI)
HVI_PRESET = dataclasses.replace(
    HVI_PRESET,
    names=tuple(name for name in HVI_PRESET.names if name != "hvi-17"),
    title="HVI beside VAE and HVAE on MNIST",
    pairs=(
        *((f"hvi-{n}", f"hvae-{tempering}-{n}") for n, free in _TEMPERED.items() for tempering in ("none", free)),
        ("hvi-2", "hvae-free-6"),
        ("hvi-5", "hvi-2"),
        ("hvi-9", "hvi-5"),
    ),
    claims={
        "the auxiliary bound helps (Salimans et al. 2015)": tuple((f"hvi-{n}", "vae") for n in (2, 5, 9)),
        "more leapfrog steps help (Salimans et al. 2015)": (("hvi-5", "hvi-2"), ("hvi-9", "hvi-5")),
        "reverse kernels are unnecessary (Caterini et al. 2018)": tuple(
            (f"hvi-{n}", f"hvae-{tempering}-{n}") for n, free in _TEMPERED.items() for tempering in ("none", free)
        ),
    },
)

# HVAE whose momentum is not tied to its tempering, beside the same with one that is
_UNTIED = family(300, (2,), ("hvae-fixed", "untied-fixed")) | family(300, (6,), ("hvae-free", "untied-free"))
UNTIED_PRESET = dataclasses.replace(
    _mnist(_UNTIED),
    title="A momentum that is not tied, on MNIST",
    pairs=(("untied-fixed-2", "hvae-fixed-2"), ("untied-free-6", "hvae-free-6")),
)
