"""What the exchangeable parts of a stochastic flow have in common: the flow builds them, for its sizes, once."""

import abc

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.configured import Configured


class FlowPart(Configured, tf.Module, abc.ABC):
    """A part with variables for each of T transitions.

    A subclass makes its variables in `build`, after calling this one. To be saved with a model, it is registered with
    `keras.saving.register_keras_serializable`.

    Attributes:
        num_transitions: T, or None as long as it is not built.
        event_size: l, once it is built.
        dtype: Floating type, once it is built.
    """

    def __init__(self):
        super().__init__(name=type(self).__name__)
        self.num_transitions: int | None = None

    def build(self, num_transitions: int, event_size: int, dtype=tf.float32) -> None:
        """Makes the variables.

        Args:
            num_transitions: T >= 1.
            event_size: l.
            dtype: Floating type of the variables.

        Raises:
            ValueError: If a size is not an integer of at least 1, or it is built already.
        """
        if self.num_transitions is not None:
            raise ValueError(f"this {self.name} is built already, for another flow; make one for each flow")
        self._shape = check_count("num_transitions", num_transitions), check_count("event_size", event_size)
        self.num_transitions, self.event_size = self._shape
        self.dtype = tf.as_dtype(dtype)

    def _variable(self, name, value=0.0) -> tf.Variable:
        """A variable ``[T, l]``, one value for each transition and dimension."""
        value = np.asarray(value, self.dtype.as_numpy_dtype)
        return tf.Variable(np.broadcast_to(value, self._shape), name=name)
