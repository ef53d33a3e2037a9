"""Softplus, the activation of the paper's networks and the cost of a Bernoulli pixel."""

import keras
import tensorflow as tf

MIN_STANDARD_DEVIATION = 1e-6


@tf.custom_gradient
def _softplus(value):
    # the minimum keeps exp finite; where it acts, softplus(v) = v to more digits than there are
    bound = tf.constant(10.0 if value.dtype == tf.float16 else 40.0, value.dtype)
    log_1p_exp = tf.math.log1p(tf.exp(tf.minimum(value, bound)))
    return tf.maximum(value, log_1p_exp), lambda upstream: upstream * tf.sigmoid(value)


@keras.saving.register_keras_serializable("hvae_tf")
def softplus(value):
    """log(1 + exp(value)), as `tf.nn.softplus` but in less time on CPU; differentiable any number of times."""
    return _softplus(tf.convert_to_tensor(value))


@keras.saving.register_keras_serializable("hvae_tf")
def positive_softplus(value):
    """Softplus plus 1e-6: a standard deviation that never rounds to zero.

    Example:
        >>> round(float(hvae_tf.positive_softplus(0.0)), 4), float(hvae_tf.positive_softplus(-200.0)) > 0.0
        (0.6931, True)
    """
    return softplus(value) + MIN_STANDARD_DEVIATION
