"""AIS against exact evidence, from below and from above, judged by checks that planted errors fail."""

import functools
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import GaussianOffsetTarget, LogDensityTarget
from hvae_tf.bounds.annealer import Annealer
from hvae_tf.bounds.annealing import (
    ais,
    bidirectional_bounds,
    reverse_ais,
    tune_step_sizes,
    warn_of_few_chains,
)
from hvae_tf.bounds.jackknife import jackknife
from hvae_tf.densities import DiagonalGaussian, standard_normal
from hvae_tf.dynamics import metropolis
from hvae_tf.dynamics.metropolis import hmc_move, initial_chains
from hvae_tf.targets.bridge import BridgedTarget
from hvae_tf.targets.gaussian import evidence, posterior, sufficient_statistics
from hvae_tf.targets.temperatures import SCHEDULES, temperature_schedule

pytestmark = pytest.mark.filterwarnings("ignore:AIS")  # many of these runs have one chain for each draw
tfd = tfp.distributions
NUM_CHAINS = 100_000
MODE = 6.0


def f64(*values):
    return tf.constant(values, tf.float64)


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def gaussian_problem():
    """Target, log Z, an encoder that is off, and exact draws ``(num, seed) -> [num, 2]``; precisions 3 and 5."""
    statistics = sufficient_statistics(np.array([[0.9, -0.4], [0.3, 0.6]]))
    delta, log_sigma = f64(0.2, -0.5), f64(0.0, -0.35)
    exact = posterior(statistics, delta, log_sigma)
    q0 = DiagonalGaussian(exact.mean() + 0.5 * exact.stddev(), 1.1 * exact.stddev())
    target = GaussianOffsetTarget(statistics, delta, log_sigma)
    return target, evidence(statistics, delta, log_sigma), q0, lambda num, seed: exact.sample(num, seed=(seed, 5))


def funnel_problem():
    """z_1 ~ N(0, 1), z_2 | z_1 ~ N(0, s^2): a mouth that stays narrow enough for weights of finite variance."""

    def scale(z_1):
        return 0.7 * tf.exp(0.5 * tf.tanh(2.0 * z_1))

    def log_joint(z):
        z_1, z_2 = tf.unstack(z, axis=-1)
        return tfd.Normal(f64(0.0)[0], 1.0).log_prob(z_1) + tfd.Normal(f64(0.0)[0], scale(z_1)).log_prob(z_2)

    def draws(num, seed):
        z_1, z_2 = tf.unstack(normal(num, 2, seed=seed), axis=-1)
        return tf.stack([z_1, scale(z_1) * z_2], axis=-1)

    return LogDensityTarget(log_joint, 2), 0.0, DiagonalGaussian(f64(0.3, 0.2), f64(1.1, 1.0)), draws


PROBLEMS = {"gaussian": gaussian_problem, "funnel": funnel_problem}
STARTS = ("encoder", "prior")


def problem_from(name, start):
    target, log_z, q0, _ = PROBLEMS[name]()
    return target, log_z, q0 if start == "encoder" else standard_normal([2], tf.float64)


def deviation(log_weights, log_z) -> float:
    """|mean(w)/Z - 1| in standard errors: the check that right code passes and wrong code fails."""
    weights = np.exp(np.asarray(log_weights).ravel() - log_z)
    error = weights.std(ddof=1) / len(weights) ** 0.5
    assert error < 0.03 * weights.mean(), "the error bar itself would not be sound"
    return float(abs(weights.mean() - 1.0) / error)


@functools.cache
def forward_graph(problem, start):
    """``(b, seed) -> log weights``, for any number of temperatures."""
    target, _, pi_0 = problem_from(problem, start)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64), tf.TensorSpec([], tf.int32)], autograph=False)
    def run(b, seed):
        settings = {"step_sizes": 1.0, "temperatures": b, "num_chains": NUM_CHAINS, "num_leapfrog_steps": 2}
        return ais(target, pi_0, tf.stack([0, seed]), **settings).log_weights

    return run


