"""Leapfrog is reversible, symplectic, of second order, and never evaluates a gradient twice."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.dynamics.leapfrog import Leapfrog
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.targets.target import LogDensityTarget, Target

SIZE = 3
STEP_SIZES = {"uniform": [0.2, 0.2, 0.2], "per dimension": [0.05, 0.1, 0.2]}


def quartic(z):
    """A log-density with a coupled, nonlinear gradient."""
    return -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


TARGET = LogDensityTarget(quartic, SIZE)
LEAPFROG = Leapfrog()


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


@pytest.fixture
def start(seed):
    z, rho = tf.unstack(0.7 * normal(2, 5, SIZE, seed=seed))  # steps far out in a quartic's tails are unstable
    return LEAPFROG.init(TARGET, z, rho)


@pytest.mark.parametrize("step_size", STEP_SIZES.values(), ids=STEP_SIZES)
def test_negated_momentum_leads_back(start, step_size):
    step_size = tf.constant(step_size, tf.float64)
    state = start
    for _ in range(10):
        state = LEAPFROG.step(TARGET, state, step_size)
    assert np.abs(state.z - start.z).max() > 0.1
    state = state._replace(rho=-state.rho)
    for _ in range(10):
        state = LEAPFROG.step(TARGET, state, step_size)
    np.testing.assert_allclose(state.z, start.z, rtol=0, atol=1e-11)
    np.testing.assert_allclose(-state.rho, start.rho, rtol=0, atol=1e-11)


@pytest.mark.parametrize("step_size", STEP_SIZES.values(), ids=STEP_SIZES)
def test_inverse_step_undoes_a_step(start, step_size):
    step_size = tf.constant(step_size, tf.float64)
    state = LEAPFROG.step_back(TARGET, LEAPFROG.step(TARGET, start, step_size), step_size)
    for value, expected in zip(state, start, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-13)


def symplectic_defect(integrator, step_size, seed):
    """|J' Omega J - Omega|. Unlike step sizes are unlike masses: the form they keep has weights 1/eps."""
    point = normal(2 * SIZE, seed=seed)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(point)
        state = integrator.init(TARGET, *tf.split(point, 2))
        state = integrator.step(TARGET, state, tf.constant(step_size, tf.float64))
        end = tf.concat([state.z, state.rho], axis=-1)
    jacobian = tape.jacobian(end, point, experimental_use_pfor=False).numpy()
    weight, zero = np.diag(1.0 / np.asarray(step_size)), np.zeros([SIZE, SIZE])
    omega = np.block([[zero, weight], [-weight, zero]])
    return np.abs(jacobian.T @ omega @ jacobian - omega).max()


@pytest.mark.parametrize("step_size", STEP_SIZES.values(), ids=STEP_SIZES)
def test_symplectic(seed, step_size):
    assert symplectic_defect(LEAPFROG, step_size, seed) < 1e-12


@pytest.mark.parametrize("step_size", STEP_SIZES.values(), ids=STEP_SIZES)
def test_unkicked_drift_is_not_symplectic(seed, unkicked_integrator, step_size):
    assert symplectic_defect(unkicked_integrator, step_size, seed) > 1e-3


def empirical_order(integrator, start):
    """Log2 of the factor by which halving the step shrinks the error at time 1."""

    @tf.function
    def end(num_steps):
        state = integrator.init(TARGET, start.z, start.rho)
        step_size = 1.0 / tf.cast(num_steps, tf.float64)
        for _ in tf.range(num_steps):
            state = integrator.step(TARGET, state, step_size)
        return tf.concat([state.z, state.rho], axis=-1)

    exact = end(tf.constant(8192))
    coarse, fine = (np.linalg.norm(end(tf.constant(n)) - exact) for n in (64, 128))
    return np.log2(coarse / fine)


def test_order_two(start):
    assert empirical_order(LEAPFROG, start) == pytest.approx(2.0, abs=0.1)


def test_unkicked_drift_is_not_of_order_two(start, unkicked_integrator):
    assert empirical_order(unkicked_integrator, start) < 1.5


class CountingTarget(Target):
    """Counts evaluations; a bare log-density counts too, for it costs a pass of its own."""

    event_size = SIZE
    calls = 0

    def _log_joint(self, z):
        self.calls += 1
        return quartic(z)


@pytest.mark.parametrize("num_steps", [1, 3, 10])
def test_k_steps_cost_k_plus_one_gradients(start, num_steps):
    target = CountingTarget()
    HamiltonianFlow(SIZE, num_steps, "free", dtype=tf.float64).transform(target, start.z, start.rho)
    assert target.calls == num_steps + 1


def test_unlike_step_sizes_act_dimension_by_dimension(start):
    """On a separable target each dimension moves as if it were alone."""
    step_size = STEP_SIZES["per dimension"]
    separable = lambda z: -0.25 * tf.reduce_sum(z**4, axis=-1)  # noqa: E731
    joint = LogDensityTarget(separable, SIZE)
    together = LEAPFROG.init(joint, start.z, start.rho)
    together = LEAPFROG.step(joint, together, tf.constant(step_size, tf.float64))
    single = LogDensityTarget(separable, 1)
    for j in range(SIZE):
        part = slice(j, j + 1)
        alone = LEAPFROG.init(single, start.z[:, part], start.rho[:, part])
        alone = LEAPFROG.step(single, alone, step_size[j])
        np.testing.assert_allclose(together.z[:, part], alone.z, rtol=1e-14)
        np.testing.assert_allclose(together.rho[:, part], alone.rho, rtol=1e-14)
