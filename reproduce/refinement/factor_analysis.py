"""The bias of a decoder's gradient against the number of moves, on factor analysis, where the gradient is known."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian
from hvae_tf.dynamics.chains import hmc_moves, tune_step_size
from hvae_tf.dynamics.metropolis import initial_chains
from hvae_tf.targets.factor_analysis import FactorAnalysisTarget

STARTS = ("best mean field", "an encoder that is off")


@dataclasses.dataclass(frozen=True)
class Study:
    """What is studied.

    Attributes:
        num_events: B, drawn from the model itself.
        event_size: d.
        latent_size: l.
        noise_scale: s.
        moves: M, increasing from 0.
        leapfrog_steps: L of each line.
        shift: By how many standard deviations the second start is off in every mean.
        narrowing: The factor on its standard deviations.
        chunks: The standard errors are between so many chunks of chains.
        chains: For each event, in a chunk.
        seed: Of all of it.
    """

    num_events: int = 8
    event_size: int = 6
    latent_size: int = 3
    noise_scale: float = 0.5
    moves: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    leapfrog_steps: tuple[int, ...] = (1, 5)
    shift: float = 0.7
    narrowing: float = 0.7
    chunks: int = 25
    chains: int = 2000
    seed: int = 0


class BiasRow(NamedTuple):
    """The gradient after M moves.

    Attributes:
        start: One of `STARTS`.
        num_leapfrog_steps: L.
        num_moves: M.
        bias: The Euclidean norm of (mean gradient - exact gradient) over all of W, b and log s, the noise's share
            taken out; without moves in closed form.
        standard_error: Of the bias.
        noise: The norm that the noise alone has.
        acceptance: The mean over the moves so far; NaN without moves.
        step_size: eps, in units of the start's standard deviations.
        exact_norm: Of the exact gradient.
    """

    start: str
    num_leapfrog_steps: int
    num_moves: int
    bias: float
    standard_error: float
    noise: float
    acceptance: float
    step_size: float
    exact_norm: float


def make_target(study: Study) -> FactorAnalysisTarget:
    """The events' target: parameters are random, and so is where the gradient is taken, away from the optimum."""
    random = np.random.default_rng(study.seed)
    weights = random.normal(size=(study.event_size, study.latent_size))
    z, noise = (random.normal(size=(study.num_events, size)) for size in (study.latent_size, study.event_size))
    x = z @ weights.T + study.noise_scale * noise
    weights = weights + 0.2 * random.normal(size=weights.shape)
    return FactorAnalysisTarget(tf.constant(x), weights, np.zeros(study.event_size), study.noise_scale)


def start_of(name: str, target: FactorAnalysisTarget, study: Study) -> DiagonalGaussian:
    """Where the chains start."""
    best = target.best_mean_field()
    if name == STARTS[0]:
        return best
    mean, scale = best.mean + study.shift * best.standard_deviation, study.narrowing * best.standard_deviation
    return DiagonalGaussian(mean, scale)


def gradient_biases(study: Study) -> list[BiasRow]:
    """A row for each start, L and M; some seconds."""
    target = make_target(study)
    return [
        row
        for number, name in enumerate(STARTS)
        for steps in study.leapfrog_steps
        for row in _line(study, target, name, steps, (study.seed, 100 * number + steps))
    ]


def _line(study, target, name, num_steps, seed) -> list[BiasRow]:
    q0, exact = start_of(name, target, study), _flat(target.evidence_gradient()).numpy()
    size = [study.chains, study.num_events, study.latent_size]

    @tf.function(autograph=False)
    def tuned():
        z = q0.sample(tf.random.stateless_normal(size, _fold(seed, 1), dtype=tf.float64))
        state = hmc_moves(
            target.value_and_grad, initial_chains(target.value_and_grad, z), _fold(seed, 2), num_moves=20,
            step_size=0.3 * q0.standard_deviation, num_leapfrog_steps=num_steps,
        ).state  # fmt: skip
        return tune_step_size(
            target.value_and_grad, state, q0.standard_deviation, _fold(seed, 3), num_leapfrog_steps=num_steps
        )

    @tf.function(autograph=False)
    def chunk(pair, step_size):
        z = q0.sample(tf.random.stateless_normal(size, _fold(pair, 1), dtype=tf.float64))
        state, gradients, acceptance, before = initial_chains(target.value_and_grad, z), [], [], 0
        for count in study.moves:
            moves = hmc_moves(
                target.value_and_grad, state, _fold(pair, 2 + count), num_moves=count - before,
                step_size=step_size * q0.standard_deviation, num_leapfrog_steps=num_steps,
            )  # fmt: skip
            state, done = moves.state, count - before
            acceptance.append(tf.reduce_mean(moves.acceptance) * done)
            before = count
            mean = tf.reduce_mean(state.z, axis=0)
            second = tf.reduce_mean(state.z[..., None] * state.z[..., None, :], axis=0)
            gradients.append(_flat(target.gradient(mean, second)))
        return tf.stack(gradients), tf.stack(acceptance)

    step_size = tuned()
    gradients, acceptance = zip(
        *(chunk(_fold(seed, 10 + i), step_size) for i in range(study.chunks)), strict=True
    )  # fmt: skip
    gradients, accepted = np.array(gradients) - exact, np.cumsum(np.mean(acceptance, axis=0))
    rows = []
    for i, count in enumerate(study.moves):
        mean = gradients[:, i].mean(axis=0)
        covariance = np.cov(gradients[:, i].T) / study.chunks
        if count == 0:
            bias, error = float(np.linalg.norm(_flat(target.gradient_under(q0)) - exact)), 0.0
        else:
            bias = float(np.sqrt(max(mean @ mean - np.trace(covariance), 0.0)))
            error = float(np.sqrt(mean @ covariance @ mean) / np.linalg.norm(mean))
        rows.append(BiasRow(
            name, num_steps, count, bias, error, float(np.sqrt(np.trace(covariance))),
            accepted[i] / count if count else float("nan"), float(step_size), float(np.linalg.norm(exact)),
        ))  # fmt: skip
    return rows


def _flat(gradient) -> tf.Tensor:
    return tf.concat([tf.reshape(part, [-1]) for part in gradient], axis=0)


def _fold(seed, number):
    return tf.random.experimental.stateless_fold_in(tf.convert_to_tensor(seed, tf.int32), number)
