"""The Gaussian offset model's closed forms, each against an independent route to the same number."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import TEMPERINGS, GaussianOffsetTarget, HamiltonianFlow, IdentityFlow, elbo_sample, log_weight
from hvae_tf.densities import standard_normal
from hvae_tf.dynamics.tempering import FixedTempering, FreeTempering, TemperingSchedule
from hvae_tf.targets.gaussian import (
    GaussianStatistics,
    evidence,
    exact_hamiltonian_elbo,
    gaussian_offset_model,
    maximum_likelihood,
    posterior,
    sufficient_statistics,
)

tfd = tfp.distributions
NUM_OBSERVATIONS, SIZE = 20, 3
DELTA = tf.constant([-0.5, 0.0, 0.5], tf.float64)
SIGMA = tf.constant([0.7, 1.0, 1.3], tf.float64)
LOG_SIGMA = tf.math.log(SIGMA)


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


@pytest.fixture
def x(seed):
    return np.random.default_rng(seed).normal(0.3, 1.2, [NUM_OBSERVATIONS, SIZE])


@pytest.fixture
def statistics(x):
    return sufficient_statistics(x)


# ---- statistics, evidence, posterior


def test_sufficient_statistics_of_many_data_sets(seed):
    data = normal(4, 6, SIZE, seed=seed).numpy()
    n, mean, s = sufficient_statistics(data)
    assert float(n) == 6.0
    np.testing.assert_allclose(mean, data.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(s, 6.0 * data.var(axis=1), rtol=1e-12)
    assert {value.dtype for value in sufficient_statistics(data, tf.float32)} == {tf.float32}


@pytest.mark.parametrize("n", [1, 2, 7])
def test_evidence_is_the_marginal_density_of_x(n, x):
    """With z integrated out, the N observations of a dimension have covariance v I + 1 1'."""
    data = x[:n]
    expected = 0.0
    for j in range(SIZE):
        covariance = SIGMA[j] ** 2 * np.eye(n) + np.ones([n, n])
        marginal = tfd.MultivariateNormalTriL(DELTA[j] * np.ones(n), tf.linalg.cholesky(covariance))
        expected += marginal.log_prob(data[:, j])
    np.testing.assert_allclose(evidence(sufficient_statistics(data), DELTA, LOG_SIGMA), expected, rtol=1e-11)


def test_posterior_is_what_the_joint_leaves_over_the_evidence(statistics, seed):
    z = 2.0 * normal(10, SIZE, seed=seed)
    joint = GaussianOffsetTarget(statistics, DELTA, LOG_SIGMA).log_joint(z)
    log_posterior = posterior(statistics, DELTA, LOG_SIGMA).log_prob(z)
    expected = tf.fill([10], evidence(statistics, DELTA, LOG_SIGMA))
    np.testing.assert_allclose(joint - log_posterior, expected, rtol=1e-11)


def test_exact_posterior_makes_the_variational_bound_tight(statistics, seed):
    """The optimum of mean-field VB is the evidence, and every single sample attains it."""
    q0 = posterior(statistics, DELTA, LOG_SIGMA)
    z = q0.sample(10, seed=[seed, 0])
    result = IdentityFlow(SIZE, dtype=tf.float64).transform(GaussianOffsetTarget(statistics, DELTA, LOG_SIGMA), z)
    values = log_weight(result, q0.log_prob(z))
    np.testing.assert_allclose(values, tf.fill([10], evidence(statistics, DELTA, LOG_SIGMA)), rtol=1e-11)


