"""Reverse models of a stochastic flow; what they have in common is in `hvae_tf.flows.reverse_model`."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hvae_tf.checks import check_count, check_seed
from hvae_tf.configured import resolve
from hvae_tf.densities import DiagonalGaussian
from hvae_tf.flows.reverse_model import SEES, ReverseModel, check_sees, input_width, joined
from hvae_tf.flows.score import ScoreReverse
from hvae_tf.networks.initial import REVERSE, glorot_uniform


@keras.saving.register_keras_serializable("hvae_tf")
class StandardReverse(ReverseModel):
    """r = N(0, I), that of untempered HVAE. No parameters."""

    def density(self, t, inputs):
        return DiagonalGaussian(tf.zeros([self.event_size], self.dtype), tf.ones([self.event_size], self.dtype))


@keras.saving.register_keras_serializable("hvae_tf")
class LinearReverse(ReverseModel):
    """r_t = N(c_t + b_t z, diag scale_t^2), dimension by dimension; z in units of q0, see `ReverseInputs`.

    It starts at N(0, I). Exact for one transition where q0 is a diagonal Gaussian and the posterior too.

    Attributes:
        offset: c, a variable ``[T, l]``.
        slope: b, a variable ``[T, l]``.
        log_scale: A variable ``[T, l]``.
    """

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        self.offset = self._variable("offset")
        self.slope = self._variable("slope")
        self.log_scale = self._variable("log_scale")

    def density(self, t, inputs):
        return DiagonalGaussian(self.offset[t] + self.slope[t] * inputs.z, tf.exp(self.log_scale[t]))


@keras.saving.register_keras_serializable("hvae_tf")
class NetworkReverse(ReverseModel):
    """r_t = N(mean, diag scale^2), both put out by a dense network, one for each transition.

    Its last layer starts at zero, so that r starts at N(0, I).

    Args:
        hidden_units: Units of each hidden layer.
        activation: Of the hidden layers, a name that Keras knows. A bounded one keeps the scales bounded.
        sees: What it reads, some of ``"z"``, ``"grad"`` (which is at hand, and costs no evaluation), ``"context"`` and
            ``"momentum"``, with which the flow goes on.
        seed: The initial weights of the hidden layers (Glorot uniform) are a function of it.

    Attributes:
        networks: Once it is built, T lists of Keras layers.

    Raises:
        ValueError: If a size or a name is not accepted; by `density`, if there is no context for it to see.
    """

    def __init__(self, hidden_units=(300,), *, activation: str = "tanh", sees=SEES, seed: int = 0):
        super().__init__()
        units = (hidden_units,) if isinstance(hidden_units, int) else tuple(hidden_units)
        self.hidden_units = tuple(check_count(f"hidden_units[{i}]", entry) for i, entry in enumerate(units))
        self.activation = keras.activations.serialize(keras.activations.get(activation))
        self.sees = check_sees(sees)
        self.seed = check_seed("seed", seed)

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        glorot = glorot_uniform(self.seed, REVERSE)
        self.networks = [self._network(glorot) for _ in range(num_transitions)]

    def _network(self, glorot) -> list[keras.layers.Layer]:
        size = self.event_size
        inputs = input_width(self.sees, size)
        layers = []
        for units in self.hidden_units:
            layers.append(
                keras.layers.Dense(units, self.activation, kernel_initializer=glorot(), dtype=self.dtype.name)
            )
        layers.append(keras.layers.Dense(2 * size, kernel_initializer="zeros", dtype=self.dtype.name))
        for layer in layers:
            layer.build((None, inputs))
            inputs = layer.units
        return layers

    def density(self, t, inputs):
        h = joined(inputs, self.sees, self.event_size)
        for layer in self.networks[t]:
            h = layer(h)
        mean, log_scale = tf.split(h, 2, axis=-1)
        return DiagonalGaussian(mean, tf.exp(log_scale))

    def get_config(self) -> dict[str, Any]:
        return {
            "hidden_units": list(self.hidden_units),
            "activation": self.activation,
            "sees": list(self.sees),
            "seed": self.seed,
        }


REVERSE_MODELS: dict[str, Callable[[], ReverseModel]] = {
    "network": NetworkReverse,
    "linear": LinearReverse,
    "standard": StandardReverse,
    "score": ScoreReverse,
}


def get_reverse(reverse: str | ReverseModel) -> ReverseModel:
    """A `ReverseModel`, or a new one of this name, one of `REVERSE_MODELS`.

    Raises:
        ValueError: If it is neither; the message lists those accepted.
    """
    return resolve("reverse", reverse, ReverseModel, REVERSE_MODELS, "a ReverseModel")
