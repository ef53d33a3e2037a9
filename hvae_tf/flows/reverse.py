"""Reverse models: r_t(v | z, x), what a stochastic flow holds the momentum v at the end of a transition to have been.

Any normalised density of v makes a valid bound; the nearer it is to the flow's own q(v | z, x), the tighter the bound:

    ELBO(q(z_T | x)) - bound = E KL( q(v_1..T | z_T, x) || r )      (Salimans, Kingma & Welling 2015)
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from hvae_tf.checks import check_count, check_seed
from hvae_tf.configured import resolve
from hvae_tf.densities import DiagonalGaussian
from hvae_tf.flows.parts import FlowPart
from hvae_tf.networks.initial import REVERSE, glorot_uniform

SEES = ("z", "grad", "context")


class ReverseInputs(NamedTuple):
    """What a reverse model may read: where the transition ended, but not the momentum there.

    z and the gradient are in units of q0 where the flow is given one, as every model gives it: how many of its standard
    deviations z lies from its mean. So one set of numbers, or one network, serves all x.

    Attributes:
        z: ``[..., l]``, (z_t - mean) / standard deviation.
        grad: ``[..., l]``, the gradient of log p(x, z) there, times the standard deviation.
        context: ``[B, c]``, what the encoder says of x, or None.
    """

    z: tf.Tensor
    grad: tf.Tensor
    context: tf.Tensor | None


def reverse_inputs(z, grad, q0: DiagonalGaussian | None, context) -> ReverseInputs:
    """What a reverse model reads of z and the gradient there ``[..., l]``: in units of q0, if there is one."""
    if q0 is None:
        return ReverseInputs(z, grad, context)
    return ReverseInputs((z - q0.mean) / q0.standard_deviation, grad * q0.standard_deviation, context)


class ReverseModel(FlowPart):
    """The densities r_t of a flow's transitions."""

    @abc.abstractmethod
    def density(self, t: int, inputs: ReverseInputs) -> DiagonalGaussian:
        """r_t(. | z, x), of tensors that broadcast with ``[..., l]``; t = 0, ..., T - 1."""


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
        sees: What it reads, some of ``"z"``, ``"grad"`` (which is at hand, and costs no evaluation) and ``"context"``.
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
        self.sees = (sees,) if isinstance(sees, str) else tuple(sees)
        if not self.sees or not set(self.sees) <= set(SEES) or len(set(self.sees)) < len(self.sees):
            raise ValueError(f"sees is {sees!r}; expected some of {', '.join(SEES)}, each once")
        self.seed = check_seed("seed", seed)

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        glorot = glorot_uniform(self.seed, REVERSE)
        self.networks = [self._network(glorot) for _ in range(num_transitions)]

    def _network(self, glorot) -> list[keras.layers.Layer]:
        size = self.event_size
        widths = {"z": size, "grad": size, "context": 2 * size}
        inputs = sum(widths[name] for name in self.sees)
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
        h = tf.concat(self._seen(inputs), axis=-1)
        for layer in self.networks[t]:
            h = layer(h)
        mean, log_scale = tf.split(h, 2, axis=-1)
        return DiagonalGaussian(mean, tf.exp(log_scale))

    def _seen(self, inputs: ReverseInputs) -> list[tf.Tensor]:
        seen = []
        for name in self.sees:
            part = getattr(inputs, name)
            if name == "context":
                if part is None or part.shape[-1] != 2 * self.event_size:
                    found = "no context" if part is None else f"a context of shape {part.shape}"
                    raise ValueError(
                        f"the reverse network sees a context [B, {2 * self.event_size}], the flow was given {found}"
                        ': pass context, or build it with NetworkReverse(sees=("z", "grad"))'
                    )
                shape = tf.concat([tf.shape(inputs.z)[:-1], tf.shape(part)[-1:]], axis=0)
                part = tf.ensure_shape(tf.broadcast_to(part, shape), [*inputs.z.shape[:-1], part.shape[-1]])
            seen.append(part)
        return seen

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
}


def get_reverse(reverse: str | ReverseModel) -> ReverseModel:
    """A `ReverseModel`, or a new one of this name, one of `REVERSE_MODELS`.

    Raises:
        ValueError: If it is neither; the message lists those accepted.
    """
    return resolve("reverse", reverse, ReverseModel, REVERSE_MODELS, "a ReverseModel")
