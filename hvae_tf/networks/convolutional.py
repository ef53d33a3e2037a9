"""The inference and generative networks of section 4.2 of Caterini, Doucet & Sejdinovic (2018), for any image size.

Encoder: stride-2 SAME convolutions with 16, 32 and 32 maps (28 -> 14 -> 7 -> 4), a dense layer of 450, then mean and
standard deviation. Decoder: its mirror, by transposed convolutions (4 -> 7 -> 14 -> 28), to logits. Softplus
everywhere except before the mean and the logits.
"""

import keras
import numpy as np

from hvae_tf.checks import check_count
from hvae_tf.networks.activations import softplus
from hvae_tf.networks.context import with_context
from hvae_tf.networks.gaussian import gaussian_heads
from hvae_tf.networks.initial import DECODER, ENCODER, check_output_bias, glorot_uniform
from hvae_tf.networks.subpixel import STRIDE, TransposedConvolution


def conv_encoder(
    image_shape=(28, 28, 1),
    latent_size: int = 64,
    hidden_units: int = 450,
    filters=(16, 32, 32),
    kernel_size: int = 5,
    seed: int = 0,
    dtype=None,
    name: str = "encoder",
    *,
    covariance: str = "diagonal",
    context_shape=None,
) -> keras.Model:
    """The inference network: x ``[B, H, W, C]`` -> mean ``[B, l]`` and standard deviation ``[B, l]`` of q0(z_0|x).

    With a full covariance, the Cholesky factor ``[B, l, l]`` in the place of the standard deviation.

    Args:
        image_shape: (H, W, C), any sizes of at least 1.
        latent_size: l.
        hidden_units: Units of the dense layer after the convolutions.
        filters: Output maps of the stride-2 convolutions, one number for each of them.
        kernel_size: Of every convolution.
        seed: The initial weights (Glorot uniform) are a function of it.
        dtype: Of all layers, None for Keras's policy.
        name: Of the model.
        covariance: Of q0: ``"diagonal"``, or ``"full"``, l (l - 1) / 2 more outputs, which start at zero.
        context_shape: Of a context y, such as ``(10,)`` for one-hot labels of ten classes: the network then takes two
            inputs, for a conditional model. None for none.

    Raises:
        ValueError: If a size is not a positive integer, or the covariance of no known kind.

    Example:
        >>> hvae_tf.conv_encoder().output_shape  # the paper's
        [(None, 64), (None, 64)]
    """
    image_shape, filters, latent_size, hidden_units, kernel_size = _check_sizes(
        image_shape, latent_size, hidden_units, filters, kernel_size
    )
    glorot = glorot_uniform(seed, ENCODER)
    x = keras.Input(image_shape, dtype=keras.dtype_policies.get(dtype).variable_dtype, name="image")
    h = x
    for i, maps in enumerate(filters):
        h = keras.layers.Conv2D(
            maps, kernel_size, strides=STRIDE, padding="same", activation=softplus, kernel_initializer=glorot(),
            dtype=dtype, name=f"convolution_{i + 1}",
        )(h)  # fmt: skip
    h = keras.layers.Flatten(dtype=dtype, name="flatten")(h)
    context, h = with_context(h, context_shape, dtype)
    h = keras.layers.Dense(
        hidden_units, activation=softplus, kernel_initializer=glorot(), dtype=dtype, name="hidden",
    )(h)  # fmt: skip
    outputs = gaussian_heads(h, latent_size, covariance, glorot, dtype)
    return keras.Model([x, *context] if context else x, outputs, name=name)


