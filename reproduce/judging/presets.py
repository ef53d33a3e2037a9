"""How models are judged: how long the chains are, on how many images, and which of it a record depends on."""

import dataclasses

IMPORTANCE_SAMPLES = 1000
ELBO_SAMPLES = 100


@dataclasses.dataclass(frozen=True)
class Chains:
    """Annealed chains.

    Attributes:
        start: ``"encoder"`` or ``"prior"``.
        num_temperatures: T.
        num_chains: C.
        num_leapfrog_steps: L.
        tune_every: The pilot stops at every so manieth temperature.
    """

    start: str
    num_temperatures: int
    num_chains: int = 8
    num_leapfrog_steps: int = 5
    tune_every: int = 2

    @property
    def evaluations(self) -> float:
        """Of the decoder, for each image whose chains run one way, the pilot not counted."""
        return self.num_chains * ((self.num_temperatures - 1) * self.num_leapfrog_steps + 1.0)

    @property
    def pilot_evaluations(self) -> float:
        """Of the decoder, for each image."""
        return self.evaluations / self.tune_every


@dataclasses.dataclass(frozen=True)
class JudgePreset:
    """What is done for every model. Numbers of images are how much is done, all the rest is how.

    Attributes:
        dataset: ``"mnist"``, another TFDS image set, or ``"digits"``.
        images: First test images that are judged by AIS from the encoder's q0.
        simulated: Images that each model simulates, for BDMC.
        prior_images: First test images that are judged by AIS from the prior too.
        importance_images: First test images on which -ELBO and the importance NLL are made for each image, where the
            model's record of Table 1 has no values of single images.
        chains: From the encoder: AIS and BDMC.
        prior: From the prior.
        curve_temperatures: T of the curve of one model's bounds.
        curve_simulated: Images for it.
        seed: Of all noise.
    """

    dataset: str
    images: int
    simulated: int
    prior_images: int
    importance_images: int
    chains: Chains = Chains("encoder", 100)
    prior: Chains = Chains("prior", 400)
    curve_temperatures: tuple[int, ...] = (5, 10, 20, 50, 100, 200)
    curve_simulated: int = 20
    seed: int = 0

    def configuration(self) -> dict:
        """What a record is a record of; how much was done stands with its results."""
        return {
            "dataset": self.dataset,
            "chains": dataclasses.asdict(self.chains),
            "prior": dataclasses.asdict(self.prior),
            "importance_samples": IMPORTANCE_SAMPLES,
            "elbo_samples": ELBO_SAMPLES,
            "noise_seed": self.seed,
        }

    def amounts(self) -> dict[str, int]:
        """How much is done, as results have it."""
        return {name: getattr(self, name) for name in ("images", "simulated", "prior_images", "importance_images")}


JUDGE_PRESETS = {
    "quick": JudgePreset(
        "digits", 100, 40, 20, 100, chains=Chains("encoder", 50), prior=Chains("prior", 200),
        curve_temperatures=(5, 10, 20, 50, 100), curve_simulated=40,
    ),
    "standard": JudgePreset("mnist", 1000, 100, 20, 100),
}  # fmt: skip
