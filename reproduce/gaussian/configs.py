"""Figure 1's configurations: the protocol of section 4.1, a quick one, one of more data sets. No TensorFlow here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of Figure 1; what trains it is in `reproduce.gaussian.methods`, by its name.

    Attributes:
        label: As the paper's legend has it.
        num_steps: K: leapfrog steps or planar layers; 0 for VB.
        closed_form: Whether its bound is an expectation in closed form, so that training has no noise.
    """

    label: str
    num_steps: int = 0
    closed_form: bool = False


LINES = {
    "hvae-k1": Line("HVAE, K = 1", 1),
    "hvae-k10": Line("HVAE, K = 10", 10),
    "hvae-k1-untempered": Line("HVAE, K = 1, no tempering", 1),
    "hvae-k10-untempered": Line("HVAE, K = 10, no tempering", 10),
    "nf-k1": Line("NF, K = 1", 1),
    "nf-k30": Line("NF, K = 30", 30),
    "vb": Line("VB", closed_form=True),
    "vb-sampled": Line("VB, sampled bound"),
}


def bound_of(method: str) -> dict[str, str]:
    """What a record says of a method's bound, beside its name: the expectation in closed form, or nothing."""
    return {"bound": "closed form"} if LINES[method].closed_form else {}


FIGURE_1A = ("hvae-k1", "hvae-k10", "nf-k1", "nf-k30", "vb")
FIGURE_1B = ("hvae-k1", "hvae-k10", "hvae-k1-untempered", "hvae-k10-untempered")
QUICK_LINES = ("hvae-k1", "nf-k1", "vb")
VARIANTS = ("corrected", "as-released")


@dataclasses.dataclass(frozen=True)
class GaussianConfig:
    """The protocol of section 4.1; numbers the paper leaves open are those of the authors' released code.

    Attributes:
        dims: d, the sizes of the problem.
        datasets: Number of data sets, each a training of its own.
        iterations: RMSProp iterations of each training.
        num_observations: N.
        num_samples: Samples in each estimate of the ELBO.
        learning_rate: Of RMSProp.
        max_step_size: xi.
        step_size: Initial leapfrog step size.
        inv_sqrt_beta_0: Initial 1/sqrt(beta_0).
        initial_log_sigma: Where log sigma starts; Delta starts at 0.
        initial_log_sigma_z: Where VB's log sigma_Z starts; mu_Z starts at 0.
        history_points: How often learning curves are sampled.
    """

    dims: tuple[int, ...] = (1, 2, 3, 5, 11, 25, 51, 101, 201, 301)
    datasets: int = 10
    iterations: int = 30_000
    num_observations: int = 10_000
    num_samples: int = 10
    learning_rate: float = 1e-3
    max_step_size: float = 0.5
    step_size: float = 0.005
    inv_sqrt_beta_0: float = 5.0
    initial_log_sigma: float = 3.0
    initial_log_sigma_z: float = 1.0
    history_points: int = 60

    def protocol(self) -> dict:
        """What all records of one figure have in common, whatever their size d."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "dims"}


@dataclasses.dataclass(frozen=True)
class GaussianPreset:
    """A protocol, and which lines of the figure are trained by it."""

    config: GaussianConfig
    methods: tuple[str, ...] = tuple(LINES)


MORE = "small-d"  # the preset of more data sets, and the folder within the figure's that has their records
PRESETS = {
    "paper": GaussianPreset(GaussianConfig()),
    "quick": GaussianPreset(
        GaussianConfig(dims=(1, 11, 101), datasets=4, iterations=5_000, learning_rate=4e-3, history_points=20),
        QUICK_LINES,
    ),
    MORE: GaussianPreset(GaussianConfig(dims=(1, 2, 3, 5), datasets=50), QUICK_LINES),
}
