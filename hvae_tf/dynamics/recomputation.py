"""Tools for gradients that are taken by computing again: loops in the graph, and cotangents step by step."""

from typing import Any

import tensorflow as tf


class Weights:
    """What the target and the integrator are made of, tensors and variables; their gradients are summed on the way."""

    def __init__(self, tensors):
        self._tensors = list(tensors)

    def zeros(self) -> list[tf.Tensor]:
        """The totals to begin with."""
        return [tf.zeros(t.shape if t.shape.is_fully_defined() else tf.shape(t), t.dtype) for t in self._tensors]

    def tape(self, sources) -> tf.GradientTape:
        """A tape that watches the sources and these weights, and nothing else."""
        return _WatchingTape([*tf.nest.flatten(sources), *self._tensors])

    def pull_back(self, function, sources: tuple, d_results, totals):
        """The cotangents of the sources, given those of ``function(*sources)``; see `gradient`."""
        with self.tape(sources) as tape:
            results = function(*sources)
        return self.gradient(tape, results, sources, d_results, totals)

    def gradient(self, tape, results, sources, d_results, totals):
        """The cotangents of the sources, and the totals with those of the weights added.

        Among the cotangents, given or found, None stands for a zero that nobody computes.
        """
        all_pairs = zip(tf.nest.flatten(results), tf.nest.flatten(d_results), strict=True)
        pairs = [(result, d) for result, d in all_pairs if d is not None]
        flat = tf.nest.flatten(sources)
        found = tape.gradient([r for r, _ in pairs], [*flat, *self._tensors], output_gradients=[d for _, d in pairs])
        totals = [
            total if part is None else total + tf.convert_to_tensor(part)
            for total, part in zip(totals, found[len(flat) :], strict=True)
        ]
        return tf.nest.pack_sequence_as(sources, found[: len(flat)]), totals


class _WatchingTape(tf.GradientTape):
    """A tape that watches these tensors and variables, and no others."""

    def __init__(self, sources):
        super().__init__(watch_accessed_variables=False)
        self._sources = sources

    def __enter__(self):
        tape = super().__enter__()
        tape.watch(self._sources)
        return tape


def loop(body, state, indices: range, emitted_specs: Any = ()):
    """``state, emitted = body(k, state)`` for each k of a range.

    Returns:
        The last state, and what was emitted, of these specs, stacked in order of k; nothing where the range is empty.
    """
    if not indices:
        return state, ()
    state_shapes = [part.shape for part in tf.nest.flatten(state)]
    arrays = [
        tf.TensorArray(spec.dtype, len(indices), element_shape=spec.shape) for spec in tf.nest.flatten(emitted_specs)
    ]

    def step(i, state, arrays):
        k = indices[0] + indices.step * i
        new, emitted = body(k, state)
        parts = [tf.ensure_shape(*pair) for pair in zip(tf.nest.flatten(new), state_shapes, strict=True)]
        emitted = zip(arrays, tf.nest.flatten(emitted), strict=True)
        return i + 1, tf.nest.pack_sequence_as(state, parts), [a.write(k - min(indices), e) for a, e in emitted]

    _, state, arrays = tf.while_loop(
        lambda i, *_: i < len(indices), step, (0, state, arrays), parallel_iterations=1, maximum_iterations=len(indices)
    )
    return state, tf.nest.pack_sequence_as(emitted_specs, [array.stack() for array in arrays])


def after(events, tensors):
    """The nest of tensors, for use only when the events have happened.

    A graph runs whatever it can: it would compute all evaluations again at once and hold them all.
    """
    with tf.control_dependencies(tf.nest.flatten(events)):
        return tf.nest.map_structure(tf.identity, tensors)


def at(stacked, k):
    """Entry k of each tensor of a nest."""
    return tf.nest.map_structure(lambda leaf: leaf[k], stacked)


def filled(cotangents, like):
    """The cotangents, with zeros for those that nobody computed."""
    return tf.nest.map_structure(lambda d, tensor: tf.zeros_like(tensor) if d is None else d, cotangents, like)


def specs(tensors, axes=0):
    """Shapes and types of the tensors, without so many of their first axes."""
    return tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape[axes:], tensor.dtype), tensors)
