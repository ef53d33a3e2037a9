"""Series ``[P, ...]`` along temperatures: smoothed, and read between their points."""

import tensorflow as tf


def smoothed(values):
    """The series ``[P, ...]`` with a quarter of each neighbour."""
    index, last = tf.range(tf.shape(values)[0]), tf.shape(values)[0] - 1
    before, after = (tf.gather(values, tf.clip_by_value(index + shift, 0, last)) for shift in (-1, 1))
    return 0.25 * before + 0.5 * values + 0.25 * after


def interpolated(values, count):
    """The series ``[P, ...]`` at `count` points, P >= 1: ``[count, ...]``, linearly, ends to ends."""
    last = tf.shape(values)[0] - 1
    position = tf.cast(tf.range(count), values.dtype) * tf.cast(last, values.dtype)
    position /= tf.cast(tf.maximum(count - 1, 1), values.dtype)
    lower = tf.minimum(tf.cast(position, tf.int32), tf.maximum(last - 1, 0))
    share = (position - tf.cast(lower, values.dtype))[(..., *[None] * (values.shape.rank - 1))]
    return (1.0 - share) * tf.gather(values, lower) + share * tf.gather(values, tf.minimum(lower + 1, last))