def test_unobserved_dimensions_add_nothing(statistics, seed):
    padded = GaussianStatistics(
        tf.constant([NUM_OBSERVATIONS] * SIZE + [0, 0], tf.float64),
        tf.concat([statistics.mean, tf.zeros(2, tf.float64)], axis=0),
        tf.concat([statistics.centred_second_moment, tf.zeros(2, tf.float64)], axis=0),
    )
    delta = tf.concat([DELTA, [0.3, -2.0]], axis=0)
    log_sigma = tf.concat([LOG_SIGMA, [0.5, -1.0]], axis=0)
    expected = evidence(statistics, DELTA, LOG_SIGMA)
    np.testing.assert_allclose(evidence(padded, delta, log_sigma), expected, rtol=1e-13)
    # they follow their prior
    unobserved = posterior(padded, delta, log_sigma)
    np.testing.assert_array_equal(unobserved.mean()[SIZE:], [0.0, 0.0])
    np.testing.assert_array_equal(unobserved.stddev()[SIZE:], [1.0, 1.0])
    z = normal(4, SIZE + 2, seed=seed)
    prior = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64)).log_prob(z[:, SIZE:])
    alone = GaussianOffsetTarget(statistics, DELTA, LOG_SIGMA).log_joint(z[:, :SIZE])
    np.testing.assert_allclose(GaussianOffsetTarget(padded, delta, log_sigma).log_joint(z), alone + prior, rtol=1e-12)


# ---- maximum likelihood


def evidence_and_gradient(statistics, parameters):
    """At parameters (delta, log sigma) in one vector."""
    return tfp.math.value_and_gradient(lambda p: evidence(statistics, *tf.split(p, 2)), parameters)


@pytest.mark.parametrize(("n", "spread"), [(NUM_OBSERVATIONS, 1.0), (2, 0.01), (2, 10.0)])
def test_the_evidence_is_flat_at_maximum_likelihood(x, n, spread):
    """Two observations far apart reach the other of the formula's two forms, where S/N > N - 1."""
    statistics = sufficient_statistics(spread * x[:n])
    delta, sigma = maximum_likelihood(statistics)
    _, gradient = evidence_and_gradient(statistics, tf.concat([delta, tf.math.log(sigma)], axis=0))
    np.testing.assert_allclose(gradient, np.zeros(2 * SIZE), atol=1e-9)


def test_an_unobserved_dimension_has_any_maximum(statistics):
    """It gets one that is a number; those beside it keep theirs."""
    padded = GaussianStatistics(
        tf.constant([NUM_OBSERVATIONS] * SIZE + [0.0], tf.float64), *(tf.pad(part, [[0, 1]]) for part in statistics[1:])
    )
    for found, expected, beside in zip(maximum_likelihood(padded), maximum_likelihood(statistics), (0, 1), strict=True):
        np.testing.assert_array_equal(found, [*expected, beside])


def test_maximum_likelihood_is_what_an_optimiser_finds(statistics):
    def loss(parameters):
        value, gradient = evidence_and_gradient(statistics, parameters)
        return -value, -gradient

    found = tfp.optimizer.bfgs_minimize(loss, tf.zeros(2 * SIZE, tf.float64), tolerance=1e-7)
    assert found.converged
    delta, log_sigma = tf.split(found.position, 2)
    np.testing.assert_allclose(maximum_likelihood(statistics).delta, delta, atol=1e-6)
    np.testing.assert_allclose(maximum_likelihood(statistics).sigma, tf.exp(log_sigma), rtol=1e-6)


@pytest.fixture
def far_data(seed):
    """N = 10^4 float32 observations a long way from the origin, as the larger problems of the paper have them."""
    rng = np.random.default_rng(seed)
    return (30.0 + rng.normal(size=20) + 0.1 * rng.normal(size=[10_000, 20])).astype(np.float32)


def relative_error_of_sigma(statistics, data):
    exact = maximum_likelihood(sufficient_statistics(data, tf.float64)).sigma.numpy()
    return np.max(np.abs(maximum_likelihood(statistics).sigma / exact - 1.0))


def test_float32_keeps_the_digits_of_sigma(far_data):
    statistics = sufficient_statistics(far_data)
    assert statistics.mean.dtype == tf.float32
    assert relative_error_of_sigma(statistics, far_data) < 1e-6


def test_raw_second_moments_would_lose_them(far_data):
    n, mean, _ = sufficient_statistics(far_data)
    raw = tf.reduce_sum(tf.square(far_data), axis=0) - n * tf.square(mean)
    assert relative_error_of_sigma(GaussianStatistics(n, mean, raw), far_data) > 1e-4


# ---- the simulator


