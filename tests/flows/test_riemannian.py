"""Riemannian flows: identities between code paths, exact answers, evidences by quadrature, unsolved equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import (
    Checkpoint,
    DiagonalGaussian,
    DivergenceError,
    FlowVAE,
    HamiltonianFlow,
    LogDensityTarget,
    LogMeanExp,
    RiemannianFlow,
    dense_decoder,
    dense_encoder,
    elbo_sample,
    fit,
    from_arrays,
    log_weight,
)
from hvae_tf.data import TrainBatches
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.dynamics import fixed_point
from hvae_tf.dynamics.generalised_leapfrog import GeneralisedLeapfrog
from hvae_tf.dynamics.metrics import Dense, Fisher
from hvae_tf.targets.banana import BananaTarget
from hvae_tf.targets.funnel import FunnelTarget
from hvae_tf.targets.gaussian import GaussianStatistics, hamiltonian_gap
from hvae_tf.targets.logistic_regression import LogisticRegressionTarget

SIZE = 3
L = np.array([[1.3, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.2, 1.1]])
LOGISTIC_LOG_Z = -2.57071


def quartic(z):
    return -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


def constant_metric(z):
    return tf.constant(L @ L.T) + 0.0 * z[..., None]


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def gaussian_q0(mean, standard_deviation):
    return DiagonalGaussian(tf.constant(mean, tf.float64), tf.constant(standard_deviation, tf.float64))


# ---- a metric that is the same everywhere


@pytest.mark.parametrize("metric", [lambda: Dense(L), lambda: Fisher("encoder mean"), lambda: Fisher("z")])
def test_a_constant_metric_is_the_ordinary_flow_in_other_coordinates(metric, seed):
    """y = L^T z; three code paths, one of them implicit."""
    options = {"tempering": "free", "dtype": tf.float64}
    flow = RiemannianFlow(SIZE, 3, metric(), step_size=0.3, tolerance=1e-13, **options)
    ordinary = HamiltonianFlow(SIZE, 3, step_size=0.3, **options)
    z, noise = normal(6, SIZE, seed=seed), flow.noise((6,), tf.constant([seed, 2]))
    found = flow.transform(LogDensityTarget(quartic, SIZE, constant_metric), z, noise, q0=gaussian_q0([0.0] * 3, 1.0))
    back = np.linalg.inv(L.T)
    other = LogDensityTarget(lambda y: quartic(tf.linalg.matvec(back, y)), SIZE)
    expected = ordinary.transform(other, tf.linalg.matvec(L.T, z), noise)
    np.testing.assert_allclose(found.z, tf.linalg.matvec(back, expected.z), rtol=0, atol=1e-11)
    for value, wanted in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-11)


def expectation_of_quadratic(function, size):
    """E f(noise) over N(0, I) in `size` dimensions for f quadratic, exactly: f(0) + 1/2 tr f''."""
    points = np.concatenate([np.zeros([1, size]), np.eye(size), -np.eye(size)])
    centre, *others = function(tf.constant(points)).numpy()
    return centre + 0.5 * (np.sum(others) - 2 * size * centre)


@pytest.mark.parametrize("fitted", [False, True])
def test_the_elbo_on_an_ar1_gaussian_is_the_closed_form(fitted):
    """In the precision as a metric every mode turns by one angle, whatever its eigenvalue: the isotropic value."""
    size, phi, eps, steps = 4, 0.8, 0.5, 2
    lags = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    precision = np.linalg.inv(phi**lags)
    log_normaliser = 0.5 * (np.linalg.slogdet(precision)[1] - size * np.log(2.0 * np.pi))

    def log_prob(z):
        return -0.5 * tf.reduce_sum(z * tf.linalg.matvec(precision, z), axis=-1) + log_normaliser

    metric = Dense(np.linalg.cholesky(precision) if fitted else 1.0)
    flow = RiemannianFlow(size, steps, metric, tempering="free", step_size=eps, dtype=tf.float64)
    q0, target = gaussian_q0(np.zeros(size), np.ones(size)), LogDensityTarget(log_prob, size)

    def elbo(noise):
        result = flow.transform(target, noise[..., :size], noise[..., size:], q0=q0)
        return log_weight(result, q0.log_prob(noise[..., :size]))

    lam = np.linalg.eigvalsh(precision)
    eps_of_modes = eps / np.sqrt(lam) if fitted else eps * np.ones(size)
    none = tf.zeros([size], tf.float64)
    statistics = GaussianStatistics(tf.constant(lam - 1.0), none, none)
    gap = hamiltonian_gap(statistics, none, none, [tf.constant(eps_of_modes)] * steps, flow.schedule())
    assert expectation_of_quadratic(elbo, 2 * size) == pytest.approx(-float(tf.reduce_sum(gap)), abs=1e-10)


def test_dense_agrees_with_tfp(seed):
    """Its preconditioned HMC, whose metrics are constant: the same proposals from the same momenta."""
    target = LogDensityTarget(quartic, SIZE)
    momenta = tfp.distributions.MultivariateNormalTriL(scale_tril=tf.constant(L))
    kernel = tfp.experimental.mcmc.PreconditionedHamiltonianMonteCarlo(
        target.log_joint, step_size=0.3, num_leapfrog_steps=3, momentum_distribution=momenta
    )
    z = normal(5, SIZE, seed=seed)
    _, results = kernel.one_step(z, kernel.bootstrap_results(z), seed=tf.constant([seed, 1]))
    flow = RiemannianFlow(SIZE, 3, Dense(L, learned=False), step_size=0.3, dtype=tf.float64)
    proposed = results.proposed_results
    rho = np.linalg.solve(L, proposed.initial_momentum[0].numpy().T).T
    state, log_det, failed = flow.move(target, z, rho)
    np.testing.assert_allclose(state.z, results.proposed_state, rtol=1e-10)
    np.testing.assert_allclose(tf.linalg.matvec(L, state.rho), proposed.final_momentum[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(log_det, np.zeros(5))
    assert not np.any(failed)


# ---- a metric that changes: evidences


class WithoutDeterminants(RiemannianFlow):
    """A planted error: the metric's log-determinants left out."""

    def move(self, target, z, rho, q0=None):
        state, log_det, failed = super().move(target, z, rho, q0)
        return state, log_det - state.log_det, failed


