"""The Hamiltonian flow with a momentum that is not tied to its tempering: where it starts, and its closed form."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import FreeTempering, GaussianOffsetTarget, HamiltonianFlow, LogDensityTarget
from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.densities import standard_normal
from hvae_tf.dynamics.tempering import TEMPERINGS, TemperingSchedule
from hvae_tf.targets.gaussian import evidence, hamiltonian_gap
from reproduce.auxiliary.annealing import unit_problem
from tests.catalogue import TEMPERING_OBJECTS

SIZE = 3
TARGET = LogDensityTarget(
    lambda z: -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1)), SIZE
)


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_a_learned_scale_starts_where_the_tempering_has_it(tempering, seed):
    tied, untied = (
        HamiltonianFlow(SIZE, 3, TEMPERING_OBJECTS[tempering](), dtype=tf.float64, **options)
        for options in ({}, {"momentum_scale": "learned", "shift": True})
    )
    z, gamma = tf.unstack(tf.random.stateless_normal([2, 5, SIZE], [seed, 3], dtype=tf.float64))
    for value, wanted in zip(untied.transform(TARGET, z, gamma), tied.transform(TARGET, z, gamma), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-10)


def untied_flow(lam, centre, scale, shift):
    """One tempered step of a quarter turn on N(centre, 1/lam), with its end's variance at the best (section 5c)."""
    alpha = np.sqrt(2.0 / lam / (1.0 + (0.0 if shift else centre**2)))
    step_size = np.sqrt(2.0 / lam)
    flow = HamiltonianFlow(
        1, 1, FreeTempering(alpha), step_size=step_size, momentum_scale="learned", shift=shift, dtype=tf.float64
    )
    flow.momentum._log_scale.assign(np.log([scale]))
    if shift:
        flow.momentum._shift.assign([alpha * step_size * lam / 2.0 * centre])
    return flow


@pytest.mark.parametrize("centre", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("shift", [False, True])
def test_the_gap_of_an_untied_momentum_does_not_depend_on_the_precision(shift, centre):
    """1/2 log(1 + m*^2), and 0 with a shift; in the flow, draw by draw where it is 0, and in the closed form."""
    lam = 1e4
    problem = unit_problem(lam, centre)
    flow = untied_flow(lam, centre, np.sqrt(0.5), shift)
    expected = 0.0 if shift else 0.5 * np.log(1.0 + centre**2)
    momentum = {"momentum_scale": flow.momentum.scale(flow.schedule()), "shift": flow.momentum._shift}
    gap = hamiltonian_gap(*problem, [flow.step_sizes], flow.schedule(), **momentum)
    np.testing.assert_allclose(gap, [expected], atol=1e-10)
    # the log weight is quadratic in (z_0, gamma): three nodes in each integrate it exactly
    x, weights = np.polynomial.hermite_e.hermegauss(3)
    z, gamma = (tf.constant(part.reshape(-1, 1)) for part in np.meshgrid(x, x))
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2
    result, q0 = flow.transform(GaussianOffsetTarget(*problem), z, gamma), standard_normal(1, tf.float64)
    for samples in (log_weight(result, q0.log_prob(z)), elbo_sample(result, -q0.entropy())):
        assert float(evidence(*problem)) - np.sum(weights * samples) == pytest.approx(expected, abs=1e-8)
    if shift or centre == 0.0:
        np.testing.assert_allclose(log_weight(result, q0.log_prob(z)), float(evidence(*problem)), atol=1e-7)
    # planted: the scale of the first momentum forgotten
    assert np.sqrt(lam) - 1.0 - 0.5 * np.log(lam) == pytest.approx(94.39, abs=5e-3)  # what the tied one takes
    wrong = hamiltonian_gap(*problem, [flow.step_sizes], flow.schedule())
    assert float(wrong[0]) > expected + 10.0


def test_no_other_setting_of_an_untied_momentum_is_better():
    centre, lam, start = 0.8, 1e4, tf.zeros([4], tf.float64)
    problem = unit_problem(lam, centre)
    best = untied_flow(lam, centre, np.sqrt(0.5), shift=False)

    def gap(changes):
        eps, scale = best.step_sizes * tf.exp(changes[0]), tf.exp(changes[1]) * np.sqrt(0.5) * tf.ones([1], tf.float64)
        schedule = TemperingSchedule(tf.ones([], tf.float64), (best.schedule().alphas[0] * tf.exp(changes[2]),))
        return hamiltonian_gap(*problem, [eps], schedule, momentum_scale=scale)[0]

    with tf.GradientTape() as tape:
        tape.watch(start)
        value = gap(start)
    np.testing.assert_allclose(tape.gradient(value, start), np.zeros(4), atol=1e-8)
    for seed in range(5):
        assert float(gap(0.3 * tf.random.stateless_normal([4], [seed, 0], dtype=tf.float64))) > float(value)


def test_an_unknown_momentum_scale_is_refused():
    with pytest.raises(ValueError, match="unknown momentum_scale 'free'; accepted: tied, learned"):
        HamiltonianFlow(SIZE, 1, momentum_scale="free")


def test_a_learned_momentum_scale_is_told():
    flow = HamiltonianFlow(SIZE, 2, FreeTempering(0.8), momentum_scale="learned", dtype=tf.float64)
    np.testing.assert_allclose(flow.diagnostics()["momentum_scale"], [0.8**-2] * SIZE, rtol=1e-12)
