"""HMC against RMHMC: effective samples, of z and of its squares, for each gradient, on targets in two dimensions."""

import time
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.dynamics.generalised_leapfrog import GeneralisedLeapfrog
from hvae_tf.dynamics.metric_leapfrog import MetricLeapfrog
from hvae_tf.dynamics.metric_move import metric_move
from hvae_tf.dynamics.metropolis import hmc_move, initial_chains
from hvae_tf.files import fingerprint
from hvae_tf.runs import make_record
from hvae_tf.targets.banana import BananaTarget
from hvae_tf.targets.funnel import FunnelTarget
from hvae_tf.targets.logistic_regression import LogisticRegressionTarget
from reproduce.riemann.settings import SAMPLERS, Sampling

PILOT_MOVES = 50  # at least, of each chain: fewer do not show how long it remembers
PROPOSALS = 8192  # by which is told how many are not solved for
BLOCKS = 8  # of chains, from which the errors of effective sample sizes come
TRAJECTORIES = {  # of the picture: where they start, with what momentum in units of the metric, step size, steps
    "logistic": ((-0.6, -0.9), (1.0, 0.6), 0.25, 16),
    "banana": ((-2.2, 0.6), (0.8, 0.4), 0.12, 40),
    "funnel": ((-2.0, 0.1), (1.1, -0.6), 0.2, 24),
}


class Problem(NamedTuple):
    """A target of which everything is known.

    Attributes:
        target: Unnormalised, or normalised.
        grid: ``(axis, axis)``, which holds nearly all of its mass.
        draw: ``(count, seed) -> [count, 2]``, exact draws.
        mean: ``[2]``, exactly.
        sd: ``[2]``, the standard deviations, exactly.
    """

    target: Any
    grid: tuple[np.ndarray, np.ndarray]
    draw: Any
    mean: np.ndarray
    sd: np.ndarray


def problem(name: str) -> Problem:
    """The problem of this name."""
    if name == "logistic":
        target = LogisticRegressionTarget()
        axes = np.linspace(-6.0, 7.0, 261), np.linspace(-5.0, 6.0, 221)

        def draw(count, seed):
            """From the grid, jittered within its cells."""
            rng = np.random.default_rng(seed)
            density = np.exp(log_density(target, axes))
            cells = rng.choice(density.size, size=count, p=(density / density.sum()).ravel())
            places = np.unravel_index(cells, density.shape)
            return np.stack(
                [a[i] + (a[1] - a[0]) * rng.uniform(-0.5, 0.5, count) for a, i in zip(axes, places, strict=True)],
                axis=-1,
            )

        density = np.exp(log_density(target, axes))
        marginals = [density.sum(axis=1 - i) / density.sum() for i in range(2)]
        mean = np.array([p @ axis for p, axis in zip(marginals, axes, strict=True)])
        squares = [p @ (axis - centre) ** 2 for p, axis, centre in zip(marginals, axes, mean, strict=True)]
        return Problem(target, axes, draw, mean, np.sqrt(squares))
    if name == "banana":
        target, axes = BananaTarget(), (np.linspace(-6.5, 6.5, 261), np.linspace(-6.0, 16.0, 331))
        sd = [target.scale, np.sqrt(1.0 + 2.0 * target.bend**2 * target.scale**4)]  # Var z_1^2 = 2 s^4
    else:
        target, axes = FunnelTarget(), (np.linspace(-5.5, 5.5, 261), np.linspace(-8.0, 8.0, 331))
        sd = [target.scale, np.exp(0.25 * target.scale**2)]  # E e^v = e^(s^2/2)
    return Problem(
        target,
        axes,
        lambda count, seed: target.sample(np.random.default_rng(seed).normal(size=(count, 2))),
        np.zeros(2),
        np.array(sd),
    )


