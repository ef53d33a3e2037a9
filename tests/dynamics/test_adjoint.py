"""The three ways to differentiate K steps: equal gradients, what each evaluates, and a lost way that is noticed."""

import functools
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf.dynamics import adjoint as adjoint_module
from hvae_tf.dynamics.adjoint import ADJOINTS, Checkpoint, Direct, Reversible, get_adjoint
from hvae_tf.dynamics.integrator import Integrator, ReversibleIntegrator
from hvae_tf.dynamics.leapfrog import Leapfrog
from hvae_tf.dynamics.tempering import FreeTempering, get_tempering
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.targets.target import LogDensityTarget, Target, ValueAndGrad

SIZE = 3
OTHERS = [name for name in ADJOINTS if name != "backprop"]


def make_target(weights, shift):
    """Of a variable and of a tensor made from another: both are to have gradients."""
    scale = tf.exp(shift)

    def log_joint(z):
        return -tf.reduce_sum(tf.nn.softplus(tf.linalg.matvec(weights, z * scale)), -1) - 0.5 * tf.reduce_sum(z**2, -1)

    return LogDensityTarget(log_joint, SIZE)


@functools.cache
def gradients(adjoint, num_steps, tempering, step_size_per, graph, seed, batch_shape=(), integrator=None):
    """The bound's value and its gradients in noise, target and flow."""
    rng = np.random.default_rng(seed)
    weights, shift = tf.Variable(rng.normal(size=(4, SIZE))), tf.Variable(0.1 * rng.normal(size=SIZE))
    z, gamma = (tf.constant(rng.normal(size=(5, *batch_shape, SIZE))) for _ in range(2))
    flow = HamiltonianFlow(
        SIZE, num_steps, tempering, step_size=0.1, step_size_per=step_size_per, batch_shape=batch_shape,
        dtype=tf.float64, adjoint=adjoint, integrator=integrator,
    )  # fmt: skip

    def value_and_gradients(z, gamma):
        with tf.GradientTape() as tape:
            tape.watch([z, gamma])
            result = flow.transform(make_target(weights, shift), z, gamma)
            # every output is used, each with weights of its own
            value = result.log_joint + result.expected_log_ratio + 0.3 * result.log_ratio - tf.sin(result.z[..., 0])
            value = tf.reduce_sum(value * (1.0 + z[..., 0] ** 2))
        sources = [z, gamma, weights, shift, *flow.trainable_variables]
        return [value, *tape.gradient(value, sources)]

    return (tf.function(value_and_gradients, autograph=False) if graph else value_and_gradients)(z, gamma)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("num_steps", "tempering", "step_size_per", "batch_shape"), [
    (1, "free", "flow", ()), (2, "fixed", "step", ()), (5, "free", "step", (2,)), (4, "none", "flow", ()),
])  # fmt: skip
@pytest.mark.parametrize("adjoint", OTHERS)
def test_all_adjoints_have_the_same_gradients(adjoint, num_steps, tempering, step_size_per, batch_shape, graph, seed):
    arguments = num_steps, tempering, step_size_per, graph, seed, batch_shape
    plain, other = gradients("backprop", *arguments), gradients(adjoint, *arguments)
    assert len(plain) == len(other) > 5 - (tempering == "none")
    for a, b in zip(plain, other, strict=True):
        assert np.any(np.asarray(a) != 0.0)
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("adjoint", OTHERS)
def test_a_forgotten_part_would_be_seen(adjoint, graph, monkeypatch, seed):
    """Planted: the target's captured tensors get no gradient, as plain custom gradients would have it."""
    arguments = 2, "free", "flow", graph, seed
    plain = gradients("backprop", *arguments)
    monkeypatch.setattr(adjoint_module, "differentiable_captures", lambda *args: [])
    other = gradients.__wrapped__(adjoint, *arguments)
    assert other[4] is None or not np.allclose(other[4], plain[4], rtol=1e-3)


def test_checkpoint_takes_any_integrator_and_reversible_does_not(unkicked_integrator, seed):
    arguments = 3, "free", "step", True, seed, ()
    plain = gradients("backprop", *arguments, unkicked_integrator)
    for a, b in zip(plain, gradients("checkpoint", *arguments, unkicked_integrator), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=r"needs a ReversibleIntegrator; .*Unkicked.* is none"):
        gradients("reversible", *arguments, unkicked_integrator)


