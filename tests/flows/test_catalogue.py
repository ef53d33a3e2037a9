"""What holds for every flow: the rows of the catalogue times generic tests."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import (
    AnnealedFlow,
    DiagonalGaussian,
    GaussianOffsetTarget,
    HamiltonianFlow,
    IdentityFlow,
    LogDensityTarget,
    PlanarFlow,
)
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.flows.chain import StochasticFlow
from hvae_tf.flows.nose_hoover import NoseHooverFlow
from hvae_tf.flows.riemannian import RiemannianFlow
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.targets.gaussian import sufficient_statistics
from tests.catalogue import CATALOGUE, make, planar_beyond_invertible, rows
from tests.marks import slow

SIZE = 3
# one row of each class and tempering where a property does not hang on K
KINDS = [
    name for name in CATALOGUE
    if ("-K" not in name and "-T" not in name)
    or name.endswith(("planar-K2", "K2-step", "T2-n2", "T3-n1", "score-T2-n1"))
]  # fmt: skip
LONG = "T2-n2", "K5"  # slow, and other rows have all that these have
SMOOTH = [name for name, row in CATALOGUE.items() if row.smooth]


def quartic(z):
    return -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


def curvature(z):
    """A metric of this density, for the flows that ask for one."""
    return tf.linalg.diag(0.5 + 0.5 * tf.square(z)) + 1.0


TARGET = LogDensityTarget(quartic, SIZE, curvature)


def arguments(flow, shape, seed):
    """(z, noise, q0, context) for events of these leading axes."""
    pair = tf.constant([seed, 100])
    z = tf.random.stateless_normal([*shape, SIZE], pair, dtype=flow.dtype)
    q0 = DiagonalGaussian(tf.zeros([SIZE], flow.dtype), tf.ones([SIZE], flow.dtype))
    context = tf.random.stateless_normal([1, 2 * SIZE], pair + 1, dtype=flow.dtype)
    return z, flow.noise(shape, pair + 2), q0, context


def check_result(result, z):
    """Shapes and dtypes of the contract."""
    assert result.z.shape == z.shape
    assert result.log_joint.shape == z.shape[:-1]
    for value in result:
        assert value.dtype == z.dtype
        assert np.all(np.isfinite(value))
    for ratio in (result.log_ratio, result.expected_log_ratio):
        assert tf.broadcast_static_shape(ratio.shape, z.shape[:-1]) == z.shape[:-1]


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("leading", [(5,), (4, 5)], ids=str)
@pytest.mark.parametrize("name", rows())
def test_leading_axes_are_free(name, leading, dtype, seed):
    flow = make(name, SIZE, seed, dtype)
    z, *rest = arguments(flow, leading, seed)
    result = flow.transform(TARGET, z, *rest)
    check_result(result, z)
    np.testing.assert_array_equal(result.log_joint, TARGET.log_joint(result.z))


@pytest.mark.parametrize("name", [name for name in KINDS if CATALOGUE[name].repeats])
def test_repeats_share_no_parameters(name, seed):
    """Samples [4] of repeats [2], each with its own data and its own parameters."""
    flow = make(name, SIZE, seed, batch_shape=(2,))
    z, *rest = arguments(flow, (4, 2), seed)
    data = tf.random.stateless_normal([2, 6, SIZE], [seed, 200], dtype=tf.float64).numpy()
    delta, log_sigma = tf.unstack(0.1 * tf.random.stateless_normal([2, 2, SIZE], [seed, 201], dtype=tf.float64))
    target = GaussianOffsetTarget(sufficient_statistics(data), delta, log_sigma)
    with tf.GradientTape(persistent=True) as tape:
        result = flow.transform(target, z, *rest)
        check_result(result, z)
        value = tf.reduce_sum(result.log_joint + result.log_ratio, axis=0)
        first, second = value[0], value[1]
    for variable in flow.trainable_variables:
        in_first, in_second = (np.not_equal(tape.gradient(value, variable), 0.0) for value in (first, second))
        assert np.all(in_first ^ in_second)


def full_map(flow, z, noise, context):
    """(start, end, log ratio of the densities of what was drawn): the map of z and of the momentum, if it has one."""
    if isinstance(flow, HamiltonianFlow):
        rho_0, log_rho_0 = flow.momentum.draw(noise, flow.schedule())
        state, _ = flow.move(TARGET, z, rho_0)
        return [z, rho_0], [state.z, state.rho], standard_normal_log_prob(flow.momentum.centred(state.rho)) - log_rho_0
    if isinstance(flow, RiemannianFlow):
        scale = flow.schedule().inv_sqrt_beta_0
        q0 = DiagonalGaussian(tf.zeros([SIZE], flow.dtype), tf.ones([SIZE], flow.dtype))
        state, _, failed = flow.move(TARGET, z, noise * scale, q0)
        assert not np.any(failed)
        log_rho_0 = standard_normal_log_prob(noise) - SIZE * tf.math.log(scale)
        return [z, noise * scale], [state.z, state.rho], standard_normal_log_prob(state.rho) - log_rho_0
    if isinstance(flow, NoseHooverFlow):
        scale, (gamma, eta) = flow.schedule().inv_sqrt_beta_0, noise
        state = flow.move(TARGET, z, scale * gamma, eta)
        ends = tf.concat([state.rho, state.eta], axis=-1)
        log_start = standard_normal_log_prob(tf.concat(noise, axis=-1)) - SIZE * tf.math.log(scale)
        return [z, scale * gamma, eta], [state.z, ends], standard_normal_log_prob(ends) - log_start
    if isinstance(flow, StochasticFlow):
        q0 = DiagonalGaussian(tf.zeros([SIZE], flow.dtype), tf.ones([SIZE], flow.dtype))
        way = flow.transitions(TARGET, z, noise, q0, context)
        ratio = tf.add_n([step.reverse.log_prob(step.released) - step.draw.log_prob for step in way])
        ends = [step.released for step in way]
        # what is drawn: momenta, or the noise that refreshes a part of them
        drawn = noise if isinstance(flow, AnnealedFlow) else [step.draw.value for step in way]
        return [z, *drawn], [way[-1].end.z, *ends], ratio
    if isinstance(noise, dict):
        end = flow.move(TARGET, z, noise["momentum"])
        return (
            [z, noise["momentum"]],
            end,
            standard_normal_log_prob(end[1]) - standard_normal_log_prob(noise["momentum"]),
        )
    return [z], [flow.transform(TARGET, z, (), context=context).z], 0.0


@pytest.mark.parametrize("name", slow([*SMOOTH, "planar-beyond"], *LONG))
def test_the_log_ratio_holds_the_determinant_of_the_jacobian(name, seed):
    beyond = name == "planar-beyond"
    flow = planar_beyond_invertible(SIZE, 2, dtype=tf.float64) if beyond else make(name, SIZE, seed)
    z, noise, q0, context = arguments(flow, (8,), seed)
    momentum = tf.nest.flatten(noise)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, *momentum])
        start, end, ratio = full_map(flow, z, noise, context)
        end = tf.concat(end, axis=-1)
    # d end / d start, by way of the noise: rho_0 is a multiple of it
    columns = []
    for source, point in zip([z, *momentum], start, strict=True):
        jacobian = tape.batch_jacobian(end, source, experimental_use_pfor=False)
        columns.append(jacobian / tf.linalg.diag_part(tape.batch_jacobian(point, source))[:, None, :])
    sign, log_det = np.linalg.slogdet(tf.concat(columns, axis=-1).numpy())
    # an invertible map that is continuously connected to the identity keeps the orientation everywhere
    np.testing.assert_array_equal(sign, 1.0)
    found = flow.transform(TARGET, z, noise, q0=q0, context=context).log_ratio - ratio
    np.testing.assert_allclose(np.broadcast_to(found, log_det.shape), log_det, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", rows("hamiltonian"))
def test_inverse_leads_back(name, seed):
    flow = make(name, SIZE, seed)
    z, noise, *_ = arguments(flow, (8,), seed)
    rho = noise * flow.schedule().inv_sqrt_beta_0
    state, _ = flow.move(TARGET, z, rho)
    assert np.abs(state.z - z).max() > 1e-2
    z_back, rho_back = flow.inverse(TARGET, state.z, state.rho)
    np.testing.assert_allclose(z_back, z, rtol=0, atol=1e-10)
    np.testing.assert_allclose(rho_back, rho, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", slow(SMOOTH, *LONG))
def test_gradients_are_those_of_finite_differences(name, seed):
    """Of both ratios with the joint, in every variable, the network's included."""
    flow = make(name, SIZE, seed)
    z, *rest = arguments(flow, (4,), seed)
    variables = [weight.value for weight in FlowLayer(flow).trainable_weights]

    def value():
        result = flow.transform(TARGET, z, *rest)
        return tf.reduce_sum(result.log_joint + result.log_ratio + 0.3 * result.expected_log_ratio)

    with tf.GradientTape() as tape:
        total = value()
    for index, (variable, gradient) in enumerate(zip(variables, tape.gradient(total, variables), strict=True)):
        assert np.all(np.not_equal(gradient, 0.0))
        direction, h = tf.random.stateless_normal(variable.shape, [seed, index], dtype=tf.float64), 1e-5
        variable.assign_add(h * direction)
        ahead = value()
        variable.assign_sub(2.0 * h * direction)
        behind = value()
        variable.assign_add(h * direction)
        np.testing.assert_allclose(
            tf.reduce_sum(gradient * direction), (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("name", rows())
def test_a_keras_layer_finds_all_it_trains(name):
    flow = CATALOGUE[name].make(SIZE, dtype=tf.float32)
    layer = FlowLayer(flow)
    assert {weight.name for weight in layer.trainable_weights} == CATALOGUE[name].variables
    if not CATALOGUE[name].network:
        assert {id(weight.value) for weight in layer.weights} == {id(variable) for variable in flow.variables}


@pytest.mark.parametrize("name", slow(KINDS, *LONG, "riemannian-z"))
def test_graph_with_unknown_batch_size_agrees_with_eager(name, seed):
    flow = make(name, SIZE, seed)
    z, noise, q0, context = arguments(flow, (8,), seed)
    compiled = tf.function(
        lambda z, noise: flow.transform(TARGET, z, noise, q0=q0, context=context),
        input_signature=tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), [z, noise]),
    )
    for value, expected in zip(compiled(z, noise), flow.transform(TARGET, z, noise, q0, context), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_noise_is_a_function_of_the_seed(name, seed):
    flow = CATALOGUE[name].make(SIZE, dtype=tf.float64)
    first, again, other = (flow.noise((3, 2), tf.constant([seed, k])) for k in (1, 1, 2))
    for a, b, c in zip(*map(tf.nest.flatten, (first, again, other)), strict=True):
        assert a.shape[:2] == (3, 2)
        np.testing.assert_array_equal(a, b)
        assert np.all(np.not_equal(a, c))


@pytest.mark.parametrize("name", rows())
def test_a_flow_comes_back_from_its_configuration(name):
    flow = CATALOGUE[name].make(SIZE, dtype=tf.float64)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(flow))
    assert type(again) is type(flow)
    assert again.get_config() == flow.get_config()
    assert again.dtype == tf.float64


@pytest.mark.parametrize("name", KINDS)
def test_a_target_of_another_size_is_refused(name):
    flow = CATALOGUE[name].make(SIZE, dtype=tf.float64)
    _, *rest = arguments(flow, (2,), 0)
    with pytest.raises(ValueError, match=f"size {SIZE}, the target has z of size {SIZE + 1}"):
        flow.transform(LogDensityTarget(quartic, SIZE + 1), tf.zeros([2, SIZE + 1], tf.float64), *rest)


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
    """The row 'planar-beyond' tests something: without the constraint its determinant changes sign."""
    flow = planar_beyond_invertible(SIZE, 1)
    assert float(tf.reduce_sum(flow.w * flow.u)) < -1.0


def test_planar_layer_without_a_direction_is_a_shift():
    """At w = 0 the invertibility constraint has nothing to act on."""
    flow = PlanarFlow(2, 1, dtype=tf.float64)
    flow.w.assign(tf.zeros([2], tf.float64))
    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, -1), 2)
    z = tf.constant([[0.3, -1.0]], tf.float64)
    result = flow.transform(target, z)
    np.testing.assert_allclose(result.z, z + flow.u * np.tanh(0.1))
    np.testing.assert_array_equal(result.log_ratio, [0.0])
