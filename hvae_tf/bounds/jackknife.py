"""The standard error of a log-mean-exp, by leaving out one sample at a time."""

import tensorflow as tf

from hvae_tf.bounds.importance import Estimate, LogMeanExp


def jackknife(log_weights: tf.Tensor) -> Estimate:
    """Log-mean-exp over the first axis with the standard error that leaving out one at a time gives.

    se^2 = (C - 1)/C sum_c (v_c - mean(v))^2, v_c the log-mean-exp without c. It does not take log w for linear, as the
    delta method does, which matters for few weights of unlike size.

    Args:
        log_weights: ``[C, ...]``.

    Returns:
        `Estimate` of ``[...]``; the standard error is NaN for C = 1.
    """
    given = tf.convert_to_tensor(log_weights)
    log_weights = tf.cast(given, tf.float64)  # see `LogMeanExp`
    count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
    log_sum = tf.reduce_logsumexp(log_weights, axis=0)
    # log(sum - w_c): without the greatest weight by a sum of its own, else all digits would be lost in it
    index = tf.range(tf.shape(log_weights)[0])[(..., *[None] * (log_weights.shape.rank - 1))]
    others = index != tf.argmax(log_weights, 0, tf.int32)
    without_greatest = tf.reduce_logsumexp(tf.where(others, log_weights, -float("inf")), axis=0)
    share = tf.where(others, tf.exp(log_weights - log_sum), 0.0)  # at most a half
    left = tf.where(others, log_sum + tf.math.log1p(-share), without_greatest) - tf.math.log(count - 1.0)
    spread = tf.reduce_sum(tf.square(left - tf.reduce_mean(left, axis=0)), axis=0)
    error = tf.cast(tf.sqrt((count - 1.0) / count * spread), given.dtype)
    return LogMeanExp.of(given).estimate()._replace(standard_error=error)
