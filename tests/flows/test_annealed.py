"""Annealed flows: identities between code paths, counts of evaluations, closed forms, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import AnnealedFlow, DiagonalGaussian, GaussianOffsetTarget, HamiltonianFlow, HVIFlow, LogDensityTarget
from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.flows.momentum import GaussianMomentum
from hvae_tf.flows.refreshment import PartialRefreshment
from hvae_tf.flows.temperatures import FixedTemperatures, LearnedTemperatures
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.targets.bridge import BridgedTarget
from hvae_tf.targets.gaussian import annealed_gap, evidence, posterior, sufficient_statistics
from hvae_tf.targets.temperatures import temperature_schedule
from reproduce.auxiliary.annealing import best_annealing, unit_problem
from reproduce.auxiliary.exact import tied_tempering_gap

SIZE = 3
Q0 = DiagonalGaussian(tf.constant([0.3, -0.2, 0.0], tf.float64), tf.constant([0.8, 1.0, 1.3], tf.float64))


def quartic(z):
    return -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


TARGET = LogDensityTarget(quartic, SIZE)


def annealed(T, n=1, **kwargs):
    return AnnealedFlow(SIZE, T, n, step_size=[0.1, 0.2, 0.3], dtype=tf.float64, **kwargs)


def start(flow, seed, count=6):
    """(z_0, noise)."""
    z = Q0.sample(tf.random.stateless_normal([count, SIZE], [seed, 1], dtype=tf.float64))
    return z, flow.noise((count,), tf.constant([seed, 2]))


def assert_same(found, expected):
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-12)


# ---- identities, each between two code paths at the same noise


@pytest.mark.parametrize("T", [1, 4])
def test_all_kept_and_hot_is_the_untempered_hamiltonian_flow(T, seed):
    flow = annealed(T, refreshment=1.0, temperatures=1.0)
    other = HamiltonianFlow(SIZE, T, "none", step_size=[0.1, 0.2, 0.3], dtype=tf.float64)
    z, noise = start(flow, seed)
    found, expected = flow.transform(TARGET, z, noise, q0=Q0), other.transform(TARGET, z, noise[0])
    assert_same(found[:3], expected[:3])
    # what was never used of the noise is in the expected ratio, with its mean of zero
    unused = sum(0.5 * (SIZE - tf.reduce_sum(xi**2, axis=-1)) for xi in noise[1:])
    np.testing.assert_allclose(found.expected_log_ratio - unused, expected.expected_log_ratio, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2])
def test_nothing_kept_and_hot_is_hvi_without_a_reverse_model(n, seed):
    flow = annealed(3, n, refreshment=0.0, temperatures=1.0)
    other = HVIFlow(
        SIZE, 3, n, reverse="standard", momentum_scale=1.0, step_size=[0.1, 0.2, 0.3], dtype=tf.float64
    )  # fmt: skip
    z, noise = start(flow, seed)
    assert_same(flow.transform(TARGET, z, noise, q0=Q0), other.transform(TARGET, z, noise, q0=Q0))


def langevin(z, noise, step_sizes, temperatures):
    """(z_T, log ratio) of unadjusted Langevin steps h = eps^2/2 and the same steps backwards, as densities of z."""
    bridge, log_ratio = BridgedTarget(Q0, TARGET), 0.0

    def towards(z, b, h):
        return DiagonalGaussian(z + h * bridge.evaluate(z).at(b).grad, tf.sqrt(2.0 * h))

    for xi, eps, b in zip(noise, step_sizes, temperatures, strict=True):
        h = 0.5 * eps**2
        forward = towards(z, b, h)
        new = forward.sample(xi)
        log_ratio += towards(new, b, h).log_prob(z) - forward.log_prob(new)
        z = new
    return z, log_ratio


def test_nothing_kept_is_unadjusted_langevin(seed):
    """L-MCVAE. The noise of the step backwards is minus the momentum at its end."""
    flow = annealed(4, refreshment=0.0, temperatures="sigmoid", step_size_per="flow")
    z, noise = start(flow, seed)
    z_T, log_ratio = langevin(z, noise, [flow.step_sizes] * 4, flow.temperatures().numpy())
    result = flow.transform(TARGET, z, noise, q0=Q0)
    np.testing.assert_allclose(result.z, z_T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.log_ratio, log_ratio, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kept", [0.0, 0.6, 1.0])
def test_the_weight_is_the_published_one(kept, seed):
    """sum_t log N(rho_t) - log N(rho'_t)."""
    flow = annealed(3, 2, refreshment=kept)
    z, noise = start(flow, seed)
    way = flow.transitions(TARGET, z, noise, q0=Q0)
    published = tf.add_n([standard_normal_log_prob(step.end.rho) - standard_normal_log_prob(step.start.rho)
                          for step in way])  # fmt: skip
    result = flow.transform(TARGET, z, noise, q0=Q0)
    np.testing.assert_allclose(result.log_ratio, published, rtol=0, atol=1e-11)
    for before, after, xi in zip(way, way[1:], noise[1:], strict=False):
        again = kept * before.end.rho + np.sqrt(1.0 - kept**2) * xi
        np.testing.assert_allclose(after.start.rho, again, rtol=0, atol=1e-13)


# ---- costs and gradients


class Counting(LogDensityTarget):
    evaluations = 0

    def _value_and_grad(self, z):
        self.evaluations += 1
        return super()._value_and_grad(z)

    def _log_joint(self, z):
        assert self.evaluations  # only from the one above
        return super()._log_joint(z)


@pytest.mark.parametrize(("T", "n"), [(1, 1), (3, 1), (2, 4)])
def test_one_evaluation_serves_the_kicks_at_both_temperatures(T, n):
    flow, target = annealed(T, n), Counting(quartic, SIZE)
    flow.transform(target, *start(flow, 0), q0=Q0)
    assert target.evaluations == T * n + 1


def test_checkpoint_has_the_gradients_of_backprop(seed):
    """Those in q0's tensors too, which the bridge is made of."""
    found = []
    for adjoint in ("backprop", "checkpoint"):
        flow = annealed(2, refreshment="learned", adjoint=adjoint)
        variables = [weight.value for weight in FlowLayer(flow).trainable_weights]
        z, noise = start(flow, seed)
        with tf.GradientTape() as tape:
            tape.watch([z, *Q0])
            result = flow.transform(TARGET, z, noise, q0=Q0)
            value = tf.reduce_sum(result.log_joint + result.log_ratio + 0.3 * result.expected_log_ratio)
        found.append(tape.gradient(value, [z, *Q0, *variables]))
    assert len(found[0]) == 3 + 3
    for one, other in zip(*found, strict=True):
        assert np.all(np.not_equal(one, 0.0))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_the_gradient_in_q0_is_that_of_finite_differences(seed):
    flow = annealed(2, refreshment=0.3)
    z, noise = start(flow, seed)

    def value(mean, scale):
        return tf.reduce_sum(flow.transform(TARGET, z, noise, q0=DiagonalGaussian(mean, scale)).log_ratio)

    tensors = list(Q0)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = value(*tensors)
    for i, gradient in enumerate(tape.gradient(total, tensors)):
        direction, h = tf.random.stateless_normal([SIZE], [seed, i], dtype=tf.float64), 1e-5
        ends = [value(*(t + sign * h * direction if j == i else t for j, t in enumerate(tensors))) for sign in (1, -1)]
        difference = (ends[0] - ends[1]) / (2.0 * h)
        np.testing.assert_allclose(tf.reduce_sum(gradient * direction), difference, rtol=1e-6)


# ---- the closed form on the Gaussian offset model


@pytest.mark.parametrize(("T", "n", "kept"), [(1, 1, 0.5), (1, 3, 0.0), (2, 2, 0.4), (3, 1, 0.8), (3, 1, 1.0)])
def test_the_gap_is_the_closed_form(T, n, kept, seed):
    """The log weight is quadratic in the noise: three nodes in each integrate it exactly."""
    statistics = sufficient_statistics(np.random.default_rng(seed).normal(size=[10, 1]) + 0.7)
    problem = statistics, tf.constant([0.1], tf.float64), tf.constant([-0.3], tf.float64)
    step_size = np.random.default_rng([seed, T]).uniform(0.05, 0.4, size=(T, n, 1))
    flow = AnnealedFlow(
        1, T, n, refreshment=kept, step_size=step_size, step_size_per="step", max_step_size=1.0, dtype=tf.float64
    )
    x, weights = np.polynomial.hermite_e.hermegauss(3)
    z, *noise = (part.reshape(-1, 1) for part in np.meshgrid(*[x] * (T + 1), indexing="ij"))
    weights = np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * (T + 1), indexing="ij")), axis=0).ravel()
    q0 = DiagonalGaussian(tf.zeros([1], tf.float64), tf.ones([1], tf.float64))
    result = flow.transform(GaussianOffsetTarget(*problem), tf.constant(z), tuple(map(tf.constant, noise)), q0=q0)
    steps = [tf.unstack(of_transition) for of_transition in tf.unstack(flow.step_sizes)]
    gap = annealed_gap(*problem, steps, tf.unstack(flow.temperatures()), kept)
    assert float(gap[0]) > 1e-3
    for samples in (log_weight(result, q0.log_prob(tf.constant(z))), elbo_sample(result, -q0.entropy())):
        found = float(evidence(*problem)) - float(np.sum(weights * samples))
        assert found == pytest.approx(float(gap[0]), abs=1e-10)
    # planted: momenta that are refreshed and not paid for
    way = flow.transitions(GaussianOffsetTarget(*problem), tf.constant(z), tuple(map(tf.constant, noise)), q0=q0)
    free = standard_normal_log_prob(way[-1].end.rho) - standard_normal_log_prob(way[0].start.rho)
    if T > 1 and kept < 1.0:
        assert abs(float(np.sum(weights * (free - result.log_ratio)))) > 1e-3


