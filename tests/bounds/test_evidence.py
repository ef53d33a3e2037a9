"""E[p_hat(x)] = p(x) on the Gaussian model for every flow of the catalogue, judged by a check that planted errors fail;
and what follows for the ELBO: the mean of the log weights, below log p(x)."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import (
    TEMPERINGS,
    AnnealedFlow,
    DiagonalGaussian,
    FlowResult,
    GaussianOffsetTarget,
    HamiltonianFlow,
    HVIFlow,
    LogDensityTarget,
    LogMeanExp,
    elbo_sample,
    log_weight,
)
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.flows.reverse_model import reverse_inputs
from hvae_tf.flows.score import ScoreReverse
from hvae_tf.targets.gaussian import GaussianStatistics, evidence, posterior, sufficient_statistics
from tests.catalogue import CATALOGUE, hamiltonian, hvi, make, rows

NUM_SAMPLES = 20_000
TEMPERED = sorted(set(TEMPERINGS) - {"none"})
SIZE = 4


class Problem(NamedTuple):
    """Data under a model whose evidence is known, and a q0 that is wrong on purpose."""

    statistics: GaussianStatistics
    delta: tf.Tensor
    log_sigma: tf.Tensor
    q0: DiagonalGaussian

    @property
    def target(self):
        return GaussianOffsetTarget(self.statistics, self.delta, self.log_sigma)

    @property
    def evidence(self):
        return evidence(self.statistics, self.delta, self.log_sigma)


def make_problem(d, seed) -> Problem:
    statistics = sufficient_statistics(np.random.default_rng([seed, d]).normal(size=[10, d]))
    delta = tf.linspace(tf.constant(-0.5, tf.float64), 0.5, d)
    log_sigma = tf.linspace(tf.constant(-0.2, tf.float64), 0.2, d)
    exact = posterior(statistics, delta, log_sigma)
    # off-centre and too wide: far enough from the posterior to matter, wide enough for weights of small variance,
    # which alone make a standard error that can be trusted
    q0 = DiagonalGaussian(exact.mean() + 0.3 * exact.stddev(), 1.4 * exact.stddev())
    return Problem(statistics, delta, log_sigma, q0)


def draws(problem, flow, seed, target=None, spoil=lambda result: result):
    """(log weights, samples of the ELBO), ``[NUM_SAMPLES]`` each."""
    pair = tf.constant([0, seed])
    noise = tf.random.stateless_normal([NUM_SAMPLES, flow.event_size], pair, dtype=tf.float64)
    context = tf.concat([problem.q0.mean, tf.math.log(problem.q0.standard_deviation)], 0)[None]
    flow_noise = flow.noise((NUM_SAMPLES,), pair + 1)
    z_0, q0 = problem.q0.sample(noise), problem.q0
    result = spoil(flow.transform(target or problem.target, z_0, flow_noise, q0=q0, context=context))
    return log_weight(result, q0.log_prob_of_noise(noise)), elbo_sample(result, -q0.entropy())


def deviation(problem, flow, seed, **kwargs) -> float:
    """|p_hat(x) - p(x)| in standard errors: the check that right code passes and wrong code fails."""
    estimate = LogMeanExp.of(draws(problem, flow, seed, **kwargs)[0]).estimate()
    # an effective sample size above a tenth: the error bar itself is sound
    assert estimate.standard_error < np.sqrt(10.0 / NUM_SAMPLES)
    assert estimate.effective_sample_size > NUM_SAMPLES / 10
    return float(abs(estimate.value - problem.evidence) / estimate.standard_error)


@pytest.mark.parametrize("d", [1, SIZE])
@pytest.mark.parametrize("name", rows())
def test_every_flow_is_unbiased(name, d, seed):
    assert deviation(make_problem(d, seed), CATALOGUE[name].make(d, dtype=tf.float64), seed) < 5.0


@pytest.mark.parametrize("name", rows())
def test_the_elbo_is_the_mean_of_the_log_weights_and_below_the_evidence(name, seed):
    problem = make_problem(SIZE, seed)
    flow = make(name, SIZE, seed)
    log_weights, elbos = (values.numpy() for values in draws(problem, flow, seed))
    difference = log_weights - elbos
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(NUM_SAMPLES) + 1e-12
    assert elbos.mean() < float(problem.evidence) + 5 * elbos.std() / np.sqrt(NUM_SAMPLES)


# ---- planted errors, each of which the same check must see


@pytest.mark.parametrize("name", [name for name, row in CATALOGUE.items() if row.planted])
def test_each_rows_planted_error_is_seen(name, seed):
    row = CATALOGUE[name]
    problem = make_problem(SIZE, seed)
    assert deviation(problem, row.make(SIZE, dtype=tf.float64), seed, spoil=row.planted) > 5.0


def test_a_dropped_determinant_puts_the_elbo_above_the_evidence():
    """What an ELBO that takes every momentum's determinant to cancel would report of the row 'stretched'."""
    problem = make_problem(SIZE, 0)
    flow = CATALOGUE["stretched"].make(SIZE, dtype=tf.float64, stretch=-0.4)
    _, elbos = draws(problem, flow, 0)
    standard_error = np.std(elbos) / np.sqrt(NUM_SAMPLES)
    assert np.mean(elbos) < problem.evidence + 5 * standard_error
    assert np.mean(elbos) - SIZE * flow.stretch > problem.evidence + 5 * standard_error


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_unkicked_drift_is_seen(tempering, seed, unkicked_integrator):
    flow = hamiltonian(SIZE, 3, tempering, integrator=unkicked_integrator, dtype=tf.float64)
    assert deviation(make_problem(SIZE, seed), flow, seed) > 5.0