@pytest.mark.parametrize("num_temperatures", [2, 3, 5, 10])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_mean_weight_is_the_evidence(problem, start, num_temperatures, seed):
    log_weights = forward_graph(problem, start)(temperature_schedule(num_temperatures), seed)
    assert deviation(log_weights, problem_from(problem, start)[1]) < 5.0


@functools.cache
def reverse_graph(problem):
    """``(b, z, seed) -> log weights`` of one chain from each draw."""
    target = PROBLEMS[problem]()[0]

    @tf.function(
        input_signature=[tf.TensorSpec(shape, dtype) for shape, dtype in (([None], tf.float64), ([None, 2], tf.float64),
        ([], tf.int32))], autograph=False,
    )  # fmt: skip
    def run(b, z, seed):
        # narrower than the posterior, or 1/w has no variance
        narrow = DiagonalGaussian(*(tf.ones_like(z) * f64(*v) for v in ((0.1, 0.0), (0.5, 0.35))))
        settings = {"step_sizes": 1.2, "temperatures": b, "num_chains": 1, "num_leapfrog_steps": 2}
        return reverse_ais(target, narrow, z, tf.stack([0, seed]), **settings).log_weights

    return run


@pytest.mark.parametrize("num_temperatures", [2, 3, 5, 10])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_mean_reverse_weight_is_one_over_the_evidence(problem, num_temperatures, seed):
    _, log_z, _, draws = PROBLEMS[problem]()
    log_weights = reverse_graph(problem)(temperature_schedule(num_temperatures), draws(NUM_CHAINS, seed), seed)
    assert deviation(log_weights, -log_z) < 5.0


def test_draws_that_are_not_exact_are_seen(seed):
    _, log_z, _, draws = gaussian_problem()
    z = draws(NUM_CHAINS, seed)
    too_narrow = 0.7 * z + 0.3 * tf.reduce_mean(z, axis=0)
    assert deviation(reverse_graph("gaussian")(temperature_schedule(5), too_narrow, seed), -log_z) > 5.0


# ---- planted errors, each of which the same check must see


def textbook(target, start, seed, b, step_size, num_leapfrog_steps, num_chains, *, plant=None):
    """The chains of `ais` once more, one line after the other, and some ways to get them wrong."""
    bridge = BridgedTarget(start, target)
    start_seed, move_seed = tf.unstack(tf.random.experimental.stateless_split([0, seed], 2))
    z = start.sample(tf.random.stateless_normal([num_chains, target.event_size], start_seed, dtype=tf.float64))
    state, log_weights = initial_chains(bridge.evaluate, z), 0.0
    step_sizes = tf.fill([num_chains, 1], tf.constant(step_size, tf.float64))
    for t in range(1, len(b)):
        before = state.evaluation.log_ratio
        if t < len(b) - 1:
            move = functools.partial(
                hmc_move,
                seed=tf.random.experimental.stateless_fold_in(move_seed, t - 1),
                step_size=step_sizes * start.standard_deviation,
                num_leapfrog_steps=num_leapfrog_steps,
            )
            if plant == "stale cached gradient":
                # as a kernel does that caches pi_b's value and gradient, and is given another b
                cached = state._replace(evaluation=state.evaluation.at(b[t - 1]))
                moved = move(lambda z, t=t: bridge.evaluate(z).at(b[t]), cached)
                moved = moved._replace(state=initial_chains(bridge.evaluate, moved.state.z))
            else:
                moved = move(bridge.evaluate, state, density=lambda evaluation, t=t: evaluation.at(b[t]))
            state = moved.state
            if plant == "adapted step sizes":
                step_sizes *= tf.where(moved.accepted, f64(2.0), 0.25)[:, None]
        weighed_at = state.evaluation.log_ratio if plant == "wrong temperature" else before
        log_weights += (b[t] - b[t - 1]) * weighed_at
    return log_weights


