"""A move in a metric leaves its density invariant, and refuses what it could not solve."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.dynamics.generalised_leapfrog import GeneralisedLeapfrog
from hvae_tf.dynamics.metric_leapfrog import MetricLeapfrog
from hvae_tf.dynamics.metric_move import metric_move
from hvae_tf.dynamics.metropolis import hmc_move, initial_chains
from hvae_tf.targets.funnel import FunnelTarget

FUNNEL, NUM_CHAINS = FunnelTarget(2, 1.0), 20_000
CONSTANT = tf.constant([[1.2, 0.0], [0.3, 0.7]], tf.float64)


class WithoutDeterminants(GeneralisedLeapfrog):
    """A planted error: the energy without 1/2 log |G|."""

    def log_det(self, state):
        return tf.zeros_like(state.log_det)


def drift(integrator, seed) -> float:
    """How far means move, in standard errors, when exact draws of the funnel are moved: the worst of several means."""
    z = FUNNEL.sample(tf.random.stateless_normal([NUM_CHAINS, 2], [seed, 1], dtype=tf.float64))
    state = integrator.init(FUNNEL, z, tf.zeros_like(z))
    for i in range(2):
        move = metric_move(FUNNEL, integrator, state, (seed, i), step_size=0.6, num_leapfrog_steps=2)
        state = move.state
    assert 0.3 < np.mean(move.accepted) < 0.99

    def means(z):
        u = z / np.stack([np.ones(len(z)), np.exp(0.5 * z[:, 0])], axis=-1)
        return np.concatenate([u, u**2, np.abs(u), np.cos(2.0 * u), u[:, :1] * u[:, 1:]], axis=-1)

    change = means(state.z.numpy()) - means(z.numpy())
    return np.max(np.abs(change.mean(0)) / (change.std(0, ddof=1) / NUM_CHAINS**0.5))


@pytest.mark.parametrize("integrator", [GeneralisedLeapfrog(), MetricLeapfrog(CONSTANT)])
def test_exact_draws_stay_exact(integrator, seed):
    assert drift(integrator, seed) < 5.0


def test_forgotten_determinants_are_seen(seed):
    assert drift(WithoutDeterminants(), seed) > 5.0


def test_what_cannot_be_solved_is_refused(seed):
    integrator = GeneralisedLeapfrog(1e-12, max_iterations=1)
    z = tf.random.stateless_normal([20, 2], [seed, 1], dtype=tf.float64)
    start = integrator.init(FUNNEL, z, z)
    move = metric_move(FUNNEL, integrator, start, (seed, 2), step_size=0.5, num_leapfrog_steps=1)
    assert not np.any(move.accepted)
    np.testing.assert_array_equal(move.acceptance, np.zeros(20))
    for value, expected in zip(move.state, start._replace(rho=move.state.rho), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_move_in_the_unit_metric_is_one_of_hmc(seed):
    """At the same seed, of which `hmc_move` is held to use two different halves."""
    z = tf.random.stateless_normal([50, 2], [seed, 1], dtype=tf.float64)
    unit, settings = MetricLeapfrog(tf.eye(2, dtype=tf.float64)), {"step_size": 0.9, "num_leapfrog_steps": 3}
    found = metric_move(FUNNEL, unit, unit.init(FUNNEL, z, z), (seed, 2), **settings)
    other = hmc_move(FUNNEL.value_and_grad, initial_chains(FUNNEL.value_and_grad, z), (seed, 2), **settings)
    assert 0 < np.sum(other.accepted) < 50
    np.testing.assert_array_equal(found.accepted, other.accepted)
    np.testing.assert_allclose(found.acceptance, other.acceptance, rtol=1e-10)
    np.testing.assert_allclose(found.state.z, other.state.z, rtol=1e-10)
