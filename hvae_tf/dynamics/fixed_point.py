"""Solutions of x = f(x), sample by sample, by iteration to a tolerance, and their gradients by the implicit function
theorem: x = f(x, theta) has dx/dtheta = (I - df/dx)^-1 df/dtheta.

What is solved for may fail: an iteration that meets a number that is not finite, or its cap, has found nothing. That is
told, never mended.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class FixedPoint(NamedTuple):
    """What an iteration came to.

    Attributes:
        x: ``[..., l]``; where it failed, the last point that was finite.
        failed: ``[...]``, bool.
        iterations: ``[...]``, int32, how often f was evaluated for this sample's sake.
    """

    x: tf.Tensor
    failed: tf.Tensor
    iterations: tf.Tensor


def fixed_point(
    function: Callable[[tf.Tensor], tf.Tensor],
    jacobian: Callable[[tf.Tensor], tf.Tensor],
    start: tf.Tensor,
    *,
    tolerance: float,
    max_iterations: int,
) -> FixedPoint:
    """Iterates x <- f(x) until no entry of a sample moves by more than tolerance (1 + its largest entry).

    A sample that is there stays there, so that what it gives does not hang on others. At the solution f is taken once
    more, on the tape: gradients flow to all that f is made of.

    Args:
        function: f, ``[..., l] -> [..., l]``, each sample by itself.
        jacobian: Of f: ``[..., l] -> [..., l, l]``, entry (i, j) being df_i / dx_j; called for gradients alone.
        start: ``[..., l]``.
        tolerance: > 0.
        max_iterations: >= 1.

    Returns:
        `FixedPoint`; its x can be differentiated once.
    """

    def sound(x):
        return tf.reduce_all(tf.math.is_finite(x), axis=-1)

    def iterate(i, x, active, failed, count):
        new = tf.stop_gradient(function(x))
        new.set_shape(x.shape)
        step, size = (tf.reduce_max(tf.abs(v), axis=-1) for v in (new - x, new))
        finite = sound(new)
        x = tf.where((active & finite)[..., None], new, x)
        there = step <= tolerance * (1.0 + size)
        count += tf.cast(active, tf.int32)
        return i + 1, x, active & finite & ~there, failed | (active & ~finite), count

    start = tf.stop_gradient(start)
    finite = sound(start)
    start = tf.where(finite[..., None], start, tf.zeros_like(start))
    _, x, active, failed, count = tf.while_loop(
        lambda i, x, active, failed, count: (i < max_iterations) & tf.reduce_any(active),
        iterate,
        (tf.constant(0), start, finite, ~finite, tf.zeros_like(finite, tf.int32)),
        parallel_iterations=1,
    )
    x, failed = tf.stop_gradient(x), failed | active
    once_more = function(x)
    once_more = tf.where((failed | ~sound(once_more))[..., None], x, once_more)
    return FixedPoint(_implicit(once_more, lambda: jacobian(x)), failed, count + 1)


def _implicit(value, jacobian):
    """The value f(x); its cotangent is that of the solution: (I - df/dx)^-T d."""

    @tf.custom_gradient
    def identity(value):
        def gradient(d_value):
            identity = tf.eye(value.shape[-1], dtype=value.dtype)
            matrix = identity - tf.stop_gradient(jacobian())
            finite = tf.reduce_all(tf.math.is_finite(matrix), axis=[-2, -1], keepdims=True)
            matrix = tf.where(finite, matrix, identity)  # the solver refuses others, for all samples at once
            return tf.linalg.solve(matrix, d_value[..., None], adjoint=True)[..., 0]

        return tf.identity(value), gradient

    return identity(value)
