"""Models of p(x|y): a context y, such as a label, that encoder and decoder see beside x and z.

    q0(z_0|x, y),    p(x, z|y) = p(x|z, y) p(z)

A model is conditional if its networks take two inputs. With y held, p(x, z|y) is a target as any other, so that no
flow, bound or likelihood knows of contexts.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.models.events import ModelParts, input_shapes


class Conditioned(NamedTuple):
    """A batch of events with their contexts: what goes through a conditional model in the place of x.

    Attributes:
        x: ``[B, *event_shape]``.
        y: ``[B, *context_shape]``.
    """

    x: Any
    y: Any


def parts(data) -> tuple[Any, Any]:
    """(x, y) of a batch, y being None where there is none."""
    return tuple(data) if isinstance(data, Conditioned) else (data, None)


def split(data, batch_size: int) -> Iterator:
    """Batches of events, or of events with contexts, as tensors, one after the other."""
    for start in range(0, len(parts(data)[0]), batch_size):
        rows = slice(start, start + batch_size)
        yield tf.nest.map_structure(lambda array, rows=rows: tf.convert_to_tensor(array[rows]), data)


def without_column(y, spec: tf.TensorSpec):
    """Contexts that are numbers ``[B]``, of which Keras makes columns ``[B, 1]``, as they were."""
    return y[..., 0] if len(y.shape) == spec.shape.rank + 1 and y.shape[-1] == 1 else y


class DecoderAt:
    """A decoder of (z, y) with y held: a map of z, as a target takes it.

    Args:
        decoder: Keras model of two inputs, ``[n, l]`` and ``[n, *context_shape]``.
        y: ``[B, *context_shape]``; z is then ``[n, l]``, n being a multiple of B, the batch running fastest. None for
            the shapes alone.
    """

    def __init__(self, decoder, y):
        self.name = getattr(decoder, "name", decoder)
        self.input_shape = input_shapes(decoder)[0]
        self.output_shape = decoder.output_shape
        self.outputs = getattr(decoder, "outputs", None)
        self._decoder = decoder
        self._y = y

    def __call__(self, z, training=False):
        repeats = tf.shape(z)[0] // tf.shape(self._y)[0]
        y = tf.tile(self._y, [repeats, *(1 for _ in self._y.shape[1:])])
        return self._decoder([z, y], training=training)


def check_networks(encoder, decoder, latent_size: int) -> tf.TensorSpec | None:
    """What y of these networks looks like, ``[None, *context_shape]``; None where neither takes any.

    Raises:
        ValueError: If they take unlike contexts, or are of unlike latent sizes.
    """
    try:
        latent_shape = input_shapes(decoder)[0]
    except AttributeError:
        return None  # what is amiss with the decoder is told by `check_decoder`
    if latent_shape[-1] != latent_size:
        raise ValueError(
            f"the encoder gives latents of size {latent_size}, the decoder takes size {latent_shape[-1]}; "
            "build both with one latent size"
        )
    shapes = [input_shapes(network)[1:] for network in (encoder, decoder)]
    if shapes[0] != shapes[1]:
        found = [f"a context of shape {shape[0][1:]}" if shape else "no context" for shape in shapes]
        raise ValueError(f"the encoder takes {found[0]}, the decoder {found[1]}; build both with the same second input")
    if not shapes[0]:
        return None
    if None in shapes[0][0][1:]:
        raise ValueError(f"the networks take a context of shape {shapes[0][0]}; expected all its sizes known")
    return tf.TensorSpec([None, *shapes[0][0][1:]], encoder.inputs[1].dtype)


class Conditioning(ModelParts):
    """How a `FlowVAE` takes contexts; a mixin.

    Attributes:
        context_spec: What y looks like, ``[None, *context_shape]``; None for a model of x alone.
    """

    context_spec: tf.TensorSpec | None

    def check_context(self, y, count: int | None, name: str = "y") -> None:
        """Checks contexts given to a public method or to `fit`.

        Args:
            y: ``[B, *context_shape]``, or None.
            count: B; None for any.
            name: What the message calls it.

        Raises:
            ValueError: If a conditional model gets none, or another model gets one, or it is of another shape, or
                holds numbers that are not finite; one line.
        """
        self._check_whether(y, name)
        if self.context_spec is None:
            return
        y = np.asarray(y)
        if y.shape[1:] != tuple(self.context_spec.shape[1:]) or not y.ndim or count not in (None, len(y)):
            expected = ["B" if count is None else str(count), *map(str, self.context_spec.shape[1:])]
            raise ValueError(f"{name} has shape {y.shape}; expected [{', '.join(expected)}], a context for each event")
        if y.dtype.kind not in "fiub" or not np.all(np.isfinite(y)):
            raise ValueError(f"{name} holds values that are no finite numbers; expected real numbers")

    def _check_whether(self, y, name="y"):
        """Raises ValueError unless there is a context where the model takes one, and none where it does not."""
        if (y is None) != (self.context_spec is None):
            given, wanted = ("no context", "give y") if y is None else ("a context", "leave y out")
            takes = "one" if y is None else "none: its networks have one input"
            raise ValueError(f"{name} is {given}, but the model takes {takes}; {wanted}")

    def _context(self, y, count: int) -> tuple[np.ndarray, ...]:
        """``()``, or the contexts ``[count, *context_shape]``; one context alone stands for all."""
        if y is not None and self.context_spec is not None and np.shape(y) == tuple(self.context_spec.shape[1:]):
            y = np.broadcast_to(y, (count, *np.shape(y)))
        self.check_context(y, count)
        return () if self.context_spec is None else (np.asarray(y).astype(self.context_spec.dtype.as_numpy_dtype),)

    def _data(self, x, y):
        """Events, and contexts where the model takes them, given to a public method; checked."""
        x = self._array_of(x)
        self.check_input(x)
        x = x.astype(self.variable_dtype)
        context = self._context(y, len(x))
        return Conditioned(x, *context) if context else x

    def _cast_data(self, x, y):
        """A batch given to Keras, its shapes checked; the y of a model that takes none is not used."""
        x = tf.convert_to_tensor(x)
        if not x.shape.is_compatible_with([None, *self.event_shape]):
            raise ValueError(f"x has shape {x.shape}; expected {self._batch_shape_text()}")
        x = tf.cast(tf.ensure_shape(x, [None, *self.event_shape]), self.variable_dtype)
        if self.context_spec is None:
            return x
        if y is None:
            raise ValueError("the model is conditional and got no y; give fit and evaluate (x, y), and predict [x, y]")
        y = without_column(tf.convert_to_tensor(y), self.context_spec)
        if not (y.dtype.is_floating or y.dtype.is_integer or y.dtype.is_bool):
            raise ValueError(f"y is of dtype {y.dtype.name}; expected real numbers")
        if not y.shape.is_compatible_with(self.context_spec.shape):
            raise ValueError(f"y has shape {y.shape}; expected [B, *{tuple(self.context_spec.shape[1:])}]")
        return Conditioned(x, tf.cast(tf.ensure_shape(y, self.context_spec.shape), self.context_spec.dtype))
