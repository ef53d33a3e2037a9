"""One step of Nosé-Hoover dynamics: leapfrog, whose momentum a thermostat heats or cools towards a temperature tau.

With a thermostat xi of mass Q, and a time step h, the step is symmetric in time:

    xi += h/2 (|rho|^2 - l tau)/Q,    rho *= exp(-h xi/2),
    leapfrog,
    rho *= exp(-h xi/2),    xi += h/2 (|rho|^2 - l tau)/Q.

Here eta = sqrt(Q) xi, which is N(0, 1) where xi is N(0, 1/Q), and c = h/sqrt(Q), on which alone everything hangs:

    eta += c/2 (|rho|^2 - l tau);   rho *= exp(-c eta/2);   leapfrog;   ...         log |det| = -l c eta in the middle
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from hvae_tf.dynamics.integrator import ReversibleIntegrator


class ThermostatState(NamedTuple):
    """A point in phase space with its thermostat, and the target's value there.

    Attributes:
        z: ``[..., l]``, position.
        rho: ``[..., l]``, momentum.
        eta: ``[..., 1]``, the thermostat in units of its standard deviation.
        log_det: ``[..., 1]``, log |d(z, rho, eta) / d(z_0, rho_0, eta_0)| so far.
        log_joint: ``[...]``, log p(x, z) in nats.
        grad: ``[..., l]``, its gradient in z.
    """

    z: tf.Tensor
    rho: tf.Tensor
    eta: tf.Tensor
    log_det: tf.Tensor
    log_joint: tf.Tensor
    grad: tf.Tensor


@keras.saving.register_keras_serializable("hvae_tf")
class NoseHoover(ReversibleIntegrator):
    """The step above, from `ThermostatState` to `ThermostatState`: one gradient evaluation.

    Its parameters are eps ``[..., l]``, c and c tau, both ``[..., 1]`` or scalar; the same step with all of them
    negated undoes it.
    """

    state_type = ThermostatState

    def kick_drift(self, state, parameters):
        eps, coupling, heat = parameters
        state = _friction(_thermostat(state, coupling, heat), coupling)
        rho_half = state.rho + 0.5 * eps * state.grad
        return state._replace(z=state.z + eps * rho_half, rho=rho_half)

    def kick(self, state, parameters):
        eps, coupling, heat = parameters
        state = state._replace(rho=state.rho + 0.5 * eps * state.grad)
        return _thermostat(_friction(state, coupling), coupling, heat)


def _thermostat(state, coupling, heat):
    energy = tf.reduce_sum(tf.square(state.rho), axis=-1, keepdims=True)
    return state._replace(eta=state.eta + 0.5 * (coupling * energy - state.rho.shape[-1] * heat))


def _friction(state, coupling):
    half = 0.5 * coupling * state.eta
    log_det = state.log_det - state.rho.shape[-1] * half
    return state._replace(rho=tf.exp(-half) * state.rho, log_det=log_det)