CURVED = {
    "logistic": (LogisticRegressionTarget(), gaussian_q0([0.8, 0.4], [1.0, 1.0]), 0.3, "free", LOGISTIC_LOG_Z),
    "funnel": (FunnelTarget(2, 0.7), gaussian_q0([0.0, 0.0], [0.8, 1.5]), 0.4, "none", 0.0),
    "banana": (BananaTarget(1.0, 0.5), gaussian_q0([0.0, 0.0], [1.1, 1.3]), 0.2, "none", 0.0),
}


def curved_draws(name, seed, kind=RiemannianFlow, count=10_000):
    target, q0, eps, tempering, _ = CURVED[name]
    flow = kind(2, 3, Fisher("z"), tempering=tempering, step_size=eps, dtype=tf.float64)
    noise, gamma = normal(count, 2, seed=seed), flow.noise((count,), tf.constant([seed, 5]))
    result = flow.transform(target, q0.sample(noise), gamma, q0=q0)
    assert int(flow.unsolved) == 0
    return log_weight(result, q0.log_prob_of_noise(noise)), elbo_sample(result, -q0.entropy())


def deviation(log_weights, log_z):
    estimate = LogMeanExp.of(log_weights).estimate()
    assert estimate.effective_sample_size > len(log_weights) / 4
    return abs(estimate.value - log_z) / estimate.standard_error


@pytest.mark.parametrize("name", CURVED)
def test_the_evidence_in_a_metric_that_changes(name, seed):
    log_weights, elbos = curved_draws(name, seed)
    assert deviation(log_weights, CURVED[name][-1]) < 5.0
    if name != "funnel":  # whose log weights have no tame mean
        difference = (log_weights - elbos).numpy()
        assert abs(difference.mean()) < 5.0 * difference.std() / np.sqrt(len(difference))
    else:
        assert deviation(curved_draws(name, seed, WithoutDeterminants)[0], 0.0) > 5.0