# ---- dynamics of another state


class ThermostatState(NamedTuple):
    """z and rho ``[..., l]``, xi ``[..., 1]``, and the target at z."""

    z: tf.Tensor
    rho: tf.Tensor
    xi: tf.Tensor
    log_joint: tf.Tensor
    grad: tf.Tensor


class NoseHoover(ReversibleIntegrator):
    """Leapfrog whose momentum a thermostat xi drives to unit temperature; symmetric, so -eps undoes it.

    Its parameters are a dict of eps ``[..., l]`` and of the thermostat's inverse mass ``[]``.
    """

    state_type = ThermostatState

    def _slowed(self, state, eps):
        return state.rho * tf.exp(-0.5 * eps * state.xi)

    def _drive(self, state, p):
        excess = tf.reduce_mean(state.rho**2, -1, keepdims=True) - 1.0
        return state.xi + 0.5 * tf.reduce_mean(p["eps"]) * p["inverse_mass"] * excess

    def kick_drift(self, state, p):
        state = state._replace(xi=self._drive(state, p))
        state = state._replace(rho=self._slowed(state, p["eps"]) + 0.5 * p["eps"] * state.grad)
        return state._replace(z=state.z + p["eps"] * state.rho)

    def kick(self, state, p):
        state = state._replace(rho=state.rho + 0.5 * p["eps"] * state.grad)
        state = state._replace(rho=self._slowed(state, p["eps"]))
        return state._replace(xi=self._drive(state, p))

    def _reversed(self, p):
        return {"eps": -p["eps"], "inverse_mass": p["inverse_mass"]}

    def kick_drift_back(self, state, parameters):
        return self.kick_drift(state, self._reversed(parameters))

    def kick_back(self, state, parameters):
        return self.kick(state, self._reversed(parameters))


class CrookedNoseHoover(Integrator):
    """The same forward, and no way back; it uses log_joint too, and starts its thermostat itself."""

    def init(self, target, *start):
        z, rho = start
        return NoseHoover().init(target, z, rho, 0.1 * rho[..., :1])

    def step(self, target, state, parameters):
        state = NoseHoover().step(target, state, parameters)
        return state._replace(xi=state.xi + 0.01 * tf.tanh(state.log_joint)[..., None])


def thermostat_gradients(adjoint, integrator, graph, seed, num_steps=4):
    """The last state, and the gradients of all of it in start, parameters and target."""
    rng = np.random.default_rng(seed)
    weights, shift = tf.Variable(rng.normal(size=(4, SIZE))), tf.Variable(0.1 * rng.normal(size=SIZE))
    start = [tf.constant(rng.normal(size=(5, SIZE))) for _ in range(2)]
    if isinstance(integrator, NoseHoover):
        start.append(tf.constant(rng.normal(size=(5, 1))))
    parameters = {
        "eps": tf.constant(rng.uniform(0.05, 0.2, size=(num_steps, SIZE))),
        "inverse_mass": tf.constant(rng.uniform(0.5, 1.0, size=num_steps)),
    }

    def state_and_gradients(start, parameters):
        with tf.GradientTape() as tape:
            tape.watch([start, parameters])
            state = adjoint.scan(make_target(weights, shift), integrator, tuple(start), parameters)
            value = tf.add_n([(k + 1.0) * tf.reduce_sum(tf.sin(part)) for k, part in enumerate(state)])
        sources = [*start, *parameters.values(), weights, shift]
        return state, tape.gradient(value, sources)

    return (tf.function(state_and_gradients, autograph=False) if graph else state_and_gradients)(start, parameters)


