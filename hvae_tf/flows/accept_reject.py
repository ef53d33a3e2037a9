"""Annealed importance sampling with accept steps as a flow: the A-MCVAE of Monte Carlo VAEs (Thin et al. 2021).

    log w = sum_{t=1}^{T+1} (b_t - b_{t-1}) (log p(x, z_{t-1}) - log q0(z_{t-1})),    b_0 = 0, b_{T+1} = 1,

z_t from z_{t-1} by a Hamiltonian move that leaves pi_{b_t} as it is: proposed by n leapfrog steps from a new momentum,
and accepted with probability a_t = min(1, exp(H - H')). exp(log w) has mean p(x) for any step sizes and temperatures
(Neal 2001).

Whether a move is accepted is a jump, which no derivative along the path sees. With d_t the decisions and P their
probabilities, the gradient of E log w is

    E [ grad log w + (log w - baseline) grad sum_t log P(d_t) ],

the first term at decisions that are held, the baseline the mean of the other draws (leave one out). Here the second
term is in `log_ratio`, as a term whose value is zero; so any mean of log weights, such as an ELBO, has the right
gradient, and what is not linear in them, such as the bound of `IWAE`, has not.

A proposal whose energy is not finite is rejected, and takes no part in any gradient, be it of the flow's parameters, of
q0's, or of what the target is made of, such as a decoder: `hvae_tf.dynamics.guarded`. What is not guarded is the point
where a chain stands: a log p(x, z_0) without a finite value or gradient makes both NaN, as in every flow.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.dynamics.adjoint import Adjoint, Reversible, differentiable_captures, get_adjoint
from hvae_tf.dynamics.bridged_step import BridgedState, BridgedStep
from hvae_tf.dynamics.guarded import guarded_scan
from hvae_tf.dynamics.integrator import Onwards
from hvae_tf.dynamics.leapfrog import Leapfrog
from hvae_tf.dynamics.metropolis import kinetic_energy
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.flows.step_size import check_max_step_size, logit_step_size_variable
from hvae_tf.flows.temperatures import get_temperatures
from hvae_tf.targets.bridge import BridgedTarget

STEP_SIZES_PER = ("flow", "transition")


class Move(NamedTuple):
    """One move, as it went.

    Attributes:
        state: Where it ended, with both ends of the bridge there.
        log_acceptance: ``[...]``, log a_t <= 0.
        accepted: ``[...]``, bool.
        log_decision: ``[...]``, log P(d_t): log a_t where it was accepted, else log(1 - a_t).
    """

    state: BridgedState
    log_acceptance: tf.Tensor
    accepted: tf.Tensor
    log_decision: tf.Tensor


@keras.saving.register_keras_serializable("hvae_tf")
class AcceptRejectFlow(Flow):
    """T moves between q0 and p(x, .), each accepted or not; T n + 1 gradient evaluations of the target.

    Take several draws for each event (``num_samples`` of a model, 5 say): the first axis of z is taken to be that of
    the draws, and with one draw there is no baseline, and a gradient of much noise.

    Args:
        event_size: l, the dimension of z.
        num_temperatures: T >= 1, bridging densities, one move on each.
        num_leapfrog_steps: n >= 1, steps of each move.
        temperatures: b_1..b_T, see `AnnealedFlow`.
        step_size: Initial eps, in (0, max_step_size).
        max_step_size: xi, the bound of eps: eps = xi * sigmoid(.).
        step_size_per: ``"flow"``, one eps per dimension for all moves, or ``"transition"``, one for each move too.
        adjoint: ``"backprop"`` or ``"checkpoint"``, or one of them as an object, see `hvae_tf.dynamics.adjoint`.
        dtype: Floating type of parameters and samples.

    Raises:
        ValueError: If a count is below 1, a name is unknown, or an initial value is out of its range; by `transform`,
            if there is no q0.
    """

    def __init__(
        self,
        event_size: int,
        num_temperatures: int,
        num_leapfrog_steps: int = 1,
        *,
        temperatures="learned",
        step_size=0.1,
        max_step_size: float = 0.5,
        step_size_per: str = "transition",
        adjoint: str | Adjoint = "backprop",
        dtype=tf.float32,
    ):
        super().__init__(event_size, dtype=dtype, name="accept_reject_flow")
        self.num_temperatures = check_count("num_temperatures", num_temperatures)
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
        self._initial_step_size = np.asarray(step_size, np.float64)
        counts = {"flow": (), "transition": (num_temperatures,)}
        shape = (*counts[step_size_per], self.event_size)
        self._logit_step_size = logit_step_size_variable(self._initial_step_size, self.max_step_size, shape, self.dtype)
        self.temperatures = get_temperatures(temperatures)
        self.temperatures.build(self.num_temperatures, self.event_size, self.dtype)

    @property
    def reparameterised(self) -> bool:
        return False

    @property
    def step_sizes(self) -> tf.Tensor:
        """eps, in (0, xi): ``[l]`` or ``[T, l]``, by `step_size_per`."""
        return self.max_step_size * tf.sigmoid(self._logit_step_size)

    def noise(self, shape, seed) -> dict[str, tuple[tf.Tensor, ...]]:
        """T momenta ``[*shape, l]`` of N(0, I), and T uniform numbers ``[*shape]``; zeros accept every move."""
        shape = tf.cast(tf.convert_to_tensor(shape, dtype_hint=tf.int32), tf.int32)
        shape, T = tf.concat([[self.num_temperatures], shape], axis=0), self.num_temperatures
        seeds = tf.random.experimental.stateless_split(seed, 2)
        momenta = tf.random.stateless_normal(tf.concat([shape, [self.event_size]], 0), seeds[0], dtype=self.dtype)
        uniforms = tf.random.stateless_uniform(shape, seeds[1], dtype=self.dtype)
        return {"momenta": tuple(tf.unstack(momenta, T)), "uniforms": tuple(tf.unstack(uniforms, T))}

    def transform(self, target, z, noise=(), q0=None, context=None) -> FlowResult:
        start, moves = self.moves(target, z, noise, q0)
        states = [start, *(move.state for move in moves)]
        b = [0.0, *tf.unstack(self.temperatures()), 1.0]
        log_weight = tf.add_n([
            (b[t + 1] - b[t]) * (state.log_joint - state.log_start) for t, state in enumerate(states)
        ])  # fmt: skip
        log_weight += self._score_term(log_weight, tf.add_n([move.log_decision for move in moves]))
        end = states[-1]
        without_joint = log_weight - end.log_joint
        # log q0(z_0), which the weight takes off; its mean is minus the entropy
        return FlowResult(end.z, end.log_joint, without_joint + start.log_start, without_joint - q0.entropy())

    def moves(self, target, z, noise, q0) -> tuple[BridgedState, list[Move]]:
        """The way of the samples, move by move; arguments as of `transform`.

        Returns:
            Where they start, and T `Move`s.

        Raises:
            ValueError: If sizes do not agree, or there is no q0.
        """
        self.check_target(target)
        if q0 is None:
            raise ValueError("the accept-reject flow was given no q0, from where it starts: pass q0 to transform")
        if not isinstance(noise, dict) or noise.keys() != {"momenta", "uniforms"}:
            raise ValueError("the noise is not this flow's; pass noise=flow.noise(shape, seed)")
        bridge: Any = BridgedTarget(q0, target)
        integrator = BridgedStep(Leapfrog())
        z = tf.convert_to_tensor(z)
        start = state = integrator.init(bridge, z, tf.zeros_like(z))
        onwards = Onwards(integrator, BridgedState)
        eps = tf.unstack(tf.broadcast_to(self.step_sizes, (self.num_temperatures, self.event_size)))
        found: list[Move] = []
        captured = None
        for t, b in enumerate(tf.unstack(self.temperatures())):
            state = state._replace(rho=noise["momenta"][t])
            steps = [(eps[t], b)] * self.num_leapfrog_steps
            if captured is None:  # the same for all moves
                captured = differentiable_captures(bridge, onwards, tuple(state), steps)
            # the evaluation at z_{t-1} goes with the state: T n + 1 in all
            proposal = guarded_scan(
                self.adjoint, bridge, onwards, tuple(state), steps, captured=captured, at_rest=_at_rest
            )
            found.append(_decided(state, proposal, b, noise["uniforms"][t]))
            state = found[-1].state
        return start, found

    def _score_term(self, log_weight, log_decisions):
        """Zero, with the gradient (log w - baseline) grad log P(d)."""
        values = tf.stop_gradient(log_weight)
        baseline = tf.zeros_like(values)
        if values.shape.rank:
            others = tf.cast(tf.shape(values)[0] - 1, values.dtype)
            baseline = tf.math.divide_no_nan(tf.reduce_sum(values, axis=0, keepdims=True) - values, others)
        return (values - baseline) * (log_decisions - tf.stop_gradient(log_decisions))

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """Step sizes and temperatures as they stand."""
        return {"step_sizes": self.step_sizes, "temperatures": self.temperatures()}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_temperatures": self.num_temperatures,
            "num_leapfrog_steps": self.num_leapfrog_steps,
            "step_size": self._initial_step_size.tolist(),
            "max_step_size": self.max_step_size,
            "step_size_per": self.step_size_per,
            **self._configurations_of("temperatures", "adjoint"),
        }


def _at_rest(steps, lost):
    """The steps' (eps, b) with an eps of zero where samples are lost."""
    return [(tf.where(lost[..., None], tf.zeros_like(eps), eps), b) for eps, b in steps]


