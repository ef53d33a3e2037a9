"""Several moves of Hamiltonian Monte Carlo in a row, and a step size for them from a pilot."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from hvae_tf.dynamics.metropolis import ChainState, hmc_move


class Moves(NamedTuple):
    """What several moves did.

    Attributes:
        state: Where the chains stand now.
        acceptance: ``[...]``, each chain's probabilities of acceptance, their mean over the moves; 0 of no moves.
    """

    state: ChainState
    acceptance: tf.Tensor


def hmc_moves(
    evaluate: Callable[[tf.Tensor], Any], state: ChainState, seed, *, num_moves, step_size, num_leapfrog_steps
) -> Moves:
    """M moves of every chain, see `hmc_move`: M L evaluations; nothing is differentiated through them.

    Args:
        evaluate: A target's `value_and_grad`.
        state: Where the chains stand.
        seed: An int32 pair; the moves are a function of it.
        num_moves: M >= 0, an int or a scalar int32 tensor.
        step_size: eps > 0, broadcasting with ``[..., l]``; the same for all moves.
        num_leapfrog_steps: L >= 1, an int or a scalar int32 tensor.
    """

    def body(i, state, total):
        move = hmc_move(evaluate, state, _fold(seed, i), step_size=step_size, num_leapfrog_steps=num_leapfrog_steps)
        return i + 1, move.state, total + move.acceptance

    state = tf.nest.map_structure(tf.stop_gradient, state)
    nothing = tf.zeros_like(state.evaluation.log_joint)
    _, state, total = tf.while_loop(
        lambda i, *_: i < num_moves, body, (tf.constant(0), state, nothing), parallel_iterations=1
    )
    return Moves(state, total / tf.cast(tf.maximum(num_moves, 1), total.dtype))


def tune_step_size(
    evaluate: Callable[[tf.Tensor], Any],
    state: ChainState,
    scale: tf.Tensor,
    seed,
    *,
    num_leapfrog_steps,
    target_acceptance: float = 0.65,
    num_moves: int = 30,
) -> tf.Tensor:
    """A step size for `hmc_moves` with chains that are *not* these: eps, a scalar, in units of `scale`.

    log eps += (mean acceptance - target_acceptance)/sqrt(i) after move i of the pilot; what is given is the mean of log
    eps over the second half.

    Args:
        evaluate: A target's `value_and_grad`.
        state: Where the pilot starts.
        scale: Of the target's dimensions, broadcasting with ``[..., l]``.
        seed: Another than that of the chains that count.
        num_leapfrog_steps: L; eps is tuned for it.
        target_acceptance: In (0, 1).
        num_moves: Of the pilot.
    """
    first = num_moves // 2

    def body(i, state, log_step, total):
        move = hmc_move(
            evaluate, state, _fold(seed, i), step_size=tf.exp(log_step) * scale, num_leapfrog_steps=num_leapfrog_steps
        )
        gain = tf.math.rsqrt(tf.cast(i + 1, log_step.dtype))
        log_step += gain * (tf.reduce_mean(move.acceptance) - target_acceptance)
        return i + 1, move.state, log_step, total + tf.where(i < first, tf.zeros_like(log_step), log_step)

    start = tf.math.log(tf.constant(0.25, scale.dtype))
    *_, total = tf.while_loop(
        lambda i, *_: i < num_moves,
        body,
        (tf.constant(0), state, start, tf.zeros_like(start)),
        parallel_iterations=1,
    )
    return tf.stop_gradient(tf.exp(total / (num_moves - first)))


def _fold(seed, number):
    return tf.random.experimental.stateless_fold_in(seed, number)
