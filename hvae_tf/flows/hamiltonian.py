"""The Hamiltonian flow: K times a leapfrog step and a tempering of the momentum (Algorithm 1 of the paper)."""

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.dynamics.leapfrog import PhaseState, initial_state, leapfrog_step
from hvae_tf.dynamics.tempering import TemperingSchedule, make_tempering
from hvae_tf.flows.differentiation import DIFFERENTIATIONS
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.targets.target import Target
from hvae_tf.variables import AddVariable, logit, tf_variable

STEP_SIZE_PER = ("flow", "step")


class HamiltonianFlow(Flow):
    """(z_0, rho_0) -> (z_K, rho_K), guided by the target's gradient; |det| = beta_0^(l/2).

    K + 1 gradient evaluations of the target, and the last of them gives log p(x, z_K) too.

    Args:
        event_size: l, the dimension of z.
        num_leapfrog_steps: K >= 1.
        tempering: ``"none"``, ``"fixed"``, ``"fixed-released"`` or ``"free"``, see `hvae_tf.dynamics.tempering`.
        step_size: Initial eps, in (0, max_step_size): a number, or an array that broadcasts to the shape of
            `step_sizes`.
        max_step_size: xi, the bound of eps: eps = xi * sigmoid(.).
        step_size_per: ``"flow"``, one eps per dimension shared by all steps, or ``"step"``, one for every step too.
        inv_sqrt_beta_0: Initial 1/sqrt(beta_0) > 1, for fixed tempering.
        alpha: Initial alpha_k in (0, 1), for free tempering.
        batch_shape: Shape of independent repeats, each with parameters of its own; it lines up with the axes of z
            just before the last.
        dtype: Floating type of parameters and samples.
        add_variable: Creates the variables, see `hvae_tf.variables`.
        integrator: One step, ``(target, PhaseState, eps) -> PhaseState``; unit Jacobian is assumed of it.
        differentiation: ``"backprop"``, ``"checkpoint"`` or ``"reversible"``: what training costs in time and memory,
            see `hvae_tf.flows.differentiation`.

    Raises:
        ValueError: If K < 1, a name is unknown, or an initial value is out of its range.
    """

    has_momentum = True

    def __init__(
        self,
        event_size: int,
        num_leapfrog_steps: int,
        tempering: str = "fixed",
        step_size=0.005,
        max_step_size: float = 0.5,
        step_size_per: str = "flow",
        inv_sqrt_beta_0: float = 5.0,
        alpha: float = 0.9,
        batch_shape=(),
        dtype=tf.float32,
        add_variable: AddVariable = tf_variable,
        integrator=leapfrog_step,
        differentiation: str = "backprop",
    ):
        super().__init__(event_size, name="hamiltonian_flow")
        if step_size_per not in STEP_SIZE_PER:
            raise ValueError(f"unknown step_size_per {step_size_per!r}; accepted: {', '.join(STEP_SIZE_PER)}")
        step_size = np.asarray(step_size, np.float64)
        if not (np.all(step_size > 0.0) and np.all(step_size < max_step_size)):
            raise ValueError(f"step_size is {step_size}; expected values in (0, max_step_size) = (0, {max_step_size})")
        self.num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
        self.max_step_size = float(max_step_size)
        self.step_size_per = step_size_per
        self.dtype = tf.as_dtype(dtype)
        if differentiation not in DIFFERENTIATIONS:
            raise ValueError(f"unknown differentiation {differentiation!r}; accepted: {', '.join(DIFFERENTIATIONS)}")
        self._integrator = integrator
        self._run = DIFFERENTIATIONS[differentiation]
        shape = (*batch_shape, self.event_size)
        if step_size_per == "step":
            shape = (self.num_leapfrog_steps, *shape)
        try:
            initial = np.broadcast_to(logit(step_size / max_step_size), shape)
        except ValueError as error:
            raise ValueError(f"step_size has shape {step_size.shape}; expected one broadcasting to {shape}") from error
        self._logit_step_size = add_variable("logit_step_size", initial.astype(self.dtype.as_numpy_dtype))
        kwargs = {"batch_shape": batch_shape, "dtype": dtype, "add_variable": add_variable}
        if tempering in ("fixed", "fixed-released"):
            kwargs["inv_sqrt_beta_0"] = inv_sqrt_beta_0
        elif tempering == "free":
            kwargs["alpha"] = alpha
        self.tempering = make_tempering(tempering, self.num_leapfrog_steps, **kwargs)

    @property
    def step_sizes(self) -> tf.Tensor:
        """eps, in (0, xi): ``[*batch, l]``, or ``[K, *batch, l]`` where ``step_size_per="step"``."""
        return self.max_step_size * tf.sigmoid(self._logit_step_size)

    def schedule(self) -> TemperingSchedule:
        """beta_0 and alpha_1..alpha_K as they stand."""
        return self.tempering()

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """`step_sizes`, `inv_sqrt_beta_0` and `alphas` ``[K, *batch]``, as they stand."""
        schedule = self.schedule()
        alphas = tf.stack(schedule.alphas)
        return {"step_sizes": self.step_sizes, "inv_sqrt_beta_0": schedule.inv_sqrt_beta_0, "alphas": alphas}

    def initial_momentum(self, gamma: tf.Tensor) -> tf.Tensor:
        """rho_0 = gamma_0 / sqrt(beta_0), for gamma_0 ~ N(0, I), both ``[..., l]`` (Algorithm 1)."""
        return gamma * self.schedule().inv_sqrt_beta_0[..., None]

    def _eps_per_step(self) -> list[tf.Tensor]:
        eps = self.step_sizes
        return tf.unstack(eps) if self.step_size_per == "step" else [eps] * self.num_leapfrog_steps

    def __call__(self, target: Target, z: tf.Tensor, rho: tf.Tensor | None = None) -> FlowResult:
        """Runs the flow.

        Args:
            target: What is sampled.
            z: ``[..., l]``, z_0.
            rho: ``[..., l]``, rho_0, from `initial_momentum`.

        Returns:
            z_K, rho_K, log p(x, z_K) and log |det| = sum_k l log alpha_k.

        Raises:
            ValueError: If rho is missing or sizes do not agree.
        """
        self.check_target(target)
        if rho is None:
            raise ValueError("a Hamiltonian flow moves a momentum too: pass rho = flow.initial_momentum(gamma)")
        rho = tf.convert_to_tensor(rho)
        if rho.shape.rank == 0 or rho.shape[-1] != self.event_size:
            raise ValueError(f"rho has shape {rho.shape}; expected [..., {self.event_size}], like z")
        alphas = self.schedule().alphas
        state = self._run(target, self._integrator, tf.convert_to_tensor(z), rho, self._eps_per_step(), alphas)
        log_det = self.event_size * tf.add_n([tf.math.log(alpha) for alpha in alphas])
        return FlowResult(state.z, state.rho, state.log_joint, log_det)

    def inverse(self, target: Target, z: tf.Tensor, rho: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(z_K, rho_K) -> (z_0, rho_0), both ``[..., l]``; exact up to rounding for reversible integrators."""
        self.check_target(target)
        state: PhaseState = initial_state(target, z, rho)
        for eps, alpha in reversed(list(zip(self._eps_per_step(), self.schedule().alphas, strict=True))):
            state = state._replace(rho=state.rho / alpha[..., None])
            state = self._integrator(target, state, -eps)
        return state.z, state.rho
