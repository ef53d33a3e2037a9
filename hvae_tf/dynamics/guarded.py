"""Steps of samples some of which are lost: the gradient of the others, whatever became of these.

A sample that has left the range of numbers is NaN, and whoever steps it on takes another value in its place. But
`tf.where` sends a zero back into what it did not take, and zero times NaN is NaN: in the parameters of the steps, and
in all that the target is made of, for all samples at once.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from hvae_tf.dynamics.adjoint import Adjoint
from hvae_tf.dynamics.integrator import Integrator
from hvae_tf.dynamics.recomputation import Weights, filled


def guarded_scan(
    adjoint: Adjoint,
    target: Any,
    integrator: Integrator,
    start: tuple[tf.Tensor, ...],
    parameters,
    *,
    captured: list[tf.Tensor],
    at_rest: Callable[[Any, tf.Tensor], Any],
) -> Any:
    """What ``adjoint.scan(target, integrator, start, parameters)`` gives; lost samples do not spoil its gradient.

    A sample is lost if nothing is asked of it: all cotangents of its last state are exactly zero. Where a gradient
    comes out not finite, the steps are taken once more, lost samples staying where they started, and the gradient is
    that of this way: the same for the others, and zero for the lost. Else nothing is computed twice.

    What is not guarded: a sample of which something is asked, even of a state that is no number, and one whose start
    has no finite gradient itself. Both give NaN, as they should.

    Args:
        adjoint: How the steps are differentiated.
        target: What is sampled.
        integrator: What a step is.
        start: What `integrator.init` takes, ``[..., l]`` and ``[...]``.
        parameters: Of the steps, as of `Adjoint.scan`.
        captured: What `differentiable_captures` found for these.
        at_rest: ``(parameters, lost) -> parameters`` with which samples where `lost`, bool ``[...]``, do not move.

    Returns:
        The last state.
    """
    structure = tuple(start), parameters
    count = len(tf.nest.flatten(structure))

    @tf.custom_gradient
    def run(*tensors):
        inputs = [tf.identity(tensor) for tensor in tensors[:count]]  # each by itself: one may serve several steps
        with tf.GradientTape() as tape:
            tape.watch([*inputs, *captured])
            last = adjoint.scan(target, integrator, *tf.nest.pack_sequence_as(structure, inputs))

        def gradient(*d_last, variables=()):
            weights = Weights([*captured, *variables])
            d_state = tf.nest.pack_sequence_as(last, d_last)
            lost = tf.reduce_all(tf.stack([_nothing(d, last[0].shape.rank) for d in d_last]), axis=0)

            def cotangents(tape, results):
                found, totals = weights.gradient(tape, results, inputs, d_state, weights.zeros())
                return [*map(tf.convert_to_tensor, filled(found, inputs)), *totals]

            def once_more():
                with weights.tape(inputs) as tape:
                    start, parameters = tf.nest.pack_sequence_as(structure, inputs)
                    results = adjoint.scan(target, integrator, start, at_rest(parameters, lost))
                return cotangents(tape, results)

            found = cotangents(tape, last)
            finite = tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(d)) for d in found]))
            found = tf.cond(finite, lambda: found, once_more)
            cut = count + len(captured)
            return (found[:cut], found[cut:]) if variables else found

        return last, gradient

    return run(*tf.nest.flatten(structure), *captured)


def _nothing(d, rank: int) -> tf.Tensor:
    """Whether a sample's cotangents are all zero, ``[...]``: of a part ``[...]`` or ``[..., l]``, that of z's rank."""
    zero = tf.equal(d, 0.0)
    return tf.reduce_all(zero, axis=-1) if d.shape.rank == rank else zero
