"""The stochastic flow: T transitions, each of which draws a momentum, follows the target's gradient, and lets it go.

    v'_t ~ q_t,    (z_t, v_t) = LF^n(z_{t-1}, v'_t),
    log_ratio = sum_t [ log r_t(v_t | z_t, x) - log q_t(v'_t) ].

It is unbiased for any r_t, any step size and any number of steps: (z_0, v'_1..T) -> (z_T, v_1..T) has unit Jacobian, so
the mean of exp(log w) is the integral of p(x, z_T) prod_t r_t(v_t | z_t, x), in which every v_t integrates to one, in
the order 1, ..., T, because z_{t-1} is a function of (z_t, v_t).

A momentum may be refreshed in part: (v_t, xi) -> (v'_{t+1}, u_t), one map that keeps volume too. Then q_t is the
density of the noise xi, r_t is one of what is let go, u_t, and may know v'_{t+1}; the argument is the same. After the
last transition all of v_T is let go.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.densities import DiagonalGaussian, Gaussian
from hvae_tf.dynamics.adjoint import Adjoint, Reversible, get_adjoint
from hvae_tf.dynamics.integrator import Integrator, Onwards
from hvae_tf.dynamics.leapfrog import Leapfrog, PhaseState
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.flows.momentum import MomentumDraw, MomentumSource
from hvae_tf.flows.reverse_model import ReverseModel, reverse_inputs
from hvae_tf.flows.step_size import check_max_step_size, logit_step_size_variable
from hvae_tf.targets.target import Target

STEP_SIZES_PER = ("flow", "transition", "step")


class Transition(NamedTuple):
    """One transition of a flow, as it went.

    Attributes:
        start: z_{t-1}, and v'_t as its momentum.
        draw: What was drawn, with its density: v'_t, log q_t.
        end: z_t and v_t.
        released: u_t ``[..., l]``, what is let go of v_t.
        reverse: r_t(. | z_t, x), the density of u_t.
    """

    start: PhaseState
    draw: MomentumDraw
    end: PhaseState
    released: tf.Tensor
    reverse: DiagonalGaussian


@keras.saving.register_keras_serializable("hvae_tf")
class StochasticFlow(Flow):
    """T transitions of n leapfrog steps, each from a new momentum; T n + 1 gradient evaluations of the target.

    Args:
        event_size: l, the dimension of z.
        num_transitions: T >= 1.
        num_leapfrog_steps: n >= 1, steps of each transition.
        momentum: A `MomentumSource`, which the flow builds: q_t.
        reverse: A `ReverseModel`, which the flow builds: r_t.
        step_size: Initial eps, in (0, max_step_size): a number, or an array that broadcasts to the shape of
            `step_sizes`.
        max_step_size: xi, the bound of eps: eps = xi * sigmoid(.).
        step_size_per: ``"flow"``, one eps per dimension for all steps; ``"transition"``, one for each transition too;
            ``"step"``, one for each step.
        integrator: One step, an `Integrator` that starts from (z, rho), takes eps as its parameter and has z, rho,
            log_joint and grad in its state, `Leapfrog` by default; unit Jacobian is assumed of it.
        adjoint: ``"backprop"`` or ``"checkpoint"``, or one of them as an object, see `hvae_tf.dynamics.adjoint`.
        dtype: Floating type of parameters and samples.

    Raises:
        ValueError: If a count is below 1, a name is unknown, an initial value is out of its range, or a part belongs to
            another flow.
    """

    def __init__(
        self,
        event_size: int,
        num_transitions: int,
        num_leapfrog_steps: int,
        *,
        momentum: MomentumSource,
        reverse: ReverseModel,
        step_size=0.1,
        max_step_size: float = 0.5,
        step_size_per: str = "transition",
        integrator: Integrator | None = None,
        adjoint: str | Adjoint = "backprop",
        dtype=tf.float32,
    ):
        super().__init__(event_size, dtype=dtype, name="stochastic_flow")
        self.num_transitions = check_count("num_transitions", num_transitions)
        self.num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
        if step_size_per not in STEP_SIZES_PER:
            raise ValueError(f"unknown step_size_per {step_size_per!r}; accepted: {', '.join(STEP_SIZES_PER)}")
        self.step_size_per = step_size_per
        self.max_step_size = check_max_step_size(max_step_size)
        self.adjoint = get_adjoint(adjoint)
        if isinstance(self.adjoint, Reversible):
            raise ValueError(
                "adjoint is 'reversible'; a chain passes its evaluations on: use 'backprop' or 'checkpoint'"
            )
        self.integrator = Leapfrog() if integrator is None else integrator
        if not isinstance(self.integrator, Integrator):
            raise ValueError(f"integrator is {integrator!r}; expected an Integrator, such as Leapfrog()")
        self._initial_step_size = np.asarray(step_size, np.float64)
        counts = {"flow": (), "transition": (num_transitions,), "step": (num_transitions, num_leapfrog_steps)}
        shape = (*counts[step_size_per], self.event_size)
        self._logit_step_size = logit_step_size_variable(self._initial_step_size, self.max_step_size, shape, self.dtype)
        for name, part, kind in (("momentum", momentum, MomentumSource), ("reverse", reverse, ReverseModel)):
            if not isinstance(part, kind):
                raise ValueError(f"{name} is {part!r}; expected a {kind.__name__}")
            part.build(self.num_transitions, self.event_size, self.dtype)
        self.momentum = momentum
        self.reverse = reverse

    @property
    def step_sizes(self) -> tf.Tensor:
        """eps, in (0, xi): ``[l]``, ``[T, l]`` or ``[T, n, l]``, by `step_size_per`."""
        return self.max_step_size * tf.sigmoid(self._logit_step_size)

    def noise(self, shape, seed) -> tuple[tf.Tensor, ...]:
        """T tensors ``[*shape, l]`` of N(0, I): what the momenta are made of."""
        shape = tf.cast(tf.convert_to_tensor(shape, dtype_hint=tf.int32), tf.int32)
        shape = tf.concat([[self.num_transitions], shape, [self.event_size]], axis=0)
        return tuple(tf.unstack(tf.random.stateless_normal(shape, seed, dtype=self.dtype), self.num_transitions))

    def transform(self, target, z, noise=(), q0=None, context=None) -> FlowResult:
        transitions = self.transitions(target, z, noise, q0=q0, context=context)
        log_reverse = tf.add_n([step.reverse.log_prob(step.released) for step in transitions])
        end = transitions[-1].end
        return FlowResult(
            end.z,
            end.log_joint,
            log_reverse - tf.add_n([step.draw.log_prob for step in transitions]),
            log_reverse - tf.add_n([step.draw.expected_log_prob for step in transitions]),
        )

    def transitions(self, target: Target, z, noise, q0: Gaussian | None = None, context=None):
        """The way of the samples, transition by transition; arguments as of `transform`.

        Returns:
            T `Transition`s.

        Raises:
            ValueError: If sizes or counts do not agree.
        """
        self.check_target(target)
        z, noise = self._start(z, noise)
        integrator, potential = self._stage(target, q0)
        state = integrator.init(potential, z, tf.zeros_like(z))
        onwards = Onwards(integrator, type(state))
        starts, draws, ends = [], [], []
        for t, of_steps in enumerate(self._parameters()):
            draws.append(self.momentum.draw(t, noise[t], state))
            starts.append(state._replace(rho=draws[t].value))
            # the evaluation at z_{t-1} goes with the state: T n + 1 in all
            state = self.adjoint.scan(potential, onwards, tuple(starts[t]), of_steps)
            ends.append(state)
        way = []
        for t, (start, draw, end) in enumerate(zip(starts, draws, ends, strict=True)):
            released, momentum, kept = end.rho, tf.zeros_like(z), 0.0
            if t + 1 < self.num_transitions:
                released, momentum, kept = draws[t + 1].released, draws[t + 1].value, draws[t + 1].kept
            inputs = reverse_inputs(end.z, end.grad, q0, context, momentum, kept)
            way.append(Transition(start, draw, end, released, self.reverse.density(t, inputs)))
        return way

    def _stage(self, target: Target, q0: Gaussian | None) -> tuple[Integrator, Any]:
        """The integrator of all transitions, and what it evaluates."""
        return self.integrator, target

    def _parameters(self) -> list[list]:
        """The integrator's parameters for each of the n steps of each of the T transitions."""
        eps = self.step_sizes
        if self.step_size_per == "transition":
            eps = eps[:, None]
        shape = (self.num_transitions, self.num_leapfrog_steps, self.event_size)
        return [tf.unstack(of_transition) for of_transition in tf.unstack(tf.broadcast_to(eps, shape))]

    def _start(self, z, noise):
        """z, and T tensors of noise, of one shape ``[..., l]``."""
        if not isinstance(noise, tuple) or len(noise) != self.num_transitions:
            found = f"{len(noise)} tensors" if isinstance(noise, tuple) else f"a {type(noise).__name__}"
            raise ValueError(
                f"noise is {found}; expected a tuple of {self.num_transitions} tensors, one for each transition: pass "
                "noise=flow.noise(shape, seed)"
            )
        tensors = [tf.convert_to_tensor(tensor) for tensor in (z, *noise)]
        for tensor in tensors:
            if tensor.shape.rank == 0 or tensor.shape[-1] != self.event_size:
                raise ValueError(f"z or noise has shape {tensor.shape}; expected [..., {self.event_size}], all alike")
        known = tensors[0].shape
        if all(tensor.shape == known for tensor in tensors):
            return tensors[0], tensors[1:]
        for tensor in tensors[1:]:
            known = tf.broadcast_static_shape(known, tensor.shape)
        shape = tf.shape(tensors[0])
        for tensor in tensors[1:]:
            shape = tf.broadcast_dynamic_shape(shape, tf.shape(tensor))
        first, *others = (tf.ensure_shape(tf.broadcast_to(tensor, shape), known) for tensor in tensors)
        return first, others

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """The step sizes as they stand."""
        return {"step_sizes": self.step_sizes}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_transitions": self.num_transitions,
            "num_leapfrog_steps": self.num_leapfrog_steps,
            "step_size": self._initial_step_size.tolist(),
            "max_step_size": self.max_step_size,
            "step_size_per": self.step_size_per,
            **self._configurations_of("momentum", "reverse", "integrator", "adjoint"),
        }