class LostTempering(HamiltonianFlow):
    """Starts hot and claims the determinant of a flow that cools, but never scales the momentum."""

    def move(self, target, z, rho):
        untempered = HamiltonianFlow(
            self.event_size, self.num_leapfrog_steps, "none", step_size=self.step_sizes.numpy(), dtype=self.dtype
        )
        state, _ = untempered.move(target, z, rho)
        return state, 0.5 * self.event_size * tf.math.log(self.schedule().beta_0)


@pytest.mark.parametrize("tempering", TEMPERED)
def test_lost_tempering_is_seen(tempering, seed):
    flow = LostTempering.from_config(hamiltonian(SIZE, 3, tempering, dtype=tf.float64).get_config())
    assert deviation(make_problem(SIZE, seed), flow, seed) > 5.0


@pytest.mark.parametrize("tempering", TEMPERED)
def test_wrong_beta_0_is_seen(tempering, seed):
    flow = hamiltonian(SIZE, 3, tempering, dtype=tf.float64)

    def root_forgotten(result):  # l log 1/sqrt(beta_0) counted twice
        extra = SIZE * tf.math.log(flow.schedule().inv_sqrt_beta_0)
        return result._replace(log_ratio=result.log_ratio + extra)

    assert deviation(make_problem(SIZE, seed), flow, seed, spoil=root_forgotten) > 5.0


class WrongHVI(HVIFlow):
    """A stochastic flow whose ratio is what `log_ratio` makes of a transition."""

    def transform(self, target, z, noise=(), q0=None, context=None):
        way = self.transitions(target, z, noise, q0=q0, context=context)
        ratio = tf.add_n([self.log_ratio(t, step, q0, context) for t, step in enumerate(way)])
        return FlowResult(way[-1].end.z, way[-1].end.log_joint, ratio, ratio)

    def log_ratio(self, t, step, q0, context):
        return step.reverse.log_prob(step.end.rho) - step.draw.log_prob


class ReverseAtDrawnMomentum(WrongHVI):
    """The reverse density of v', not of v."""

    def log_ratio(self, t, step, q0, context):
        return step.reverse.log_prob(step.start.rho) - step.draw.log_prob


class ReverseAtStart(WrongHVI):
    """The reverse model sees z_{t-1}, not z_t."""

    def log_ratio(self, t, step, q0, context):
        reverse = self.reverse.density(t, reverse_inputs(step.start.z, step.start.grad, q0, context))
        return reverse.log_prob(step.end.rho) - step.draw.log_prob


class WithoutForwardDensity(WrongHVI):
    """The density of what was drawn forgotten."""

    def log_ratio(self, t, step, q0, context):
        return step.reverse.log_prob(step.end.rho) - tf.stop_gradient(tf.reduce_mean(step.draw.log_prob))