def log_density(target, axes) -> np.ndarray:
    """Log p on the grid of these axes."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return target.log_joint(tf.constant(points)).numpy()


class Chain:
    """A sampler on a target, as one graph: step size and length are its inputs."""

    def __init__(self, name: str, where: Problem, seed: int):
        self.target, self.mean, self.seed, self._draw = where.target, where.mean, seed, where.draw
        self._proposals: Any = None
        covariance = np.cov(np.asarray(where.draw(100_000, seed)).T)
        self.integrator = {
            "HMC": None,
            "HMC, covariance as metric": MetricLeapfrog(tf.constant(np.linalg.cholesky(np.linalg.inv(covariance)))),
            "RMHMC": GeneralisedLeapfrog(),
        }[name]
        self._graph = tf.function(self._run, reduce_retracing=True)

    def _start(self, z):
        if self.integrator is None:
            return initial_chains(self.target.value_and_grad, z)
        return self.integrator.init(self.target, z, tf.zeros_like(z))

    def _move(self, state, seed, step_size, length):
        if self.integrator is None:
            return hmc_move(self.target.value_and_grad, state, seed, step_size=step_size, num_leapfrog_steps=length)
        return metric_move(self.target, self.integrator, state, seed, step_size=step_size, num_leapfrog_steps=length)

    def _run(self, z, step_size, length, moves, seed):
        shape = z.shape
        states = tf.TensorArray(z.dtype, size=moves, element_shape=shape)

        def step(i, state, states, total):
            move = self._move(state, tf.stack([seed, i]), step_size, length)
            state = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), move.state, state)
            return i + 1, state, states.write(i, state.z), total + tf.reduce_mean(move.acceptance)

        start = self._start(z)
        _, _, states, total = tf.while_loop(
            lambda i, *_: i < moves, step, (0, start, states, tf.zeros([], z.dtype)), parallel_iterations=1
        )
        return tf.ensure_shape(states.stack(), [None, *shape]), total / tf.cast(moves, z.dtype)

    def run(self, z, step_size, length, moves, seed):
        """Positions ``[moves, chains, 2]`` and the mean acceptance."""
        states, acceptance = self._graph(
            tf.constant(z), tf.constant(step_size, tf.float64), tf.constant(length), tf.constant(moves),
            tf.constant(seed),
        )  # fmt: skip
        return states.numpy(), float(acceptance)

    def metric_cost(self, step_size, length) -> tuple[float, float]:
        """Evaluations of the metric for each step, and the share of proposals with an equation that was not solved."""
        if not isinstance(self.integrator, GeneralisedLeapfrog):
            return 0.0, 0.0
        if self._proposals is None:
            z = tf.constant(np.asarray(self._draw(PROPOSALS, self.seed + 2)))
            rho = tf.constant(np.random.default_rng(self.seed).normal(size=z.shape))
            self._proposals = tf.function(lambda eps, length: self._propose(z, rho, eps, length))
        end = self._proposals(tf.constant(step_size, tf.float64), tf.constant(length))
        return (float(tf.reduce_mean(end.iterations)) - 1.0) / length, float(np.mean(self.integrator.failed(end)))

    def _propose(self, z, rho, step_size, length):
        state = self.integrator.init(self.target, z, rho)

        def step(i, state):
            new = self.integrator.step(self.target, state, step_size)
            return i + 1, tf.nest.map_structure(lambda part, old: tf.ensure_shape(part, old.shape), new, state)

        return tf.while_loop(lambda i, _: i < length, step, (0, state), parallel_iterations=1)[1]


def effective_samples(states, mean, powers=(1, 2)) -> np.ndarray:
    """``[BLOCKS]``: of each block of chains the number of effective samples, of the quantity that has fewest.

    The quantities are z - mean and its squares, dimension by dimension. Means alone would not do: a move that takes z
    to -z, as half a turn does, is antithetic for them, and takes squares nowhere.

    Args:
        states: ``[moves, chains, l]``.
        mean: ``[l]``, the target's.
        powers: Of z - mean.
    """
    quantities = np.concatenate([(states - mean) ** power for power in powers], axis=-1)
    counts = np.array([
        tfp.mcmc.effective_sample_size(block, filter_beyond_positive_pairs=True, cross_chain_dims=1)
        for block in np.split(quantities, BLOCKS, axis=1)
    ])  # fmt: skip
    # an antithetic chain's is negative where its autocorrelations sum to nothing: N log10 N at most, as Stan has it
    most = states[:, :, 0].size / BLOCKS * np.log10(states[:, :, 0].size / BLOCKS)
    return np.min(np.where((counts > 0.0) & (counts < most), counts, most), axis=-1)


def configuration(name: str, sampling: Sampling) -> dict:
    """What a record is a record of."""
    return {"target": name, "effective": "of z and of its squares", **vars(sampling)}


def tuned(chain: Chain, sampler: str, start, sampling: Sampling) -> tuple[float, int]:
    """The step size and the length with the most effective samples for a gradient, of those that may be taken.

    Raises:
        ValueError: If none may.
    """
    tried = []
    for step_size in sampling.step_sizes:
        for length in sampling.lengths_of(sampler):
            if chain.metric_cost(step_size, length)[1] > sampling.most_unsolved:
                break  # nor will longer ones be solved
            moves = max(sampling.pilot_steps // length, PILOT_MOVES)
            states, acceptance = chain.run(start, step_size, length, moves, 1)
            if acceptance < sampling.least_acceptance:
                break  # longer ones will be refused too
            count = effective_samples(states, chain.mean).sum() / (moves * sampling.chains * length)
            tried.append((float(count), step_size, length))
    if not tried:
        raise ValueError(
            f"{sampler}: no step size of {sampling.step_sizes} is accepted and solved for; add smaller ones"
        )
    return max(tried)[1:]


def compare(name: str, sampling: Sampling, say) -> dict:
    """The record of all samplers on one target."""
    where, began = problem(name), time.perf_counter()
    start = np.asarray(where.draw(sampling.chains, sampling.seed + 1))
    rows = {}
    for sampler in SAMPLERS:
        chain = Chain(sampler, where, sampling.seed)
        step_size, length = tuned(chain, sampler, start, sampling)
        moves = max(sampling.steps // length, 8)
        seconds = time.perf_counter()
        states, acceptance = chain.run(start, step_size, length, moves, 2)
        seconds = time.perf_counter() - seconds
        evaluations, unsolved = chain.metric_cost(step_size, length)
        # each block as if all were like it
        counts, of_means = (effective_samples(states, where.mean, powers) * BLOCKS for powers in ((1, 2), (1,)))
        squares = ((states - where.mean) ** 2).mean(axis=0)  # [chains, 2]
        rows[sampler] = {
            "step_size": step_size,
            "length": length,
            "acceptance": acceptance,
            "effective": counts.mean(),
            "effective_error": counts.std(ddof=1) / BLOCKS**0.5,
            "effective_means": of_means.mean(),
            "effective_means_error": of_means.std(ddof=1) / BLOCKS**0.5,
            "gradients": moves * sampling.chains * length,
            "metric_evaluations_per_step": evaluations,
            "unsolved_proposals": unsolved,
            "seconds": seconds,
            "mean": states.mean(axis=(0, 1)),
            "mean_error": states.mean(axis=0).std(axis=0, ddof=1) / sampling.chains**0.5,
            "variance": squares.mean(axis=0),  # about the exact mean
            "variance_error": squares.std(axis=0, ddof=1) / sampling.chains**0.5,
        }
        say(f"{name}, {sampler}: eps {step_size}, {length} steps, acceptance {acceptance:.2f}, {seconds:.1f} s")
    return make_record(
        f"samplers-{name}",
        configuration=configuration(name, sampling),
        seed=sampling.seed,
        data_fingerprint=fingerprint(start),
        history={},
        wall_seconds=time.perf_counter() - began,
        results={"samplers": rows, "trajectories": trajectories(name, where)},
    )


def trajectories(name: str, where: Problem) -> dict:
    """One path of leapfrog and one of generalised leapfrog, ``[steps + 1, 2]`` each, and their energies' errors."""
    start, momentum, step_size, steps = TRAJECTORIES[name]
    found = {}
    unit = MetricLeapfrog(tf.eye(2, dtype=tf.float64))
    for label, integrator in (("leapfrog", unit), ("generalised leapfrog", GeneralisedLeapfrog())):
        z, rho = tf.constant([start], tf.float64), tf.constant([momentum], tf.float64)
        state = integrator.init(where.target, z, rho)
        path, energies = [state.z[0]], []
        for _ in range(steps + 1):
            kinetic = 0.5 * tf.reduce_sum(tf.square(state.rho), axis=-1)
            energies.append(float((kinetic - state.log_joint - integrator.log_det(state))[0]))
            state = integrator.step(where.target, state, tf.constant(step_size, tf.float64))
            path.append(state.z[0])
        found[label] = {
            "z": np.stack(path[:-1]),
            "energy_error": float(np.max(np.abs(np.array(energies) - energies[0]))),
        }
    return found | {"step_size": step_size, "steps": steps}
