"""The three ways to differentiate the flow: equal gradients, what each evaluates, and a lost way that is noticed."""

import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf import HamiltonianFlow, LogDensityTarget, Target, hamiltonian_elbo
from hvae_tf.flows import differentiation
from hvae_tf.flows.differentiation import DIFFERENTIATIONS
from hvae_tf.targets.target import ValueAndGrad

SIZE = 3
OTHERS = [name for name in DIFFERENTIATIONS if name != "backprop"]


def make_target(weights, shift):
    """Of a variable and of a tensor made from another: both are to have gradients."""
    scale = tf.exp(shift)

    def log_joint(z):
        return -tf.reduce_sum(tf.nn.softplus(tf.linalg.matvec(weights, z * scale)), -1) - 0.5 * tf.reduce_sum(z**2, -1)

    return LogDensityTarget(log_joint, SIZE)


def gradients(way, num_steps, tempering, step_size_per, graph, seed, batch_shape=(), integrator=None):
    """The bound's value and its gradients in noise, target and flow."""
    rng = np.random.default_rng(seed)
    weights, shift = tf.Variable(rng.normal(size=(4, SIZE))), tf.Variable(0.1 * rng.normal(size=SIZE))
    z, gamma = (tf.constant(rng.normal(size=(5, *batch_shape, SIZE))) for _ in range(2))
    kwargs = {} if integrator is None else {"integrator": integrator}
    flow = HamiltonianFlow(
        SIZE, num_steps, tempering, step_size=0.1, step_size_per=step_size_per, batch_shape=batch_shape,
        dtype=tf.float64, differentiation=way, **kwargs,
    )  # fmt: skip

    def value_and_gradients(z, gamma):
        with tf.GradientTape() as tape:
            tape.watch([z, gamma])
            result = flow(make_target(weights, shift), z, flow.initial_momentum(gamma))
            # every output is used, each with weights of its own
            value = tf.reduce_sum(hamiltonian_elbo(result, tf.sin(result.z[..., 0])) * (1.0 + z[..., 0] ** 2))
        sources = [z, gamma, weights, shift, *flow.trainable_variables]
        return [value, *tape.gradient(value, sources)]

    return (tf.function(value_and_gradients, autograph=False) if graph else value_and_gradients)(z, gamma)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("num_steps", "tempering", "step_size_per", "batch_shape"), [
    (1, "free", "flow", ()), (2, "fixed", "step", ()), (5, "free", "step", (2,)), (4, "none", "flow", ()),
])  # fmt: skip
@pytest.mark.parametrize("way", OTHERS)
def test_all_ways_have_the_same_gradients(way, num_steps, tempering, step_size_per, batch_shape, graph, seed):
    arguments = num_steps, tempering, step_size_per, graph, seed, batch_shape
    plain, other = gradients("backprop", *arguments), gradients(way, *arguments)
    assert len(plain) == len(other) > 5 - (tempering == "none")
    for a, b in zip(plain, other, strict=True):
        assert np.any(np.asarray(a) != 0.0)
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("way", OTHERS)
def test_a_forgotten_part_would_be_seen(way, graph, monkeypatch, seed):
    """Planted: the target's captured tensors get no gradient, as plain custom gradients would have it."""
    arguments = 2, "free", "flow", graph, seed
    plain = gradients("backprop", *arguments)
    monkeypatch.setattr(differentiation, "_differentiable_captures", lambda target, z: [])
    other = gradients(way, *arguments)
    assert other[4] is None or not np.allclose(other[4], plain[4], rtol=1e-3)


