"""The Riemannian flow: K tempered steps in a metric G, leapfrog or generalised leapfrog (Girolami & Calderhead 2011).

    p_0 ~ N(0, G(z_0)/beta_0),    (z_0, p_0) -> (z_K, p_K),    |det| = prod_k alpha_k^l,

    log p_hat = log p(x, z_K) + log N(p_K | 0, G(z_K)) - log q0(z_0) - log N(p_0 | 0, G(z_0)/beta_0) + log |det|

Momenta are kept as rho = L^-1 p, L L^T = G, which turns both densities into those of N(0, I), and the quotient of the
metric's determinants into part of the Jacobian.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.densities import Gaussian, standard_normal_log_prob
from hvae_tf.dynamics.adjoint import Adjoint, get_adjoint
from hvae_tf.dynamics.generalised_leapfrog import GeneralisedLeapfrog
from hvae_tf.dynamics.metrics import Metric, get_metric
from hvae_tf.dynamics.tempered_step import tempered
from hvae_tf.dynamics.tempering import Tempering, TemperingSchedule, get_tempering
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.flows.step_size import check_max_step_size, logit_step_size_variable
from hvae_tf.targets.target import Target

STEP_SIZE_PER = ("flow", "step")


@keras.saving.register_keras_serializable("hvae_tf")
class RiemannianFlow(Flow):
    """(z_0, rho_0) -> (z_K, rho_K) by K tempered steps in a metric, whose step size is a scalar.

    A step in the metric ``Fisher(at="z")`` is the solution of equations. Where they could not be solved, no value is
    right: the sample is NaN in all that `transform` gives, and counted in `unsolved`; `hvae_tf.fit` then raises
    `DivergenceError`. Leaving the sample out would leave out a part of the space.

    Args:
        event_size: l, the dimension of z.
        num_leapfrog_steps: K >= 1.
        metric: A `Metric`, which the flow builds, or ``"dense"`` or ``"fisher"`` (at the encoder's mean), see
            `hvae_tf.dynamics.metrics`.
        tempering: A `Tempering` or its name, see `HamiltonianFlow`.
        step_size: Initial eps, in (0, max_step_size): a number, or K numbers with ``step_size_per="step"``.
        max_step_size: xi, the bound of eps. In a metric that fits, steps are of order 1 whatever the posterior's scale.
        step_size_per: ``"flow"``, one eps for all steps, or ``"step"``.
        tolerance: For ``Fisher(at="z")``, where iterations end; None: 1e-6 in float64, 1e-5 in float32.
        max_iterations: Likewise, the most that an equation may take.
        adjoint: ``"backprop"``, ``"checkpoint"``, or where the steps are explicit ``"reversible"``, or an `Adjoint`.
        dtype: Floating type of parameters and samples.

    Raises:
        ValueError: If a count is below 1, a name is unknown, an initial value is out of its range, or a part belongs to
            another flow.
    """

    def __init__(
        self,
        event_size: int,
        num_leapfrog_steps: int,
        metric: str | Metric = "dense",
        *,
        tempering: str | Tempering = "none",
        step_size=0.2,
        max_step_size: float = 2.0,
        step_size_per: str = "flow",
        tolerance: float | None = None,
        max_iterations: int = 50,
        adjoint: str | Adjoint = "backprop",
        dtype=tf.float32,
    ):
        super().__init__(event_size, dtype=dtype, name="riemannian_flow")
        self.num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
        if step_size_per not in STEP_SIZE_PER:
            raise ValueError(f"unknown step_size_per {step_size_per!r}; accepted: {', '.join(STEP_SIZE_PER)}")
        self.step_size_per = step_size_per
        self.max_step_size = check_max_step_size(max_step_size)
        solver = GeneralisedLeapfrog(tolerance, max_iterations)  # which checks them
        self.tolerance, self.max_iterations = solver.tolerance, solver.max_iterations
        self.adjoint = get_adjoint(adjoint)
        self._initial_step_size = np.asarray(step_size, np.float64)
        shape = () if step_size_per == "flow" else (self.num_leapfrog_steps,)
        self._logit_step_size = logit_step_size_variable(self._initial_step_size, self.max_step_size, shape, self.dtype)
        self.metric = get_metric(metric)
        self.metric.build(self.event_size, self.dtype)
        self.tempering = get_tempering(tempering)
        self.tempering.build(self.num_leapfrog_steps, (), self.dtype)
        self._unsolved = None
        if self.metric.implicit:
            # each replica counts by itself, and they are summed when read
            self._unsolved = tf.Variable(
                0, trainable=False, dtype=tf.int64, name="unsolved",
                synchronization=tf.VariableSynchronization.ON_READ, aggregation=tf.VariableAggregation.SUM,
            )  # fmt: skip

    @property
    def step_sizes(self) -> tf.Tensor:
        """eps, in (0, xi): a scalar, or ``[K]`` where ``step_size_per="step"``."""
        return self.max_step_size * tf.sigmoid(self._logit_step_size)

    @property
    def unsolved(self) -> tf.Tensor:
        """How many samples were lost, since the flow was made, to equations that could not be solved; int64."""
        return tf.constant(0, tf.int64) if self._unsolved is None else tf.identity(self._unsolved)

    def schedule(self) -> TemperingSchedule:
        """beta_0 and alpha_1..alpha_K as they stand."""
        return self.tempering()

    def noise(self, shape, seed) -> tf.Tensor:
        """gamma_0 ~ N(0, I), ``[*shape, l]``."""
        shape = tf.cast(tf.convert_to_tensor(shape, dtype_hint=tf.int32), tf.int32)
        return tf.random.stateless_normal(tf.concat([shape, [self.event_size]], 0), seed, dtype=self.dtype)

    def transform(self, target, z, noise=(), q0=None, context=None) -> FlowResult:
        """As `Flow.transform`, the noise being gamma_0; samples whose steps could not be solved for are NaN."""
        if isinstance(noise, tuple):
            raise ValueError(f"noise is {noise!r}; expected a momentum: pass noise=flow.noise(shape, seed)")
        gamma, scale = tf.convert_to_tensor(noise), self.schedule().inv_sqrt_beta_0
        state, log_det, failed = self.move(target, z, gamma * scale, q0)
        log_rho_0 = standard_normal_log_prob(gamma) - self.event_size * tf.math.log(scale)
        sampled = standard_normal_log_prob(state.rho) - log_rho_0 + log_det
        # with E |gamma_0|^2 = l; the temperings' part of log |det| cancels with the scale of rho_0
        of_tempering = self.event_size * tf.math.log(scale)
        expected = 0.5 * (self.event_size - tf.reduce_sum(tf.square(state.rho), axis=-1)) + log_det + of_tempering
        result = FlowResult(state.z, state.log_joint, sampled, expected)
        if self._unsolved is None:
            return result
        self._unsolved.assign_add(tf.math.count_nonzero(failed))
        spoil = tf.where(failed, tf.constant(float("nan"), state.z.dtype), tf.ones([], state.z.dtype))
        return FlowResult(spoil[..., None] * result.z, *(spoil * value for value in result[1:]))

    def move(self, target: Target, z, rho, q0: Gaussian | None = None) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """The bare map.

        Args:
            target: What is sampled.
            z: ``[..., l]``, z_0.
            rho: ``[..., l]``, rho_0 = L(z_0)^-1 p_0.
            q0: What z_0 was drawn from, for a metric that hangs on it.

        Returns:
            The last state of the integrator, a `PhaseState` or `MetricState`; log |d(z_K, rho_K) / d(z_0, rho_0)|,
            ``[...]``; and ``[...]``, bool: whether a step could not be solved for.

        Raises:
            ValueError: If sizes do not agree.
        """
        self.check_target(target)
        z, rho = self._start(z, rho)
        integrator = self.metric.integrator(target, q0, self.tolerance, self.max_iterations)
        schedule, eps = self.schedule(), self.step_sizes
        eps_of_steps = tf.unstack(eps) if self.step_size_per == "step" else [eps] * self.num_leapfrog_steps
        steps = list(zip(eps_of_steps, schedule.alphas, strict=True))
        state = self.adjoint.scan(target, tempered(integrator), (z, rho), steps)
        of_tempering = self.event_size * tf.add_n([tf.math.log(alpha) for alpha in schedule.alphas])
        return state, integrator.log_det(state) + of_tempering, integrator.failed(state)

    def _start(self, z, rho):
        """(z, rho), both of the shape that they broadcast to."""
        start = {"z": tf.convert_to_tensor(z), "rho": tf.convert_to_tensor(rho)}
        for name, tensor in start.items():
            if tensor.shape.rank == 0 or tensor.shape[-1] != self.event_size:
                raise ValueError(f"{name} has shape {tensor.shape}; expected [..., {self.event_size}], z and rho alike")
        z, rho = start.values()
        known = tf.broadcast_static_shape(z.shape, rho.shape)
        if z.shape == rho.shape == known:
            return z, rho
        shape = tf.broadcast_dynamic_shape(tf.shape(z), tf.shape(rho))
        return tuple(tf.ensure_shape(tf.broadcast_to(tensor, shape), known) for tensor in (z, rho))

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """eps, 1/sqrt(beta_0) and the alphas as they stand, and how many samples could not be solved for so far."""
        scale, alphas = self.schedule()
        found = {"step_sizes": self.step_sizes, "inv_sqrt_beta_0": scale, "alphas": tf.stack(alphas)}
        return found if self._unsolved is None else found | {"unsolved": self.unsolved}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_leapfrog_steps": self.num_leapfrog_steps,
            "step_size": self._initial_step_size.tolist(),
            "max_step_size": self.max_step_size,
            "step_size_per": self.step_size_per,
            "tolerance": self.tolerance,
            "max_iterations": self.max_iterations,
            **self._configurations_of("metric", "tempering", "adjoint"),
        }
