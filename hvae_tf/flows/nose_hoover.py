"""The Nosé-Hoover flow: instead of tempering by a rule, a thermostat that sees the momentum cools it.

The state is (z, rho, xi), xi_0 ~ N(0, 1/Q), rho_0 ~ N(0, tau_0 I). Temperatures fall from tau_0 = 1/beta_0 to
tau_K = 1:

    log p_hat = log p(x, z_K) - log q0(z_0) + log N(rho_K; 0, I) - log N(rho_0; 0, tau_0 I)
                + log N(xi_K; 0, 1/Q) - log N(xi_0; 0, 1/Q) + sum_k log |det_k|

Both densities of xi belong there, and xi_0 is drawn: the (z, rho) part of the map has another determinant. The paper
(Caterini, Doucet & Sejdinovic 2018, section 5) leaves this flow as an open question.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.dynamics.adjoint import Adjoint, get_adjoint
from hvae_tf.dynamics.nose_hoover import NoseHoover, ThermostatState
from hvae_tf.dynamics.tempering import Tempering, TemperingSchedule, get_tempering
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.flows.step_size import check_max_step_size, logit_step_size_variable
from hvae_tf.targets.target import Target

STEP_SIZE_PER = ("flow", "step")


@keras.saving.register_keras_serializable("hvae_tf")
class NoseHooverFlow(Flow):
    """(z_0, rho_0, xi_0) -> (z_K, rho_K, xi_K), guided by the target's gradient: K + 1 evaluations.

    Only h/sqrt(Q) matters, h being the thermostat's time step; here h is the mean of eps over the dimensions, which
    is eps where all are equal. As Q grows the flow becomes the untempered Hamiltonian flow.

    Args:
        event_size: l, the dimension of z.
        num_leapfrog_steps: K >= 1.
        thermostat_mass: Initial Q > 0; None: l.
        learn_mass: Whether Q is trained, by its logarithm.
        tempering: How the thermostat's temperature tau_k = 1/beta_k falls to 1: a `Tempering` or its name, see
            `HamiltonianFlow`. No alpha scales the momentum here; with ``"none"`` tau is 1 throughout.
        step_size: Initial eps, in (0, max_step_size): a number, or an array that broadcasts to the shape of
            `step_sizes`.
        max_step_size: xi, the bound of eps: eps = xi * sigmoid(.).
        step_size_per: ``"flow"``, one eps per dimension shared by all steps, or ``"step"``, one for every step too.
        adjoint: ``"backprop"``, ``"checkpoint"`` or ``"reversible"``, or an `Adjoint`, see `hvae_tf.dynamics.adjoint`.
        dtype: Floating type of parameters and samples.

    Raises:
        ValueError: If K < 1, a name is unknown, an initial value is out of its range, or the tempering belongs to
            another flow.
    """

    def __init__(
        self,
        event_size: int,
        num_leapfrog_steps: int,
        *,
        thermostat_mass: float | None = None,
        learn_mass: bool = True,
        tempering: str | Tempering = "none",
        step_size=0.2,
        max_step_size: float = 0.5,
        step_size_per: str = "flow",
        adjoint: str | Adjoint = "backprop",
        dtype=tf.float32,
    ):
        super().__init__(event_size, dtype=dtype, name="nose_hoover_flow")
        self.num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
        if step_size_per not in STEP_SIZE_PER:
            raise ValueError(f"unknown step_size_per {step_size_per!r}; accepted: {', '.join(STEP_SIZE_PER)}")
        self.step_size_per = step_size_per
        mass = self.event_size if thermostat_mass is None else thermostat_mass
        if not 0.0 < mass < float("inf"):
            raise ValueError(f"thermostat_mass is {thermostat_mass}; expected a positive finite number, or None for l")
        self._initial_mass = float(mass)
        self.learn_mass = bool(learn_mass)
        numpy_dtype = self.dtype.as_numpy_dtype
        self._log_mass = tf.Variable(
            numpy_dtype(np.log(self._initial_mass)), trainable=self.learn_mass, name="log_thermostat_mass"
        )
        self.max_step_size = check_max_step_size(max_step_size)
        self._initial_step_size = np.asarray(step_size, np.float64)
        shape = (self.event_size,) if step_size_per == "flow" else (self.num_leapfrog_steps, self.event_size)
        self._logit_step_size = logit_step_size_variable(self._initial_step_size, self.max_step_size, shape, self.dtype)
        self.adjoint = get_adjoint(adjoint)
        self.tempering = get_tempering(tempering)
        self.tempering.build(self.num_leapfrog_steps, (), self.dtype)

    @property
    def step_sizes(self) -> tf.Tensor:
        """eps, in (0, xi): ``[l]``, or ``[K, l]`` where ``step_size_per="step"``."""
        return self.max_step_size * tf.sigmoid(self._logit_step_size)

    @property
    def thermostat_mass(self) -> tf.Tensor:
        """Q as it stands."""
        return tf.exp(self._log_mass)

    def schedule(self) -> TemperingSchedule:
        """beta_0 and alpha_1..alpha_K as they stand; tau_k is 1/beta_0 times alpha_1^2 .. alpha_k^2."""
        return self.tempering()

    def temperatures(self) -> list[tf.Tensor]:
        """tau_0, .., tau_K, the last of which is 1."""
        scale, alphas = self.schedule()
        scales = [scale]
        for alpha in alphas:
            scales.append(scales[-1] * alpha)
        return [tf.square(value) for value in scales]

    def noise(self, shape, seed) -> tuple[tf.Tensor, tf.Tensor]:
        """(gamma_0, eta_0) ~ N(0, I), ``[*shape, l]`` and ``[*shape, 1]``: momentum and thermostat."""
        shape = tf.cast(tf.convert_to_tensor(shape, dtype_hint=tf.int32), tf.int32)
        shape = tf.concat([shape, [self.event_size + 1]], axis=0)
        noise = tf.random.stateless_normal(shape, seed, dtype=self.dtype)
        return noise[..., :-1], noise[..., -1:]

    def transform(self, target, z, noise=(), q0=None, context=None) -> FlowResult:
        """As `Flow.transform`, the noise being (gamma_0, eta_0)."""
        if not isinstance(noise, tuple) or len(noise) != 2:
            raise ValueError("noise is no pair (gamma_0, eta_0); pass noise=flow.noise(shape, seed)")
        gamma, eta = (tf.convert_to_tensor(part) for part in noise)
        scale = self.schedule().inv_sqrt_beta_0
        state = self.move(target, z, scale * gamma, eta)
        log_det = state.log_det[..., 0] + self.event_size * tf.math.log(
            scale
        )  # of gamma_0 -> rho_0, which N(rho_0) has
        sampled = standard_normal_log_prob(state.rho) - standard_normal_log_prob(gamma) + log_det
        sampled += standard_normal_log_prob(state.eta) - standard_normal_log_prob(eta)  # of the thermostat, 1/Q cancels
        # with E |gamma_0|^2 = l and E eta_0^2 = 1
        squares = tf.reduce_sum(tf.square(state.rho), axis=-1) + tf.square(state.eta[..., 0])
        expected = 0.5 * (self.event_size + 1 - squares) + log_det
        return FlowResult(state.z, state.log_joint, sampled, expected)

    def move(self, target: Target, z, rho, eta) -> ThermostatState:
        """The bare map.

        Args:
            target: What is sampled.
            z: ``[..., l]``, z_0.
            rho: ``[..., l]``, rho_0.
            eta: ``[..., 1]``, sqrt(Q) xi_0.

        Returns:
            `ThermostatState`, whose log_det is that of the whole map.

        Raises:
            ValueError: If sizes do not agree.
        """
        self.check_target(target)
        start = self._start(z, rho, eta)
        eps = self.step_sizes
        eps_of_steps = tf.unstack(eps) if self.step_size_per == "step" else [eps] * self.num_leapfrog_steps
        coupling = tf.reduce_mean(eps, axis=-1) * tf.exp(-0.5 * self._log_mass)  # h / sqrt(Q)
        couplings = tf.unstack(coupling) if self.step_size_per == "step" else [coupling] * self.num_leapfrog_steps
        taus = self.temperatures()[1:]
        steps = [(e, c, c * tau) for e, c, tau in zip(eps_of_steps, couplings, taus, strict=True)]
        return self.adjoint.scan(target, NoseHoover(), start, steps)

    def _start(self, z, rho, eta):
        """(z, rho, eta, log |det|) of the leading axes that they broadcast to."""
        wanted = {"z": (z, self.event_size), "rho": (rho, self.event_size), "eta": (eta, 1)}
        tensors = []
        for name, (tensor, size) in wanted.items():
            tensor = tf.convert_to_tensor(tensor)
            if tensor.shape.rank == 0 or tensor.shape[-1] != size:
                raise ValueError(f"{name} has shape {tensor.shape}; expected [..., {size}]")
            tensors.append(tensor)
        known, shape = tensors[0].shape[:-1], tf.shape(tensors[0])[:-1]
        for tensor in tensors[1:]:
            known = tf.broadcast_static_shape(known, tensor.shape[:-1])
            shape = tf.broadcast_dynamic_shape(shape, tf.shape(tensor)[:-1])
        tensors.append(tf.zeros_like(tensors[-1]))
        return tuple(
            tf.ensure_shape(
                tf.broadcast_to(tensor, tf.concat([shape, tensor.shape[-1:]], axis=0)), [*known, tensor.shape[-1]]
            )
            for tensor in tensors
        )

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """eps, Q and tau_0, .., tau_K as they stand."""
        found = {"step_sizes": self.step_sizes, "thermostat_mass": self.thermostat_mass}
        return found | {"temperatures": tf.stack(self.temperatures())}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_leapfrog_steps": self.num_leapfrog_steps,
            "thermostat_mass": self._initial_mass,
            "learn_mass": self.learn_mass,
            "step_size": self._initial_step_size.tolist(),
            "max_step_size": self.max_step_size,
            "step_size_per": self.step_size_per,
            **self._configurations_of("tempering", "adjoint"),
        }
