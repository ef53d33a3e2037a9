"""A target whose evaluations are shared out among the cores, see `hvae_tf.parallel`."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from hvae_tf.parallel import shard_batch
from hvae_tf.targets.target import Target, ValueAndGrad


class ShardedTarget(Target):
    """The target of a batch, evaluated part by part of the batch, side by side.

    Noise and everything else stays whole, so that what is computed does not depend on the number of cores, up to
    rounding.

    Args:
        make_target: ``(*data) -> Target``, of the data of some members of the batch; cheap, for it is called with
            every evaluation that is traced.
        data: Tensors ``[B, ...]``; z is then ``[..., B, l]``.
        event_size: l.
    """

    def __init__(self, make_target: Callable[..., Target], data: Sequence[tf.Tensor], event_size: int):
        self._make_target = make_target
        self._data = tuple(data)
        self.event_size = event_size

    def _in_parts(self, function, z):
        batch_axis = z.shape.rank - 2
        batches = z, *self._data
        return shard_batch(function, batches, axes=(batch_axis, *(0 for _ in self._data)), result_axis=batch_axis)

    def _log_joint(self, z):
        return self._in_parts(lambda z, *data: self._make_target(*data).log_joint(z), z)

    def _value_and_grad(self, z):
        return ValueAndGrad(*self._in_parts(lambda z, *data: tuple(self._make_target(*data).value_and_grad(z)), z))
