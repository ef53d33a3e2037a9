"""Several moves in a row: against quadrature, against TFP, and by what they cost."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import LogDensityTarget
from hvae_tf.dynamics import metropolis
from hvae_tf.dynamics.chains import hmc_moves, tune_step_size
from hvae_tf.dynamics.metropolis import hmc_move, initial_chains
from hvae_tf.targets.factor_analysis import FactorAnalysisTarget
from reproduce.refinement.exact import MoveOperator, kl_to_target, normal_law

NORMAL = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), 1)
START = 1.5, 0.4  # of q0, where the target is N(0, 1)
LENGTHS = [(0.9, 1), (1.4, 3), (0.5, 2)]


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def factor_analysis(seed):
    random = np.random.default_rng(seed)
    weights, x = random.normal(size=(4, 3)), random.normal(size=(2, 4))
    return FactorAnalysisTarget(tf.constant(x), weights, np.zeros(4), 0.6)


# ---- one dimension, by quadrature


def test_quadrature_leaves_the_target_as_it_is():
    for step_size, num_steps in LENGTHS:
        moved = MoveOperator(step_size, num_steps)(normal_law(0.0, 1.0))
        np.testing.assert_allclose(moved.density, normal_law(0.0, 1.0).density, atol=2e-5)


@pytest.mark.parametrize(("step_size", "num_steps"), LENGTHS)
def test_the_divergence_from_the_posterior_never_grows(step_size, num_steps):
    law, move, divergences = normal_law(*START), MoveOperator(step_size, num_steps), []
    mean, scale = START
    for _ in range(8):
        divergences.append(kl_to_target(law))
        law = move(law)
    assert divergences[0] == pytest.approx(0.5 * (mean**2 + scale**2 - 1.0) - np.log(scale), rel=1e-6)
    assert np.all(np.diff(divergences) < 0.0)
    assert divergences[-1] < 0.02 * divergences[0]


def moment_errors(seed, step_size=1.4, num_steps=3, num_moves=2, num_chains=100_000):
    """How far sampled chains are from quadrature in mean, mean square and acceptance: standard errors."""
    z = START[0] + START[1] * normal(num_chains, 1, seed=seed)
    state = initial_chains(NORMAL.value_and_grad, z)
    moves = hmc_moves(
        NORMAL.value_and_grad, state, (seed, 5), num_moves=num_moves, step_size=tf.constant(step_size, tf.float64),
        num_leapfrog_steps=num_steps,
    )  # fmt: skip
    law, move, acceptance = normal_law(*START), MoveOperator(step_size, num_steps), []
    for _ in range(num_moves):
        acceptance.append(move.acceptance(law))
        law = move(law)
    z = moves.state.z[:, 0].numpy()
    pairs = (
        (z, law.mean_of(law.grid)), (z**2, law.mean_of(law.grid**2)),
        (np.cos(3 * z), law.mean_of(np.cos(3 * law.grid))), (moves.acceptance.numpy(), np.mean(acceptance)),
    )  # fmt: skip
    return [abs(values.mean() - exact) / (values.std() / num_chains**0.5) for values, exact in pairs]


def test_chains_have_the_law_of_quadrature(seed):
    assert max(moment_errors(seed)) < 5.0


def test_a_forgotten_kinetic_energy_is_seen(seed, monkeypatch):
    monkeypatch.setattr(metropolis, "kinetic_energy", lambda rho: tf.zeros_like(rho[..., 0]))
    assert max(moment_errors(seed)) > 5.0


# ---- several dimensions


def test_exact_posterior_draws_stay_exact(seed, z_score):
    target = factor_analysis(seed)
    posterior = target.posterior()
    z = posterior.sample(normal(20_000, 2, 3, seed=seed))
    moves = hmc_moves(
        target.value_and_grad, initial_chains(target.value_and_grad, z), (seed, 6), num_moves=3,
        step_size=tf.constant(0.9, tf.float64) * posterior.standard_deviation, num_leapfrog_steps=2,
    )  # fmt: skip
    assert 0.3 < np.mean(moves.acceptance) < 0.95
    centred = (moves.state.z - posterior.mean).numpy()
    squares = (centred[..., None] * centred[..., None, :]).reshape(len(z), -1)
    covariance = np.broadcast_to(np.linalg.inv(target.precision()), (2, 3, 3)).ravel()
    assert z_score(centred.reshape(len(z), -1), 0.0) < 5.0
    assert z_score(squares, covariance) < 5.0


def test_acceptance_tends_to_one_and_energies_are_of_second_order(seed):
    target = factor_analysis(seed)
    z = target.posterior().sample(normal(2000, 2, 3, seed=seed))
    state = initial_chains(target.value_and_grad, z)
    rejected = []
    for step_size in (0.04, 0.02, 0.01):
        count = round(0.4 / step_size)  # the same length
        moves = hmc_moves(
            target.value_and_grad, state, (seed, 7), num_moves=1, step_size=tf.constant(step_size, tf.float64),
            num_leapfrog_steps=count,
        )  # fmt: skip
        rejected.append(1.0 - np.mean(moves.acceptance))
    assert rejected[-1] < 0.01
    np.testing.assert_allclose(np.log2(np.divide(rejected[:-1], rejected[1:])), 2.0, atol=0.25)


def test_tfp_does_the_same(seed):
    """`tfp.mcmc.HamiltonianMonteCarlo` with steps of eps sigma: the same moments and acceptance."""
    target = factor_analysis(seed)
    q0 = target.best_mean_field()
    start = q0.mean + q0.standard_deviation * (0.5 + 0.7 * normal(8000, 2, 3, seed=seed))
    step_size, num_steps, num_moves = 0.8 * q0.standard_deviation, 3, 3
    ours = hmc_moves(
        target.value_and_grad, initial_chains(target.value_and_grad, start), (seed, 8), num_moves=num_moves,
        step_size=step_size, num_leapfrog_steps=num_steps,
    )  # fmt: skip

    @tf.function(autograph=False)
    def theirs():
        kernel = tfp.mcmc.HamiltonianMonteCarlo(target.log_joint, step_size=step_size, num_leapfrog_steps=num_steps)
        states, ratios = tfp.mcmc.sample_chain(
            num_moves, start, kernel=kernel, seed=(seed, 9),
            trace_fn=lambda _, results: tf.exp(tf.minimum(results.log_accept_ratio, 0.0)),
        )  # fmt: skip
        return states[-1], tf.reduce_mean(ratios, axis=0)

    z, acceptance = theirs()

    def features(z, acceptance):
        z = np.asarray(z).reshape(len(z), -1)
        return np.concatenate([z, z**2, z[:, :1] * z[:, 1:], np.asarray(acceptance)], axis=1)

    a, b = features(ours.state.z, ours.acceptance), features(z, acceptance)
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / len(a))
    assert np.max(np.abs(a.mean(axis=0) - b.mean(axis=0)) / error) < 5.0


@pytest.mark.parametrize("num_moves", [0, 1, 3])
def test_moves_are_moves_one_after_the_other(num_moves, seed):
    target = factor_analysis(seed)
    state = initial_chains(target.value_and_grad, normal(5, 2, 3, seed=seed))
    settings = {"step_size": tf.constant(0.3, tf.float64), "num_leapfrog_steps": 2}
    found = hmc_moves(target.value_and_grad, state, (seed, 1), num_moves=num_moves, **settings)
    acceptance = []
    for i in range(num_moves):
        pair = tf.random.experimental.stateless_fold_in((seed, 1), i)
        move = hmc_move(target.value_and_grad, state, pair, **settings)
        state = move.state
        acceptance.append(move.acceptance)
    np.testing.assert_allclose(found.state.z, state.z, rtol=1e-12)
    np.testing.assert_allclose(found.acceptance, np.mean(acceptance, axis=0) if acceptance else np.zeros([5, 2]))


def test_a_pilot_finds_the_step_size(seed):
    target = factor_analysis(seed)
    posterior = target.posterior()
    state = initial_chains(target.value_and_grad, posterior.sample(normal(200, 2, 3, seed=seed)))
    scale = posterior.standard_deviation
    step_size = tune_step_size(target.value_and_grad, state, scale, (seed, 2), num_leapfrog_steps=3)
    moves = hmc_moves(
        target.value_and_grad, state, (seed, 3), num_moves=5, step_size=step_size * scale, num_leapfrog_steps=3
    )  # fmt: skip
    assert np.mean(moves.acceptance) == pytest.approx(0.65, abs=0.08)
