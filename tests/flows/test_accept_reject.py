"""Annealing with accept steps: its gradient by enumeration of all decisions, its parts, and what is refused."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import IWAE, AcceptRejectFlow, DiagonalGaussian, IdentityFlow, LogDensityTarget, LogMeanExp
from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.densities import standard_normal
from hvae_tf.flows import accept_reject

SIZE, T = 1, 2
NEVER = 1.0 - 1e-16  # a uniform number at which a move is rejected, unless it is sure to be accepted


class Problem:
    """A Gaussian target and a start, with everything that is learned as one list of variables."""

    def __init__(self, flow_class=AcceptRejectFlow):
        def variable(value):
            return tf.Variable([value], dtype=tf.float64)

        self.centre, self.mean, self.log_scale = variable(0.8), variable(-0.3), variable(0.1)
        self.flow = flow_class(SIZE, T, 2, step_size=0.45, max_step_size=1.5, dtype=tf.float64)
        self.variables = [self.centre, self.mean, self.log_scale, *self.flow.trainable_variables]

    @property
    def q0(self):
        return DiagonalGaussian(tf.convert_to_tensor(self.mean), tf.exp(self.log_scale))

    @property
    def target(self):
        centre = tf.convert_to_tensor(self.centre)
        return LogDensityTarget(lambda z: -2.0 * tf.reduce_sum(tf.square(z - centre), axis=-1), SIZE)

    def decided(self, noise, momenta, wanted):
        """(log weights, P of deciding as `wanted`), all ``[...]``; `wanted` is T tensors of bool.

        P is zero where a move that was to be rejected is sure to be accepted.
        """
        uniforms = tuple(tf.where(bits, tf.constant(0.0, tf.float64), NEVER) for bits in wanted)
        z, noise_of_flow = self.q0.sample(noise), {"momenta": momenta, "uniforms": uniforms}
        result = self.flow.transform(self.target, z, noise_of_flow, q0=self.q0)
        _, moves = self.flow.moves(self.target, z, noise_of_flow, self.q0)
        possible = tf.reduce_all([tf.equal(move.accepted, bits) for move, bits in zip(moves, wanted, strict=True)], 0)
        share = tf.cast(possible, tf.float64) * tf.exp(tf.add_n([move.log_decision for move in moves]))
        return log_weight(result, self.q0.log_prob_of_noise(noise)), share


def all_decisions(chains):
    """T tensors ``[chains, 2^(chains T), 1]``."""
    bits = np.array(list(itertools.product([True, False], repeat=chains * T)))
    return [tf.constant(bits.T[t * chains : (t + 1) * chains, :, None]) for t in range(T)]


def enumerated(problem, noise, momenta):
    """(sum over draws of E log w, its gradient as the flow estimates it), all decisions of all chains enumerated.

    Noise ``[chains, 1, count, 1]``; the axis of decisions is the second.
    """
    chains = noise.shape[0]
    wanted = [tf.repeat(bits, noise.shape[2], axis=2) for bits in all_decisions(chains)]
    noise, *momenta = (tf.repeat(tensor, wanted[0].shape[1], axis=1) for tensor in (noise, *momenta))
    with tf.GradientTape() as tape:
        weights, shares = problem.decided(noise, tuple(momenta), wanted)
        share = tf.stop_gradient(tf.reduce_prod(shares, axis=0))  # each chain decides by itself
        value = tf.reduce_sum(share * tf.reduce_mean(weights, axis=0))
    return float(value), tape.gradient(value, problem.variables)


def along(problem, *draws):
    """The derivative of `enumerated` along a direction in all variables, and the estimated gradient along it."""
    directions = [
        tf.random.stateless_normal(v.shape, [7, i], dtype=tf.float64) for i, v in enumerate(problem.variables)
    ]
    _, gradients = enumerated(problem, *draws)
    h, ends = 1e-6, []
    for step in (h, -2.0 * h):
        for variable, direction in zip(problem.variables, directions, strict=True):
            variable.assign_add(step * direction)
        ends.append(enumerated(problem, *draws)[0])
    found = sum(float(tf.reduce_sum(pair[0] * pair[1])) for pair in zip(gradients, directions, strict=True))
    return found, (ends[0] - ends[1]) / (2.0 * h)


def draws_of(chains, count, seed):
    shape = [1 + T, chains, 1, count, SIZE]
    noise, *momenta = tf.unstack(tf.random.stateless_normal(shape, [seed, 3], dtype=tf.float64))
    return noise, tuple(momenta)


@pytest.mark.parametrize("chains", [1, 2])
def test_the_gradient_is_that_of_the_mean_over_all_decisions(chains, seed):
    """At each draw of the noise, so for any rule of quadrature in it. Two chains have a baseline, each the other."""
    found, expected = along(Problem(), *draws_of(chains, 5, seed))
    assert abs(expected) > 1e-2
    assert found == pytest.approx(expected, rel=1e-6)


class PathAlone(AcceptRejectFlow):
    """The score term forgotten."""

    def _score_term(self, log_weight, log_decisions):
        return tf.zeros_like(log_weight)


def test_the_score_term_is_needed(seed):
    """Each variable has a gradient, and most of them another without it."""
    draws = draws_of(1, 5, seed)
    whole, part = (enumerated(Problem(kind), *draws)[1] for kind in (AcceptRejectFlow, PathAlone))
    assert all(np.all(np.abs(gradient) > 1e-5) for gradient in whole)
    assert max(np.max(np.abs(one - other)) for one, other in zip(whole, part, strict=True)) > 1e-2


def test_the_mean_by_quadrature_is_the_mean_of_draws(seed, z_score):
    """In the noise of z_0 and of both momenta, decisions enumerated; and the ELBO is that mean."""
    problem = Problem()
    x, weights = np.polynomial.hermite_e.hermegauss(40)
    grid = [tf.constant(part.reshape(1, -1, 1)) for part in np.meshgrid(x, x, x, indexing="ij")]
    weights = tf.constant(np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * 3)), axis=0).ravel())
    exact, mass = 0.0, 0.0
    for bits in itertools.product([True, False], repeat=T):
        wanted = [tf.fill(grid[0].shape[:-1], bit) for bit in bits]
        log_weights, share = problem.decided(grid[0], tuple(grid[1:]), wanted)
        exact += tf.reduce_sum(weights * share * log_weights)
        mass += tf.reduce_sum(weights * share)
    assert float(mass) == pytest.approx(1.0, abs=1e-10)
    pair = tf.constant([seed, 11])
    noise = tf.random.stateless_normal([50_000, SIZE], pair, dtype=tf.float64)
    result = problem.flow.transform(
        problem.target, problem.q0.sample(noise), problem.flow.noise((50_000,), pair + 1), q0=problem.q0
    )
    for samples in (
        log_weight(result, problem.q0.log_prob_of_noise(noise)), elbo_sample(result, -problem.q0.entropy())
    ):  # fmt: skip
        assert z_score(samples, float(exact) + 1e-3) < 5.0  # 1e-3: kinks, where a move is sure to be accepted
    assert float(exact) < 0.5 * np.log(np.pi / 2.0)  # log Z


# ---- value: planted errors


class NeverRejects(AcceptRejectFlow):
    def moves(self, target, z, noise, q0):
        return super().moves(target, z, noise | {"uniforms": tuple(map(tf.zeros_like, noise["uniforms"]))}, q0)


class WeighsAfterTheMove(AcceptRejectFlow):
    """(b_t - b_{t-1}) times the ratio at z_t, not z_{t-1}."""

    def transform(self, target, z, noise=(), q0=None, context=None):
        result = super().transform(target, z, noise, q0)
        start, moves = self.moves(target, z, noise, q0)
        states, b = [start, *(move.state for move in moves)], [0.0, *tf.unstack(self.temperatures()), 1.0]
        ratios = [state.log_joint - state.log_start for state in [*states[1:], states[-1]]]
        wrong = tf.add_n([(b[t + 1] - b[t]) * ratio for t, ratio in enumerate(ratios)])
        return result._replace(log_ratio=wrong - result.log_joint + start.log_start)


@pytest.mark.parametrize("flow_class", [AcceptRejectFlow, NeverRejects, WeighsAfterTheMove])
def test_the_weight_has_the_mean_that_it_must(flow_class, seed):
    problem = Problem(flow_class)
    pair = tf.constant([seed, 5])
    noise = tf.random.stateless_normal([100_000, SIZE], pair, dtype=tf.float64)
    flow_noise = problem.flow.noise((100_000,), pair + 1)
    result = problem.flow.transform(problem.target, problem.q0.sample(noise), flow_noise, q0=problem.q0)
    estimate = LogMeanExp.of(log_weight(result, problem.q0.log_prob_of_noise(noise))).estimate()
    assert estimate.effective_sample_size > 10_000
    deviation = abs(estimate.value - 0.5 * np.log(np.pi / 2.0)) / estimate.standard_error
    assert (deviation < 5.0) == (flow_class is AcceptRejectFlow)


# ---- parts


class Counting(LogDensityTarget):
    evaluations = 0

    def _value_and_grad(self, z):
        self.evaluations += tf.executing_eagerly()  # not where it is only looked at, what it is made of
        return super()._value_and_grad(z)


def test_the_evaluation_is_passed_on():
    flow, target = AcceptRejectFlow(3, 3, 2), Counting(lambda z: -tf.reduce_sum(z**4, axis=-1), 3)
    flow.transform(target, tf.zeros([4, 3]), flow.noise((4,), tf.constant([0, 1])), q0=standard_normal(3))
    assert target.evaluations == 3 * 2 + 1


def test_a_proposal_that_is_not_finite_is_rejected():
    flow = AcceptRejectFlow(1, 1, step_size=0.4, dtype=tf.float64)
    target = LogDensityTarget(lambda z: tf.reduce_sum(tf.math.log(1.0 - z), axis=-1), 1)  # NaN above 1
    noise = {"momenta": (tf.constant([[9.0], [-0.1]], tf.float64),), "uniforms": (tf.zeros([2], tf.float64),)}
    z = tf.constant([[0.5], [0.5]], tf.float64)
    _, (move,) = flow.moves(target, z, noise, standard_normal(1, tf.float64))
    np.testing.assert_array_equal(move.accepted, [False, True])
    np.testing.assert_array_equal(move.log_decision[0], 0.0)
    assert np.all(np.isfinite(move.state.log_joint))
    assert move.state.z[0, 0] == 0.5


class Overflowing:
    """What a decoder may do: a precision that overflows where z is large, so that nothing there is a number."""

    def __init__(self, dtype):
        self.weight, self.mean, self.log_scale, self.data = (
            tf.Variable(value, dtype=dtype) for value in ([0.7, 0.4], [0.1, 0.1], [-0.2, -0.2], [[0.5], [1.0], [1.5]])
        )

    def gradients(self, flow, noise, flow_noise, keep):
        """The sum of the log weights where `keep`, one draw each, and its gradient in everything."""
        noise, *parts = (tf.boolean_mask(part, keep, axis=1) for part in (noise, *tf.nest.flatten(flow_noise)))
        with tf.GradientTape() as tape:
            data = tf.boolean_mask(self.data, keep)

            def log_joint(z):
                precision = tf.exp(tf.exp(z * self.weight))
                return -0.5 * tf.reduce_sum(precision * tf.square(z - data), axis=-1)

            q0 = DiagonalGaussian(tf.convert_to_tensor(self.mean), tf.exp(self.log_scale))
            flow_noise = tf.nest.pack_sequence_as(flow_noise, parts)
            result = flow.transform(LogDensityTarget(log_joint, 2), q0.sample(noise), flow_noise, q0=q0)
            value = tf.reduce_sum(log_weight(result, q0.log_prob_of_noise(noise)))
        variables = [self.weight, self.mean, self.log_scale, self.data, *flow.trainable_variables]
        found = tape.gradient(value, variables, unconnected_gradients="zero")
        return value, [tf.convert_to_tensor(gradient) for gradient in found]


LOST, STAYS = 60.0, 0.2  # momenta, of which one leaves the range of numbers


def found_with(momentum, keep, dtype=tf.float64, adjoint="backprop", graph=False, identity=False):
    """`Overflowing.gradients` where the second of three samples has this momentum in both moves."""
    flow = AcceptRejectFlow(2, 2, 2, step_size=0.3, adjoint=adjoint, dtype=dtype)
    momenta = tf.constant([[[0.2, -0.1], [momentum, 0.3], [-0.4, 0.1]]], dtype)  # [draws, samples, l]
    uniforms = (tf.constant([[0.3, 0.2, 0.999]], dtype), tf.constant([[0.999, 0.2, 0.1]], dtype))
    flow_noise = {"momenta": (momenta, momenta), "uniforms": uniforms}
    if identity:
        flow, flow_noise = IdentityFlow(2, dtype=dtype), ()
    noise = tf.constant([[[0.1, -0.3], [0.4, 0.2], [-0.2, 0.5]]], dtype)
    problem = Overflowing(dtype)
    call = tf.function(problem.gradients) if graph else problem.gradients
    return call(flow, noise, flow_noise, tf.constant(keep))


@pytest.mark.parametrize(
    ("dtype", "adjoint", "graph"),
    [
        (tf.float32, "backprop", False),
        (tf.float64, "checkpoint", False),
        pytest.param(tf.float64, "backprop", True, marks=pytest.mark.slow),
    ],
)
def test_a_lost_proposal_takes_no_part_in_any_gradient(dtype, adjoint, graph):
    """A sample that stays where it starts has what no flow gives it; the others have what they have by themselves."""
    options = {"dtype": dtype, "adjoint": adjoint, "graph": graph}
    value, gradients = found_with(LOST, [True, True, True], **options)
    others, of_others = found_with(LOST, [True, False, True], **options)
    own, of_own = found_with(LOST, [False, True, False], dtype, identity=True)
    tolerance = 1e-5 if dtype == tf.float32 else 1e-12
    assert float(value) == pytest.approx(float(others + own), rel=tolerance)
    for whole, part, alone in zip(gradients, of_others, [*of_own, 0.0, 0.0], strict=True):
        np.testing.assert_allclose(whole, part + alone, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("momentum", [LOST, STAYS])
def test_without_the_guard_a_lost_proposal_spoils_all_gradients(momentum, monkeypatch):
    """And where none is lost, the guard changes nothing."""
    guarded = found_with(momentum, [True, True, True])[1]
    monkeypatch.setattr(
        accept_reject, "guarded_scan",
        lambda adjoint, *arguments, captured, at_rest: adjoint.scan(*arguments),
    )  # fmt: skip
    plain = found_with(momentum, [True, True, True])[1]
    assert np.any(np.isnan(plain[0])) == (momentum == LOST)
    if momentum == STAYS:
        for one, other in zip(guarded, plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_start_that_is_not_finite_is_not_hidden():
    """Nothing stands in for log p(x, z_0)."""
    flow, noise = AcceptRejectFlow(1, 1, step_size=0.4, dtype=tf.float64), tf.constant([[0.5], [2.0]], tf.float64)
    target = LogDensityTarget(lambda z: tf.reduce_sum(tf.math.log(1.0 - z), axis=-1), 1)  # NaN above 1
    flow_noise = {"momenta": (0.1 * noise,), "uniforms": (tf.constant([0.9, 0.9], tf.float64),)}
    with tf.GradientTape() as tape:
        result = flow.transform(target, noise, flow_noise, q0=standard_normal(1, tf.float64))
        value = tf.reduce_mean(result.log_joint + result.log_ratio)
    assert np.isnan(value)
    assert np.all(np.isnan(tape.gradient(value, flow.trainable_variables)[-1]))


def test_what_is_refused(networks_of_two):
    flow = AcceptRejectFlow(2, 1)
    target = LogDensityTarget(lambda z: -tf.reduce_sum(z**2, axis=-1), 2)
    with pytest.raises(ValueError, match="given no q0, from where it starts"):
        flow.transform(target, tf.zeros([4, 2]), flow.noise((4,), tf.constant([0, 1])))
    with pytest.raises(ValueError, match=r"pass noise=flow\.noise"):
        flow.transform(target, tf.zeros([4, 2]), (), q0=standard_normal(2))
    with pytest.raises(ValueError, match="use 'backprop' or 'checkpoint'"):
        AcceptRejectFlow(2, 1, adjoint="reversible")
    with pytest.raises(ValueError, match="unknown step_size_per 'step'; accepted: flow, transition"):
        AcceptRejectFlow(2, 1, step_size_per="step")
    with pytest.raises(ValueError, match="is right for the ELBO alone, not for the bound of 5 samples"):
        IWAE(*networks_of_two, num_samples=5, flow=flow)


@pytest.fixture(scope="module")
def networks_of_two():
    from hvae_tf.networks import dense_decoder, dense_encoder

    sizes = {"event_shape": (3,), "latent_size": 2, "hidden_units": (4,)}
    return dense_encoder(**sizes), dense_decoder(**sizes)
