"""Which cores the work runs on: batches split into parts that run side by side, one core each.

TensorFlow shares every operation out among its threads. The operations of small networks take about a millisecond, and
sharing that out costs much of what it gains; parts of the batch that have a core each gain nearly all of it.
"""

import tensorflow as tf

from hvae_tf.checks import check_count

_num_parts = 1


def use_cores(count: int) -> None:
    """Gives TensorFlow `count` cores, and splits batches into as many parts from now on.

    To be called before TensorFlow has run anything. What the models compute stays the same up to rounding, which is a
    function of `count`: a run that is to be continued bit for bit needs the same. Not for use on a GPU.

    Args:
        count: How many, >= 1. With 1, several trainings at once, one process each, use a machine best.

    Raises:
        ValueError: If count is below 1.
        RuntimeError: If TensorFlow has started its threads already.
    """
    global _num_parts
    check_count("count", count)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(count)
    except RuntimeError as error:
        raise RuntimeError(
            "TensorFlow has started its threads already; call hvae_tf.use_cores before anything else"
        ) from error
    _num_parts = int(count)


def in_parts(function, batches, axes, result_axis: int):
    """``function(*batches)`` for a function that treats the members of a batch apart, in as many parts as cores.

    Args:
        function: From tensors to a tensor or a tuple of them.
        batches: Tensors, or None, which stays None.
        axes: The axis of each tensor that counts the members.
        result_axis: That axis in the results.
    """
    if _num_parts == 1:
        return function(*batches)
    results = []
    for part in range(_num_parts):
        parts = [b if b is None else _part(b, axis, part) for b, axis in zip(batches, axes, strict=True)]
        count = next(count for count, _ in filter(None, parts))
        found = function(*[None if p is None else p[1] for p in parts])
        results.append(tf.nest.map_structure(lambda r, count=count: r[_along(result_axis, slice(count))], found))
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, result_axis), *results)


def _part(batch, axis, part):
    """How many members the part has, and these; one of them where it has none: no network likes empty batches."""
    size = tf.shape(batch)[axis]
    start, stop = size * part // _num_parts, size * (part + 1) // _num_parts
    members = batch[_along(axis, slice(tf.minimum(start, size - 1), tf.maximum(stop, start + 1)))]
    return stop - start, members


def _along(axis, index):
    """What picks `index` along an axis and leaves those before it whole."""
    return (*[slice(None)] * axis, index)
