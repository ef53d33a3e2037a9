"""A masked network, in which each output sees only the inputs before it (MADE, Germain et al. 2015)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count, check_seed

_FIRST = 0.1  # of the last layer and the context: a flow starts near the identity


class _Layer(NamedTuple):
    """A masked layer: weights that the mask lets through ``[w]``, their places ``[w, 2]``, the shape, a bias."""

    weights: tf.Variable
    places: np.ndarray
    shape: tuple[int, int]
    bias: tf.Variable


class MaskedNetwork(tf.Module):
    """Shift and log scale of each dimension of z, as functions of the dimensions before it.

    Hidden layers of tanh units. Only weights that the masks let through exist, and a kernel is put together from them
    at each call, so that no optimiser can fill a mask: `tfp.bijectors.AutoregressiveNetwork` holds its masks by
    constraints, which are those of another Keras than this library's.

    Args:
        event_size: l.
        hidden_units: Units of each hidden layer; none are made for l = 1, where no dimension comes before another.
        context_size: c, numbers that every unit sees too; 0 for none.
        backwards: Whether the dimensions count from the last to the first.
        seed: The initial weights are a function of it.
        dtype: Floating type.
        name: Of the module, and what its variables' names begin with.

    Raises:
        ValueError: If a size is below 1, or the seed out of range.
    """

    def __init__(
        self, event_size: int, hidden_units: Sequence[int] = (64, 64), *, context_size: int = 0,
        backwards: bool = False, seed: int = 0, dtype=tf.float32, name: str = "masked",
    ):  # fmt: skip
        super().__init__(name=name)
        check_count("event_size", event_size)
        for i, units in enumerate(hidden_units):
            check_count(f"hidden_units[{i}]", units)
        self.dtype = tf.as_dtype(dtype)
        self._random = np.random.default_rng(check_seed("seed", seed))
        order = np.arange(1, event_size + 1)[:: -1 if backwards else 1]
        hidden = [np.arange(units) % (event_size - 1) + 1 for units in (hidden_units if event_size > 1 else ())]
        degrees = [order, *hidden]  # a unit of degree d sees d dimensions, or is one
        masks = [below[:, None] <= above[None, :] for below, above in zip(degrees, hidden, strict=False)]
        masks.append(degrees[-1][:, None] < np.tile(order, 2)[None, :])
        self._layers = [self._layer(i, mask, i == len(masks)) for i, mask in enumerate(masks, 1)]
        self._contexts = [
            self._variable(f"context_{i}", (context_size, mask.shape[1]), _FIRST / np.sqrt(context_size))
            for i, mask in enumerate(masks, 1)
            if context_size
        ]

    def _variable(self, name, shape, scale):
        value = scale * self._random.normal(size=shape)
        return tf.Variable(value.astype(self.dtype.as_numpy_dtype), name=f"{self.name}_{name}")

    def _layer(self, number, mask, last) -> _Layer:
        places = np.argwhere(mask)
        scale = (_FIRST if last else 1.0) / np.sqrt(max(1, mask.sum(axis=0).max()))
        weights = self._variable(f"kernel_{number}", len(places), scale)
        return _Layer(weights, places, mask.shape, self._variable(f"bias_{number}", mask.shape[1], 0.0))

    def __call__(self, z: tf.Tensor, conditional_input: tf.Tensor | None = None) -> list[tf.Tensor]:
        """Shift and log scale, ``[..., l]`` each, of z ``[..., l]`` and a context ``[..., c]``."""
        h = z
        for i, layer in enumerate(self._layers):
            kernel = tf.scatter_nd(layer.places, layer.weights, layer.shape)
            h = tf.linalg.matvec(kernel, tf.tanh(h) if i else h, transpose_a=True) + layer.bias
            if conditional_input is not None and self._contexts:
                h += tf.linalg.matvec(self._contexts[i], conditional_input, transpose_a=True)
        return tf.split(h, 2, axis=-1)
