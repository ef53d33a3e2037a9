"""The inference and generative networks of section 4.2 of Caterini, Doucet & Sejdinovic (2018), for any image size.

Encoder: stride-2 SAME convolutions with 16, 32 and 32 maps (28 -> 14 -> 7 -> 4), a dense layer of 450, then mean and
standard deviation. Decoder: its mirror, by transposed convolutions (4 -> 7 -> 14 -> 28), to logits. Softplus
everywhere except before the mean and the logits.
"""

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count

STRIDE = 2
FEW_MAPS = 8  # up to here TensorFlow's own transposed convolution is the slower one on CPU, see `grow_few_maps`
MIN_STANDARD_DEVIATION = 1e-6


@keras.saving.register_keras_serializable("hvae_tf")
def positive_softplus(value):
    """Softplus plus 1e-6: a standard deviation that never rounds to zero."""
    return keras.ops.softplus(value) + MIN_STANDARD_DEVIATION


def grow_many_maps(x: tf.Tensor, kernel: tf.Tensor, size) -> tf.Tensor:
    """The transpose of the SAME convolution by 2 from ``[B, H, W, out]``, (H, W) = size, to ``[B, h, w, in]``.

    Args:
        x: ``[B, h, w, in]`` with h = ceil(H / 2), w = ceil(W / 2).
        kernel: ``[k, k, out, in]``.
        size: (H, W).

    Returns:
        ``[B, H, W, out]``.
    """
    return tf.nn.conv2d_transpose(x, kernel, [tf.shape(x)[0], *size, kernel.shape[2]], STRIDE, padding="SAME")


def grow_few_maps(x: tf.Tensor, kernel: tf.Tensor, size) -> tf.Tensor:
    """`grow_many_maps`, quicker on CPU where `out` is small; it can be differentiated any number of times.

    The map goes by `_grow_by_phases`; its transpose, which is its gradient, is quick as TensorFlow has it.
    """

    def kernel_gradient(y, x):
        return tf.raw_ops.Conv2DBackpropFilter(
            input=y, filter_sizes=kernel.shape, out_backprop=x, strides=[1, STRIDE, STRIDE, 1], padding="SAME"
        )

    @tf.custom_gradient
    def grow(x, kernel):
        return _grow_by_phases(x, kernel, size), lambda dy: (shrink(dy, kernel), kernel_gradient(dy, x))

    @tf.custom_gradient
    def shrink(y, kernel):
        return tf.nn.conv2d(y, kernel, STRIDE, "SAME"), lambda dx: (grow(dx, kernel), kernel_gradient(y, dx))

    return grow(x, kernel)


