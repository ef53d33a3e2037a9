"""The Hamiltonian flow against its shear form, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import TEMPERINGS, HamiltonianFlow, LogDensityTarget, hamiltonian_log_weight
from hvae_tf.densities import standard_normal_log_prob

SIZE = 3
TARGET = LogDensityTarget(
    lambda z: -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1)), SIZE
)


def shear_form(flow, z, gamma):
    """The same map in gamma_k = rho_k / b_k, b_0 = 1/sqrt(beta_0), b_k = b_{k-1} alpha_k: no tempering is left.

    Every line is a shear, so (z_0, gamma_0) -> (z_K, gamma_K) keeps volume whatever beta_0.
    """
    schedule = flow.schedule()
    b = schedule.inv_sqrt_beta_0
    eps_per_step = tf.broadcast_to(flow.step_sizes, [flow.num_leapfrog_steps, SIZE])
    for eps, alpha in zip(eps_per_step, schedule.alphas, strict=True):
        gamma += eps / (2.0 * b) * TARGET.value_and_grad(z).grad
        z += eps * b * gamma
        gamma += eps / (2.0 * b) * TARGET.value_and_grad(z).grad
        b *= alpha
    return z, gamma


@pytest.mark.parametrize("step_size_per", ["flow", "step"])
@pytest.mark.parametrize("num_steps", [1, 3, 10])
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_tempered_form_equals_shear_form(tempering, num_steps, step_size_per, seed):
    flow = HamiltonianFlow(
        SIZE, num_steps, tempering, step_size=0.1, step_size_per=step_size_per, inv_sqrt_beta_0=2.0, dtype=tf.float64
    )
    for index, variable in enumerate(flow.trainable_variables):
        variable.assign_add(0.3 * tf.random.stateless_normal(variable.shape, [seed, index], dtype=tf.float64))
    z, gamma = tf.unstack(tf.random.stateless_normal([2, 20, SIZE], [seed, 10], dtype=tf.float64))
    log_q0 = standard_normal_log_prob(z)
    rho = flow.initial_momentum(gamma)
    result = flow(TARGET, z, rho)
    log_weight = hamiltonian_log_weight(result, log_q0, rho, flow.schedule().inv_sqrt_beta_0)

    z_shear, gamma_shear = shear_form(flow, z, gamma)
    # not one factor of beta_0 stands in this weight
    log_weight_shear = TARGET.log_joint(z_shear) + standard_normal_log_prob(gamma_shear)
    log_weight_shear -= log_q0 + standard_normal_log_prob(gamma)

    np.testing.assert_allclose(result.z, z_shear, rtol=0, atol=1e-11)
    np.testing.assert_allclose(result.rho, gamma_shear, rtol=0, atol=1e-11)  # b_K = 1
    np.testing.assert_allclose(log_weight, log_weight_shear, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_log_det_is_half_l_log_beta_0(tempering):
    flow = HamiltonianFlow(SIZE, 4, tempering, dtype=tf.float64)
    z = tf.zeros([SIZE], tf.float64)
    expected = 0.5 * SIZE * np.log(flow.schedule().beta_0)
    np.testing.assert_allclose(flow(TARGET, z, z).log_det, expected, rtol=1e-12, atol=1e-12)


def test_initial_momentum_has_scale_inv_sqrt_beta_0():
    flow = HamiltonianFlow(SIZE, 2, "fixed", inv_sqrt_beta_0=3.0, dtype=tf.float64)
    gamma = tf.constant([[1.0, -2.0, 0.5]], tf.float64)
    np.testing.assert_allclose(flow.initial_momentum(gamma), 3.0 * gamma, rtol=1e-12)


@pytest.mark.parametrize(
    ("step_size", "step_size_per", "batch_shape", "expected"),
    [
        (0.1, "flow", (), np.full([SIZE], 0.1)),
        ([0.1, 0.2, 0.3], "flow", (2,), [[0.1, 0.2, 0.3]] * 2),
        (0.1, "step", (), np.full([2, SIZE], 0.1)),
        ([[0.1], [0.2]], "step", (), [[0.1] * 3, [0.2] * 3]),
        ([[[0.1]], [[0.2]]], "step", (2,), [[[0.1] * 3] * 2, [[0.2] * 3] * 2]),
    ],
)
def test_initial_step_sizes_land_where_asked(step_size, step_size_per, batch_shape, expected):
    flow = HamiltonianFlow(
        SIZE, 2, step_size=step_size, step_size_per=step_size_per, batch_shape=batch_shape, dtype=tf.float64
    )
    np.testing.assert_allclose(flow.step_sizes, expected, rtol=1e-12)


def test_step_sizes_stay_below_their_bound():
    flow = HamiltonianFlow(SIZE, 1, max_step_size=0.3, dtype=tf.float64)
    for variable in flow.trainable_variables:
        variable.assign(tf.fill(variable.shape, tf.constant(20.0, tf.float64)))
    assert np.all(flow.step_sizes.numpy() < 0.3)


@pytest.mark.parametrize("num_steps", [0, -1, 2.5])
def test_number_of_steps_must_be_a_positive_integer(num_steps):
    with pytest.raises(ValueError, match="num_leapfrog_steps is"):
        HamiltonianFlow(SIZE, num_steps)


@pytest.mark.parametrize("step_size", [0.0, -0.1, 0.5, 0.7, float("nan"), [0.1, 0.1, 0.5]])
def test_step_size_outside_its_range_is_refused(step_size):
    with pytest.raises(ValueError, match=r"step_size is .* \(0, 0.5\)"):
        HamiltonianFlow(SIZE, 1, step_size=step_size, max_step_size=0.5)


@pytest.mark.parametrize(("shape", "step_size_per"), [((2,), "flow"), ((2, SIZE), "flow"), ((2, SIZE), "step")])
def test_step_size_of_another_shape_is_refused(shape, step_size_per):
    with pytest.raises(ValueError, match="step_size has shape"):
        HamiltonianFlow(SIZE, 4, step_size=np.full(shape, 0.1), step_size_per=step_size_per)


def test_unknown_step_size_per_lists_those_accepted():
    with pytest.raises(ValueError, match="'layer'; accepted: flow, step"):
        HamiltonianFlow(SIZE, 1, step_size_per="layer")


def test_unknown_tempering_is_refused():
    with pytest.raises(ValueError, match="unknown tempering"):
        HamiltonianFlow(SIZE, 1, "hot")


def test_missing_momentum_is_refused():
    with pytest.raises(ValueError, match="pass rho"):
        HamiltonianFlow(SIZE, 1)(TARGET, tf.zeros([SIZE]))


@pytest.mark.parametrize("size", [1, 3])
def test_momentum_of_another_size_is_refused(size):
    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, -1), 2)
    with pytest.raises(ValueError, match=r"rho has shape \(4, \d\); expected \[..., 2\]"):
        HamiltonianFlow(2, 1)(target, tf.ones([4, 2]), tf.ones([4, size]))


@pytest.mark.parametrize("size", [2.5, 0, True, "2"])
def test_event_size_is_an_integer(size):
    with pytest.raises(ValueError, match=r"event_size is .*; expected an integer of at least 1"):
        HamiltonianFlow(size, 1)
