"""One leapfrog step, equations (7)-(9) of Caterini, Doucet & Sejdinovic (2018).

    rho_half = rho      - eps/2 * grad U(z)        (7)
    z'       = z        + eps   * rho_half         (8)
    rho'     = rho_half - eps/2 * grad U(z')       (9)

grad U(z') closes this step and opens the next, so it travels in the state: K steps cost K + 1 gradients, not 2K.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from hvae_tf.dynamics.integrator import ReversibleIntegrator


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


@keras.saving.register_keras_serializable("hvae_tf")
class Leapfrog(ReversibleIntegrator):
    """Equations (7)-(9), from `PhaseState` to `PhaseState`: one gradient evaluation, unit Jacobian.

    Its parameter is eps, broadcasting with ``[..., l]``; the same step with -eps undoes it.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), event_size=1)
        >>> leapfrog = hvae_tf.Leapfrog()
        >>> state = leapfrog.init(target, tf.constant([1.0]), tf.constant([0.0]))
        >>> [round(float(part[0]), 3) for part in leapfrog.step(target, state, tf.constant([0.2]))[:2]]  # z and rho
        [0.98, -0.198]
    """

    state_type = PhaseState

    def kick_drift(self, state, parameters):
        rho_half = state.rho + 0.5 * parameters * state.grad  # (7)
        return state._replace(z=state.z + parameters * rho_half, rho=rho_half)  # (8)

    def kick(self, state, parameters):
        return state._replace(rho=state.rho + 0.5 * parameters * state.grad)  # (9)
