"""The last layers of an encoder: the mean and the scale of q0(z_0|x) = N(mean, Sigma)."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.networks.activations import positive_softplus

COVARIANCES = ("diagonal", "full")


def gaussian_heads(h, latent_size: int, covariance: str, glorot, dtype) -> list:
    """Mean ``[B, l]``, and standard deviation ``[B, l]`` or Cholesky factor ``[B, l, l]``, of features ``[B, n]``.

    The factor starts diagonal: what stands below the diagonal begins at zero. So an encoder with a full covariance
    starts equal to the one with a diagonal covariance of the same seed.

    Args:
        h: ``[B, n]``, a Keras tensor.
        latent_size: l.
        covariance: ``"diagonal"`` or ``"full"``.
        glorot: A source of initialisers, see `glorot_uniform`.
        dtype: Of the layers.

    Raises:
        ValueError: If the covariance is of no known kind.
    """
    if covariance not in COVARIANCES:
        raise ValueError(f"unknown covariance {covariance!r}; accepted: {', '.join(COVARIANCES)}")
    mean = keras.layers.Dense(latent_size, kernel_initializer=glorot(), dtype=dtype, name="mean")(h)
    scale = keras.layers.Dense(
        latent_size, activation=positive_softplus, kernel_initializer=glorot(), dtype=dtype, name="standard_deviation"
    )(h)
    if covariance == "full" and latent_size > 1:
        below = keras.layers.Dense(
            latent_size * (latent_size - 1) // 2, kernel_initializer="zeros", dtype=dtype, name="below_diagonal"
        )(h)
        scale = LowerTriangular(dtype=dtype, name="scale_tril")([scale, below])
    elif covariance == "full":
        scale = keras.layers.Reshape((1, 1), dtype=dtype, name="scale_tril")(scale)
    return [mean, scale]


@keras.saving.register_keras_serializable("hvae_tf")
class LowerTriangular(keras.layers.Layer):
    """A diagonal ``[B, l]``, l > 1, and l (l - 1) / 2 entries below it ``[B, ..]``, as one matrix ``[B, l, l]``."""

    def call(self, inputs):
        diagonal, below = inputs
        strictly_below = tf.pad(tfp.math.fill_triangular(below), [[0, 0], [1, 0], [0, 1]])
        return tf.linalg.set_diag(strictly_below, diagonal)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0], input_shape[0][-1])