def simulator_z_score(model, z_score, seed):
    """The worst of the model's moments, judged over independent data sets against DELTA and SIGMA."""
    draw = model.sample(4000, seed=[seed, 1])
    z, x = draw["z"], draw["x"]
    assert z.shape == (4000, SIZE)
    assert x.shape == (4000, 5, SIZE)
    noise = (x - z[:, None] - DELTA) / SIGMA
    moments = {
        "z mean": (z, 0.0),
        "z variance": (z**2, 1.0),
        "noise mean": (tf.reduce_mean(noise, axis=1), 0.0),
        "noise variance": (tf.reduce_mean(noise**2, axis=1), 1.0),
        # all observations of a data set share its z
        "covariance of two observations": ((x[:, 0] - DELTA) * (x[:, 1] - DELTA), 1.0),
    }
    return max(z_score(samples, expected) for samples, expected in moments.values())


def test_simulator_has_the_moments_of_the_model(z_score, seed):
    assert simulator_z_score(gaussian_offset_model(DELTA, SIGMA, 5), z_score, seed) < 5.0


@pytest.mark.parametrize(
    ("delta", "sigma"), [(DELTA, 1.1 * SIGMA), (DELTA + 0.1, SIGMA), (DELTA, SIGMA**2)], ids=["sigma", "delta", "v"]
)
def test_a_simulator_of_another_model_is_seen(delta, sigma, z_score, seed):
    assert simulator_z_score(gaussian_offset_model(delta, sigma, 5), z_score, seed) > 5.0


def test_target_is_the_joint_density_of_the_simulator(x, statistics, seed):
    z = normal(4, SIZE, seed=seed)
    model = gaussian_offset_model(DELTA, SIGMA, NUM_OBSERVATIONS)
    expected = [model.log_prob({"z": point, "x": x}) for point in z]
    np.testing.assert_allclose(GaussianOffsetTarget(statistics, DELTA, LOG_SIGMA).log_joint(z), expected, rtol=1e-11)


# ---- the Hamiltonian ELBO in closed form


class LostTempering(HamiltonianFlow):
    """A planted error: starts hot and never scales the momentum."""

    def move(self, target, z, rho):
        options = {"step_size": self.step_sizes.numpy(), "step_size_per": "step", "dtype": self.dtype}
        return HamiltonianFlow(SIZE, self.num_leapfrog_steps, "none", **options).move(target, z, rho)


def elbo_z_score(statistics, tempering, num_steps, seed, z_score, flow_class=HamiltonianFlow, **kwargs):
    """Monte Carlo against the closed form, with unlike steps in every dimension and at every step."""
    hot = {"free": FreeTempering(0.7 ** (1.0 / num_steps)), "fixed": FixedTempering(1.5)}
    flow = flow_class(
        SIZE,
        num_steps,
        hot.get(tempering, tempering),
        step_size=0.15,
        step_size_per="step",
        dtype=tf.float64,
        **kwargs,
    )
    for index, variable in enumerate(flow.trainable_variables):
        variable.assign_add(0.2 * tf.random.stateless_normal(variable.shape, [seed, index], dtype=tf.float64))
    z, gamma = tf.unstack(normal(2, 10_000, SIZE, seed=seed))
    target = GaussianOffsetTarget(statistics, DELTA, LOG_SIGMA)
    samples = elbo_sample(flow.transform(target, z, gamma), -standard_normal(SIZE, tf.float64).entropy())
    return z_score(
        samples, exact_hamiltonian_elbo(statistics, DELTA, LOG_SIGMA, tf.unstack(flow.step_sizes), flow.schedule())
    )


@pytest.mark.parametrize("num_steps", [1, 3, 10])
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_hamiltonian_elbo_has_its_closed_form(statistics, tempering, num_steps, seed, z_score):
    assert elbo_z_score(statistics, tempering, num_steps, seed, z_score) < 5.0


@pytest.mark.parametrize("num_steps", [1, 3, 10])
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_unkicked_drift_is_seen(statistics, tempering, num_steps, seed, z_score, unkicked_integrator):
    assert elbo_z_score(statistics, tempering, num_steps, seed, z_score, integrator=unkicked_integrator) > 5.0


