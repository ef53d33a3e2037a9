"""The generalised leapfrog of Girolami & Calderhead (2011): the step for a metric G(z) that changes with z.

    H(z, p) = U(z) + 1/2 log |G(z)| + 1/2 p^T G(z)^-1 p

    p_half = p      - eps/2 dH/dz(z, p_half)                       implicit in p_half
    z'     = z      + eps/2 [G(z)^-1 p_half + G(z')^-1 p_half]     implicit in z'
    p'     = p_half - eps/2 dH/dz(z', p_half)

    dH/dz_k = dU/dz_k + 1/2 tr(G^-1 d_k G) - 1/2 u^T (d_k G) u,    u = G^-1 p

It preserves volume and can be walked backwards as far as its equations are solved: a few sweeps of an iteration, as
many as one likes to pay for, are a map of another kind. So they are solved to a tolerance, and failures are counted.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.dynamics.fixed_point import fixed_point
from hvae_tf.dynamics.metric_leapfrog import MetricIntegrator
from hvae_tf.targets.derivatives import jacobian

TOLERANCES = {tf.float64: 1e-6, tf.float32: 1e-5}


class MetricState(NamedTuple):
    """A point in phase space, with the target and its metric G = L L^T there.

    Attributes:
        z: ``[..., l]``.
        rho: ``[..., l]``, L^-1 p: N(0, I) where p is N(0, G).
        log_joint: ``[...]``, log p(x, z) in nats.
        grad: ``[..., l]``, its gradient in z.
        scale_tril: ``[..., l, l]``, L.
        slopes: ``[..., l, l, l]``, entry k being dG/dz_k.
        log_det: ``[...]``, log |d(z, rho) / d(z_0, rho_0)|, which is 1/2 log |G(z_0)| - 1/2 log |G(z)|.
        failures: ``[...]``, how many equations could not be solved so far; floating, as all of a state is.
        iterations: ``[...]``, how often G was evaluated so far.
    """

    z: tf.Tensor
    rho: tf.Tensor
    log_joint: tf.Tensor
    grad: tf.Tensor
    scale_tril: tf.Tensor
    slopes: tf.Tensor
    log_det: tf.Tensor
    failures: tf.Tensor
    iterations: tf.Tensor


@keras.saving.register_keras_serializable("hvae_tf")
class GeneralisedLeapfrog(MetricIntegrator):
    """The step above, from `MetricState` to `MetricState`, in the metric of the target's Fisher information.

    One evaluation of the target and one of dG/dz a step, and one of G for each iteration towards z'.

    Args:
        tolerance: Where iterations end, relative to 1 + the largest entry; None: 1e-6 in float64, 1e-5 in float32.
        max_iterations: Of each equation; one that needs more counts as a failure.

    Raises:
        ValueError: If the tolerance is not positive, or max_iterations below 1.
    """

    def __init__(self, tolerance: float | None = None, max_iterations: int = 50):
        super().__init__(name="generalised_leapfrog")
        if tolerance is not None and not 0.0 < tolerance < 1.0:
            raise ValueError(f"tolerance is {tolerance}; expected a number in (0, 1), or None")
        self.tolerance = tolerance
        self.max_iterations = check_count("max_iterations", max_iterations)

    def init(self, target, *start):
        z, rho = start
        return self._at(target, z)._replace(rho=rho)

    def step(self, target, state, parameters):
        half = 0.5 * parameters
        momentum = tf.linalg.matvec(state.scale_tril, state.rho)
        kicked = self._solve(
            lambda p: momentum + half * _force(state, p), lambda p: half * _force_jacobian(state, p), momentum
        )
        p_half = kicked.x
        velocity = _solve_metric(state.scale_tril, p_half)

        def drift(z):
            return state.z + half * (velocity + _solve_metric(_factor(target.fisher_information(z)), p_half))

        def drift_jacobian(z):
            metric, slopes = jacobian(target.fisher_information, z)
            factor = _factor(metric)
            bent = tf.einsum("...kij,...j->...ik", slopes, _solve_metric(factor, p_half))
            return -half * tf.linalg.cholesky_solve(factor, bent)  # d G^-1 = -G^-1 dG G^-1

        moved = self._solve(drift, drift_jacobian, state.z + parameters * velocity)
        end = self._at(target, moved.x)
        p_end = p_half + half * _force(end, p_half)
        rho = tf.linalg.triangular_solve(end.scale_tril, p_end[..., None])[..., 0]
        log_det = state.log_det + _log_diagonal(state.scale_tril) - _log_diagonal(end.scale_tril)
        failures = tf.cast(kicked.failed, rho.dtype) + tf.cast(moved.failed, rho.dtype)
        return end._replace(
            rho=rho,
            log_det=log_det,
            failures=state.failures + failures,
            iterations=state.iterations + end.iterations + tf.cast(moved.iterations, rho.dtype),
        )

    def log_det(self, state):
        return state.log_det

    def failed(self, state):
        return state.failures > 0.0

    def _solve(self, function, jacobian_of_function, start):
        tolerance = TOLERANCES.get(start.dtype, 1e-5) if self.tolerance is None else self.tolerance
        return fixed_point(
            function, jacobian_of_function, start, tolerance=tolerance, max_iterations=self.max_iterations
        )

    def _at(self, target, z):
        """The state of a momentum of zero at z, with nothing behind it."""
        metric, slopes = jacobian(target.fisher_information, z)
        log_joint, grad = target.value_and_grad(z)
        nothing = tf.zeros_like(log_joint)
        return MetricState(
            z, tf.zeros_like(z), log_joint, grad, _factor(metric), slopes, nothing, nothing, nothing + 1.0
        )

    def get_config(self):
        return {"tolerance": self.tolerance, "max_iterations": self.max_iterations}


def _factor(metric):
    return tf.linalg.cholesky(metric)


def _solve_metric(factor, vector):
    """G^-1 v."""
    return tf.linalg.cholesky_solve(factor, vector[..., None])[..., 0]


def _force(state, momentum):
    """-dH/dz(z, p)."""
    inverse = tf.linalg.cholesky_solve(state.scale_tril, _identity_like(state.scale_tril))
    velocity = _solve_metric(state.scale_tril, momentum)
    trace = tf.einsum("...ij,...kij->...k", inverse, state.slopes)
    bend = tf.einsum("...i,...kij,...j->...k", velocity, state.slopes, velocity)
    return state.grad - 0.5 * trace + 0.5 * bend


def _force_jacobian(state, momentum):
    """Of `_force` in p: entry (k, m) is u^T (d_k G) G^-1 e_m."""
    bent = tf.einsum("...kij,...j->...ik", state.slopes, _solve_metric(state.scale_tril, momentum))
    return tf.linalg.matrix_transpose(tf.linalg.cholesky_solve(state.scale_tril, bent))


def _log_diagonal(scale_tril):
    """1/2 log |G|."""
    return tf.reduce_sum(tf.math.log(tf.linalg.diag_part(scale_tril)), axis=-1)


def _identity_like(matrix):
    return tf.eye(matrix.shape[-1], dtype=matrix.dtype) + tf.zeros_like(matrix)
