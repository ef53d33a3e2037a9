"""One leapfrog step, equations (7)-(9) of Caterini, Doucet & Sejdinovic (2018).

    rho_half = rho      - eps/2 * grad U(z)        (7)
    z'       = z        + eps   * rho_half         (8)
    rho'     = rho_half - eps/2 * grad U(z')       (9)

grad U(z') closes this step and opens the next, so it travels in the state: K steps cost K + 1 gradients, not 2K.
Tempering scales rho and leaves z where it is, so the gradient carried stays valid across it.
"""

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


def leapfrog_step(target: Target, state: PhaseState, step_size: tf.Tensor) -> PhaseState:
    """One leapfrog step: one gradient evaluation, unit Jacobian.

    Args:
        target: What is sampled.
        state: Where the step starts.
        step_size: eps, broadcasting with ``[..., l]``.

    Returns:
        The state after the step.
    """
    rho_half = state.rho + 0.5 * step_size * state.grad  # (7)
    z = state.z + step_size * rho_half  # (8)
    log_joint, grad = target.value_and_grad(z)
    rho = rho_half + 0.5 * step_size * grad  # (9)
    return PhaseState(z, rho, log_joint, grad)


def inverse_leapfrog_step(target: Target, state: PhaseState, step_size: tf.Tensor) -> PhaseState:
    """The exact inverse of `leapfrog_step`: the same step with time reversed."""
    return leapfrog_step(target, state, -step_size)
