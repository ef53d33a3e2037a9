"""What holds for every flow: one table of flows times generic tests, so that a new flow costs one row."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import TEMPERINGS, GaussianOffsetTarget, HamiltonianFlow, IdentityFlow, LogDensityTarget, PlanarFlow
from hvae_tf import sufficient_statistics as statistics_of

SIZE = 3


class Row(NamedTuple):
    """`make(batch_shape=, dtype=)` builds the flow; `variables` are the names of what it trains."""

    make: Callable
    variables: set[str]


def planar_beyond_invertible(num_layers, **kwargs):
    """w.u < -1: the layer would fold space over, were u not constrained."""
    flow = PlanarFlow(SIZE, num_layers, **kwargs)
    flow.w.assign(tf.ones_like(flow.w))
    flow.u.assign(-tf.ones_like(flow.u))
    return flow


TEMPERING_VARIABLES = {
    "none": set(),
    "fixed": {"log_excess_inv_sqrt_beta_0"},
    "fixed-released": {"log_excess_inv_sqrt_beta_0"},
    "free": {"logit_alpha"},
}
hamiltonian = partial(HamiltonianFlow, SIZE, step_size=0.2, inv_sqrt_beta_0=1.5, alpha=0.8)
FLOWS = {
    "identity": Row(lambda **_: IdentityFlow(SIZE), set()),
    "planar-K1": Row(partial(PlanarFlow, SIZE, 1), {"u", "w", "b"}),
    "planar-K4": Row(partial(PlanarFlow, SIZE, 4), {"u", "w", "b"}),
    "planar-beyond-K1": Row(partial(planar_beyond_invertible, 1), {"u", "w", "b"}),
    "planar-beyond-K4": Row(partial(planar_beyond_invertible, 4), {"u", "w", "b"}),
    **{
        f"hamiltonian-{tempering}-K{K}-{per}": Row(
            partial(hamiltonian, K, tempering, step_size_per=per), {"logit_step_size"} | TEMPERING_VARIABLES[tempering]
        )
        for tempering in TEMPERINGS
        for K in (1, 3)
        for per in ("flow", "step")
    },
}


@pytest.fixture(params=FLOWS)
def row(request) -> Row:
    return FLOWS[request.param]


def make(row, seed, batch_shape=(), dtype=tf.float64):
    """The row's flow, moved off its initial values, which are alike in all dimensions and steps."""
    flow = row.make(batch_shape=batch_shape, dtype=dtype)
    for index, variable in enumerate(flow.trainable_variables):
        variable.assign_add(0.2 * tf.random.stateless_normal(variable.shape, [seed, index], dtype=dtype))
    return flow


def start(flow, shape, seed, dtype=tf.float64):
    """(z_0, rho_0), with rho_0 None for a flow without momentum."""
    z, rho = tf.unstack(tf.random.stateless_normal([2, *shape, SIZE], [seed, 100], dtype=dtype))
    return z, (rho if flow.has_momentum else None)


def quartic(z):
    return -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


TARGET = LogDensityTarget(quartic, SIZE)


def check_result(result, z, has_momentum):
    """Shapes and dtypes of the contract, and log p(x, z) belonging to z."""
    assert result.z.shape == z.shape
    assert result.log_joint.shape == z.shape[:-1]
    assert tf.broadcast_static_shape(result.log_det.shape, z.shape[:-1]) == z.shape[:-1]
    assert (result.rho is not None) == has_momentum
    if has_momentum:
        assert result.rho.shape == z.shape
    for value in result:
        assert value is None or (value.dtype == z.dtype and np.all(np.isfinite(value)))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("leading", [(), (5,), (4, 5)], ids=str)
def test_leading_axes_are_free(row, leading, dtype, seed):
    flow = make(row, seed, dtype=dtype)
    z, rho = start(flow, leading, seed, dtype)
    result = flow(TARGET, z, rho)
    check_result(result, z, flow.has_momentum)
    np.testing.assert_array_equal(result.log_joint, TARGET.log_joint(result.z))


def test_repeats_share_no_parameters(row, seed):
    """Samples [4] of repeats [2], each with its own data and its own parameters."""
    flow = make(row, seed, batch_shape=(2,))
    z, rho = start(flow, (4, 2), seed)
    data = tf.random.stateless_normal([2, 6, SIZE], [seed, 200], dtype=tf.float64).numpy()
    delta, log_sigma = tf.unstack(0.1 * tf.random.stateless_normal([2, 2, SIZE], [seed, 201], dtype=tf.float64))
    target = GaussianOffsetTarget(statistics_of(data), delta, log_sigma)
    with tf.GradientTape(persistent=True) as tape:
        result = flow(target, z, rho)
        check_result(result, z, flow.has_momentum)
        value = tf.reduce_sum(result.log_joint + result.log_det, axis=0)
        first, second = value[0], value[1]
    for variable in flow.trainable_variables:
        in_first, in_second = (np.not_equal(tape.gradient(value, variable), 0.0) for value in (first, second))
        assert np.all(in_first ^ in_second)