class ScaleForgottenInForwardDensity(WrongHVI):
    """v' = s noise, held to be of N(0, I)."""

    def log_ratio(self, t, step, q0, context):
        return step.reverse.log_prob(step.end.rho) - standard_normal_log_prob(step.start.rho)


class NormaliserForgottenInReverse(WrongHVI):
    """The reverse model's scale in its exponent alone."""

    def log_ratio(self, t, step, q0, context):
        log_scale = tf.reduce_sum(tf.math.log(step.reverse.standard_deviation), axis=-1)
        return super().log_ratio(t, step, q0, context) + log_scale


def stochastic_deviation(flow_class, T, seed):
    """In one dimension, where the weights of all errors but one are tame."""
    flow = hvi(1, T, 1, "linear", 1.3, flow=flow_class, dtype=tf.float64)
    return deviation(make_problem(1, seed), flow, seed)


@pytest.mark.parametrize("T", [1, 2])
def test_a_stochastic_flow_put_together_anew_is_unbiased(T, seed):
    assert stochastic_deviation(WrongHVI, T, seed) < 5.0


@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.parametrize("wrong", WrongHVI.__subclasses__())
def test_errors_in_a_stochastic_flow_are_seen(wrong, T, seed):
    if (wrong, T) == (ReverseAtDrawnMomentum, 2):
        pytest.skip("its weights are too wild for an error bar")
    assert stochastic_deviation(wrong, T, seed) > 5.0


class WrongAnnealed(AnnealedFlow):
    """An annealed flow whose ratio is what `log_ratio` makes of a transition."""

    def transform(self, target, z, noise=(), q0=None, context=None):
        way = self.transitions(target, z, noise, q0=q0, context=context)
        ratio = tf.add_n([self.log_ratio(step) for step in way])
        return FlowResult(way[-1].end.z, way[-1].end.log_joint, ratio, ratio)

    def log_ratio(self, step):
        return step.reverse.log_prob(step.released) - step.draw.log_prob


class WholeMomentumLetGo(WrongAnnealed):
    """The reverse density of all of v_t, where a part of it goes on."""

    def log_ratio(self, step):
        return step.reverse.log_prob(step.end.rho) - step.draw.log_prob


class MomentumTakenForNoise(WrongAnnealed):
    """The forward density of v'_t, where it is that of the noise; what is let go judged rightly."""

    def log_ratio(self, step):
        return step.reverse.log_prob(step.released) - standard_normal_log_prob(step.start.rho)


@pytest.mark.parametrize("wrong", [WrongAnnealed, *WrongAnnealed.__subclasses__()])
def test_errors_in_a_partial_refreshment_are_seen(wrong, seed):
    options = {"refreshment": 0.4, "step_size": 0.4, "temperatures": "linear", "dtype": tf.float64}
    found = deviation(make_problem(1, seed), wrong(1, 3, **options), seed)
    assert (found < 5.0) == (wrong is WrongAnnealed)


@pytest.mark.parametrize("wrong", [WrongAnnealed, WholeMomentumLetGo])
def test_a_score_of_the_wrong_momentum_is_seen(wrong, seed):
    """LDVI's network is one of what is let go, u_t; judged at all of v_t, even one of a small factor shows."""
    reverse = ScoreReverse((5,), embedding_units=2, sees=("z", "momentum"), seed=3)
    options = {"refreshment": 0.4, "step_size": 0.4, "temperatures": "linear", "dtype": tf.float64}
    flow = wrong(1, 3, reverse=reverse, **options)
    reverse.factor.assign(0.3)
    assert (deviation(make_problem(1, seed), flow, seed) < 5.0) == (wrong is WrongAnnealed)


def without_half(problem):
    """The likelihood's quadratic form taken twice."""
    n, mean, s = problem.statistics

    def log_joint(z):
        quadratic = (n * tf.square(mean - problem.delta - z) + s) * tf.exp(-2.0 * problem.log_sigma)
        return problem.target.log_joint(z) - 0.5 * tf.reduce_sum(quadratic, axis=-1)

    return LogDensityTarget(log_joint, problem.target.event_size, problem.target.fisher_information)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if "K5" not in name])
def test_missing_half_in_the_quadratic_is_seen(name, seed):
    problem = make_problem(SIZE, seed)
    assert deviation(problem, CATALOGUE[name].make(SIZE, dtype=tf.float64), seed, target=without_half(problem)) > 5.0
