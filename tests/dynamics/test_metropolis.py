"""A move of HMC leaves its density invariant, costs L evaluations, and keeps nothing of a proposal that it rejects."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import Leapfrog, LogDensityTarget
from hvae_tf.dynamics import metropolis
from hvae_tf.dynamics.metropolis import ChainState, hmc_move, initial_chains
from hvae_tf.targets.target import ValueAndGrad

NUM_CHAINS = 50_000


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def funnel_scale(z):
    return tf.exp(0.5 * z[..., 0])


def funnel_log_prob(z):
    """z_1 ~ N(0, 1), z_2 | z_1 ~ N(0, exp(z_1)), without constants."""
    return -0.5 * (z[..., 0] ** 2 + (z[..., 1] / funnel_scale(z)) ** 2 + z[..., 0])


FUNNEL = LogDensityTarget(funnel_log_prob, 2)


def drift(seed, move=hmc_move, num_moves=3) -> float:
    """How far means move, in standard errors, when exact draws of the funnel are moved: the worst of several means."""
    noise = normal(NUM_CHAINS, 2, seed=seed)
    z = tf.stack([noise[:, 0], noise[:, 1] * funnel_scale(noise)], axis=-1)
    state = initial_chains(FUNNEL.value_and_grad, z)
    step_size = tf.constant([0.9, 1.1], tf.float64)
    for i in range(num_moves):
        state = move(FUNNEL.value_and_grad, state, (seed, i), step_size=step_size, num_leapfrog_steps=3).state

    def means(z):
        u = z / np.stack([np.ones(len(z)), np.exp(0.5 * z[:, 0])], axis=-1)
        return np.concatenate([u, u**2, np.abs(u), np.cos(2.0 * u), u[:, :1] * u[:, 1:]], axis=-1)

    change = means(state.z.numpy()) - means(z.numpy())
    return np.max(np.abs(change.mean(0)) / (change.std(0, ddof=1) / NUM_CHAINS**0.5))


def test_exact_draws_stay_exact(seed):
    assert drift(seed) < 5.0


def test_acceptance_without_kinetic_energy_is_seen(seed, monkeypatch):
    monkeypatch.setattr(metropolis, "kinetic_energy", lambda rho: tf.zeros_like(rho[..., 0]))
    assert drift(seed) > 5.0


def test_acceptance_without_potential_energy_is_seen(seed):
    def move(*args, **kwargs):
        return hmc_move(*args, density=lambda value: value._replace(log_joint=0.0 * value.log_joint), **kwargs)

    assert drift(seed, move) > 5.0


def test_a_stale_gradient_is_seen(seed):
    """The evaluation of the proposal is kept where the proposal was rejected."""

    def move(evaluate, state, *args, **kwargs):
        found = hmc_move(evaluate, state, *args, **kwargs)
        return found._replace(state=found.state._replace(evaluation=evaluate(tf.roll(found.state.z, 1, axis=0))))

    assert drift(seed, move) > 5.0


def test_a_step_size_that_follows_the_chain_is_seen(seed):
    def move(evaluate, state, *args, step_size, **kwargs):
        return hmc_move(evaluate, state, *args, step_size=step_size * tf.exp(0.3 * state.z[:, :1]), **kwargs)

    assert drift(seed, move) > 5.0


def test_a_move_is_leapfrog_and_the_rule_of_metropolis(seed):
    z, step_size = normal(6, 2, seed=seed), tf.constant(0.7, tf.float64)
    move = hmc_move(
        FUNNEL.value_and_grad,
        initial_chains(FUNNEL.value_and_grad, z),
        (seed, 1),
        step_size=step_size,
        num_leapfrog_steps=4,
    )
    momentum_seed, uniform_seed = tf.unstack(tf.random.experimental.stateless_split((seed, 1), 2))
    state = first = Leapfrog().init(FUNNEL, z, tf.random.stateless_normal([6, 2], momentum_seed, dtype=tf.float64))
    for _ in range(4):
        state = Leapfrog().step(FUNNEL, state, step_size)
    energies = [0.5 * np.sum(np.square(s.rho), axis=-1) - s.log_joint for s in (first, state)]
    probability = np.minimum(1.0, np.exp(energies[0] - energies[1]))
    accepted = tf.random.stateless_uniform([6], uniform_seed, dtype=tf.float64).numpy() < probability
    np.testing.assert_allclose(move.acceptance, probability, rtol=1e-10)
    np.testing.assert_array_equal(move.accepted, accepted)
    np.testing.assert_allclose(move.state.z, np.where(accepted[:, None], state.z, z), rtol=1e-12)
    for carried, fresh in zip(move.state.evaluation, FUNNEL.value_and_grad(move.state.z), strict=True):
        np.testing.assert_allclose(carried, fresh, rtol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 4])
def test_a_move_costs_its_leapfrog_steps(num_steps, seed):
    shapes = []

    def evaluate(z):
        shapes.append(z.shape)
        return FUNNEL.value_and_grad(z)

    state = initial_chains(evaluate, normal(6, 2, seed=seed))
    for i in range(3):
        state = hmc_move(evaluate, state, (seed, i), step_size=0.1, num_leapfrog_steps=num_steps).state
    assert shapes == [(6, 2)] * (1 + 3 * num_steps)


def test_graphs_take_any_number_of_steps_and_chains(seed):
    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 2], tf.float64), tf.TensorSpec([], tf.int32)], autograph=False
    )
    def moved(z, num_steps):
        state = initial_chains(FUNNEL.value_and_grad, z)
        return hmc_move(FUNNEL.value_and_grad, state, (seed, 2), step_size=0.5, num_leapfrog_steps=num_steps)

    for shape, num_steps in (((4, 3), 2), ((1, 5), 5)):
        z = normal(*shape, 2, seed=seed)
        state = initial_chains(FUNNEL.value_and_grad, z)
        eager = hmc_move(FUNNEL.value_and_grad, state, (seed, 2), step_size=0.5, num_leapfrog_steps=num_steps)
        for a, b in zip(tf.nest.flatten(moved(z, num_steps)), tf.nest.flatten(eager), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    assert moved.experimental_get_tracing_count() == 1


def test_every_image_has_its_own_step_size(seed):
    z = normal(5, 3, 2, seed=seed)
    step_size = tf.constant([0.0, 0.5, 60.0], tf.float64)[:, None]
    state = initial_chains(FUNNEL.value_and_grad, z)
    move = hmc_move(FUNNEL.value_and_grad, state, (seed, 3), step_size=step_size, num_leapfrog_steps=3)
    np.testing.assert_array_equal(move.state.z[:, 0], z[:, 0])
    np.testing.assert_allclose(move.acceptance[:, 0], 1.0)
    assert np.mean(move.acceptance[:, 1]) > 0.5
    assert np.max(move.acceptance[:, 2]) < 0.1


@pytest.mark.parametrize("beyond", [float("nan"), float("-inf"), float("inf")])
def test_proposals_without_a_finite_energy_leave_no_trace(beyond, seed):
    def evaluate(z):
        value, inside = FUNNEL.value_and_grad(z), tf.reduce_all(tf.abs(z) < 1.0, axis=-1)
        grad = tf.where(inside[..., None], value.grad, float("nan"))
        return ValueAndGrad(tf.where(inside, value.log_joint, beyond), grad)

    z = tf.clip_by_value(normal(200, 2, seed=seed), -0.9, 0.9)
    state = initial_chains(evaluate, z)
    for i in range(5):
        move = hmc_move(evaluate, state, (seed, i), step_size=0.8, num_leapfrog_steps=2)
        state = move.state
        for tensor in (*tf.nest.flatten(state), move.acceptance):
            assert np.all(np.isfinite(tensor))
        assert 0.0 < np.mean(move.accepted) < 1.0
    assert np.max(np.abs(state.z)) < 1.0


def test_a_chain_without_density_leaves_for_where_there_is_one():
    """log pi = -inf but a gradient that points inside: any finite proposal is accepted."""

    def evaluate(z):
        value = FUNNEL.value_and_grad(z)
        return value._replace(log_joint=tf.where(tf.abs(z[..., 0]) < 1.0, value.log_joint, -float("inf")))

    z = tf.fill([100, 2], tf.constant(1.1, tf.float64))
    move = hmc_move(evaluate, initial_chains(evaluate, z), (0, 1), step_size=0.5, num_leapfrog_steps=1)
    inside = np.abs(move.state.z[:, 0]) < 1.0
    assert 0.2 < np.mean(inside) < 1.0
    np.testing.assert_array_equal(move.accepted, inside)
    np.testing.assert_array_equal(move.acceptance, inside.astype(float))


def test_nothing_is_differentiated(seed):
    z, shift = normal(6, 2, seed=seed), tf.Variable(0.3, dtype=tf.float64)
    target = LogDensityTarget(lambda z: funnel_log_prob(z - shift), 2)
    with tf.GradientTape() as tape:
        tape.watch(z)
        state = initial_chains(target.value_and_grad, z)
        move = hmc_move(target.value_and_grad, state, (seed, 3), step_size=0.3, num_leapfrog_steps=2)
        total = tf.reduce_sum(move.state.z) + tf.reduce_sum(move.acceptance)
    assert tape.gradient(total, [z, shift]) == [None, None]


def test_a_seed_gives_the_same_again(seed):
    state = ChainState(z := normal(6, 2, seed=seed), FUNNEL.value_and_grad(z))
    first, again, other = (
        hmc_move(FUNNEL.value_and_grad, state, (seed, s), step_size=0.1, num_leapfrog_steps=2).state.z.numpy()
        for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)