def _decided(state: BridgedState, proposal: BridgedState, b, uniform) -> Move:
    """Accepts each proposal or not; one whose energy is not finite is rejected."""
    parts = [tf.stop_gradient(part) for part in proposal]
    sound = tf.math.is_finite(_minus_energy(BridgedState(*parts), b) - tf.stop_gradient(_minus_energy(state, b)))
    for part in parts:
        finite = tf.math.is_finite(part)
        sound &= tf.reduce_all(finite, axis=-1) if part.shape.rank > sound.shape.rank else finite
    # where it is not, another number stands in its place before anything is made of it
    proposal = _chosen(sound, proposal, state)
    difference = _minus_energy(proposal, b) - _minus_energy(state, b)
    never = tf.constant(-float("inf"), difference.dtype)
    log_acceptance = tf.where(sound, tf.minimum(difference, 0.0), never)
    accepted = tf.math.log(uniform) < log_acceptance
    # log(1 - a) where it was rejected, so that a < 1; elsewhere of a number that does no harm
    harmless = tf.where(accepted | ~sound, -tf.ones_like(difference), log_acceptance)
    log_rejection = tf.math.log(-tf.math.expm1(harmless))
    log_decision = tf.where(accepted, log_acceptance, tf.where(sound, log_rejection, tf.zeros_like(difference)))
    return Move(_chosen(accepted, proposal, state), log_acceptance, accepted, log_decision)


def _minus_energy(state: BridgedState, b) -> tf.Tensor:
    """-H on pi_b, ``[...]``."""
    point = state.at(b)
    return point.log_joint - kinetic_energy(point.rho)


def _chosen(condition, new: BridgedState, old: BridgedState) -> BridgedState:
    """Sample by sample the new state where the condition ``[...]`` holds, else the old one."""

    def choose(one, other):
        return tf.where(condition[(..., *[None] * (one.shape.rank - condition.shape.rank))], one, other)

    return tf.nest.map_structure(choose, new, old)