@pytest.mark.slow
def test_forgotten_determinants_are_seen_on_the_logistic_regression(seed):
    assert deviation(curved_draws("logistic", seed, WithoutDeterminants, 40_000)[0], LOGISTIC_LOG_Z) > 5.0


def test_the_evidence_of_the_logistic_regression_by_quadrature():
    axis = np.linspace(-9.0, 9.0, 301)
    points = tf.constant(np.stack(np.meshgrid(axis, axis), axis=-1))
    mass = np.exp(LogisticRegressionTarget().log_joint(points)).sum() * (axis[1] - axis[0]) ** 2
    assert np.log(mass) == pytest.approx(LOGISTIC_LOG_Z, abs=5e-6)


# ---- the equations


LOGISTIC, EPS = LogisticRegressionTarget(), 0.4


def truncated(iterations):
    """The step after so many sweeps: the solver takes f once more at the end."""
    return GeneralisedLeapfrog(1e-15, iterations - 1) if iterations > 1 else GeneralisedLeapfrog(0.999, 1)


def errors_after(iterations, seed):
    """(log |det| of the step in (z, p), its reversal's error), the largest of some points."""
    step = truncated(iterations)
    z, rho = normal(8, 2, seed=seed), normal(8, 2, seed=seed + 1)
    factor = tf.linalg.cholesky(LOGISTIC.fisher_information(z))
    start = tf.concat([z, tf.linalg.matvec(factor, rho)], axis=-1)

    def onwards(point, eps=EPS):
        whitened = tf.linalg.triangular_solve(
            tf.linalg.cholesky(LOGISTIC.fisher_information(point[..., :2])), point[..., 2:, None]
        )[..., 0]
        state = step.step(LOGISTIC, step.init(LOGISTIC, point[..., :2], whitened), tf.constant(eps, tf.float64))
        return tf.concat([state.z, tf.linalg.matvec(state.scale_tril, state.rho)], axis=-1)

    h = 1e-5
    shifts = h * np.concatenate([np.eye(4), -np.eye(4)])[:, None]
    ends = onwards(start + shifts)  # [8, points, 4]
    columns = (ends[:4] - ends[4:]) / (2 * h)
    log_det = np.linalg.slogdet(np.moveaxis(columns, 0, -1))[1]
    back = onwards(onwards(start), -EPS)
    return np.abs(log_det).max(), np.abs(back - start).max()


def test_volume_and_reversal_are_as_good_as_the_equations_are_solved(seed):
    errors = np.array([errors_after(n, seed) for n in (2, 5, 25)])
    assert np.all(errors[0] > 1e-4)
    assert np.all(errors[1:] < 0.2 * errors[:-1])
    assert np.all(errors[-1] < 1e-8)


@pytest.mark.parametrize("forgets", [False, True])
def test_the_determinant_of_a_batch_whose_members_differ(forgets, seed):
    """Each event bends the space in its own way; log |det| of (z, rho) by differences, three events at once."""
    data = tf.constant([0.5, 2.0, 5.0], tf.float64)

    def information(z):
        of_event = data[::-1] if forgets and z.shape.rank > 3 else data  # planted: slopes of another's metric
        first = of_event[:, None] * tf.math.sigmoid(z[..., ::-1])
        return tf.linalg.diag(1.0 + first) + 0.2 * tf.sin(z[..., :1, None] * z[..., 1:, None])

    flow = RiemannianFlow(2, 1, Fisher("z"), step_size=0.5, tolerance=1e-13, dtype=tf.float64)
    target = LogDensityTarget(quartic, 2, information)
    start, h = normal(3, 4, seed=seed), 1e-5
    shifts = h * np.concatenate([np.eye(4), -np.eye(4), np.zeros([1, 4])])[:, None]
    points = start + shifts  # [9, events, 4]
    state, log_det, _ = flow.move(target, points[..., :2], points[..., 2:])
    ends = tf.concat([state.z, state.rho], axis=-1)
    columns = (ends[:4] - ends[4:8]) / (2 * h)
    error = np.abs(np.linalg.slogdet(np.moveaxis(columns, 0, -1))[1] - log_det[-1]).max()
    assert (error > 1e-3) if forgets else (error < 1e-6)


