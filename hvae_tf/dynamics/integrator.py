"""The contract of an integrator: one step of some dynamics on a target.

How many steps are taken is the flow's business, and how they are differentiated that of `hvae_tf.dynamics.adjoint`.
"""

import abc
from typing import Any

import tensorflow as tf

from hvae_tf.configured import Configured
from hvae_tf.targets.target import Target


class Integrator(Configured, tf.Module, abc.ABC):
    """One step, from state to state.

    A state is a NamedTuple of floating tensors, and a step keeps their shapes. What a step needs besides, such as its
    size, is its `parameters`: a floating tensor, or a nest of them. An integrator may hold variables of its own.
    To be saved with a model, a class is registered with `keras.saving.register_keras_serializable`.
    """

    @abc.abstractmethod
    def init(self, target: Target, *start: tf.Tensor) -> Any:
        """The state at `start`, such as (z, rho), both ``[..., l]``: evaluates the target."""

    @abc.abstractmethod
    def step(self, target: Target, state, parameters) -> Any:
        """The state after one step."""


class ReversibleIntegrator(Integrator):
    """A step that evaluates the target once, and that can be walked backwards.

    It is given in two parts, before and after the evaluation, so that whoever walks it backwards can put one
    evaluation to two uses. Its state is ``(z, ..., log_joint, grad)``: the position, what else moves, all ``[..., m]``,
    and the target at z. Each part gives a whole state, in which log_joint and grad are what they were.

    Attributes:
        state_type: The NamedTuple that the state is.
    """

    state_type: type

    def init(self, target: Target, *start: tf.Tensor) -> Any:
        return self.state_type(*start, *target.value_and_grad(start[0]))

    def step(self, target: Target, state, parameters) -> Any:
        return self.kick(_evaluated(target, self.kick_drift(state, parameters)), parameters)

    def step_back(self, target: Target, state, parameters) -> Any:
        """The state before a step: the exact inverse of `step`, up to rounding."""
        return self.kick_back(_evaluated(target, self.kick_drift_back(state, parameters)), parameters)

    @abc.abstractmethod
    def kick_drift(self, state, parameters) -> Any:
        """What comes before the evaluation: z moves to where the target is evaluated next."""

    @abc.abstractmethod
    def kick(self, state, parameters) -> Any:
        """What comes after the evaluation; z stays."""

    def kick_drift_back(self, state, parameters) -> Any:
        """What comes first on the way back, z moving to where the step began.

        As it stands, this and `kick_back` are for steps that are undone by the same step with its parameters negated.
        """
        return self.kick_drift(state, tf.nest.map_structure(tf.negative, parameters))

    def kick_back(self, state, parameters) -> Any:
        """What comes after the evaluation on the way back; z stays."""
        return self.kick(state, tf.nest.map_structure(tf.negative, parameters))


class Onwards(Integrator):
    """The steps of an integrator from a state that was evaluated already, all of whose parts are the start.

    Args:
        integrator: What makes the steps.
        state_type: The NamedTuple that its states are.
    """

    def __init__(self, integrator: Integrator, state_type: type):
        super().__init__(name="onwards")
        self.integrator = integrator
        self._state_type = state_type

    def init(self, target, *start):
        return self._state_type(*start)

    def step(self, target, state, parameters):
        return self.integrator.step(target, state, parameters)


def _evaluated(target, state):
    value = target.value_and_grad(state.z)
    return state._replace(log_joint=value.log_joint, grad=value.grad)
