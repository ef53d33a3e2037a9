"""Training batches by number: batch `step` of a seed is always the same batch."""

from typing import Any

import tensorflow as tf

from hvae_tf.checks import check_seed
from hvae_tf.data.binarisation import binarise, draw_key
from hvae_tf.data.events import EventData


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same without TensorFlow's tuner, whose thread a pass waits for at its end: nothing is left to tune."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


class TrainBatches:
    """Shuffled training batches, freshly binarised where the values are intensities, numbered from step 0.

    Epoch e holds steps ``e * steps_per_epoch`` to ``(e + 1) * steps_per_epoch - 1`` and visits the events in a
    permutation of its own, without replacement. Where the batch size does not divide the number of events, the rest of
    the permutation is left out: other events each epoch.

    Args:
        data: Where the events come from.
        batch_size: Events a step.
        seed: Of the permutations and the binarisation.
        binarised: False yields the intensities themselves; None binarises unless the data has no `max_value`.

    Attributes:
        steps_per_epoch: Whole batches in an epoch.

    Raises:
        ValueError: If the batch size is not in 1..n, the seed is out of range, or values that are no intensities are
            to be binarised.

    Example:
        >>> batches = hvae_tf.TrainBatches(hvae_tf.load("digits"), batch_size=50, seed=0)
        >>> batches.steps_per_epoch, next(iter(batches.dataset(7, 8))).shape
        (25, TensorShape([50, 8, 8, 1]))
    """

    def __init__(self, data: EventData, batch_size: int, seed: int, binarised: bool | None = None):
        size = len(data.train)
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or not 1 <= batch_size <= size:
            raise ValueError(f"batch_size is {batch_size}; expected an integer from 1 to {size}, the training events")
        self.data = data
        self.batch_size = int(batch_size)
        self.seed = check_seed("seed", seed)
        self.binarised = data.max_value is not None if binarised is None else bool(binarised)
        if self.binarised:
            data.check_intensities()
        self.steps_per_epoch = size // self.batch_size
        with tf.device("CPU:0"):
            self._events = tf.constant(data.train)
            self._contexts = None if data.contexts is None else tf.constant(data.contexts["train"])

    def configuration(self) -> dict[str, Any]:
        """What the batches are a function of, besides the step."""
        return {
            "data": self.data.configuration(),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "binarised": self.binarised,
        }

    def permutation(self, epoch) -> tf.Tensor:
        """The events of an epoch's steps, ``[steps_per_epoch, batch_size]`` int64."""
        key = draw_key(self.seed, -3 - tf.cast(epoch, tf.int64))
        random = tf.random.stateless_uniform([len(self.data.train)], key, None, None, tf.int64, alg="philox")
        order = tf.argsort(random, stable=True)[: self.steps_per_epoch * self.batch_size]
        return tf.cast(tf.reshape(order, [self.steps_per_epoch, self.batch_size]), tf.int64)

    def batch(self, step, indices):
        """The batch of step number `step`, made of events `indices`: ``[batch_size, ...]`` float32.

        Where the data have contexts, a pair of the events and their contexts.
        """
        events = tf.cast(tf.gather(self._events, indices), tf.float32)
        if self.data.max_value is not None:
            events /= self.data.max_value
        events = binarise(events, draw_key(self.seed, step)) if self.binarised else events
        return events if self._contexts is None else (events, tf.gather(self._contexts, indices))

    def dataset(self, start: int, stop: int) -> tf.data.Dataset:
        """Batches number start to stop - 1 in order, ``[batch_size, ...]`` float32, prefetched; see `batch`.

        Raises:
            ValueError: Unless 0 <= start <= stop.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"steps from {start} to {stop} were asked for; expected 0 <= start <= stop")
        length = self.steps_per_epoch
        first, last = start // length, -(-stop // length)

        def steps_of(epoch):
            steps = epoch * length + tf.range(length, dtype=tf.int64)
            return tf.data.Dataset.from_tensor_slices((steps, self.permutation(epoch)))

        with tf.device("CPU:0"):
            steps = tf.data.Dataset.range(first, last).flat_map(steps_of).skip(start - first * length)
            steps = steps.take(stop - start).apply(tf.data.experimental.assert_cardinality(stop - start))
            batches = steps.map(self.batch, num_parallel_calls=2, deterministic=True).prefetch(4)
        return untuned(batches)
