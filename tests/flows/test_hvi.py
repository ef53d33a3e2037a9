"""Stochastic flows: identities between code paths, counts of evaluations, exact answers, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import DiagonalGaussian, GaussianOffsetTarget, HamiltonianFlow, HVIFlow, LogDensityTarget, Reversible
from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.flows.momentum import GaussianMomentum
from hvae_tf.flows.reverse import LinearReverse, NetworkReverse, StandardReverse
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.targets.gaussian import evidence, posterior, sufficient_statistics
from reproduce.auxiliary.exact import linear_reverse, matched_momentum_scale, quarter_turn
from tests.catalogue import hvi

SIZE = 3


def quartic(z):
    return -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


TARGET = LogDensityTarget(quartic, SIZE)


@pytest.mark.parametrize("reverse", ["standard", "linear", "network"])
@pytest.mark.parametrize("num_steps", [1, 4])
def test_one_transition_starts_as_the_untempered_hamiltonian_flow(num_steps, reverse, seed):
    """Every reverse model starts at N(0, I)."""
    options = {"step_size": [0.1, 0.2, 0.3], "dtype": tf.float64}
    one = HVIFlow(SIZE, 1, num_steps, reverse=reverse, momentum_scale=1.0, **options)
    other = HamiltonianFlow(SIZE, num_steps, "none", **options)
    z, context = tf.random.stateless_normal([6, SIZE], [seed, 1], dtype=tf.float64), tf.ones([1, 2 * SIZE], tf.float64)
    noise, gamma = (flow.noise((6,), tf.constant([seed, 2])) for flow in (one, other))
    found, expected = one.transform(TARGET, z, noise, context=context), other.transform(TARGET, z, gamma)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-12)


class Counting(LogDensityTarget):
    evaluations = 0

    def _value_and_grad(self, z):
        self.evaluations += 1
        return super()._value_and_grad(z)


@pytest.mark.parametrize(("T", "n"), [(1, 1), (3, 1), (2, 4)])
def test_the_evaluation_is_passed_on(T, n):
    flow, target = hvi(SIZE, T, n, "linear", dtype=tf.float64), Counting(quartic, SIZE)
    flow.transform(target, tf.zeros([2, SIZE], tf.float64), flow.noise((2,), tf.constant([0, 1])))
    assert target.evaluations == T * n + 1


@pytest.mark.parametrize("reverse", ["linear", "network"])
def test_checkpoint_has_the_gradients_of_backprop(reverse, seed):
    found = []
    for adjoint in ("backprop", "checkpoint"):
        flow = hvi(SIZE, 2, 3, reverse, adjoint=adjoint, dtype=tf.float64)
        variables = [weight.value for weight in FlowLayer(flow).trainable_weights]
        scale = tf.constant([1.0, 0.7, 1.3], tf.float64)  # a tensor that the target is made of
        z = tf.random.stateless_normal([5, SIZE], [seed, 1], dtype=tf.float64)
        noise = flow.noise((5,), tf.constant([seed, 2]))

        @tf.function
        def gradients(flow=flow, variables=variables, scale=scale, z=z, noise=noise):
            with tf.GradientTape() as tape:
                tape.watch([scale, z])
                target = LogDensityTarget(lambda z: quartic(scale * z), SIZE)
                result = flow.transform(target, z, noise, context=tf.ones([1, 2 * SIZE], tf.float64))
                value = tf.reduce_sum(result.log_joint + result.log_ratio + 0.3 * result.expected_log_ratio)
            return tape.gradient(value, [scale, z, *variables])

        found.append(gradients())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


# ---- exact answers on the Gaussian offset model


def offset_problem(d):
    statistics = sufficient_statistics(np.random.default_rng(d).normal(size=[10, d]))
    delta, log_sigma = (
        tf.linspace(tf.constant(-0.5, tf.float64), 0.5, d),
        tf.linspace(tf.constant(-1.0, tf.float64), 0.2, d),
    )
    exact = posterior(statistics, delta, log_sigma)
    target = GaussianOffsetTarget(statistics, delta, log_sigma)
    return target, float(evidence(statistics, delta, log_sigma)), exact.mean().numpy(), exact.variance().numpy() ** -1.0


def exact_flow(centres, precisions, n, learned_scale):
    """The flow at its optimum: a quarter of a turn, and the best linear reverse model; and its gap."""
    steps = np.array([quarter_turn(lam, n) for lam in precisions])
    scales = np.array([matched_momentum_scale(lam, n) if learned_scale else 1.0 for lam in precisions])
    answers = [linear_reverse(*numbers, n) for numbers in zip(precisions, centres, steps, scales, strict=True)]
    flow = HVIFlow(
        len(centres),
        1,
        n,
        step_size=steps,
        max_step_size=4.0,
        momentum_scale=scales,
        reverse="linear",
        dtype=tf.float64,
    )
    flow.reverse.offset.assign([[answer.offset for answer in answers]])
    flow.reverse.slope.assign([[answer.slope for answer in answers]])
    flow.reverse.log_scale.assign([[np.log(answer.scale) for answer in answers]])
    return flow, sum(answer.gap for answer in answers)


def standard_draws(flow, d, count, seed):
    q0 = DiagonalGaussian(tf.zeros([d], tf.float64), tf.ones([d], tf.float64))
    z = tf.random.stateless_normal([count, d], [seed, 1], dtype=tf.float64)
    return q0, z, flow.noise((count,), tf.constant([seed, 2]))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_with_the_right_momentum_scale_the_bound_is_exact_draw_by_draw(n, seed):
    target, log_z, centres, precisions = offset_problem(SIZE)
    flow, gap = exact_flow(centres, precisions, n, learned_scale=True)
    assert gap == pytest.approx(0.0, abs=1e-12)
    if n == 1:
        np.testing.assert_allclose(flow.momentum.scales.numpy() ** 2, 0.5)
    q0, z, noise = standard_draws(flow, SIZE, 50, seed)
    weights = log_weight(flow.transform(target, z, noise, q0=q0), q0.log_prob(z))
    np.testing.assert_allclose(weights, np.full(50, log_z), rtol=0, atol=1e-9)
    # the same flow, the reverse model's offset forgotten: no longer
    flow.reverse.offset.assign(0.0 * flow.reverse.offset)
    weights = log_weight(flow.transform(target, z, noise, q0=q0), q0.log_prob(z))
    assert np.std(weights) > 0.01


@pytest.mark.parametrize(("n", "expected"), [(1, 0.1534), (2, 0.0066), (4, 0.0004)])
def test_with_unit_momentum_the_gap_is_the_closed_form(n, expected):
    lam = 1e4
    closed = linear_reverse(lam, 0.0, quarter_turn(lam, n), 1.0, n)
    assert closed.gap == pytest.approx(expected, abs=5e-5)
    if n == 1:
        assert closed.gap == pytest.approx(0.5 * (1.0 - np.log(2.0)))
    target, log_z, centres, precisions = offset_problem(1)
    flow, gap = exact_flow(centres, precisions, n, learned_scale=False)
    # the log weight is quadratic in (z_0, v'): three nodes in each integrate it exactly
    x, weights = np.polynomial.hermite_e.hermegauss(3)
    z, v = (tf.constant(part.reshape(-1, 1)) for part in np.meshgrid(x, x))
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2
    q0 = DiagonalGaussian(tf.zeros([1], tf.float64), tf.ones([1], tf.float64))
    result = flow.transform(target, z, (v,), q0=q0)
    for samples in (log_weight(result, q0.log_prob(z)), elbo_sample(result, -q0.entropy())):
        assert log_z - float(np.sum(weights * samples)) == pytest.approx(gap, abs=1e-10)


def test_the_reverse_model_reads_units_of_q0(seed):
    """One and the same for a problem that is moved and stretched with its q0."""
    flow = hvi(SIZE, 1, 2, "linear", 1.0, dtype=tf.float64)
    _, z, noise = standard_draws(flow, SIZE, 4, seed)
    shift, stretch = tf.constant([1.0, -2.0, 0.5], tf.float64), 0.5
    moved = LogDensityTarget(lambda z: quartic((z - shift) / stretch), SIZE)
    small = hvi(SIZE, 1, 2, "linear", 1.0, dtype=tf.float64)
    small._logit_step_size.assign(tf.math.log(1 / (flow.max_step_size / (stretch * flow.step_sizes) - 1.0)))
    one = flow.transform(TARGET, z, noise, q0=DiagonalGaussian(tf.zeros([3], tf.float64), tf.ones([3], tf.float64)))
    q0 = DiagonalGaussian(shift, stretch * tf.ones([3], tf.float64))
    other = small.transform(moved, q0.sample(z), noise, q0=q0)
    np.testing.assert_allclose(other.log_ratio, one.log_ratio, rtol=1e-10)


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_transitions": 0}, "num_transitions is 0"),
        ({"num_leapfrog_steps": 1.5}, "num_leapfrog_steps is 1.5"),
        ({"reverse": "cubic"}, "unknown reverse 'cubic'; accepted: network, linear, standard"),
        ({"reverse": 3}, "unknown reverse 3"),
        ({"momentum_scale": "free"}, "momentum_scale is 'free'; expected 'learned', a number"),
        ({"momentum_scale": -1.0}, "momentum's scale is -1.0; expected positive"),
        ({"momentum_scale": np.ones(5)}, r"shape \(5,\); expected one broadcasting to \(1, 3\)"),
        ({"adjoint": Reversible()}, "use 'backprop' or 'checkpoint'"),
        ({"step_size": 0.7}, r"expected values in \(0, max_step_size\)"),
        ({"step_size_per": "epoch"}, "unknown step_size_per 'epoch'; accepted: flow, transition, step"),
        ({"integrator": "leapfrog"}, "expected an Integrator"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HVIFlow(SIZE, **arguments)


@pytest.mark.parametrize("sees", [(), ("x",), ("z", "z")])
def test_a_network_that_sees_something_else_is_refused(sees):
    with pytest.raises(ValueError, match="expected some of z, grad, context"):
        NetworkReverse(sees=sees)


def test_a_missing_context_is_named():
    flow = HVIFlow(SIZE)
    with pytest.raises(ValueError, match="given no context"):
        flow.transform(TARGET, tf.zeros([2, SIZE]), flow.noise((2,), tf.constant([0, 0])))


def test_noise_of_another_flow_is_refused():
    flow, other = HVIFlow(SIZE, 2, reverse="linear"), HamiltonianFlow(SIZE, 1)
    with pytest.raises(ValueError, match="noise is 0 tensors; expected a tuple of 2"):
        flow.transform(TARGET, tf.zeros([2, SIZE]))
    with pytest.raises(ValueError, match="expected a tuple of 2 tensors"):
        flow.transform(TARGET, tf.zeros([2, SIZE]), other.noise((2,), tf.constant([0, 0])))


@pytest.mark.parametrize("part", [StandardReverse, LinearReverse, NetworkReverse])
def test_a_part_belongs_to_one_flow(part):
    reverse = part()
    HVIFlow(SIZE, reverse=reverse)
    with pytest.raises(ValueError, match="built already"):
        HVIFlow(SIZE, reverse=reverse)


def test_parts_come_back_from_their_configurations():
    for part in (
        GaussianMomentum([1.0, 2.0, 3.0], learned=False),
        NetworkReverse((4, 2), activation="relu", sees="z", seed=7),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(part))
        assert again.get_config() == part.get_config()
        assert again.num_transitions is None
