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


def shard_batch(function, batches, axes, result_axis: int):
    """``function(*batches)`` for a function that treats the members of a batch apart, in as many parts as cores.

    Args:
        function: From nests of tensors to a nest of tensors.
        batches: Nests of tensors, of which the first holds one at least; None and ``()`` stay what they are.
        axes: For each nest, the axis of its tensors that counts the members.
        result_axis: That axis in the results.
    """
    if _num_parts == 1:
        return function(*batches)
    size = tf.shape(tf.nest.flatten(batches[0])[0])[axes[0]]
    results = []
    for part in range(_num_parts):
        start, stop = size * part // _num_parts, size * (part + 1) // _num_parts
        # one member at the least: no network likes empty batches
        members = slice(tf.minimum(start, size - 1), tf.maximum(stop, start + 1))
        found = function(*(_pick(nest, axis, members) for nest, axis in zip(batches, axes, strict=True)))
        results.append(_pick(found, result_axis, slice(stop - start)))
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, result_axis), *results)


def _pick(nest, axis, members):
    """The members, along an axis of every tensor of a nest."""
    index = (*[slice(None)] * axis, members)
    return tf.nest.map_structure(lambda tensor: None if tensor is None else tensor[index], nest)
