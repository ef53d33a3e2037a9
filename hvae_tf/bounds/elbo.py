"""Bounds on log p(x) from samples; in nats, per example, no means taken.

Two functions for every flow: what a flow does to a weight, it says itself (`FlowResult`).
"""

import tensorflow as tf

from hvae_tf.flows.flow import FlowResult


def log_weight(result: FlowResult, log_q0: tf.Tensor) -> tf.Tensor:
    """Log p_hat(x), unbiased before the logarithm: (2) with no flow, (4) with a deterministic one, (6) with HVAE's.

    Args:
        result: What the flow gave.
        log_q0: ``[...]``, log q0(z_0 | x).

    Returns:
        ``[...]``; its mean is the ELBO.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * z[..., 0] ** 2, event_size=1)  # sqrt(2 pi) in all
        >>> q0 = hvae_tf.DiagonalGaussian(tf.zeros([1]), tf.ones([1]))
        >>> z = q0.sample(tf.random.stateless_normal([3, 1], seed=(0, 1)))
        >>> result = hvae_tf.IdentityFlow(1).transform(target, z)
        >>> [round(float(value), 4) for value in hvae_tf.log_weight(result, q0.log_prob(z))]  # q0 is exact: no noise
        [0.9189, 0.9189, 0.9189]
    """
    return result.log_joint - log_q0 + result.log_ratio


def elbo_sample(result: FlowResult, log_q0: tf.Tensor) -> tf.Tensor:
    """A sample whose mean is the ELBO, the flow's closed-form expectations taken; (12) for HVAE.

    For ELBOs only, never an importance weight. What is taken out has the same mean; the variance of the value itself
    can go either way.

    Args:
        result: What the flow gave.
        log_q0: ``[...]``, log q0(z_0 | x), or its expectation ``-q0.entropy()``.

    Returns:
        ``[...]``.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * z[..., 0] ** 2, event_size=1)
        >>> q0 = hvae_tf.DiagonalGaussian(tf.zeros([1]), tf.ones([1]))
        >>> result = hvae_tf.IdentityFlow(1).transform(target, q0.sample(tf.ones([3, 1])))
        >>> hvae_tf.elbo_sample(result, -q0.entropy()).shape
        TensorShape([3])
    """
    return result.log_joint - log_q0 + result.expected_log_ratio


def iwae_bound(log_weights: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Log 1/L sum_i exp(log w_i) over the samples' axis (Burda, Grosse & Salakhutdinov 2016). ``[L, ...] -> [...]``.

    Example:
        >>> round(float(tf.exp(hvae_tf.iwae_bound(tf.math.log([1.0, 3.0])))), 3)
        2.0
    """
    count = tf.cast(tf.shape(log_weights)[axis], log_weights.dtype)
    return tf.reduce_logsumexp(log_weights, axis=axis) - tf.math.log(count)