def _grow_by_phases(x, kernel, size):
    """`grow_many_maps` as one convolution at the small size: an output map for each of the 2 x 2 phases of a pixel.

    Along an axis, y[p] = sum_i x[i] w[p - 2i + before], `before` being the convolution's padding in front. For
    p = 2q + a, taps of phase a are every other one of w: pad w in front so that they start at even places.
    """
    taps, paddings, kernel_paddings = [], [[0, 0]], []
    for axis, n in enumerate(size):
        k = kernel.shape[axis]
        before = max((-(-n // STRIDE) - 1) * STRIDE + k - n, 0) // 2
        front = before % STRIDE
        count = -(-(k + front) // STRIDE)
        behind = (before + front) // STRIDE  # x[q + behind] meets the first tap
        taps.append(count)
        paddings.append([count - 1 - behind, behind])
        kernel_paddings.append([front, count * STRIDE - k - front])
    maps, inputs = kernel.shape[2:]
    w = tf.pad(kernel, [*kernel_paddings, [0, 0], [0, 0]])
    w = tf.reshape(w, [taps[0], STRIDE, taps[1], STRIDE, maps, inputs])
    w = tf.transpose(tf.reverse(w, [0, 2]), [0, 2, 5, 1, 3, 4])
    w = tf.reshape(w, [*taps, inputs, STRIDE * STRIDE * maps])
    phases = tf.nn.conv2d(x, w, 1, padding=[*paddings, [0, 0]])
    return tf.nn.depth_to_space(phases, STRIDE)[:, : size[0], : size[1]]


@keras.saving.register_keras_serializable("hvae_tf")
class TransposedConvolution(keras.layers.Layer):
    """The transpose of the stride-2 SAME convolution from ``[H, W, filters]`` images, to exactly that size.

    A SAME convolution with stride 2 takes sizes 2n - 1 and 2n both to n; `output_size` says which of them to return to.

    Args:
        filters: Number of output maps.
        output_size: (H, W) of the output.
        kernel_size: Height and width of the kernel.
        activation: Applied last.
        bias: ``"map"``, one bias for each output map, or ``"pixel"``, one for each pixel and map.
        kernel_initializer: Of the kernel ``[kernel_size, kernel_size, filters, input maps]``.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: If the input's size is not that of the convolution's output.
    """

    def __init__(
        self, filters, output_size, kernel_size=5, activation=None, bias="map", kernel_initializer="glorot_uniform",
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if bias not in ("map", "pixel"):
            raise ValueError(f"unknown bias {bias!r}; accepted: map, pixel")
        self.filters = int(filters)
        self.output_size = tuple(int(size) for size in output_size)
        self.kernel_size = int(kernel_size)
        self.activation = keras.activations.get(activation)
        self.bias_per = bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        expected = tuple(-(-size // STRIDE) for size in self.output_size)
        if tuple(input_shape[1:3]) != expected:
            raise ValueError(
                f"inputs of shape {tuple(input_shape)} cannot grow to {self.output_size}; expected {expected}"
            )
        kernel_shape = (self.kernel_size, self.kernel_size, self.filters, input_shape[-1])
        self.kernel = self.add_weight(shape=kernel_shape, initializer=self.kernel_initializer, name="kernel")
        bias_shape = (*(self.output_size if self.bias_per == "pixel" else ()), self.filters)
        self.bias = self.add_weight(shape=bias_shape, initializer="zeros", name="bias")

    def call(self, inputs):
        grow = grow_few_maps if self.filters <= FEW_MAPS else grow_many_maps
        return self.activation(grow(inputs, tf.convert_to_tensor(self.kernel), self.output_size) + self.bias)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.output_size, self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "output_size": self.output_size,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "bias": self.bias_per,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def conv_encoder(
    image_shape=(28, 28, 1),
    latent_size: int = 64,
    hidden_units: int = 450,
    filters=(16, 32, 32),
    kernel_size: int = 5,
    seed: int = 0,
    dtype=None,
    name: str = "encoder",
) -> keras.Model:
    """The inference network: x ``[B, H, W, C]`` -> mean ``[B, l]`` and standard deviation ``[B, l]`` of q0(z_0|x).

    Args:
        image_shape: (H, W, C), any sizes of at least 1.
        latent_size: l.
        hidden_units: Units of the dense layer after the convolutions.
        filters: Output maps of the stride-2 convolutions, one number for each of them.
        kernel_size: Of every convolution.
        seed: The initial weights (Glorot uniform) are a function of it.
        dtype: Of all layers, None for Keras's policy.
        name: Of the model.

    Raises:
        ValueError: If a size is not a positive integer.
    """
    image_shape, filters = _check_sizes(image_shape, latent_size, hidden_units, filters, kernel_size)
    glorot = _glorot_uniform(seed, 0)
    x = keras.Input(image_shape, dtype=keras.dtype_policies.get(dtype).variable_dtype, name="image")
    h = x
    for i, maps in enumerate(filters):
        h = keras.layers.Conv2D(
            maps, kernel_size, strides=STRIDE, padding="same", activation="softplus", kernel_initializer=glorot(),
            dtype=dtype, name=f"convolution_{i + 1}",
        )(h)  # fmt: skip
    h = keras.layers.Flatten(dtype=dtype, name="flatten")(h)
    h = keras.layers.Dense(
        hidden_units, activation="softplus", kernel_initializer=glorot(), dtype=dtype, name="hidden"
    )(h)
    mean = keras.layers.Dense(latent_size, kernel_initializer=glorot(), dtype=dtype, name="mean")(h)
    standard_deviation = keras.layers.Dense(
        latent_size, activation=positive_softplus, kernel_initializer=glorot(), dtype=dtype, name="standard_deviation"
    )(h)
    return keras.Model(x, [mean, standard_deviation], name=name)


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

    Raises:
        ValueError: If a size is not a positive integer, or output_bias does not fit or is not finite.
    """
    image_shape, filters = _check_sizes(image_shape, latent_size, hidden_units, filters, kernel_size)
    check_count("outputs_per_channel", outputs_per_channel)
    outputs = image_shape[-1] * outputs_per_channel
    output_bias = np.asarray(output_bias, np.float64)
    shapes = ((), (outputs,), (*image_shape[:2], outputs))
    if output_bias.shape not in shapes:
        raise ValueError(f"output_bias has shape {output_bias.shape}; expected one of {', '.join(map(str, shapes))}")
    if not np.all(np.isfinite(output_bias)):
        raise ValueError("output_bias holds values that are not finite; clip the pixels' means away from 0 and 1")

    sizes = [image_shape[:2]]
    for _ in filters:
        sizes.append(tuple(-(-size // STRIDE) for size in sizes[-1]))
    smallest = (*sizes.pop(), filters[-1])
    maps = [*filters[-2::-1], outputs] if len(filters) > 1 else [outputs]
    glorot = _glorot_uniform(seed, 1)
    z = keras.Input([latent_size], dtype=keras.dtype_policies.get(dtype).variable_dtype, name="latent")
    h = z
    for label, units in (("hidden", hidden_units), ("unflatten", int(np.prod(smallest)))):
        h = keras.layers.Dense(units, activation="softplus", kernel_initializer=glorot(), dtype=dtype, name=label)(h)
    h = keras.layers.Reshape(smallest, dtype=dtype, name="reshape")(h)
    for i, size in enumerate(reversed(sizes)):
        last = i == len(sizes) - 1
        layer = TransposedConvolution(
            maps[i], size, kernel_size, activation=None if last else "softplus",
            bias="pixel" if last and output_bias.ndim == 3 else "map", kernel_initializer=glorot(),
            dtype=dtype, name="outputs" if last else f"transposed_convolution_{i + 1}",
        )  # fmt: skip
        h = layer(h)
    layer.bias.assign(np.broadcast_to(output_bias, layer.bias.shape))
    return keras.Model(z, h, name=name)


def _glorot_uniform(seed, network):
    """A source of initialisers, each with a seed of its own, all of them a function of (seed, network)."""
    if int(seed) != seed or seed < 0:
        raise ValueError(f"seed is {seed}; expected an integer of at least 0")
    state = np.random.SeedSequence([int(seed), network])

    def initializer():
        return keras.initializers.GlorotUniform(int(state.spawn(1)[0].generate_state(1)[0] >> 1))

    return initializer


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
    for name, values in (("image_shape", image_shape), ("filters", filters)):
        for i, value in enumerate(values):
            check_count(f"{name}[{i}]", value)
    check_count("latent_size", latent_size)
    check_count("hidden_units", hidden_units)
    check_count("kernel_size", kernel_size)
    return image_shape, filters
