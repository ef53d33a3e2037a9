"""log p(x) by annealed importance sampling, from below (Neal 2001) and from above (BDMC; Grosse et al. 2015).

Temperatures 0 = b_0 < .. < b_T = 1 and pi_b = pi_0^(1-b) pi_1^b, see `hvae_tf.targets.bridge`. A chain starts at
z ~ pi_0, with log w = 0; then for t = 1..T

    log w += (b_t - b_(t-1)) (log pi_1(z) - log pi_0(z)),     and if t < T: one HMC move that leaves pi_(b_t) invariant.

E[w] = p(x), so the log of the mean over chains is in expectation a lower bound of log p(x). From an *exact* draw of the
posterior the same moves in reverse order give E[w] = 1/p(x), and so an upper bound. Exact posterior draws exist for
simulated data: z ~ p(z), x ~ p(x|z). The difference of the bounds there bounds the sum of both errors, in expectation.

E[w] = p(x) needs step sizes that know nothing of the chains that they move: they are tuned on a pilot, then frozen, and
the judged chains have noise of their own. C chains cost C (T - 1) L + C evaluations of the target.
`tfp.mcmc.sample_annealed_importance_chain` (TFP 0.25) is biased, so not built upon: see docs/errata.md.
"""

import warnings
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.bounds.importance import Estimate
from hvae_tf.bounds.interpolation import interpolated, smoothed
from hvae_tf.bounds.jackknife import jackknife
from hvae_tf.checks import check_count
from hvae_tf.dynamics.metropolis import hmc_move, initial_chains
from hvae_tf.targets.bridge import BridgedTarget, Start
from hvae_tf.targets.target import Target
from hvae_tf.targets.temperatures import temperature_schedule

_WARM_UP_MOVES = 10


class AISResult(NamedTuple):
    """What annealed chains found, for each member ``[...]`` of a batch.

    Attributes:
        log_weights: ``[C, ...]``, log w of each chain in nats; E[w] = p(x), or 1/p(x) of reverse chains.
        estimate: Of log p(x), ``[...]``: a lower bound in expectation, an upper bound of reverse chains. The standard
            error is between chains, by jackknife; it says nothing of a mode that no chain found. NaN for one chain.
        acceptance: ``[T - 1, ...]``, mean acceptance probability of the chains at b_1..b_(T-1).
    """

    log_weights: tf.Tensor
    estimate: Estimate
    acceptance: tf.Tensor

    @property
    def ess(self) -> tf.Tensor:
        """``[...]``, effective number of chains, (sum w)^2 / sum w^2, from 1 to C."""
        return self.estimate.effective_sample_size


class Bounds(NamedTuple):
    """Both bounds on log p(x) of simulated data, for each member of a batch.

    All reverse chains of a member start from one exact draw, so the standard errors of `upper` and `gap` are those at
    that draw, between chains: too small for a single member. Over members, with a draw each, take the spread of the
    values, as in ``gap.value.std() / sqrt(B)``.

    Attributes:
        lower: `Estimate` of ``[...]``, from forward chains.
        upper: `Estimate` of ``[...]``, from reverse chains, given where they start.
        gap: `Estimate` of ``[...]``, upper - lower; >= 0 in expectation, and no less than both errors together.
    """

    lower: Estimate
    upper: Estimate
    gap: Estimate


