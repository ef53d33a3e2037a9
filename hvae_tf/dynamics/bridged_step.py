"""Steps on pi_b = q0^(1-b) p(x, .)^b, each with its own temperature, and with one evaluation of the target.

The state carries both ends of the bridge, each with its gradient, so what closes a step at one temperature opens the
next at another.
"""

from typing import NamedTuple

import tensorflow as tf

from hvae_tf.dynamics.integrator import Integrator, ReversibleIntegrator
from hvae_tf.dynamics.leapfrog import PhaseState
from hvae_tf.targets.bridge import BridgedTarget, BridgeEvaluation


class BridgedState(NamedTuple):
    """A point in phase space with both ends of a bridge there.

    Attributes:
        z: ``[..., l]``, position.
        rho: ``[..., l]``, momentum.
        log_start: ``[...]``, log q0(z) in nats.
        grad_start: ``[..., l]``, its gradient in z.
        log_joint: ``[...]``, log p(x, z) in nats.
        grad: ``[..., l]``, its gradient in z.
    """

    z: tf.Tensor
    rho: tf.Tensor
    log_start: tf.Tensor
    grad_start: tf.Tensor
    log_joint: tf.Tensor
    grad: tf.Tensor

    def at(self, b) -> PhaseState:
        """The same point with log pi_b and its gradient; nothing is evaluated."""
        return PhaseState(self.z, self.rho, *BridgeEvaluation(*self[2:]).at(b))


class BridgedStep(Integrator):
    """The step of an integrator on pi_b; its targets are `BridgedTarget`s.

    Its parameters are the pair (parameters of the integrator's step, b ``[]``).

    Args:
        integrator: What makes the step; from `PhaseState` to `PhaseState`.
    """

    def __init__(self, integrator: ReversibleIntegrator):
        super().__init__()
        self.integrator = integrator

    def init(self, target: BridgedTarget, *start):  # type: ignore[override]
        z, rho = start
        return BridgedState(z, rho, *target.evaluate(z))

    def step(self, target: BridgedTarget, state: BridgedState, parameters):  # type: ignore[override]
        of_step, b = parameters
        moved = self.integrator.kick_drift(state.at(b), of_step)
        state = BridgedState(moved.z, moved.rho, *target.evaluate(moved.z))
        return state._replace(rho=self.integrator.kick(state.at(b), of_step).rho)
