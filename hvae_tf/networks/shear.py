"""A learned shear of the latents, in front of a decoder (Hoffman 2017).

The prior N(0, I) does not change when latents are rotated, and neither does p(x) when the decoder is rotated with them;
a mean-field bound does. A gives the rotation a place of its own to be learned in. Its diagonal is 1: det A = 1, and no
latent can be switched off through it.
"""

import keras
import tensorflow as tf
import tensorflow_probability as tfp


@keras.saving.register_keras_serializable("hvae_tf")
class UnitLowerTriangular(keras.layers.Layer):
    """z -> A z, ``[..., l] -> [..., l]``, A lower triangular with ones on its diagonal; it starts at A = I.

    Its weight ``[l (l - 1) / 2]`` is what stands below the diagonal; with l = 1 there is none.
    """

    def build(self, input_shape):
        self.size = input_shape[-1]
        self.below = None
        if self.size > 1:
            count = self.size * (self.size - 1) // 2
            self.below = self.add_weight(shape=(count,), initializer="zeros", name="below_diagonal")

    def matrix(self) -> tf.Tensor:
        """A, ``[l, l]``."""
        return tf.linalg.set_diag(self._strictly_lower(), tf.ones([self.size], self.variable_dtype))

    def _strictly_lower(self):
        if self.below is None:
            return tf.zeros([self.size, self.size], self.variable_dtype)
        below = tf.convert_to_tensor(self.below)
        return tf.pad(tfp.math.fill_triangular(below), [[1, 0], [0, 1]])

    def call(self, inputs):
        return inputs + tf.linalg.matmul(inputs, tf.cast(self._strictly_lower(), inputs.dtype), transpose_b=True)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config()  # what Keras makes of the arguments by itself has no policies in it


def sheared(decoder: keras.Model) -> keras.Model:
    """The decoder of A z: the same model with a `UnitLowerTriangular` in front, with which it is saved and loaded.

    Args:
        decoder: Keras model ``[n, l] -> [n, ...]``, or of two inputs, the second a context.

    Raises:
        ValueError: If it does not take ``[n, l]``.
    """
    shapes = getattr(decoder, "input_shape", None)
    shape = shapes[0] if isinstance(shapes, list) and len(shapes) == 2 else shapes  # of z, before that of contexts
    if not isinstance(shape, tuple) or len(shape) != 2 or not shape[-1]:
        raise ValueError(f"the decoder takes inputs of shape {shape}; expected (None, l), one latent size l")
    policy = decoder.dtype_policy
    z = keras.Input([shape[-1]], dtype=policy.variable_dtype, name="latent")
    moved, name = UnitLowerTriangular(dtype=policy, name="shear")(z), f"sheared_{decoder.name}"
    if len(decoder.inputs) == 1:
        return keras.Model(z, decoder(moved), name=name)
    y = keras.Input(decoder.inputs[1].shape[1:], dtype=decoder.inputs[1].dtype, name="context")
    return keras.Model([z, y], decoder([moved, y]), name=name)


def shear_of(decoder: keras.Model) -> UnitLowerTriangular | None:
    """The `UnitLowerTriangular` in front of a decoder; None where there is none."""
    layers = [layer for layer in getattr(decoder, "layers", ()) if not isinstance(layer, keras.layers.InputLayer)]
    return layers[0] if layers and isinstance(layers[0], UnitLowerTriangular) else None