def ais(
    target: Target, start: Start, seed, *, step_sizes, temperatures=100, num_chains=8, num_leapfrog_steps=5
) -> AISResult:
    """Forward chains, from `start` to the target: log p(x) from below. Nothing is differentiated through it.

    Outside a graph it runs in one of its own, traced anew at each call; `Annealer` keeps its graphs.

    Args:
        target: log p(x, z), for z ``[C, ..., l]``.
        start: pi_0: an encoder's Gaussian with ``[..., l]``, or the prior, a `DiagonalGaussian` of zeros and ones.
        seed: An int, or an int32 pair; all noise is a function of it.
        step_sizes: eps in units of the start's standard deviations, at b_1..b_(T-1): ``[T - 1, ...]``, as
            `tune_step_sizes` gives them, ``[T - 1]``, or a number. Not to be tuned with the same seed.
        temperatures: b_0..b_T ``[T + 1]``, see `hvae_tf.targets.temperatures`, or T >= 1 for the sigmoid schedule.
        num_chains: C, an int or a scalar int32 tensor, >= 1.
        num_leapfrog_steps: L, an int or a scalar int32 tensor, >= 1.

    Returns:
        `AISResult`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -2.0 * tf.reduce_sum(z**2, axis=-1), event_size=1)
        >>> start = hvae_tf.DiagonalGaussian(tf.zeros([1]), tf.ones([1]))
        >>> float(hvae_tf.ais(target, start, 0, step_sizes=0.3, num_chains=200).estimate.value)  # exact: 0.226
        0.2...
    """

    def run():
        bridge, b, start_seed, move_seed = _prepare(target, start, seed, temperatures, num_chains, num_leapfrog_steps)
        z = _draw(start, num_chains, start_seed)
        log_weights, acceptance = _anneal(bridge, z, move_seed, b, _per_move(step_sizes, b), num_leapfrog_steps)
        return AISResult(log_weights, jackknife(log_weights), acceptance)

    return _warned(_in_graph(run))