def planted(seed, plant=None):
    target, log_z, start = problem_from("gaussian", "prior")
    b = temperature_schedule(10, "linear")
    return deviation(textbook(target, start, seed, b, 0.5, 3, NUM_CHAINS, plant=plant), log_z)


@pytest.mark.parametrize("plant", ["wrong temperature", "adapted step sizes", "stale cached gradient"])
def test_planted_errors_are_seen(plant, seed):
    assert planted(seed, plant) > 5.0


def test_nothing_planted_is_right(seed):
    assert planted(seed) < 5.0


def test_the_textbook_is_what_is_planted_in(seed):
    target, _, start = problem_from("gaussian", "prior")
    b = temperature_schedule(5, "linear")
    result = ais(target, start, seed, step_sizes=0.9, temperatures=b, num_chains=50, num_leapfrog_steps=2)
    np.testing.assert_allclose(result.log_weights, textbook(target, start, seed, b, 0.9, 2, 50), rtol=1e-8)


def test_acceptance_without_kinetic_energy_is_seen(seed, monkeypatch):
    monkeypatch.setattr(metropolis, "kinetic_energy", lambda rho: tf.zeros_like(rho[..., 0]))
    assert planted(seed) > 5.0


def test_tfps_ais_is_biased_where_this_is_not(seed):
    """Its kernel keeps value and gradient of the temperature before; precision 9, mean(w)/Z 0.83 at T = 10."""
    num_chains, size, precision = NUM_CHAINS, 3, 9.0

    def log_target(z):
        return -0.5 * precision * tf.reduce_sum(z**2, axis=-1)

    log_z = 0.5 * size * np.log(2.0 * np.pi / precision)
    start = standard_normal([size], tf.float64)

    @tf.function(autograph=False)
    def theirs():
        _, log_weights, _ = tfp.mcmc.sample_annealed_importance_chain(
            num_steps=10,
            proposal_log_prob_fn=start.log_prob,
            target_log_prob_fn=log_target,
            current_state=normal(num_chains, size, seed=seed),
            make_kernel_fn=lambda log_prob: tfp.mcmc.HamiltonianMonteCarlo(log_prob, 0.2, 2),
            seed=(seed, 7),
        )
        return log_weights

    ours = ais(
        LogDensityTarget(log_target, size), start, seed, step_sizes=0.2, num_chains=num_chains, num_leapfrog_steps=2,
        temperatures=temperature_schedule(10, "linear"),
    )  # fmt: skip
    assert deviation(ours.log_weights, log_z) < 5.0
    weights = np.exp(theirs() - log_z)
    assert weights.mean() < 0.95
    assert deviation(theirs(), log_z) > 5.0


# ---- both bounds


def bounds(target, start, z, seed, **settings):
    """BDMC for each of many exact draws ``[N, l]``, which stand for as many images."""
    start = DiagonalGaussian(*(tf.broadcast_to(v, tf.shape(z)) for v in start))
    forward = ais(target, start, [seed, 1], **settings)
    return bidirectional_bounds(forward, reverse_ais(target, start, z, [seed, 2], **settings))


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_evidence_lies_between_the_bounds(problem, start, seed):
    target, log_z, pi_0 = problem_from(problem, start)
    z = PROBLEMS[problem]()[3](4000, seed)
    found = bounds(target, pi_0, z, seed, step_sizes=0.7, temperatures=4, num_chains=2, num_leapfrog_steps=2)
    for estimate, sign in ((found.lower, 1.0), (found.upper, -1.0)):
        above = sign * (log_z - estimate.value).numpy()
        assert above.mean() > 5.0 * above.std() / len(above) ** 0.5
    gap, parts = found.gap, (found.lower.standard_error, found.upper.standard_error)
    np.testing.assert_allclose(gap.value, found.upper.value - found.lower.value)
    np.testing.assert_allclose(gap.standard_error, np.hypot(*parts))