@pytest.mark.parametrize(
    ("adjoint", "integrator", "num_steps", "graph"),
    [
        (Checkpoint(), CrookedNoseHoover(), 4, False),
        (Checkpoint(), CrookedNoseHoover(), 4, True),
        (Checkpoint(), NoseHoover(), 4, False),
        (Reversible(), NoseHoover(), 4, False),
        (Reversible(), NoseHoover(), 4, True),
        (Reversible(), NoseHoover(), 1, False),
    ],
)
def test_any_state_and_any_parameters(adjoint, integrator, num_steps, graph, seed):
    plain_state, plain = thermostat_gradients(Direct(), integrator, graph, seed, num_steps)
    state, other = thermostat_gradients(adjoint, integrator, graph, seed, num_steps)
    assert type(state) is ThermostatState
    for value, expected in zip(state, plain_state, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)
    for gradient, expected in zip(other, plain, strict=True):
        assert np.all(expected.numpy() != 0.0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


def test_a_thermostat_walked_back_wrongly_is_an_error(seed):
    """Planted: the default way back, with all parameters negated: the mass's sign is not to change."""

    class Wrong(NoseHoover):
        def _reversed(self, p):
            return tf.nest.map_structure(tf.negative, p)

    with pytest.raises(tf.errors.InvalidArgumentError, match="lost to rounding"):
        thermostat_gradients(Reversible(), Wrong(), False, seed)


# ---- what they cost, and what is noticed


@pytest.mark.parametrize("adjoint", OTHERS)
@pytest.mark.parametrize("num_steps", [1, 6])
def test_each_evaluates_k_plus_1_times_there_and_back(adjoint, num_steps):
    count = tf.Variable(0, trainable=False)

    def log_joint(z):
        with tf.control_dependencies([count.assign_add(1)]):
            return -0.5 * tf.reduce_sum(z**2, axis=-1)

    flow = HamiltonianFlow(SIZE, num_steps, adjoint=adjoint)

    @tf.function(autograph=False)
    def run(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            state, _ = flow.move(LogDensityTarget(log_joint, SIZE), z, z)
            value = tf.reduce_sum(state.log_joint)
        return tape.gradient(value, z)

    run(tf.ones([2, SIZE]))
    assert count.numpy() == 2 * (num_steps + 1)


def rough_gradient(adjoint, z, step_size, num_steps, jit=False, tempering="none"):
    """Of a target so stiff that errors of rounding grow by a large factor a step."""
    target = LogDensityTarget(lambda z: -20.0 * tf.reduce_sum(tf.sin(3.0 * z) + 0.5 * z**2, axis=-1), SIZE)
    tempering = get_tempering(tempering)
    flow = HamiltonianFlow(SIZE, num_steps, tempering, step_size=step_size, adjoint=adjoint)

    @tf.function(autograph=False, jit_compile=jit)
    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = tf.reduce_sum(flow.move(target, z, z)[0].z)
        return tape.gradient(value, z)

    return gradient(z)


ORDINARY = tf.random.stateless_normal([10, SIZE], [0, 1])


@pytest.mark.parametrize("z", [ORDINARY, tf.concat([ORDINARY, [[1000.0] * SIZE]], 0)], ids=["alike", "one far off"])
def test_a_way_back_that_is_lost_is_an_error(z):
    rough_gradient("checkpoint", z, 0.35, 8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="lost to rounding"):
        rough_gradient("reversible", z, 0.35, 8)


def test_a_lost_momentum_is_an_error_though_z_comes_back():
    # rho is divided by alpha = 0.5 a step on the way back, and its errors with it; eps is so small that z hardly moves
    with pytest.raises(tf.errors.InvalidArgumentError, match="lost to rounding"):
        rough_gradient("reversible", ORDINARY, 1e-4, 24, tempering=FreeTempering(0.5))
    rough_gradient("reversible", ORDINARY, 1e-4, 4, tempering=FreeTempering(0.5))


def test_where_assertions_are_dropped_a_lost_way_is_not_a_number():
    assert np.all(np.isnan(rough_gradient("reversible", ORDINARY, 0.35, 8, jit=True)))
    assert np.all(np.isfinite(rough_gradient("checkpoint", ORDINARY, 0.35, 8, jit=True)))
    assert np.all(np.isfinite(rough_gradient("reversible", ORDINARY, 0.01, 4, jit=True)))


@pytest.mark.parametrize("adjoint", OTHERS)
def test_what_only_the_gradient_depends_on_has_a_gradient(adjoint):
    class Surrogate(Target):
        """Its gradient, and nothing else, depends on a tensor from outside, a complex one."""

        event_size = SIZE

        def __init__(self, scale):
            self._scale = scale

        def _log_joint(self, z):
            return -0.5 * tf.reduce_sum(z**2, axis=-1)

        def _value_and_grad(self, z):
            return ValueAndGrad(self._log_joint(z), -z * tf.math.real(self._scale))

    def gradient(adjoint):
        scale = tf.Variable(tf.ones([SIZE], tf.complex128))
        flow = HamiltonianFlow(SIZE, 3, adjoint=adjoint, dtype=tf.float64)
        z = tf.ones([2, SIZE], tf.float64)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(flow.move(Surrogate(2.0 * scale), z, z)[0].z ** 2)
        return tape.gradient(value, scale)

    np.testing.assert_allclose(gradient(adjoint), gradient("backprop"), rtol=1e-10)


@pytest.mark.parametrize("adjoint", OTHERS)
@pytest.mark.parametrize(("z_shape", "rho_shape", "batch_shape"), [
    ((5, SIZE), (7, 5, SIZE), ()), ((7, 5, SIZE), (5, SIZE), ()), ((SIZE,), (SIZE,), (2,)),
])  # fmt: skip
def test_leading_axes_broadcast(adjoint, z_shape, rho_shape, batch_shape, seed):
    rng = np.random.default_rng(seed)
    z, rho = tf.constant(rng.normal(size=z_shape)), tf.constant(rng.normal(size=rho_shape))

    def gradients(adjoint):
        flow = HamiltonianFlow(SIZE, 2, "free", batch_shape=batch_shape, dtype=tf.float64, adjoint=adjoint)
        with tf.GradientTape() as tape:
            tape.watch([z, rho])
            state, _ = flow.move(make_target(tf.constant(np.eye(SIZE)), tf.zeros([SIZE], tf.float64)), z, rho)
            value = tf.reduce_sum(state.log_joint) + tf.reduce_sum(state.rho**2)
        return [state.z, *tape.gradient(value, [z, rho, *flow.trainable_variables])]

    for a, b in zip(gradients("backprop"), gradients(adjoint), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_batch_sizes_may_be_unknown(adjoint, seed):
    flow = HamiltonianFlow(SIZE, 3, dtype=tf.float64, adjoint=adjoint)
    target = make_target(tf.constant(np.eye(SIZE)), tf.zeros([SIZE], tf.float64))

    def gradient(z, gamma):
        with tf.GradientTape() as tape:
            result = flow.transform(target, z, gamma)
            value = result.log_joint + result.expected_log_ratio
        return tape.gradient(value, flow.trainable_variables)

    noise = tf.unstack(tf.random.stateless_normal([2, 4, SIZE], [seed, 0], dtype=tf.float64))
    specs = [tf.TensorSpec([None, SIZE], tf.float64)] * 2
    for a, b in zip(gradient(*noise), tf.function(gradient, specs, autograph=False)(*noise), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10)


@pytest.mark.parametrize("adjoint", ADJOINTS.values())
@pytest.mark.parametrize("parameters", [
    (tf.ones([2, SIZE]), tf.ones([3])), tf.keras.Input([SIZE]),
], ids=["unlike", "unknown"])  # fmt: skip
def test_numbers_of_steps_must_be_known_and_agree(adjoint, parameters):
    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, -1), SIZE)
    z = tf.zeros([SIZE])
    with pytest.raises(ValueError, match="expected one K for all"):
        adjoint().scan(target, Leapfrog(), (z, z), parameters)


@pytest.mark.slow
def test_models_train_alike(seed):
    sizes = {"image_shape": (5, 4, 1), "latent_size": 3, "hidden_units": 4, "filters": (2,), "dtype": "float64"}
    x = np.random.default_rng(seed).integers(0, 2, [8, 5, 4, 1]).astype(np.float64)
    weights = []
    for name in ("backprop", *OTHERS):
        model = hvae_tf.HVAE(
            hvae_tf.conv_encoder(**sizes), hvae_tf.conv_decoder(**sizes), 2, num_samples=2, adjoint=name,
            dtype="float64",
        )  # fmt: skip
        model.compile("adam")
        model.fit(x, batch_size=3, epochs=2, shuffle=False, verbose=0)
        weights.append([*model.get_weights(), model.log_likelihood(x, 5).value])
    for expected, *others in zip(*weights, strict=True):
        for found in others:
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("unknown", ["magic", None, Checkpoint])
def test_unknown_adjoint_is_refused(unknown):
    with pytest.raises(ValueError, match="accepted: backprop, checkpoint, reversible, or an Adjoint"):
        HamiltonianFlow(SIZE, 1, adjoint=unknown)


@pytest.mark.parametrize("name", ADJOINTS)
def test_names_objects_and_configurations(name):
    adjoint = get_adjoint(name)
    assert type(adjoint) is ADJOINTS[name]
    assert get_adjoint(adjoint) is adjoint
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(adjoint))
    assert type(again) is type(adjoint)
