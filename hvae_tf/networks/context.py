"""The second input of a conditional model's networks: a context y, such as a label, one-hot, beside x or z."""

import math

import keras
import numpy as np

from hvae_tf.checks import check_count


def with_context(h, context_shape, dtype) -> tuple[list, keras.KerasTensor]:
    """Features ``[B, n]`` with a context beside them.

    Args:
        h: ``[B, n]``, a Keras tensor.
        context_shape: Of one y: ``(c,)`` or more axes; a number is ``(c,)``; None for no context.
        dtype: Of the layers.

    Returns:
        The new inputs, none or one, and ``[B, n]`` or ``[B, n + size of y]``.

    Raises:
        ValueError: If a size is not a positive integer.
    """
    if context_shape is None:
        return [], h
    shape = tuple(context_shape) if np.iterable(context_shape) else (context_shape,)
    for i, size in enumerate(shape):
        check_count(f"context_shape[{i}]", size)
    if not shape:
        raise ValueError("context_shape is (); expected one size or more, such as (10,) for one-hot labels")
    y = keras.Input(shape, dtype=keras.dtype_policies.get(dtype).variable_dtype, name="context")
    flat = keras.layers.Reshape((math.prod(shape),), dtype=dtype, name="flatten_context")(y)
    return [y], keras.layers.Concatenate(dtype=dtype, name="with_context")([h, flat])