def test_the_gap_falls_like_one_over_the_temperatures(seed):
    mean, precision = f64(3.0, -2.0), 6.0  # far off, so that there is a gap to speak of
    target = LogDensityTarget(lambda z: -0.5 * precision * tf.reduce_sum((z - mean) ** 2, axis=-1), 2)
    z = mean + normal(2000, 2, seed=seed) / precision**0.5
    gaps, numbers = [], [4, 10, 30]
    for number in numbers:
        b = temperature_schedule(number, "linear")
        # four steps make a quarter of a turn at every temperature: the next point is nearly independent
        step_sizes = 0.4 / np.sqrt(1.0 - b[1:-1] + b[1:-1] * precision)
        settings = {"temperatures": b, "step_sizes": step_sizes, "num_chains": 1, "num_leapfrog_steps": 4}
        gaps.append(np.mean(bounds(target, standard_normal([2], tf.float64), z, seed, **settings).gap.value))
    assert np.polyfit(np.log(numbers), np.log(gaps), 1)[0] == pytest.approx(-1.0, abs=0.1)


def test_only_the_gap_tells_of_a_mode_that_no_chain_found(seed):
    """Two modes, q0 on one of them: a lower bound that is low by log 2, and sure of itself."""

    def log_joint(z):
        modes = [tfd.Normal(f64(mode)[0], 1.0).log_prob(z[..., 0]) for mode in (-MODE, MODE)]
        return tf.reduce_logsumexp(tf.stack(modes), axis=0) - np.log(2.0)

    target, start = LogDensityTarget(log_joint, 1), DiagonalGaussian(f64(MODE), f64(1.2))
    settings = {"step_sizes": 0.7, "temperatures": 20, "num_leapfrog_steps": 3}
    forward = ais(target, start, seed, num_chains=1000, **settings)
    error = float(forward.estimate.standard_error)
    assert error < 0.02
    assert abs(float(forward.estimate.value) + np.log(2.0)) < 5.0 * error
    z = normal(200, 1, seed=seed) + MODE * f64(*[1.0, -1.0] * 100)[:, None]
    found = bounds(target, start, z, seed, num_chains=8, **settings)
    in_sight, missed = np.split(found.gap.value.numpy().reshape(100, 2), 2, axis=1)
    assert abs(in_sight.mean()) < 0.1
    assert missed.min() > 2.0
    assert found.gap.value.numpy().mean() > np.log(2.0)


# ---- cost, step sizes, graphs


class Counting(LogDensityTarget):
    """Counts the points that it is evaluated at, also inside a graph."""

    def __init__(self, *args):
        super().__init__(*args)
        self.count = tf.Variable(0)

    def _value_and_grad(self, z):
        self.count.assign_add(tf.reduce_prod(tf.shape(z)[:-1]))
        return super()._value_and_grad(z)


@pytest.mark.parametrize(("num_temperatures", "num_chains", "num_steps"), [(1, 3, 2), (6, 4, 3)])
def test_evaluations_are_counted(num_temperatures, num_chains, num_steps, seed):
    target = Counting(funnel_problem()[0].log_joint, 2)
    settings = {"temperatures": num_temperatures, "num_chains": num_chains, "num_leapfrog_steps": num_steps}
    ais(target, standard_normal([2], tf.float64), seed, step_sizes=0.5, **settings)
    cost = num_chains * ((num_temperatures - 1) * num_steps + 1)
    assert target.count.numpy() == cost
    reverse_ais(target, standard_normal([2], tf.float64), f64(0.0, 1.0), seed, step_sizes=0.5, **settings)
    assert target.count.numpy() == 2 * cost


