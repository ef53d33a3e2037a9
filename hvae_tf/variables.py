"""Where a flow's variables come from, and the bijections that keep them in range.

Flows and temperings are `tf.Module`s that create each of their variables through a function

    add_variable(name, initial_value) -> tf.Variable

The default makes a plain `tf.Variable`. A Keras layer passes a function that makes one of its own weights and returns
the `tf.Variable` behind it, so that Keras trains, counts and saves what the flow reads.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

AddVariable = Callable[[str, np.ndarray], tf.Variable]


def tf_variable(name: str, initial_value: np.ndarray) -> tf.Variable:
    """A plain trainable `tf.Variable`."""
    return tf.Variable(initial_value, name=name)


def logit(p):
    """The inverse of the sigmoid, in float64."""
    p = np.asarray(p, np.float64)
    return np.log(p) - np.log1p(-p)