def reverse_ais(
    target: Target, start: Start, z_exact, seed, *, step_sizes, temperatures=100, num_chains=8, num_leapfrog_steps=5
) -> AISResult:
    """Reverse chains, from an exact posterior draw down to `start`: log p(x) from above.

    The same moves as those of `ais`, in reverse order, so `step_sizes` has to be what `ais` is given.

    Args:
        target: See `ais`.
        start: See `ais`.
        z_exact: ``[..., l]``, an exact draw of p(z|x), from which all C chains start.
        seed: Another than that of `ais`.
        step_sizes: See `ais`; in the order of b_1..b_(T-1), as there.
        temperatures: See `ais`.
        num_chains: See `ais`.
        num_leapfrog_steps: See `ais`.

    Returns:
        `AISResult`, with E[w] = 1/p(x) and the upper bound as its estimate. Its standard error is that between chains
        that share `z_exact`; what another draw would change is not in it.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def run():
        bridge, b, _, move_seed = _prepare(target, start, seed, temperatures, num_chains, num_leapfrog_steps)
        exact = _tensor(z_exact, b.dtype)
        z = tf.broadcast_to(exact, tf.concat([[num_chains], tf.shape(exact)], 0))
        z = tf.ensure_shape(z, [_static(num_chains), *exact.shape])
        down = tf.reverse(_per_move(step_sizes, b), [0])
        log_weights, acceptance = _anneal(bridge, z, move_seed, tf.reverse(b, [0]), down, num_leapfrog_steps)
        below = jackknife(log_weights)  # of log 1/p(x)
        return AISResult(log_weights, below._replace(value=-below.value), tf.reverse(acceptance, [0]))

    return _warned(_in_graph(run))


def tune_step_sizes(
    target: Target, start: Start, seed, *, temperatures=100, num_chains=8, num_leapfrog_steps=5,
    target_acceptance: float = 0.65, every=1,
) -> tf.Tensor:  # fmt: skip
    """Step sizes for `ais` and `reverse_ais`, from pilot chains that are then thrown away.

    log eps += acceptance - target_acceptance after every move of the pilot, for each member of the batch, beginning
    with a few moves more at b_1. What was found is smoothed over neighbouring temperatures.

    Args:
        target: See `ais`.
        start: See `ais`.
        seed: Another than those of the judged runs.
        temperatures: See `ais`.
        num_chains: Of the pilot.
        num_leapfrog_steps: See `ais`; eps is tuned for this L.
        target_acceptance: In (0, 1).
        every: The pilot stops at every so manieth temperature only, and what lies between is interpolated: 4 makes it
            four times as quick. With few stops it lags behind where the right eps changes much.

    Returns:
        ``[T - 1, ...]``, in units of the start's standard deviations.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if not tf.is_tensor(every):
        check_count("every", every)
    if not 0.0 < target_acceptance < 1.0:
        raise ValueError(f"target_acceptance is {target_acceptance}; expected a number in (0, 1), such as 0.65")

    def run():
        bridge, b, start_seed, move_seed = _prepare(target, start, seed, temperatures, num_chains, num_leapfrog_steps)
        z = _draw(start, num_chains, start_seed)
        num_moves = tf.shape(b)[0] - 2
        num_stops = tf.minimum(num_moves, 1 + (num_moves + every - 2) // every)
        spacing = tf.cast(num_moves - 1, b.dtype) / tf.cast(tf.maximum(num_stops - 1, 1), b.dtype)
        log_steps = tf.fill(tf.shape(z)[1:-1], -0.25 * tf.math.log(tf.cast(tf.shape(z)[-1], b.dtype)))
        log_steps = tf.ensure_shape(log_steps, z.shape[1:-1])
        warm_up = _WARM_UP_MOVES * tf.minimum(num_moves, 1)

        def body(i, state, log_steps, found):
            stop = tf.maximum(i - warm_up, 0)
            at = 1 + tf.cast(tf.round(tf.cast(stop, b.dtype) * spacing), tf.int32)
            move = _move(bridge, state, _fold(move_seed, i), b[at], tf.exp(log_steps), num_leapfrog_steps)
            log_steps += tf.reduce_mean(move.acceptance, axis=0) - target_acceptance
            return i + 1, move.state, log_steps, found.write(stop, log_steps)

        found = _written(num_stops, log_steps)
        total = warm_up + num_stops
        state = initial_chains(bridge.evaluate, z)
        *_, found = tf.while_loop(
            lambda i, *_: i < total, body, (tf.constant(0), state, log_steps, found), parallel_iterations=1
        )
        return tf.stop_gradient(tf.exp(interpolated(smoothed(found.stack()[:num_stops]), num_moves)))

    return _in_graph(run)


def bidirectional_bounds(forward: AISResult, reverse: AISResult) -> Bounds:
    """BDMC: the bounds of `ais` and `reverse_ais` of the same data and step sizes, and the gap between them."""
    lower, upper = forward.estimate, reverse.estimate
    error = np.hypot(lower.standard_error, upper.standard_error)
    ess = np.minimum(lower.effective_sample_size, upper.effective_sample_size)
    return Bounds(lower, upper, Estimate(upper.value - lower.value, error, ess))


def warn_of_few_chains(ess, stacklevel: int = 2) -> None:
    """One line of warning if the weights of any member ``[...]`` rest on fewer than two chains."""
    ess = np.atleast_1d(ess)
    few = np.count_nonzero(ess < 2.0)
    if few:
        warnings.warn(
            f"AIS: in {few} of {ess.size} cases fewer than 2 chains carry the weight (lowest effective number "
            f"{ess.min():.2f}), so these standard errors mean little; take more temperatures or chains",
            RuntimeWarning, stacklevel=stacklevel + 1,
        )  # fmt: skip


# -- the chains -------------------------------------------------------------------------------------------------------


def _anneal(bridge, z, seed, b, step_sizes, num_leapfrog_steps):
    """Log weights ``[C, ...]`` and acceptances of chains taken from z along temperatures b, up or down."""
    increments = _increments(b)
    num_moves = tf.shape(increments)[0] - 1
    state = initial_chains(bridge.evaluate, tf.stop_gradient(z))

    def body(t, state, log_weights, acceptance):
        move = _move(bridge, state, _fold(seed, t), b[t + 1], step_sizes[t], num_leapfrog_steps)
        log_weights += increments[t + 1] * move.state.evaluation.log_ratio
        acceptance = acceptance.write(t, tf.reduce_mean(move.acceptance, axis=0))
        return t + 1, move.state, log_weights, acceptance

    log_weights = increments[0] * state.evaluation.log_ratio
    acceptance = _written(num_moves, tf.zeros_like(log_weights[0]))
    _, _, log_weights, acceptance = tf.while_loop(
        lambda t, *_: t < num_moves,
        body,
        (tf.constant(0), state, log_weights, acceptance),
        parallel_iterations=1,
    )
    return tf.stop_gradient(log_weights), acceptance.stack()[:num_moves]


def _written(count, first):
    """An array to write `count` tensors like `first` into; its first entry stands, for none at all has no shape."""
    array = tf.TensorArray(first.dtype, tf.maximum(count, 1), element_shape=first.shape, clear_after_read=False)
    return array.write(0, first)


def _increments(b):
    """b_t - b_(t-1), t = 1..T: what the weight takes of log pi_1 - log pi_0 *before* the move at b_t."""
    return b[1:] - b[:-1]


def _move(bridge, state, seed, b, step_sizes, num_leapfrog_steps):
    """One move that leaves pi_b invariant; `step_sizes` broadcasts with ``[C, ...]``."""
    step_size = step_sizes[..., None] * bridge.start.standard_deviation
    return hmc_move(
        bridge.evaluate,
        state,
        seed,
        step_size=step_size,
        num_leapfrog_steps=num_leapfrog_steps,
        density=lambda evaluation: evaluation.at(b),
    )


def _draw(start, num_chains, seed):
    scale = start.standard_deviation
    shape = tf.concat([[num_chains], tf.shape(scale)], 0)
    noise = tf.random.stateless_normal(shape, seed, dtype=scale.dtype)
    return tf.stop_gradient(start.sample(tf.ensure_shape(noise, [_static(num_chains), *scale.shape])))


# -- arguments and results --------------------------------------------------------------------------------------------


def _prepare(target, start, seed, temperatures, num_chains, num_leapfrog_steps):
    """The bridge, b_0..b_T as a tensor, and seeds of the start and of the moves; checks what is known."""
    for name, count in (("num_chains", num_chains), ("num_leapfrog_steps", num_leapfrog_steps)):
        if not tf.is_tensor(count):
            check_count(name, count)
    bridge = BridgedTarget(start, target)
    if isinstance(temperatures, (int, np.integer)):
        temperatures = temperature_schedule(int(temperatures))
    b = _tensor(temperatures, start.standard_deviation.dtype)
    known = tf.get_static_value(b)
    if b.shape.rank != 1 or (
        known is not None and not (len(known) > 1 and known[0] == 0 and known[-1] == 1 and np.all(np.diff(known) > 0))
    ):
        raise ValueError(f"temperatures is {temperatures}; expected T >= 1, or [T + 1] that increase from 0 to 1")
    seed = tf.convert_to_tensor([0, seed] if isinstance(seed, (int, np.integer)) else seed, tf.int32)
    return bridge, b, *tf.unstack(tf.random.experimental.stateless_split(seed, 2))


def _per_move(step_sizes, b):
    """One entry for each move."""
    step_sizes = _tensor(step_sizes, b.dtype)
    num_moves = tf.shape(b)[0] - 2
    if step_sizes.shape.rank == 0:
        return tf.fill([num_moves], step_sizes)
    expected = None if b.shape[0] is None else b.shape[0] - 2
    if not step_sizes.shape[:1].is_compatible_with([expected]):
        raise ValueError(
            f"step_sizes has shape {step_sizes.shape}; expected [T - 1, ...] = [{expected}, ...], or a number"
        )
    return step_sizes


def _tensor(value, dtype):
    """As a tensor of this type; Python's numbers are not rounded to float32 on their way."""
    return tf.cast(value if tf.is_tensor(value) else np.asarray(value), dtype)


def _static(count):
    """The number if it is known."""
    known = tf.get_static_value(count)
    return None if known is None else int(known)


def _fold(seed, number):
    return tf.random.experimental.stateless_fold_in(seed, number)


def _in_graph(run):
    return tf.function(run, autograph=False)() if tf.executing_eagerly() else run()


def _warned(result):
    """The result, with a warning if it can be read now and there were chains enough to tell."""
    if tf.executing_eagerly() and len(result.log_weights) > 1:
        warn_of_few_chains(result.ess, stacklevel=3)
    return result