@pytest.mark.parametrize(("every", "tolerance"), [(1, 0.08), (3, 0.16)])  # a pilot that hurries lags behind
def test_step_sizes_are_tuned_for_each_image_and_temperature(every, tolerance, seed):
    scale = f64(1.0, 0.7, 0.4)[:, None]  # of three images' posteriors; q0 knows nothing of them
    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum((z / scale) ** 2, axis=-1), 20)
    start, settings = standard_normal([3, 20], tf.float64), {"temperatures": 40, "num_leapfrog_steps": 4}
    step_sizes = tune_step_sizes(target, start, [seed, 0], every=every, **settings)
    assert step_sizes.shape == (39, 3)
    result = ais(target, start, [seed, 1], step_sizes=step_sizes, num_chains=200, **settings)
    acceptance = result.acceptance.numpy()
    assert acceptance.shape == (39, 3)
    np.testing.assert_allclose(acceptance.mean(axis=0), 0.65, atol=tolerance)
    assert np.quantile(acceptance, 0.1) > 0.3
    assert np.all(np.diff(step_sizes[-10:].numpy().mean(axis=0)) < 0.0)  # the narrower, the smaller


def test_one_temperature_needs_no_step_sizes(seed):
    target, _, start = problem_from("gaussian", "encoder")
    step_sizes = tune_step_sizes(target, start, seed, temperatures=1)
    assert step_sizes.shape == (0,)
    result = ais(target, start, seed, step_sizes=step_sizes, temperatures=1, num_chains=5)
    assert result.acceptance.shape == (0,)


def test_reverse_moves_are_the_forward_moves_in_reverse_order(seed):
    """Only the move at the highest temperature but one can move: forwards it is the last, backwards the first."""
    target, _, start = problem_from("gaussian", "encoder")
    step_sizes, b = f64(0.0, 0.0, 0.0, 0.5), temperature_schedule(5)
    settings = {"step_sizes": step_sizes, "temperatures": b, "num_chains": 20, "num_leapfrog_steps": 1}
    z = start.mean
    ratio = BridgedTarget(start, target).evaluate(z).log_ratio
    runs = ais(target, start, seed, **settings), reverse_ais(target, start, z, seed, **settings)
    for acceptance in (run.acceptance.numpy() for run in runs):
        np.testing.assert_allclose(acceptance[:3], 1.0, rtol=1e-12)
        assert acceptance[3] < 1.0
    still = reverse_ais(target, start, z, seed, **settings | {"step_sizes": 0.0})
    np.testing.assert_allclose(still.log_weights, -ratio * np.ones(20), rtol=1e-12)
    np.testing.assert_allclose(still.estimate.value, ratio, rtol=1e-12)


def test_nothing_is_differentiated(seed):
    shift = tf.Variable(f64(0.3, 0.2))
    target = LogDensityTarget(lambda z: -tf.reduce_sum((z - shift) ** 2, axis=-1), 2)
    with tf.GradientTape() as tape:
        start = DiagonalGaussian(1.0 * shift, tf.ones_like(shift))
        value = ais(target, start, seed, step_sizes=0.5, temperatures=3, num_chains=50).estimate.value
    assert not np.any(tape.gradient(value, shift, unconnected_gradients="zero"))


def make_target(x):
    return LogDensityTarget(lambda z: -tf.reduce_sum((z - x) ** 2 + 0.1 * z**4, axis=-1), 2)


def test_an_annealer_traces_once_whatever_it_is_given(seed):
    annealer = Annealer(make_target, [tf.TensorSpec([None, 2], tf.float64)], 2, tf.float64)
    for size, number, chains, steps in ((3, 5, 10, 2), (1, 9, 4, 3), (4, 2, 8, 1), (1, 1, 4, 2)):
        x = normal(size, 2, seed=seed)
        start = DiagonalGaussian(x, 0.8 * tf.ones_like(x))
        settings = {"temperatures": number, "num_chains": chains, "num_leapfrog_steps": steps}
        step_sizes = annealer.tune([x], start, 1, **settings)
        forward = annealer.forward([x], start, 2, step_sizes=step_sizes, **settings)
        reverse = annealer.reverse([x], start, x, 3, step_sizes=step_sizes, **settings)
        assert forward.log_weights.shape == (chains, size)
        assert reverse.acceptance.shape == step_sizes.shape == (number - 1, size)
        if size > 1:
            continue
        np.testing.assert_allclose(step_sizes, tune_step_sizes(make_target(x), start, 1, **settings), rtol=1e-9)
        expected = (
            ais(make_target(x), start, 2, step_sizes=step_sizes, **settings),
            reverse_ais(make_target(x), start, x, 3, step_sizes=step_sizes, **settings),
        )
        for a, b in zip(tf.nest.flatten((forward, reverse)), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)
    assert annealer.num_traces == {"tune": 1, "forward": 1, "reverse": 1}


