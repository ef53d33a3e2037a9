"""The Hamiltonian flow: K times a step of leapfrog and a tempering of the momentum (Algorithm 1 of the paper).

Equation numbers are those of Caterini, Doucet & Sejdinovic (2018).
"""

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.dynamics.adjoint import Adjoint, get_adjoint
from hvae_tf.dynamics.integrator import Integrator, ReversibleIntegrator
from hvae_tf.dynamics.leapfrog import Leapfrog
from hvae_tf.dynamics.tempered_step import tempered
from hvae_tf.dynamics.tempering import Tempering, TemperingSchedule, get_tempering
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.flows.phase_momentum import LearnedMomentum, PhaseMomentum, TiedMomentum
from hvae_tf.flows.step_size import check_max_step_size, logit_step_size_variable
from hvae_tf.targets.target import Target

STEP_SIZE_PER = ("flow", "step")
MOMENTUM_SCALES = ("tied", "learned")


@keras.saving.register_keras_serializable("hvae_tf")
class HamiltonianFlow(Flow):
    """(z_0, rho_0) -> (z_K, rho_K), guided by the target's gradient; |det| = prod_k alpha_k^l = beta_0^(l/2).

    K + 1 gradient evaluations of the target, and the last of them gives log p(x, z_K) too. The defaults are those of
    section 4.2.

    Args:
        event_size: l, the dimension of z.
        num_leapfrog_steps: K >= 1.
        tempering: A `Tempering`, which the flow builds, or ``"none"``, ``"fixed"``, ``"fixed-released"`` or ``"free"``,
            see `hvae_tf.dynamics.tempering`.
        step_size: Initial eps, in (0, max_step_size): a number, or an array that broadcasts to the shape of
            `step_sizes`.
        max_step_size: xi, the bound of eps: eps = xi * sigmoid(.).
        step_size_per: ``"flow"``, one eps per dimension shared by all steps, or ``"step"``, one for every step too.
        momentum_scale: Of rho_0: ``"tied"`` to the tempering, 1/sqrt(beta_0), as in the paper; ``"learned"``, one for
            each dimension, which starts there. See `hvae_tf.flows.phase_momentum`.
        shift: Whether the mean that rho_K is held to have is learned, one for each dimension; else it is 0.
        integrator: One step, an `Integrator` that starts from (z, rho), takes eps as its parameter and has z, rho and
            log_joint in its state, `Leapfrog` by default; unit Jacobian is assumed of it.
        adjoint: An `Adjoint`, or ``"backprop"``, ``"checkpoint"`` or ``"reversible"``: what training costs in time and
            memory, see `hvae_tf.dynamics.adjoint`.
        batch_shape: Shape of independent repeats, each with parameters of its own; it lines up with the axes of z
            just before the last.
        dtype: Floating type of parameters and samples.

    Raises:
        ValueError: If K < 1, a name is unknown, an initial value is out of its range, or the tempering belongs to
            another flow.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), event_size=2)
        >>> flow = hvae_tf.HamiltonianFlow(event_size=2, num_leapfrog_steps=3, tempering="none")
        >>> result = flow.transform(target, tf.ones([5, 2]), flow.noise([5], seed=(0, 1)))
        >>> result.z.shape, result.log_ratio.shape
        (TensorShape([5, 2]), TensorShape([5]))
    """

    def __init__(
        self,
        event_size: int,
        num_leapfrog_steps: int,
        tempering: str | Tempering = "free",
        *,
        step_size=0.2,
        max_step_size: float = 0.5,
        step_size_per: str = "flow",
        momentum_scale: str = "tied",
        shift: bool = False,
        integrator: Integrator | None = None,
        adjoint: str | Adjoint = "backprop",
        batch_shape=(),
        dtype=tf.float32,
    ):
        super().__init__(event_size, dtype=dtype, name="hamiltonian_flow")
        self.num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
        if step_size_per not in STEP_SIZE_PER:
            raise ValueError(f"unknown step_size_per {step_size_per!r}; accepted: {', '.join(STEP_SIZE_PER)}")
        self.step_size_per = step_size_per
        self.max_step_size = check_max_step_size(max_step_size)
        self.batch_shape = tuple(batch_shape)
        self.adjoint = get_adjoint(adjoint)
        self.integrator = Leapfrog() if integrator is None else integrator
        if not isinstance(self.integrator, Integrator):
            raise ValueError(f"integrator is {integrator!r}; expected an Integrator, such as Leapfrog()")
        self._tempered_step = tempered(self.integrator)
        self._initial_step_size = np.asarray(step_size, np.float64)
        self._logit_step_size = self._step_size_variable(self._initial_step_size)
        self.tempering = get_tempering(tempering)
        self.tempering.build(self.num_leapfrog_steps, self.batch_shape, self.dtype)
        self.momentum_scale, self.shift = momentum_scale, bool(shift)
        self.momentum = self._make_momentum()

    def _make_momentum(self) -> PhaseMomentum:
        arguments = self.event_size, self.batch_shape, self.shift, self.dtype
        if self.momentum_scale == "tied":
            return TiedMomentum(*arguments)
        if self.momentum_scale == "learned":
            return LearnedMomentum(*arguments, self.schedule())
        raise ValueError(f"unknown momentum_scale {self.momentum_scale!r}; accepted: {', '.join(MOMENTUM_SCALES)}")

    def _step_size_variable(self, step_size) -> tf.Variable:
        shape: tuple[int, ...] = (*self.batch_shape, self.event_size)
        if self.step_size_per == "step":
            shape = (self.num_leapfrog_steps, *shape)
        return logit_step_size_variable(step_size, self.max_step_size, shape, self.dtype)

    @property
    def step_sizes(self) -> tf.Tensor:
        """eps, in (0, xi): ``[*batch, l]``, or ``[K, *batch, l]`` where ``step_size_per="step"``."""
        return self.max_step_size * tf.sigmoid(self._logit_step_size)

    def schedule(self) -> TemperingSchedule:
        """beta_0 and alpha_1..alpha_K as they stand."""
        return self.tempering()

    def noise(self, shape, seed) -> tf.Tensor:
        """gamma_0 ~ N(0, I), ``[*shape, l]``."""
        shape = tf.cast(tf.convert_to_tensor(shape, dtype_hint=tf.int32), tf.int32)
        return tf.random.stateless_normal(tf.concat([shape, [self.event_size]], 0), seed, dtype=self.dtype)

    def transform(self, target, z, noise=(), q0=None, context=None) -> FlowResult:
        """Algorithm 1, with gamma_0 for its noise: see `Flow.transform`."""
        if isinstance(noise, tuple):
            raise ValueError(f"noise is {noise!r}; expected a momentum: pass noise=flow.noise(shape, seed)")
        gamma, schedule, size = tf.convert_to_tensor(noise), self.schedule(), self.event_size
        rho, log_rho_0 = self.momentum.draw(gamma, schedule)  # rho_0 = gamma_0 / sqrt(beta_0) where it is tied
        # the bare map takes the schedule anew: the two parts of beta_0's gradient are then rounded as they always were
        state, log_det = self.move(target, z, rho)
        rho_K = self.momentum.centred(state.rho)
        log_ratio = standard_normal_log_prob(rho_K) - log_rho_0 + log_det  # (6)
        # with E |gamma_0|^2 = l
        expected_log_ratio = 0.5 * (size - tf.reduce_sum(tf.square(rho_K), axis=-1))  # (12)
        expected_log_ratio += self.momentum.log_volume(log_det)  # 0 where the momentum is tied
        return FlowResult(state.z, state.log_joint, log_ratio, expected_log_ratio)

    def move(self, target: Target, z: tf.Tensor, rho: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """The bare map.

        Args:
            target: What is sampled.
            z: ``[..., l]``, z_0.
            rho: ``[..., l]``, rho_0.

        Returns:
            The last state of the integrator, for leapfrog a `PhaseState`, and log |det| = sum_k l log alpha_k.

        Raises:
            ValueError: If sizes do not agree.
        """
        schedule = self.schedule()
        steps = self._steps(schedule)
        start = self._start(target, z, rho, steps)
        state = self.adjoint.scan(target, self._tempered_step, start, steps)
        return state, self.event_size * tf.add_n([tf.math.log(alpha) for alpha in schedule.alphas])

    def trajectory(self, target: Target, z: tf.Tensor, rho: tf.Tensor) -> list:
        """The way of `move`, for whoever wants to look at it: K + 1 states of the integrator, from the start on.

        Args:
            target: What is sampled.
            z: ``[..., l]``, z_0.
            rho: ``[..., l]``, rho_0.

        Raises:
            ValueError: If sizes do not agree.
        """
        steps = self._steps(self.schedule())
        states = [self._tempered_step.init(target, *self._start(target, z, rho, steps))]
        for of_step in steps:
            states.append(self._tempered_step.step(target, states[-1], of_step))
        return states

    def inverse(self, target: Target, z: tf.Tensor, rho: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(z_K, rho_K) -> (z_0, rho_0), both ``[..., l]``; exact up to rounding.

        Raises:
            ValueError: If the integrator is no `ReversibleIntegrator`, or sizes do not agree.
        """
        if not isinstance(self._tempered_step, ReversibleIntegrator):
            raise ValueError(f"inverse needs a ReversibleIntegrator; {self.integrator!r} is none")
        steps = self._steps(self.schedule())
        state = self._tempered_step.init(target, *self._start(target, z, rho, steps))
        for of_step in reversed(steps):
            state = self._tempered_step.step_back(target, state, of_step)
        return state.z, state.rho

    def _steps(self, schedule) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Parameters of each step: eps ``[*batch, l]`` and alpha ``[*batch]``."""
        eps = self.step_sizes
        eps_of_steps = tf.unstack(eps) if self.step_size_per == "step" else [eps] * self.num_leapfrog_steps
        return list(zip(eps_of_steps, schedule.alphas, strict=True))

    def _start(self, target, z, rho, steps) -> tuple[tf.Tensor, ...]:
        """(z, rho), both of the shape that broadcasting gives the state after a step."""
        self.check_target(target)
        start = {"z": tf.convert_to_tensor(z), "rho": tf.convert_to_tensor(rho)}
        for name, tensor in start.items():
            if tensor.shape.rank == 0 or tensor.shape[-1] != self.event_size:
                raise ValueError(f"{name} has shape {tensor.shape}; expected [..., {self.event_size}], z and rho alike")
        eps, alpha = steps[0]
        tensors = *start.values(), eps, alpha[..., None]
        known = functools.reduce(tf.broadcast_static_shape, [t.shape for t in tensors])
        if all(tensor.shape == known for tensor in start.values()):
            return tuple(start.values())
        shape = functools.reduce(tf.broadcast_dynamic_shape, [tf.shape(t) for t in tensors])
        return tuple(tf.ensure_shape(tf.broadcast_to(tensor, shape), known) for tensor in start.values())

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """eps, 1/sqrt(beta_0) and the alphas, ``[K, *batch]``, as they stand; s where it is learned."""
        schedule = self.schedule()
        found = {"inv_sqrt_beta_0": schedule.inv_sqrt_beta_0, "alphas": tf.stack(schedule.alphas)}
        if self.momentum_scale == "learned":
            found["momentum_scale"] = self.momentum.scale(schedule)
        return {"step_sizes": self.step_sizes} | found

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_leapfrog_steps": self.num_leapfrog_steps,
            "step_size": self._initial_step_size.tolist(),
            "max_step_size": self.max_step_size,
            "step_size_per": self.step_size_per,
            "momentum_scale": self.momentum_scale,
            "shift": self.shift,
            "batch_shape": list(self.batch_shape),
            **self._configurations_of("tempering", "integrator", "adjoint"),
        }