LAM = 1e4
BEST = {(0.0, 2): 26.2, (1.0, 2): 34.2}
SLOW = {
    (0.0, 4): 8.67, (0.0, 8): 3.42, (0.0, 16): 1.51, (1.0, 1): 135.0, (1.0, 4): 10.7, (1.0, 8): 4.1, (1.0, 16): 1.8,
}  # fmt: skip


def check_best(centre, T, expected):
    best = best_annealing(LAM, centre, T)
    digits = len(f"{expected}".split(".")[1])
    assert best.gap == pytest.approx(expected, abs=0.6 * 10.0**-digits if digits > 1 or expected < 100 else 0.6)
    assert np.all(np.diff(best.temperatures, prepend=0.0, append=1.0) >= 0.0)


@pytest.mark.parametrize(("centre", "T"), BEST)
def test_the_best_gaps(centre, T):
    check_best(centre, T, BEST[centre, T])


@pytest.mark.slow
@pytest.mark.parametrize(("centre", "T"), SLOW)
def test_the_best_gaps_of_long_flows(centre, T):
    check_best(centre, T, SLOW[centre, T])


def test_one_temperature_is_worth_one_tied_tempering():
    assert best_annealing(LAM, 0.0, 1).gap == pytest.approx(tied_tempering_gap(LAM), abs=1e-6)
    assert tied_tempering_gap(LAM) == pytest.approx(94.39, abs=5e-3)