# ---- the standard error, warnings, arguments


@pytest.mark.parametrize("dominated", [False, True])
def test_the_jackknife_leaves_one_out_at_a_time(dominated, seed):
    log_weights = (80.0 if dominated else 2.0) * normal(8, 3, seed=seed).numpy()

    def log_mean_exp(values):
        return np.logaddexp.reduce(values, axis=0) - np.log(len(values))

    left = np.stack([log_mean_exp(np.delete(log_weights, i, axis=0)) for i in range(8)])
    found = jackknife(tf.constant(log_weights))
    np.testing.assert_allclose(found.value, log_mean_exp(log_weights), rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, np.sqrt(7.0 * left.var(axis=0)), rtol=1e-9)


def test_one_chain_has_no_standard_error():
    found = jackknife(f64(-3.0)[:, None])
    np.testing.assert_allclose(found.value, [-3.0])
    assert np.isnan(found.standard_error)


def test_few_chains_that_carry_the_weight_take_one_line_of_warning(seed):
    target, start = make_target(f64(9.0, 9.0)), standard_normal([2], tf.float64)
    with pytest.warns(RuntimeWarning, match=r"in 1 of 1 cases fewer than 2 chains carry the weight .*; take more"):
        result = ais(target, start, seed, step_sizes=0.01, temperatures=2, num_chains=4)
    assert 1.0 <= float(result.ess) < 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_few_chains([2.0, 8.0])


def test_schedules():
    assert SCHEDULES == ("sigmoid", "linear")
    np.testing.assert_allclose(temperature_schedule(4, "linear"), [0.0, 0.25, 0.5, 0.75, 1.0])

    def s(u):
        return 1.0 / (1.0 + np.exp(-u))

    t = np.arange(8) / 7.0
    expected = (s(4.0 * (2.0 * t - 1.0)) - s(-4.0)) / (s(4.0) - s(-4.0))
    b = temperature_schedule(7)
    np.testing.assert_allclose(b, expected, atol=1e-15)
    assert (b[0], b[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_chains": 0}, "num_chains is 0; expected an integer of at least 1"),
        ({"num_leapfrog_steps": 1.5}, "num_leapfrog_steps is 1.5; expected"),
        ({"temperatures": 0}, "num_temperatures is 0; expected"),
        ({"temperatures": [0.0, 0.5]}, r"expected T >= 1, or \[T \+ 1\] that increase from 0 to 1"),
        ({"temperatures": [0.0, 0.5, 0.5, 1.0]}, "increase from 0 to 1"),
        ({"step_sizes": [0.1, 0.1]}, r"step_sizes has shape \(2,\); expected \[T - 1, ...\] = \[4, ...\], or a number"),
    ],
)
def test_wrong_arguments_are_refused(changed, message):
    target, _, start = problem_from("gaussian", "encoder")
    with pytest.raises(ValueError, match=message):
        ais(target, start, 0, **{"temperatures": 5, "step_sizes": 0.5} | changed)


@pytest.mark.parametrize(("name", "value"), [("every", 0), ("target_acceptance", 1.0)])
def test_wrong_tuning_is_refused(name, value):
    target, _, start = problem_from("gaussian", "encoder")
    with pytest.raises(ValueError, match=f"{name} is {value}; expected"):
        tune_step_sizes(target, start, 0, **{name: value})


def test_unknown_schedules_are_refused():
    with pytest.raises(ValueError, match="unknown schedule 'cosine'; accepted: sigmoid, linear"):
        temperature_schedule(3, "cosine")