def conv_decoder(
    image_shape=(28, 28, 1),
    latent_size: int = 64,
    hidden_units: int = 450,
    filters=(16, 32, 32),
    kernel_size: int = 5,
    outputs_per_channel: int = 1,
    output_bias=0.0,
    seed: int = 0,
    dtype=None,
    name: str = "decoder",
    *,
    context_shape=None,
) -> keras.Model:
    """The generative network: z ``[B, l]`` -> ``[B, H, W, C * outputs_per_channel]``, logits for binary images.

    It mirrors `conv_encoder` with the same arguments: the maps run through `filters` backwards.

    Args:
        image_shape: (H, W, C), any sizes of at least 1.
        latent_size: l.
        hidden_units: Units of the first dense layer.
        filters: As for `conv_encoder`.
        kernel_size: Of every transposed convolution.
        outputs_per_channel: 1 for ``"bernoulli"``, 2 for ``"normal"``, the number of classes for ``"categorical"``.
        output_bias: Initial bias of the outputs: a number (the paper's code takes the mean logit of the training
            pixels), an array ``[C * outputs_per_channel]``, or ``[H, W, C * outputs_per_channel]``, one for each pixel,
            which makes the last layer's bias of that shape.
        seed: The initial weights (Glorot uniform) are a function of it.
        dtype: Of all layers, None for Keras's policy.
        name: Of the model.
        context_shape: Of a context y, such as ``(10,)`` for one-hot labels of ten classes: the network then takes two
            inputs, for a conditional model. None for none.

    Raises:
        ValueError: If a size is not a positive integer, or output_bias does not fit or is not finite.

    Example:
        >>> hvae_tf.conv_decoder((32, 24, 3), latent_size=16).output_shape
        (None, 32, 24, 3)
    """
    image_shape, filters, latent_size, hidden_units, kernel_size = _check_sizes(
        image_shape, latent_size, hidden_units, filters, kernel_size
    )
    outputs = image_shape[-1] * check_count("outputs_per_channel", outputs_per_channel)
    output_bias = check_output_bias(output_bias, (*image_shape[:2], outputs))

    sizes = [image_shape[:2]]
    for _ in filters:
        sizes.append(tuple(-(-size // STRIDE) for size in sizes[-1]))
    smallest = (*sizes.pop(), filters[-1])
    maps = [*filters[-2::-1], outputs] if len(filters) > 1 else [outputs]
    glorot = glorot_uniform(seed, DECODER)
    z = keras.Input([latent_size], dtype=keras.dtype_policies.get(dtype).variable_dtype, name="latent")
    context, h = with_context(z, context_shape, dtype)
    for label, units in (("hidden", hidden_units), ("unflatten", int(np.prod(smallest)))):
        h = keras.layers.Dense(units, activation=softplus, kernel_initializer=glorot(), dtype=dtype, name=label)(h)
    h = keras.layers.Reshape(smallest, dtype=dtype, name="reshape")(h)
    for i, size in enumerate(reversed(sizes)):
        last = i == len(sizes) - 1
        layer = TransposedConvolution(
            maps[i], size, kernel_size, activation=None if last else softplus,
            bias="pixel" if last and output_bias.ndim == 3 else "map", kernel_initializer=glorot(),
            dtype=dtype, name="outputs" if last else f"transposed_convolution_{i + 1}",
        )  # fmt: skip
        h = layer(h)
    layer.bias.assign(np.broadcast_to(output_bias, layer.bias.shape))
    return keras.Model([z, *context] if context else z, h, name=name)


def _check_sizes(image_shape, latent_size, hidden_units, filters, kernel_size):
    try:
        image_shape, filters = tuple(image_shape), tuple(filters)
    except TypeError:
        raise ValueError(
            f"image_shape is {image_shape!r} and filters {filters!r}; expected (H, W, C) and one number per convolution"
        ) from None
    if len(image_shape) != 3:
        raise ValueError(f"image_shape is {image_shape}; expected (height, width, channels)")
    if not filters:
        raise ValueError("filters is empty; expected one number of maps for each convolution")
    image_shape, filters = (
        tuple(check_count(f"{name}[{i}]", value) for i, value in enumerate(values))
        for name, values in (("image_shape", image_shape), ("filters", filters))
    )
    sizes = {"latent_size": latent_size, "hidden_units": hidden_units, "kernel_size": kernel_size}
    return image_shape, filters, *(check_count(name, value) for name, value in sizes.items())
