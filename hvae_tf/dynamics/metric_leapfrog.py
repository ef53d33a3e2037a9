"""Leapfrog in a metric G = L L^T that does not change along the path: explicit, with unit Jacobian.

H(z, p) = U(z) + 1/2 log |G| + 1/2 p^T G^-1 p. The momentum is kept as rho = L^-1 p, which is N(0, I) where p is
N(0, G), so that a step is

    rho_half = rho - eps/2 L^-1 grad U(z),    z' = z + eps L^-T rho_half,    rho' = rho_half - eps/2 L^-1 grad U(z').

In y = L^T z that is leapfrog with G = I: y' = y + eps rho_half, and grad_y U = L^-1 grad_z U.
"""

import abc

import tensorflow as tf

from hvae_tf.dynamics.integrator import Integrator, ReversibleIntegrator
from hvae_tf.dynamics.leapfrog import PhaseState


class MetricIntegrator(Integrator):
    """A step in a metric G = L L^T, from (z, rho) with rho = L^-1 p, which N(0, G) of p makes N(0, I).

    Its states have `z`, `rho` and `log_joint`, as a `PhaseState` has; its parameter is eps, a scalar.
    """

    @abc.abstractmethod
    def log_det(self, state) -> tf.Tensor:
        """Log |d(z, rho) / d(z_0, rho_0)| since `init`, ``[...]``, or broadcasting with it."""

    @abc.abstractmethod
    def failed(self, state) -> tf.Tensor:
        """``[...]``, bool, or broadcasting with it: whether a step since `init` could not be solved for."""


class MetricLeapfrog(MetricIntegrator, ReversibleIntegrator):
    """The step above, from `PhaseState` to `PhaseState`: one gradient evaluation; with -eps it undoes itself.

    Args:
        scale_tril: L, ``[..., l, l]``, lower triangular with a positive diagonal, broadcasting with z ``[..., l]``.
    """

    state_type = PhaseState

    def __init__(self, scale_tril: tf.Tensor):
        super().__init__(name="metric_leapfrog")
        # one L for many samples and steps: its inverse is taken once
        identity = tf.eye(scale_tril.shape[-1], dtype=scale_tril.dtype) + tf.zeros_like(scale_tril)
        self._inverse = tf.linalg.triangular_solve(scale_tril, identity)

    def kick_drift(self, state, parameters):
        state = self.kick(state, parameters)
        return state._replace(z=state.z + parameters * tf.linalg.matvec(self._inverse, state.rho, transpose_a=True))

    def kick(self, state, parameters):
        return state._replace(rho=state.rho + 0.5 * parameters * tf.linalg.matvec(self._inverse, state.grad))

    def log_det(self, state):
        return tf.zeros_like(state.log_joint)

    def failed(self, state):
        return tf.zeros_like(state.log_joint, tf.bool)
