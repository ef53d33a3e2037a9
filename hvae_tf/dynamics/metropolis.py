"""One move of Hamiltonian Monte Carlo with Metropolis acceptance (Duane et al. 1987; Neal 2011).

    rho ~ N(0, I);  (z', rho') = L leapfrog steps from (z, rho);  z' is taken with probability
    min(1, exp(H(z, rho) - H(z', rho'))),  H(z, rho) = -log pi(z) + |rho|^2/2.

It leaves pi invariant for any step size that does not depend on the chain's state. Every chain accepts by itself. The
evaluation at the point where a chain stands travels with it: a move costs L evaluations, not L + 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from hvae_tf.targets.target import ValueAndGrad


class ChainState(NamedTuple):
    """Where chains stand.

    Attributes:
        z: ``[..., l]``.
        evaluation: What `evaluate` gave at z: a nest of tensors, whose leading axes are those of z.
    """

    z: tf.Tensor
    evaluation: Any


class Move(NamedTuple):
    """What a move did.

    Attributes:
        state: Where the chains stand now, as the move was given it.
        acceptance: ``[...]``, the probability with which each chain's proposal was to be accepted.
        accepted: ``[...]``, bool.
    """

    state: Any
    acceptance: tf.Tensor
    accepted: tf.Tensor


def kinetic_energy(rho: tf.Tensor) -> tf.Tensor:
    """|rho|^2/2, ``[..., l] -> [...]``."""
    return 0.5 * tf.reduce_sum(tf.square(rho), axis=-1)


def initial_chains(evaluate, z: tf.Tensor) -> ChainState:
    """Chains at z ``[..., l]``: one evaluation."""
    return ChainState(z, evaluate(z))


def hmc_move(
    evaluate: Callable[[tf.Tensor], Any],
    state: ChainState,
    seed,
    *,
    step_size,
    num_leapfrog_steps,
    density: Callable[[Any], ValueAndGrad] = lambda evaluation: evaluation,
) -> Move:
    """Moves every chain once; nothing is differentiated through it.

    A proposal whose energy is not finite is rejected, and nothing of it stays in the state.

    Args:
        evaluate: Called once for each leapfrog step, with z ``[..., l]``: a target's `value_and_grad`, or whatever
            gives what `density` reads.
        state: Where the chains stand.
        seed: An int32 pair; the move is a function of it.
        step_size: eps > 0, broadcasting with ``[..., l]``. It must not depend on where the chains have been.
        num_leapfrog_steps: L >= 1, an int or a scalar int32 tensor.
        density: From an evaluation to log pi ``[...]`` and its gradient ``[..., l]``; free of evaluations. A bridge's
            evaluation holds pi at every temperature, and `density` says at which.

    Returns:
        `Move`.
    """
    momentum_seed, uniform_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    z_0 = state.z
    rho_0 = tf.ensure_shape(tf.random.stateless_normal(tf.shape(z_0), momentum_seed, dtype=z_0.dtype), z_0.shape)

    def leapfrog(i, z, rho, evaluation):
        rho += 0.5 * step_size * density(evaluation).grad
        z += step_size * rho
        evaluation = _with_shapes(evaluate(z), evaluation)
        rho += 0.5 * step_size * density(evaluation).grad
        return i + 1, z, rho, evaluation

    _, z, rho, evaluation = tf.while_loop(
        lambda i, *_: i < num_leapfrog_steps,
        leapfrog,
        (tf.constant(0), z_0, rho_0, state.evaluation),
        parallel_iterations=1,
    )
    proposed = density(evaluation).log_joint - kinetic_energy(rho)  # -H
    current = density(state.evaluation).log_joint - kinetic_energy(rho_0)
    return accept(uniform_seed, ChainState(z, evaluation), state, proposed, current)


def accept(seed, proposal: Any, state: Any, proposed: tf.Tensor, current: tf.Tensor) -> Move:
    """Metropolis's choice, chain by chain: the proposal with probability min(1, exp(proposed - current)).

    Args:
        seed: An int32 pair.
        proposal: A nest of tensors, whose leading axes count chains.
        state: Another of the same structure: where the chains stand.
        proposed: ``[...]``, -H of the proposal; one that is not finite is refused.
        current: ``[...]``, -H of the state.

    Returns:
        `Move`.
    """
    sound = tf.math.is_finite(proposed) & ~tf.math.is_nan(current)
    log_acceptance = tf.where(sound, tf.minimum(proposed - current, 0.0), -float("inf"))
    log_uniform = tf.math.log(tf.random.stateless_uniform(tf.shape(proposed), seed, dtype=proposed.dtype))
    accepted = log_uniform < log_acceptance

    def choose(new, old):
        condition = accepted[(..., *[None] * (new.shape.rank - accepted.shape.rank))]
        return tf.stop_gradient(tf.where(condition, new, old))

    moved = tf.nest.map_structure(choose, proposal, state)
    return Move(moved, tf.stop_gradient(tf.exp(log_acceptance)), accepted)


def _with_shapes(evaluation, like):
    """The evaluation with all that is known of another's shapes: a loop's state must not lose any."""
    return tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), evaluation, like)