@pytest.mark.parametrize("num_steps", [1, 3, 10])
@pytest.mark.parametrize("tempering", sorted(set(TEMPERINGS) - {"none"}))
def test_lost_tempering_is_seen(statistics, tempering, num_steps, seed, z_score):
    assert elbo_z_score(statistics, tempering, num_steps, seed, z_score, flow_class=LostTempering) > 5.0


def gap(statistics, step_sizes, schedule):
    """log p(D) - ELBO at sigma = 1 in all dimensions, which so have one lam between them."""
    log_sigma = tf.zeros_like(DELTA)
    elbo = exact_hamiltonian_elbo(statistics, DELTA, log_sigma, step_sizes, schedule)
    return float(evidence(statistics, DELTA, log_sigma) - elbo)


LAM = 1.0 + NUM_OBSERVATIONS
# below this no gap can come, for the flow preserves the volume of (z, gamma)
FLOOR = SIZE * (np.sqrt(LAM) - 1.0 - 0.5 * np.log(LAM))


@pytest.mark.parametrize("num_steps", [1, 3, 10])
def test_gap_of_the_bound_keeps_above_its_floor(statistics, num_steps, seed):
    for draw in range(30):
        eps = 0.4 * tf.random.stateless_uniform([num_steps, SIZE], [seed, draw], dtype=tf.float64)
        alphas = tf.random.stateless_uniform([num_steps], [seed, 1000 + draw], 0.5, 1.0, dtype=tf.float64)
        schedule = TemperingSchedule(1.0 / tf.reduce_prod(alphas), tuple(tf.unstack(alphas)))
        assert gap(statistics, tf.unstack(eps), schedule) > FLOOR


def test_one_step_attains_the_floor(statistics):
    """At eps^2 lam = 2 and beta_0 = 2/sqrt(lam), where the posterior's mean is 0 and needs no correction."""
    centred = statistics._replace(mean=DELTA)
    beta_0 = tf.constant(2.0 / np.sqrt(LAM), tf.float64)
    schedule = TemperingSchedule(tf.math.rsqrt(beta_0), (tf.sqrt(beta_0),))
    eps = tf.fill([SIZE], tf.constant(np.sqrt(2.0 / LAM), tf.float64))
    assert gap(centred, [eps], schedule) == pytest.approx(FLOOR, rel=1e-10)
    assert gap(centred, [1.05 * eps], schedule) > FLOOR * 1.001


# ---- what is refused


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite_are_refused(x, bad):
    x[3, 1] = bad
    with pytest.raises(ValueError, match="1 values that are not finite"):
        sufficient_statistics(x)


@pytest.mark.parametrize("shape", [(5,), (0, 3), (5, 0)], ids=str)
def test_data_of_no_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[..., N, d\]"):
        sufficient_statistics(np.zeros(shape))


@pytest.mark.parametrize("sigma", [[1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf]], ids=str)
def test_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(ValueError, match="positive sigma"):
        gaussian_offset_model([0.0, 0.0], sigma, 5)


def test_delta_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite delta"):
        gaussian_offset_model([0.0, np.nan], [1.0, 1.0], 5)


@pytest.mark.parametrize(("delta", "sigma"), [([0.0], [1.0, 1.0]), (0.0, 1.0), ([[0.0]], [[1.0]])], ids=str)
def test_model_parameters_of_unlike_shapes_are_refused(delta, sigma):
    with pytest.raises(ValueError, match="delta has shape"):
        gaussian_offset_model(delta, sigma, 5)


@pytest.mark.parametrize("num_observations", [0, -3])
def test_a_model_without_observations_is_refused(num_observations):
    with pytest.raises(ValueError, match=f"num_observations is {num_observations}"):
        gaussian_offset_model([0.0], [1.0], num_observations)


def test_target_parameters_of_another_size_are_refused(statistics):
    with pytest.raises(ValueError, match="last axes do not agree"):
        GaussianOffsetTarget(statistics, DELTA[:2], LOG_SIGMA)


def test_integer_data_are_not_truncated():
    statistics = sufficient_statistics(np.array([[1], [2], [4], [4]]))
    assert statistics.mean.dtype.is_floating
    np.testing.assert_allclose(statistics.mean, [2.75])
    np.testing.assert_allclose(statistics.centred_second_moment, [6.75])
