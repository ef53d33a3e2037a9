"""One leapfrog step, equations (7)-(9) of Caterini, Doucet & Sejdinovic (2018).

    rho_half = rho      - eps/2 * grad U(z)        (7)
    z'       = z        + eps   * rho_half         (8)
    rho'     = rho_half - eps/2 * grad U(z')       (9)

grad U(z') closes this step and opens the next, so it travels in the state: K steps cost K + 1 gradients, not 2K.
Tempering scales rho and leaves z where it is, so the gradient carried stays valid across it.
"""

import abc
from typing import NamedTuple

import tensorflow as tf

from hvae_tf.targets.target import Target


class PhaseState(NamedTuple):
    """A point in phase space with the target's value there.

    Attributes:
        z: ``[..., l]``, position.
        rho: ``[..., l]``, momentum.
        log_joint: ``[...]``, log p(x, z) in nats.
        grad: ``[..., l]``, gradient of log p(x, z) in z: ``-grad U(z)``.
    """

    z: tf.Tensor
    rho: tf.Tensor
    log_joint: tf.Tensor
    grad: tf.Tensor


def initial_state(target: Target, z: tf.Tensor, rho: tf.Tensor) -> PhaseState:
    """The state at (z, rho), both ``[..., l]``: one gradient evaluation."""
    return PhaseState(z, rho, *target.value_and_grad(z))


class ReversibleStep(abc.ABC):
    """A step that evaluates the target once, at its end, and that the same step with -eps undoes.

    It is given in two parts, before and after the evaluation, so that whoever walks it backwards can put one
    evaluation to two uses.
    """

    @abc.abstractmethod
    def open(self, z, rho, grad, step_size) -> tuple[tf.Tensor, tf.Tensor]:
        """The new z, where the target is evaluated next, and the momentum until then."""

    @abc.abstractmethod
    def close(self, rho_half, grad, step_size) -> tf.Tensor:
        """The new rho, given the gradient at the new z."""

    def __call__(self, target: Target, state: PhaseState, step_size: tf.Tensor) -> PhaseState:
        """One step: one gradient evaluation, unit Jacobian.

        Args:
            target: What is sampled.
            state: Where the step starts.
            step_size: eps, broadcasting with ``[..., l]``.

        Returns:
            The state after the step.
        """
        z, rho_half = self.open(state.z, state.rho, state.grad, step_size)
        log_joint, grad = target.value_and_grad(z)
        return PhaseState(z, self.close(rho_half, grad, step_size), log_joint, grad)


class Leapfrog(ReversibleStep):
    """Equations (7)-(9)."""

    def open(self, z, rho, grad, step_size):
        rho_half = rho + 0.5 * step_size * grad  # (7)
        return z + step_size * rho_half, rho_half  # (8)

    def close(self, rho_half, grad, step_size):
        return rho_half + 0.5 * step_size * grad  # (9)


leapfrog_step = Leapfrog()


def inverse_leapfrog_step(target: Target, state: PhaseState, step_size: tf.Tensor) -> PhaseState:
    """The exact inverse of `leapfrog_step`: the same step with time reversed."""
    return leapfrog_step(target, state, -step_size)