def test_the_unit_problem_has_the_posterior_asked_for():
    exact = posterior(*unit_problem(LAM, 0.7))
    np.testing.assert_allclose(exact.mean(), [0.7])
    np.testing.assert_allclose(exact.variance(), [1.0 / LAM])


# ---- parts, and what is refused


def test_temperatures_are_those_between_the_ends():
    for name in ("linear", "sigmoid"):
        expected = temperature_schedule(5, name)[1:-1]
        np.testing.assert_allclose(annealed(4, temperatures=name).temperatures(), expected)
        learned = annealed(4, temperatures=LearnedTemperatures(name))
        np.testing.assert_allclose(learned.temperatures(), expected)
    np.testing.assert_allclose(annealed(3).temperatures(), [0.25, 0.5, 0.75])  # learned, from equal increments
    np.testing.assert_array_equal(annealed(2, temperatures=1.0).temperatures(), [1.0, 1.0])


def test_what_is_learned():
    def names(flow):
        return {weight.name for weight in FlowLayer(flow).trainable_weights}

    assert names(annealed(2)) == {"logit_step_size", "log_temperature_increments"}
    eta = annealed(2, refreshment="learned", temperatures="linear")
    assert names(eta) == {"logit_step_size", "logit_kept_momentum"}
    np.testing.assert_allclose(annealed(2, refreshment="learned").momentum.kept, 0.5)
    diagnostics = annealed(2, refreshment=0.3).diagnostics()
    assert diagnostics.keys() == {"step_sizes", "temperatures", "kept_momentum"}
    momentum = GaussianMomentum(2.0)
    flow = annealed(2, refreshment=momentum)
    assert flow.momentum is momentum
    assert "kept_momentum" not in flow.diagnostics()


def test_parts_come_back_from_their_configurations():
    for part in (
        PartialRefreshment(0.3),
        PartialRefreshment(1.0, learned=False),
        FixedTemperatures([0.1, 0.9]),
        LearnedTemperatures("sigmoid"),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(part))
        assert again.get_config() == part.get_config()
        assert again.num_transitions is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_temperatures": 0}, "num_temperatures is 0"),
        ({"refreshment": 1.5}, r"is kept is 1.5; expected a number in \[0, 1\]"),
        ({"refreshment": "free"}, "refreshment is 'free'; expected 'learned', a number"),
        ({"temperatures": "geometric"}, "unknown temperatures 'geometric'; accepted: learned, sigmoid, linear"),
        ({"temperatures": [0.5, 1.2]}, r"expected numbers in \[0, 1\]"),
        ({"temperatures": [0.1, 0.2, 0.3]}, "there are 3 temperatures; expected 2"),
        ({"adjoint": "reversible"}, "use 'backprop' or 'checkpoint'"),
        ({"reverse": "cubic"}, "accepted: network, linear, standard, score"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AnnealedFlow(SIZE, **{"num_temperatures": 2} | arguments)


def test_parts_refuse_what_they_cannot_learn(unkicked_integrator):
    with pytest.raises(ValueError, match=r"expected a number in \(0, 1\), where it is learned"):
        PartialRefreshment(1.0)
    with pytest.raises(ValueError, match="expected 0 < b_1 < "):
        annealed(2, temperatures=LearnedTemperatures([0.5, 0.5]))
    with pytest.raises(ValueError, match="unknown temperatures 'cubic'; accepted: sigmoid, linear, or numbers"):
        FixedTemperatures("cubic")
    with pytest.raises(ValueError, match="expected a ReversibleIntegrator"):
        annealed(2, integrator=unkicked_integrator)


def test_a_missing_q0_is_named():
    flow = annealed(1)
    with pytest.raises(ValueError, match="given no q0, from where it starts"):
        flow.transform(TARGET, *start(flow, 0))
