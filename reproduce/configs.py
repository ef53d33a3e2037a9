"""The experiments' configurations: the published protocol, the released code's variants, the small budgets."""

import dataclasses

# --------------------------------------------------------------------------------- Figure 1, section 4.1 of the paper


@dataclasses.dataclass(frozen=True)
class GaussianMethod:
    """One line of Figure 1.

    Attributes:
        label: As the paper's legend has it.
        kind: ``"hvae"``, ``"nf"`` (planar normalising flow) or ``"vb"`` (mean-field).
        num_steps: K: leapfrog steps or planar layers; 0 for VB.
        tempering: Of the Hamiltonian flow, else None.
    """

    label: str
    kind: str
    num_steps: int = 0
    tempering: str | None = None


GAUSSIAN_METHODS = {
    "hvae-k1": GaussianMethod("HVAE, K = 1", "hvae", 1, "fixed"),
    "hvae-k10": GaussianMethod("HVAE, K = 10", "hvae", 10, "fixed"),
    "hvae-k1-untempered": GaussianMethod("HVAE, K = 1, no tempering", "hvae", 1, "none"),
    "hvae-k10-untempered": GaussianMethod("HVAE, K = 10, no tempering", "hvae", 10, "none"),
    "nf-k1": GaussianMethod("NF, K = 1", "nf", 1),
    "nf-k30": GaussianMethod("NF, K = 30", "nf", 30),
    "vb": GaussianMethod("VB", "vb"),
}
FIGURE_1A = ("hvae-k1", "hvae-k10", "nf-k1", "nf-k30", "vb")
FIGURE_1B = ("hvae-k1", "hvae-k10", "hvae-k1-untempered", "hvae-k10-untempered")
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


GAUSSIAN_PRESETS = {
    "paper": GaussianConfig(),
    "quick": GaussianConfig(dims=(1, 2, 5), datasets=4, iterations=5_000, learning_rate=4e-3, history_points=20),
}
