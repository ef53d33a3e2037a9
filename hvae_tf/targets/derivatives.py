"""Jacobians of functions of z, one column for each dimension of z, that can be differentiated again."""

from collections.abc import Callable

import tensorflow as tf


def jacobian(function: Callable[[tf.Tensor], tf.Tensor], z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A function and its derivatives along the axes of z, for l small: all of them are taken side by side.

    Args:
        function: ``[..., l] -> [..., *shape]``, for any further axes in front, over which it broadcasts; of TensorFlow,
            and twice differentiable. It may hold data of its own for each entry of ``[...]``, as targets do.
        z: ``[..., l]``.

    Returns:
        Its value ``[..., *shape]``, and its derivatives ``[..., l, *shape]``, entry k being that in z_k.
    """
    size, rank = z.shape[-1], z.shape.rank
    copies = tf.stack([z] * size)  # [l, ..., l], in front like samples: each is moved along an axis of its own
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(copies)
            values = function(copies)
        weights = tf.zeros_like(values)
        outer.watch(weights)
        # J^T w is linear in w: its derivative along e_k, pulled back to w, is J e_k, forward mode by reverse mode alone
        pulled = inner.gradient(values, copies, output_gradients=weights, unconnected_gradients="zero")
    axes = tf.reshape(tf.eye(size, dtype=z.dtype), [size, *[1] * (rank - 1), size]) + tf.zeros_like(copies)
    columns = outer.gradient(pulled, weights, output_gradients=axes, unconnected_gradients="zero")
    return values[0], tf.transpose(columns, [*range(1, rank), 0, *range(rank, columns.shape.rank)])