def test_checkpoint_takes_any_step_and_reversible_does_not(unkicked_step, seed):
    arguments = 3, "free", "step", True, seed, ()
    plain = gradients("backprop", *arguments, unkicked_step)
    for a, b in zip(plain, gradients("checkpoint", *arguments, unkicked_step), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="needs a ReversibleStep"):
        gradients("reversible", *arguments, unkicked_step)


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize("num_steps", [1, 6])
def test_each_evaluates_k_plus_1_times_there_and_back(way, num_steps):
    count = tf.Variable(0, trainable=False)

    def log_joint(z):
        with tf.control_dependencies([count.assign_add(1)]):
            return -0.5 * tf.reduce_sum(z**2, axis=-1)

    flow = HamiltonianFlow(SIZE, num_steps, differentiation=way)

    @tf.function(autograph=False)
    def run(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            result = flow(LogDensityTarget(log_joint, SIZE), z, z)
            value = tf.reduce_sum(result.log_joint)
        return tape.gradient(value, z)

    run(tf.ones([2, SIZE]))
    assert count.numpy() == 2 * (num_steps + 1)


def rough_gradient(way, z, step_size, num_steps, jit=False, tempering="none"):
    """Of a target so stiff that errors of rounding grow by a large factor a step."""
    target = LogDensityTarget(lambda z: -20.0 * tf.reduce_sum(tf.sin(3.0 * z) + 0.5 * z**2, axis=-1), SIZE)
    flow = HamiltonianFlow(SIZE, num_steps, tempering, step_size=step_size, alpha=0.5, differentiation=way)

    @tf.function(autograph=False, jit_compile=jit)
    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = tf.reduce_sum(flow(target, z, z).z)
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
        rough_gradient("reversible", ORDINARY, 1e-4, 24, tempering="free")
    rough_gradient("reversible", ORDINARY, 1e-4, 4, tempering="free")


def test_where_assertions_are_dropped_a_lost_way_is_not_a_number():
    assert np.all(np.isnan(rough_gradient("reversible", ORDINARY, 0.35, 8, jit=True)))
    assert np.all(np.isfinite(rough_gradient("checkpoint", ORDINARY, 0.35, 8, jit=True)))
    assert np.all(np.isfinite(rough_gradient("reversible", ORDINARY, 0.01, 4, jit=True)))


@pytest.mark.parametrize("way", OTHERS)
def test_what_only_the_gradient_depends_on_has_a_gradient(way):
    class Surrogate(Target):
        """Its gradient, and nothing else, depends on a tensor from outside, a complex one."""

        event_size = SIZE

        def __init__(self, scale):
            self._scale = scale

        def _log_joint(self, z):
            return -0.5 * tf.reduce_sum(z**2, axis=-1)

        def _value_and_grad(self, z):
            return ValueAndGrad(self._log_joint(z), -z * tf.math.real(self._scale))

    def gradient(way):
        scale = tf.Variable(tf.ones([SIZE], tf.complex128))
        flow = HamiltonianFlow(SIZE, 3, differentiation=way, dtype=tf.float64)
        z = tf.ones([2, SIZE], tf.float64)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(flow(Surrogate(2.0 * scale), z, z).z ** 2)
        return tape.gradient(value, scale)

    np.testing.assert_allclose(gradient(way), gradient("backprop"), rtol=1e-10)


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize(("z_shape", "rho_shape", "batch_shape"), [
    ((5, SIZE), (7, 5, SIZE), ()), ((7, 5, SIZE), (5, SIZE), ()), ((SIZE,), (SIZE,), (2,)),
])  # fmt: skip
def test_leading_axes_broadcast(way, z_shape, rho_shape, batch_shape, seed):
    rng = np.random.default_rng(seed)
    z, rho = tf.constant(rng.normal(size=z_shape)), tf.constant(rng.normal(size=rho_shape))

    def gradients(way):
        flow = HamiltonianFlow(SIZE, 2, "free", batch_shape=batch_shape, dtype=tf.float64, differentiation=way)
        with tf.GradientTape() as tape:
            tape.watch([z, rho])
            result = flow(make_target(tf.constant(np.eye(SIZE)), tf.zeros([SIZE], tf.float64)), z, rho)
            value = tf.reduce_sum(result.log_joint) + tf.reduce_sum(result.rho**2)
        return [result.z, *tape.gradient(value, [z, rho, *flow.trainable_variables])]

    for a, b in zip(gradients("backprop"), gradients(way), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10)


@pytest.mark.parametrize("way", OTHERS)
def test_models_train_alike(way, seed):
    sizes = {"image_shape": (5, 4, 1), "latent_size": 3, "hidden_units": 4, "filters": (2,), "dtype": "float64"}
    x = np.random.default_rng(seed).integers(0, 2, [8, 5, 4, 1]).astype(np.float64)
    weights = []
    for name in ("backprop", way):
        model = hvae_tf.HVAE(
            hvae_tf.conv_encoder(**sizes), hvae_tf.conv_decoder(**sizes), 2, num_samples=2, differentiation=name,
            dtype="float64",
        )  # fmt: skip
        model.compile("adam")
        model.fit(x, batch_size=3, epochs=2, shuffle=False, verbose=0)
        weights.append([*model.get_weights(), model.log_likelihood(x, 5).value])
        assert model.get_config()["differentiation"] == name
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_unknown_way_is_refused():
    with pytest.raises(ValueError, match="'magic'; accepted: backprop, checkpoint, reversible"):
        HamiltonianFlow(SIZE, 1, differentiation="magic")
