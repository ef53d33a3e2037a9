"""Upsampling: the transpose of a SAME convolution with a stride, with a quick route for few output maps."""

import keras
import numpy as np
import tensorflow as tf

STRIDE = 2
LANES = 16  # a convolution to fewer maps costs as much as one to 16, see `choose_block`
FEW_MAPS = 16  # up to here TensorFlow's own transposed convolution is the slower one on CPU


def conv2d_transpose(x: tf.Tensor, kernel: tf.Tensor, size, *, stride: int = STRIDE) -> tf.Tensor:
    """The transpose of the SAME convolution by s from ``[B, H, W, out]``, (H, W) = size, to ``[B, h, w, in]``.

    By TensorFlow's transposed convolution, or, for few output maps, by `subpixel_conv2d_transpose`: chosen by what was
    measured on CPU, see `benchmarks/`.

    Args:
        x: ``[B, h, w, in]`` with h = ceil(H / s), w = ceil(W / s).
        kernel: ``[k, k', out, in]``.
        size: (H, W).
        stride: s.

    Returns:
        ``[B, H, W, out]``.
    """
    if kernel.shape[2] <= FEW_MAPS:
        return subpixel_conv2d_transpose(x, kernel, size, stride=stride)
    return tf.nn.conv2d_transpose(x, kernel, [tf.shape(x)[0], *size, kernel.shape[2]], stride, padding="SAME")


def subpixel_conv2d_transpose(
    x: tf.Tensor, kernel: tf.Tensor, size, *, stride: int = STRIDE, block: int | None = None
) -> tf.Tensor:
    """`conv2d_transpose` as a convolution to whole blocks of pixels; it can be differentiated any number of times.

    The sub-pixel convolution of Shi et al. (2016), with the weights of the transposed one. Only the map itself goes by
    blocks: its transpose, which is its gradient, is quick as TensorFlow has it.

    Args:
        x: As for `conv2d_transpose`.
        kernel: As for `conv2d_transpose`.
        size: As for `conv2d_transpose`.
        stride: As for `conv2d_transpose`.
        block: m, a block being sm x sm pixels; None for the cheapest.
    """
    block = choose_block(kernel, stride) if block is None else block

    def kernel_gradient(y, x):
        return tf.raw_ops.Conv2DBackpropFilter(
            input=y, filter_sizes=kernel.shape, out_backprop=x, strides=[1, stride, stride, 1], padding="SAME"
        )

    @tf.custom_gradient
    def forward(x, kernel):
        y = _to_blocks(x, kernel, size, stride, block)
        return y, lambda dy: (transpose(dy, kernel), kernel_gradient(dy, x))

    @tf.custom_gradient
    def transpose(y, kernel):
        return tf.nn.conv2d(y, kernel, stride, "SAME"), lambda dx: (forward(dx, kernel), kernel_gradient(y, dx))

    return forward(x, kernel)


def choose_block(kernel: tf.Tensor, stride: int = STRIDE) -> int:
    """The m for which a pixel costs the least arithmetic, outputs being counted in whole vectors of `LANES`."""

    def cost(m):
        taps = [len(_taps(k, before=0, stride=stride, m=m)[0]) for k in kernel.shape[:2]]
        pixels = (stride * m) ** 2
        return taps[0] * taps[1] * -(-pixels * kernel.shape[2] // LANES) / pixels

    return min((1, 2), key=cost)


def _taps(k, before, stride, m):
    """Along an axis: which tap of the kernel takes input i of a block to its pixel a, and the first input's place.

    y[p] = sum_i x[i] w[p - si + before], `before` being the convolution's padding in front. Block Q holds the pixels
    smQ + a, and the inputs mQ + first .. mQ + last reach it. Where no tap does, the table says k.
    """
    first, last = -((k - 1 - before) // stride), (stride * m - 1 + before) // stride
    taps = np.arange(stride * m) - stride * np.arange(first, last + 1)[:, None] + before
    return np.where((taps >= 0) & (taps < k), taps, k), first


def _to_blocks(x, kernel, size, stride, m):
    w, paddings = tf.pad(kernel, [[0, 1], [0, 1], [0, 0], [0, 0]]), [[0, 0]]
    for axis, n in enumerate(size):
        k, inputs, blocks = kernel.shape[axis], -(-n // stride), -(-n // (stride * m))
        before = max((inputs - 1) * stride + k - n, 0) // 2
        taps, first = _taps(k, before, stride, m)
        w = tf.gather(w, taps, axis=2 * axis)
        behind = (blocks - 1) * m + first + len(taps) - inputs
        paddings.append([-first, max(behind, 0)])
    maps, depth = kernel.shape[2:]
    taps, pixels = w.shape[0:3:2], w.shape[1] * w.shape[3]
    w = tf.reshape(tf.transpose(w, [0, 2, 5, 1, 3, 4]), [*taps, depth, pixels * maps])
    y = tf.nn.conv2d(x, w, m, padding=[*paddings, [0, 0]])
    y = tf.nn.depth_to_space(y, stride * m) if stride * m > 1 else y
    return y[:, : size[0], : size[1]]


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
        return self.activation(
            conv2d_transpose(inputs, tf.convert_to_tensor(self.kernel), self.output_size) + self.bias
        )

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