def curved_loss(flow, scale, z, gamma):
    target = LogDensityTarget(
        lambda z: quartic(scale * z), SIZE, lambda z: tf.linalg.diag(0.5 + scale * tf.square(z)) + 1.0
    )
    result = flow.transform(target, z, gamma)
    return tf.reduce_sum(result.log_joint + result.log_ratio + 0.3 * result.expected_log_ratio)


def gradients_and_difference(seed):
    """Along one direction in z_0, gamma_0 and a tensor that target and metric are made of, all at once."""
    flow = RiemannianFlow(SIZE, 2, Fisher("z"), tolerance=1e-13, step_size=0.25, dtype=tf.float64)
    sources = [tf.constant([1.0, 0.7, 1.3], tf.float64), normal(4, SIZE, seed=seed), normal(4, SIZE, seed=seed + 3)]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        value = curved_loss(flow, *sources)
    assert int(flow.unsolved) == 0
    directions, h = [normal(*source.shape, seed=seed + 7) for source in sources], 1e-5
    ahead, behind = (
        curved_loss(flow, *[s + sign * h * d for s, d in zip(sources, directions, strict=True)]) for sign in (1.0, -1.0)
    )
    parts = zip(tape.gradient(value, sources), directions, strict=True)
    return float(sum(tf.reduce_sum(g * d) for g, d in parts)), float((ahead - behind) / (2 * h))


def test_gradients_through_the_equations_are_those_of_finite_differences(seed):
    found, difference = gradients_and_difference(seed)
    assert found == pytest.approx(difference, rel=1e-7)


