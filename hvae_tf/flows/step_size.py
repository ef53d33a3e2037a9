"""Step sizes as flows learn them: eps = xi sigmoid(.), in (0, xi)."""

import numpy as np
import tensorflow as tf

from hvae_tf.numerics import logit


def check_max_step_size(max_step_size) -> float:
    """The bound xi as a float.

    Raises:
        ValueError: If it is not positive and finite.
    """
    if not 0.0 < float(max_step_size) < float("inf"):
        raise ValueError(f"max_step_size is {max_step_size}; expected a positive finite bound of the step sizes")
    return float(max_step_size)


def logit_step_size_variable(step_size: np.ndarray, max_step_size: float, shape, dtype) -> tf.Variable:
    """The variable ``[*shape]`` whose sigmoid is eps / xi.

    Args:
        step_size: Initial eps, in (0, max_step_size), broadcasting to `shape`.
        max_step_size: xi.
        shape: Of the variable.
        dtype: Of the variable.

    Raises:
        ValueError: If a value is out of range, or the shapes do not fit.
    """
    if not (np.all(step_size > 0.0) and np.all(step_size < max_step_size)):
        raise ValueError(f"step_size is {step_size}; expected values in (0, max_step_size) = (0, {max_step_size})")
    try:
        initial = np.broadcast_to(logit(step_size / max_step_size), shape)
    except ValueError as error:
        raise ValueError(f"step_size has shape {step_size.shape}; expected one broadcasting to {shape}") from error
    return tf.Variable(initial.astype(tf.as_dtype(dtype).as_numpy_dtype), name="logit_step_size")
