"""The reverse model of Langevin diffusion VI (Geffner & Domke 2022): a network in the place of a score."""

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count, check_seed
from hvae_tf.densities import DiagonalGaussian
from hvae_tf.flows.reverse_model import ReverseModel, check_sees, input_width, joined
from hvae_tf.networks.initial import REVERSE, glorot_uniform


@keras.saving.register_keras_serializable("hvae_tf")
class ScoreReverse(ReverseModel):
    """r_t(v_t | v', z) = N(eta v' + 2 (1 - eta) s(z, t), (1 - eta^2) I), s a network with a learned embedding of t.

    For what is let go, u = (v_t - eta v') / sqrt(1 - eta^2), that is N(2 sqrt((1 - eta)/(1 + eta)) s(z, t), I). eta is
    that of the refreshment which follows. After the last transition eta = 0: all of v_T is let go. At eta = 0 it is the
    reverse model of Monte Carlo diffusion (Doucet et al. 2022).

    s is a network times a factor that starts at zero, so the flow starts as the one with r = N(0, I). One network
    serves all t.

    Args:
        hidden_units: Units of each hidden layer, at least one layer.
        activation: Of the hidden layers, a name that Keras knows.
        embedding_units: Size of what the network is told of t.
        sees: What else it reads, some of ``"z"``, ``"grad"``, ``"context"`` and ``"momentum"`` (v').
        seed: The initial weights of the network (Glorot uniform) are a function of it.

    Attributes:
        layers: Once it is built, the Keras layers.
        embedding: Once it is built, a variable ``[T, embedding_units]``.
        factor: Once it is built, a variable ``[]``.

    Raises:
        ValueError: If a size or a name is not accepted; by `density`, if there is no context for it to see.
    """

    def __init__(
        self, hidden_units=(64, 64), *, activation: str = "tanh", embedding_units: int = 8,
        sees=("z", "grad", "context"), seed: int = 0,
    ):  # fmt: skip
        super().__init__()
        units = (hidden_units,) if isinstance(hidden_units, int) else tuple(hidden_units)
        self.hidden_units = tuple(check_count(f"hidden_units[{i}]", entry) for i, entry in enumerate(units))
        self.activation = keras.activations.serialize(keras.activations.get(activation))
        self.embedding_units = check_count("embedding_units", embedding_units)
        self.sees = check_sees(sees)
        self.seed = check_seed("seed", seed)

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        # t = 0..T-1 as cosines, the first of which is constant: told apart from the beginning
        times = (np.arange(num_transitions)[:, None] + 0.5) / num_transitions
        embedding = np.cos(np.pi * times * np.arange(self.embedding_units))
        self.embedding = tf.Variable(embedding.astype(self.dtype.as_numpy_dtype), name="embedding")
        self.factor = tf.Variable(np.zeros([], self.dtype.as_numpy_dtype), name="factor")
        glorot = glorot_uniform(self.seed, REVERSE)
        width = input_width(self.sees, event_size) + self.embedding_units
        self.layers = []
        for units, activation in [*((units, self.activation) for units in self.hidden_units), (event_size, None)]:
            layer = keras.layers.Dense(units, activation, kernel_initializer=glorot(), dtype=self.dtype.name)
            layer.build((None, width))
            self.layers.append(layer)
            width = units

    def score(self, t: int, inputs) -> tf.Tensor:
        """s(z, t), ``[..., l]``."""
        seen = joined(inputs, self.sees, self.event_size)
        shape = tf.concat([tf.shape(seen)[:-1], [self.embedding_units]], axis=0)
        h = tf.concat([seen, tf.broadcast_to(self.embedding[t], shape)], axis=-1)
        h = tf.ensure_shape(h, [*seen.shape[:-1], seen.shape[-1] + self.embedding_units])
        for layer in self.layers:
            h = layer(h)
        return self.factor * h

    def density(self, t, inputs):
        kept = tf.convert_to_tensor(inputs.kept, self.dtype)
        mean = 2.0 * tf.sqrt((1.0 - kept) / (1.0 + kept)) * self.score(t, inputs)
        return DiagonalGaussian(mean, tf.ones([self.event_size], self.dtype))

    def get_config(self):
        return {
            "hidden_units": list(self.hidden_units),
            "activation": self.activation,
            "embedding_units": self.embedding_units,
            "sees": list(self.sees),
            "seed": self.seed,
        }
