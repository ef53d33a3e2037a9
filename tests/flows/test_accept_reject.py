"""Annealing with accept steps: its gradient by enumeration of all decisions, its parts, and what is refused."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import IWAE, AcceptRejectFlow, DiagonalGaussian, LogDensityTarget, LogMeanExp
from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.densities import standard_normal

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
        self.evaluations += 1
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
