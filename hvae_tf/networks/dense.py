"""Dense inference and generative networks for events of any shape: rows of a table, sequences, small images."""

import math

import keras
import numpy as np

from hvae_tf.checks import check_count
from hvae_tf.networks.activations import softplus
from hvae_tf.networks.context import with_context
from hvae_tf.networks.gaussian import gaussian_heads
from hvae_tf.networks.initial import DECODER, ENCODER, check_output_bias, glorot_uniform


def dense_encoder(
    event_shape,
    latent_size: int,
    hidden_units=(128, 128),
    *,
    covariance: str = "diagonal",
    context_shape=None,
    seed: int = 0,
    dtype=None,
    name: str = "encoder",
) -> keras.Model:
    """The inference network: x ``[B, *event_shape]`` -> mean ``[B, l]`` and standard deviation ``[B, l]`` of q0.

    With a full covariance, the Cholesky factor ``[B, l, l]`` in the place of the standard deviation.

    Softplus everywhere except before the mean; the values of an event are best of the order of 1.

    Args:
        event_shape: Of one x: ``(d,)``, ``(t, d)``, ``(H, W, C)``, any rank of at least 1; a number is ``(d,)``.
        latent_size: l.
        hidden_units: Units of each hidden layer, none or more.
        covariance: Of q0: ``"diagonal"``, or ``"full"``, l (l - 1) / 2 more outputs, which start at zero.
        context_shape: Of a context y, such as ``(10,)`` for one-hot labels of ten classes: the network then takes two
            inputs, for a conditional model. None for none.
        seed: The initial weights (Glorot uniform) are a function of it.
        dtype: Of all layers, None for Keras's policy.
        name: Of the model.

    Raises:
        ValueError: If a size is not a positive integer, or the covariance of no known kind.

    Example:
        >>> hvae_tf.dense_encoder((5,), latent_size=2).output_shape
        [(None, 2), (None, 2)]
    """
    event_shape, latent_size, hidden_units = _check_sizes(event_shape, latent_size, hidden_units)
    glorot = glorot_uniform(seed, ENCODER)
    x = keras.Input(event_shape, dtype=keras.dtype_policies.get(dtype).variable_dtype, name="event")
    h = keras.layers.Flatten(dtype=dtype, name="flatten")(x)
    context, h = with_context(h, context_shape, dtype)
    h = _hidden(h, hidden_units, glorot, dtype)
    outputs = gaussian_heads(h, latent_size, covariance, glorot, dtype)
    return keras.Model([x, *context] if context else x, outputs, name=name)


def dense_decoder(
    event_shape,
    latent_size: int,
    hidden_units=(128, 128),
    *,
    outputs_per_channel: int = 1,
    output_bias=0.0,
    context_shape=None,
    seed: int = 0,
    dtype=None,
    name: str = "decoder",
) -> keras.Model:
    """The generative network: z ``[B, l]`` -> ``[B, *event_shape[:-1], event_shape[-1] * outputs_per_channel]``.

    It mirrors `dense_encoder` with the same arguments: the hidden layers run through `hidden_units` backwards.

    Args:
        event_shape: As for `dense_encoder`; its last axis is the channels.
        latent_size: l.
        hidden_units: As for `dense_encoder`.
        outputs_per_channel: 1 for ``"bernoulli"``, 2 for ``"normal"``, the number of classes for ``"categorical"``.
        output_bias: Initial bias of the outputs: a number, one for each index of the last axis of the outputs, or one
            for each output.
        context_shape: Of a context y, such as ``(10,)`` for one-hot labels of ten classes: the network then takes two
            inputs, for a conditional model. None for none.
        seed: The initial weights (Glorot uniform) are a function of it.
        dtype: Of all layers, None for Keras's policy.
        name: Of the model.

    Raises:
        ValueError: If a size is not a positive integer, or output_bias does not fit or is not finite.

    Example:
        >>> hvae_tf.dense_decoder((8, 8, 1), latent_size=2, outputs_per_channel=2).output_shape
        (None, 8, 8, 2)
    """
    event_shape, latent_size, hidden_units = _check_sizes(event_shape, latent_size, hidden_units)
    outputs_per_channel = check_count("outputs_per_channel", outputs_per_channel)
    shape = (*event_shape[:-1], event_shape[-1] * outputs_per_channel)
    output_bias = check_output_bias(output_bias, shape)
    glorot = glorot_uniform(seed, DECODER)
    z = keras.Input([latent_size], dtype=keras.dtype_policies.get(dtype).variable_dtype, name="latent")
    context, h = with_context(z, context_shape, dtype)
    h = _hidden(h, hidden_units[::-1], glorot, dtype)
    outputs = keras.layers.Dense(math.prod(shape), kernel_initializer=glorot(), dtype=dtype, name="outputs")
    h = outputs(h)
    outputs.bias.assign(np.broadcast_to(output_bias, shape).ravel())
    h = keras.layers.Reshape(shape, dtype=dtype, name="reshape")(h)
    return keras.Model([z, *context] if context else z, h, name=name)


def _hidden(h, hidden_units, glorot, dtype):
    for i, units in enumerate(hidden_units):
        h = keras.layers.Dense(
            units, activation=softplus, kernel_initializer=glorot(), dtype=dtype, name=f"hidden_{i + 1}"
        )(h)
    return h


def _check_sizes(event_shape, latent_size, hidden_units):
    sizes = []
    for name, value in (("event_shape", event_shape), ("hidden_units", hidden_units)):
        size = tuple(value) if np.iterable(value) and not isinstance(value, str) else (value,)
        sizes.append(tuple(check_count(f"{name}[{i}]", entry) for i, entry in enumerate(size)))
    event_shape, hidden_units = sizes
    if not event_shape:
        raise ValueError("event_shape is (); expected one size or more, such as (d,), (t, d) or (H, W, C)")
    return event_shape, check_count("latent_size", latent_size), hidden_units