def full_map_jacobian(flow, z, rho):
    """d(z_K, rho_K) / d(z_0, rho_0) at points [P]: ``[P, m, m]``."""
    point = z if rho is None else tf.concat([z, rho], axis=-1)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(point)
        result = flow(TARGET, *([point] if rho is None else tf.split(point, 2, axis=-1)))
        end = result.z if rho is None else tf.concat([result.z, result.rho], axis=-1)
    return tape.batch_jacobian(end, point, experimental_use_pfor=False).numpy(), result


def test_log_det_is_that_of_the_jacobian(row, seed):
    flow = make(row, seed)
    jacobian, result = full_map_jacobian(flow, *start(flow, (8,), seed))
    sign, log_det = np.linalg.slogdet(jacobian)
    # an invertible map that is continuously connected to the identity keeps the orientation everywhere
    np.testing.assert_array_equal(sign, 1.0)
    np.testing.assert_allclose(np.broadcast_to(result.log_det, log_det.shape), log_det, rtol=1e-10, atol=1e-10)


def test_inverse_leads_back(row, seed):
    flow = make(row, seed)
    if not hasattr(flow, "inverse"):
        pytest.skip("this flow has no inverse in closed form")
    z, rho = start(flow, (8,), seed)
    result = flow(TARGET, z, rho)
    assert np.abs(result.z - z).max() > 1e-2
    z_back, rho_back = flow.inverse(TARGET, result.z, result.rho)
    np.testing.assert_allclose(z_back, z, rtol=0, atol=1e-10)
    np.testing.assert_allclose(rho_back, rho, rtol=0, atol=1e-10)


def test_gradients_reach_every_variable(row, seed):
    flow = make(row, seed)
    z, rho = start(flow, (8,), seed)
    with tf.GradientTape() as tape:
        result = flow(TARGET, z, rho)
        value = tf.reduce_sum(result.log_joint + result.log_det)
        if flow.has_momentum:
            value -= 0.5 * tf.reduce_sum(tf.square(result.rho))
    for gradient in tape.gradient(value, flow.trainable_variables):
        assert gradient is not None
        assert np.all(np.isfinite(gradient))
        assert np.all(np.not_equal(gradient, 0.0))


def test_trainable_variables_are_found(row):
    flow = row.make(batch_shape=(), dtype=tf.float32)
    assert isinstance(flow, tf.Module)
    assert {variable.name.removesuffix(":0") for variable in flow.trainable_variables} == row.variables


def test_graph_with_unknown_batch_size_agrees_with_eager(row, seed):
    flow = make(row, seed)
    z, rho = start(flow, (8,), seed)
    inputs = [z] if rho is None else [z, rho]
    compiled = tf.function(
        partial(flow, TARGET), input_signature=[tf.TensorSpec([None, SIZE], tf.float64)] * len(inputs)
    )
    for value, expected in zip(compiled(*inputs), flow(TARGET, *inputs), strict=True):
        if expected is not None:
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def test_a_target_of_another_size_is_refused(row):
    flow = row.make(batch_shape=(), dtype=tf.float64)
    z = tf.zeros([SIZE + 1], tf.float64)
    with pytest.raises(ValueError, match=f"size {SIZE}, the target has z of size {SIZE + 1}"):
        flow(LogDensityTarget(quartic, SIZE + 1), z, z)


@pytest.mark.parametrize(
    "make_flow", [IdentityFlow, partial(PlanarFlow, num_layers=1), partial(HamiltonianFlow, num_leapfrog_steps=1)]
)
def test_an_event_without_dimensions_is_refused(make_flow):
    with pytest.raises(ValueError, match="event_size is 0"):
        make_flow(0)


@pytest.mark.parametrize("num_layers", [0, -1, 1.5])
def test_planar_flow_needs_a_whole_number_of_layers(num_layers):
    with pytest.raises(ValueError, match="num_layers is"):
        PlanarFlow(SIZE, num_layers)


def test_unconstrained_planar_layers_would_fold():
    """The rows 'planar-beyond' test something: without the constraint their determinant changes sign."""
    flow = planar_beyond_invertible(1)
    assert float(tf.reduce_sum(flow.w * flow.u)) < -1.0


def test_planar_layer_without_a_direction_is_a_shift():
    """At w = 0 the invertibility constraint has nothing to act on."""
    flow = PlanarFlow(2, 1, dtype=tf.float64)
    flow.w.assign(tf.zeros([2], tf.float64))
    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, -1), 2)
    z = tf.constant([[0.3, -1.0]], tf.float64)
    result = flow(target, z)
    np.testing.assert_allclose(result.z, z + flow.u * np.tanh(0.1))
    np.testing.assert_array_equal(result.log_det, [0.0])