@pytest.mark.slow
def test_checkpoint_has_the_gradients_of_backprop(seed):
    sources = [tf.constant([1.0, 0.7, 1.3], tf.float64), normal(4, SIZE, seed=seed), normal(4, SIZE, seed=seed + 3)]
    gradients = []
    for adjoint in ("backprop", Checkpoint()):
        flow = RiemannianFlow(SIZE, 2, Fisher("z"), tolerance=1e-13, adjoint=adjoint, step_size=0.25, dtype=tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = curved_loss(flow, *sources)
        gradients.append(tape.gradient(value, [*sources, *flow.trainable_variables]))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_a_forgotten_implicit_function_theorem_is_seen(seed, monkeypatch):
    monkeypatch.setattr(fixed_point, "_implicit", lambda value, jacobian: value)
    found, difference = gradients_and_difference(seed)
    assert abs(found / difference - 1.0) > 1e-5


def test_what_could_not_be_solved_is_told(seed):
    """The samples are NaN in everything, their gradients too, and counted; the others know nothing of it."""
    z, gamma = normal(50, 2, seed=seed), normal(50, 2, seed=seed + 1)
    z = tf.concat([z[:-1], [[-12.0, 30.0]]], axis=0)  # deep in the funnel's neck, far off its axis
    flow = RiemannianFlow(2, 1, Fisher("z"), step_size=0.3, dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(z)
        result = flow.transform(FunnelTarget(), z, gamma)
        value = tf.reduce_sum(result.log_joint + result.log_ratio)
    for part in (*result, tape.gradient(value, z)):
        bad = np.isnan(part.numpy().reshape(50, -1))
        assert np.all(bad[-1])
        assert not np.any(bad[:-1])
    assert int(flow.unsolved) == int(flow.diagnostics()["unsolved"]) == 1
    flow.transform(FunnelTarget(), z, gamma)
    assert int(flow.unsolved) == 2
    alone = flow.transform(FunnelTarget(), z[:10], gamma[:10])
    np.testing.assert_allclose(alone.z, result.z[:10], rtol=1e-12)


# ---- in a model


@pytest.fixture(scope="module")
def rows():
    return (np.random.default_rng(0).uniform(size=(60, 6)) < 0.4).astype(np.float32)


def model_with(metric, **options):
    flow = RiemannianFlow(2, 1, metric, **options)
    return FlowVAE(dense_encoder((6,), 2, (5,)), dense_decoder((6,), 2, (5,)), flow)


@pytest.mark.slow
@pytest.mark.parametrize("metric", [Dense, Fisher, lambda: Fisher("z")])
def test_a_model_is_trained_saved_and_loaded(metric, rows, tmp_path):
    model = model_with(metric())
    model.compile(keras.optimizers.Adamax(0.05))
    before = [weight.numpy() for weight in model.flow_layer.trainable_weights]
    model.fit(rows, batch_size=20, verbose=0)
    for weight, value in zip(model.flow_layer.trainable_weights, before, strict=True):
        assert not np.array_equal(weight, value), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.flow.get_config() == model.flow.get_config()
    np.testing.assert_array_equal(loaded.elbo(rows), model.elbo(rows))
    assert np.all(np.isfinite(loaded.elbo(rows)))


@pytest.mark.slow
def test_training_raises_where_equations_cannot_be_solved(rows, tmp_path):
    model = model_with(Fisher("z"), max_iterations=1, tolerance=1e-9)
    model.compile(keras.optimizers.Adamax(1e-3))
    batches = TrainBatches(from_arrays("rows", rows[:40], rows[40:]), 10, 0)
    with pytest.raises(DivergenceError, match=r"diverged at step .*; parameters before it: .*unsolved [1-9]"):
        fit(model, batches, rows[40:], tmp_path, max_epochs=1, verbose=0)


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_leapfrog_steps": 0}, "num_leapfrog_steps is 0"),
        ({"metric": "round"}, "unknown metric 'round'; accepted: dense, fisher"),
        ({"tolerance": 0.0}, "tolerance is 0.0; expected a number in"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"step_size": 2.5}, r"expected values in \(0, max_step_size\)"),
        ({"step_size": [0.1, 0.1]}, "expected one broadcasting"),
        ({"step_size_per": "epoch"}, "unknown step_size_per 'epoch'"),
        ({"metric": Dense(np.eye(2))}, r"scale_tril has shape \(2, 2\); expected \(3, 3\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RiemannianFlow(SIZE, **{"num_leapfrog_steps": 1} | arguments)


@pytest.mark.parametrize("scale_tril", [-1.0, np.ones([2, 2]), [1.0, 2.0], [[1.0, 0.0], [0.0, np.nan]]])
def test_a_factor_that_is_none_is_refused(scale_tril):
    with pytest.raises(ValueError, match="expected a positive number, or a lower triangular matrix"):
        Dense(scale_tril)


def test_what_a_metric_lacks_is_named():
    z = tf.zeros([2, SIZE])
    flow = RiemannianFlow(SIZE, 1, Fisher())
    noise = flow.noise((2,), tf.constant([0, 0]))
    with pytest.raises(ValueError, match="was given no q0"):
        flow.transform(LogDensityTarget(quartic, SIZE), z, noise)
    with pytest.raises(ValueError, match="LogDensityTarget has no Fisher information"):
        flow.transform(LogDensityTarget(quartic, SIZE), z, noise, q0=DiagonalGaussian(z, z + 1.0))
    with pytest.raises(ValueError, match="pass noise="):
        flow.transform(LogDensityTarget(quartic, SIZE), z)
    with pytest.raises(ValueError, match="the metric is at 'zero'; accepted: encoder mean, z"):
        Fisher("zero")
    with pytest.raises(ValueError, match="built already"):
        RiemannianFlow(SIZE, 1, flow.metric)
    flow = RiemannianFlow(2, 1, Fisher("z"), adjoint="reversible")
    with pytest.raises(ValueError, match="needs a ReversibleIntegrator"):
        flow.transform(FunnelTarget(), z[:, :2], noise[:, :2])


def test_the_reversible_adjoint_walks_back_in_a_constant_metric(seed):
    gradients = []
    for adjoint in ("backprop", "reversible"):
        flow = RiemannianFlow(SIZE, 3, Dense(L), adjoint=adjoint, dtype=tf.float64)
        z, noise = normal(4, SIZE, seed=seed), normal(4, SIZE, seed=seed + 1)
        with tf.GradientTape() as tape:
            result = flow.transform(LogDensityTarget(quartic, SIZE), z, noise)
            value = tf.reduce_sum(result.log_joint + standard_normal_log_prob(result.z))
        gradients.append(tape.gradient(value, flow.trainable_variables))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
