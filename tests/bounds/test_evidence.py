"""E[p_hat(x)] = p(x) on the Gaussian model for every flow, judged by a check that planted errors fail."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import (
    TEMPERINGS,
    GaussianOffsetTarget,
    GaussianStatistics,
    HamiltonianFlow,
    IdentityFlow,
    LogDensityTarget,
    PlanarFlow,
    evidence,
    gaussian_log_prob,
    hamiltonian_log_weight,
    importance_log_likelihood,
    log_weight,
    posterior,
    sufficient_statistics,
)

NUM_SAMPLES = 20_000
TEMPERED = sorted(set(TEMPERINGS) - {"none"})


class Problem(NamedTuple):
    """Data under a model whose evidence is known, and a q0 that is wrong on purpose."""

    statistics: GaussianStatistics
    delta: tf.Tensor
    log_sigma: tf.Tensor
    q0_mean: tf.Tensor
    q0_log_sigma: tf.Tensor

    @property
    def target(self):
        return GaussianOffsetTarget(self.statistics, self.delta, self.log_sigma)


def make_problem(d, seed) -> Problem:
    statistics = sufficient_statistics(np.random.default_rng([seed, d]).normal(size=[10, d]))
    delta = tf.linspace(tf.constant(-0.5, tf.float64), 0.5, d)
    log_sigma = tf.linspace(tf.constant(-0.2, tf.float64), 0.2, d)
    exact = posterior(statistics, delta, log_sigma)
    # off-centre and too wide: far enough from the posterior to matter, wide enough for weights of small variance,
    # which alone make a standard error that can be trusted
    return Problem(statistics, delta, log_sigma, exact.mean() + 0.3 * exact.stddev(), tf.math.log(1.4 * exact.stddev()))


def deviation(problem, flow, seed, target=None, weigh=hamiltonian_log_weight) -> float:
    """|p_hat(x) - p(x)| in standard errors: the check that right code passes and wrong code fails."""
    target = target or problem.target

    def sample_log_weights(num_samples, pair):
        noise, gamma = tf.unstack(
            tf.random.stateless_normal([2, num_samples, flow.event_size], pair, dtype=problem.delta.dtype)
        )
        log_q0 = gaussian_log_prob(noise, problem.q0_log_sigma)
        z = problem.q0_mean + tf.exp(problem.q0_log_sigma) * noise
        if not flow.has_momentum:
            return weigh(flow(target, z), log_q0)
        rho = flow.initial_momentum(gamma)
        return weigh(flow(target, z, rho), log_q0, rho, flow.schedule().inv_sqrt_beta_0)

    estimate = importance_log_likelihood(sample_log_weights, NUM_SAMPLES, seed, chunk_size=NUM_SAMPLES)
    # an effective sample size above a tenth: the error bar itself is sound
    assert estimate.standard_error < np.sqrt(10.0 / NUM_SAMPLES)
    exact = evidence(problem.statistics, problem.delta, problem.log_sigma)
    return float(abs(estimate.value - exact) / estimate.standard_error)


def hamiltonian(d, num_steps, tempering, flow_class=HamiltonianFlow, **kwargs):
    step_size = np.linspace(0.15, 0.25, d)
    kwargs = {"inv_sqrt_beta_0": 1.5, "alpha": 0.85, "dtype": tf.float64, **kwargs}
    return flow_class(d, num_steps, tempering, step_size=step_size, **kwargs)


def planar(d, num_layers):
    """Layers that bend: as they start, they are close to the identity."""
    flow = PlanarFlow(d, num_layers, dtype=tf.float64)
    flow.w.assign(tf.linspace(tf.constant(1.0, tf.float64), 1.5, d))
    flow.u.assign(tf.linspace(tf.constant(0.2, tf.float64), 0.1, d))
    return flow


@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_hamiltonian_flow_is_unbiased(tempering, num_steps, d, seed):
    assert deviation(make_problem(d, seed), hamiltonian(d, num_steps, tempering), seed) < 5.0


@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_planar_flow_is_unbiased(num_layers, d, seed):
    assert deviation(make_problem(d, seed), planar(d, num_layers), seed, weigh=log_weight) < 5.0


@pytest.mark.parametrize("d", [1, 4])
def test_identity_flow_is_unbiased(d, seed):
    assert deviation(make_problem(d, seed), IdentityFlow(d), seed, weigh=log_weight) < 5.0


# ---- planted errors, each of which the same check must see


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_unkicked_drift_is_seen(tempering, seed, unkicked_step):
    flow = hamiltonian(4, 3, tempering, integrator=unkicked_step)
    assert deviation(make_problem(4, seed), flow, seed) > 5.0


class LostTempering(HamiltonianFlow):
    """Starts hot and claims the determinant of a flow that cools, but never scales the momentum."""

    def __call__(self, target, z, rho=None):
        step_size = self.step_sizes.numpy()
        untempered = HamiltonianFlow(
            self.event_size, self.num_leapfrog_steps, "none", step_size=step_size, dtype=self.dtype
        )
        log_det = 0.5 * self.event_size * tf.math.log(self.schedule().beta_0)
        return untempered(target, z, rho)._replace(log_det=log_det)


@pytest.mark.parametrize("tempering", TEMPERED)
def test_lost_tempering_is_seen(tempering, seed):
    flow = hamiltonian(4, 3, tempering, flow_class=LostTempering)
    assert deviation(make_problem(4, seed), flow, seed) > 5.0


def beta_0_for_its_root(result, log_q0, rho_0, inv_sqrt_beta_0):
    return hamiltonian_log_weight(result, log_q0, rho_0, inv_sqrt_beta_0**2)


@pytest.mark.parametrize("tempering", TEMPERED)
def test_wrong_beta_0_is_seen(tempering, seed):
    flow = hamiltonian(4, 3, tempering)
    assert deviation(make_problem(4, seed), flow, seed, weigh=beta_0_for_its_root) > 5.0


def without_log_det(weigh):
    return lambda result, *args: weigh(result._replace(log_det=tf.zeros_like(result.log_det)), *args)


@pytest.mark.parametrize("tempering", TEMPERED)
def test_dropped_log_det_is_seen(tempering, seed):
    flow = hamiltonian(4, 3, tempering)
    assert deviation(make_problem(4, seed), flow, seed, weigh=without_log_det(hamiltonian_log_weight)) > 5.0


def test_dropped_log_det_of_a_planar_flow_is_seen(seed):
    assert deviation(make_problem(4, seed), planar(4, 3), seed, weigh=without_log_det(log_weight)) > 5.0


def without_half(problem):
    """The likelihood's quadratic form taken twice."""
    n, mean, s = problem.statistics

    def log_joint(z):
        quadratic = (n * tf.square(mean - problem.delta - z) + s) * tf.exp(-2.0 * problem.log_sigma)
        return problem.target.log_joint(z) - 0.5 * tf.reduce_sum(quadratic, axis=-1)

    return LogDensityTarget(log_joint, problem.target.event_size)


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_missing_half_in_the_quadratic_is_seen(tempering, seed):
    problem = make_problem(4, seed)
    assert deviation(problem, hamiltonian(4, 3, tempering), seed, target=without_half(problem)) > 5.0


@pytest.mark.parametrize("flow", [IdentityFlow(4), planar(4, 1)], ids=["identity", "planar"])
def test_missing_half_is_seen_without_momentum_too(flow, seed):
    problem = make_problem(4, seed)
    assert deviation(problem, flow, seed, target=without_half(problem), weigh=log_weight) > 5.0
