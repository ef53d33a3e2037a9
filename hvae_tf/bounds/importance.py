"""log p(x) by importance sampling: streamed in chunks, in log space, with its standard error."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count


class Estimate(NamedTuple):
    """An estimate of log p(x) from weights w_1..w_S.

    Attributes:
        value: ``[...]``, log of the mean weight, in nats; in expectation a lower bound of log p(x).
        standard_error: ``[...]``, by the delta method: std(w) / (mean(w) sqrt(S)). It is as good as the weights' own
            variance is known: where `effective_sample_size` is small, a handful of weights made the estimate, the
            largest is likely still to come, and the error is too small; weights with heavy tails can put the truth many
            of it away at a size of a hundred or two of a thousand. It says nothing of a mode that no sample found.
        effective_sample_size: ``[...]``, (sum w)^2 / sum w^2, from 1 to S.

    Example:
        >>> estimate = hvae_tf.LogMeanExp.of(tf.math.log([1.0, 1.0, 4.0])).estimate()
        >>> round(float(tf.exp(estimate.value)), 3), round(float(estimate.effective_sample_size), 3)
        (2.0, 2.0)
    """

    value: tf.Tensor
    standard_error: tf.Tensor
    effective_sample_size: tf.Tensor


class LogMeanExp(NamedTuple):
    """A running log-mean-exp with its second moment: three numbers per example whatever the number of samples.

    Sums are kept in float64, for the error is a difference of their logarithms: of weights near exp(-1e5), whose
    logarithms float32 tells apart by 0.008, nothing would be left of it.

    Attributes:
        log_sum: ``[...]``, log sum_s w_s, in float64.
        log_sum_squares: ``[...]``, log sum_s w_s^2, in float64.
        count: Number of samples seen, a scalar of the weights' type, or float32 if that is a half type, which has not
            all whole numbers; that type is the estimate's.

    Example:
        >>> halves = tf.math.log([1.0, 3.0]), tf.math.log([2.0, 2.0])
        >>> round(float(tf.exp(hvae_tf.LogMeanExp.over(halves).estimate().value)), 3)
        2.0
    """

    log_sum: tf.Tensor
    log_sum_squares: tf.Tensor
    count: tf.Tensor

    @classmethod
    def of(cls, log_weights: tf.Tensor) -> "LogMeanExp":
        """From log weights ``[S, ...]``."""
        log_weights = tf.convert_to_tensor(log_weights)
        precise = tf.cast(log_weights, tf.float64)
        return cls(
            tf.reduce_logsumexp(precise, axis=0),
            tf.reduce_logsumexp(2.0 * precise, axis=0),
            tf.cast(tf.shape(log_weights)[0], log_weights.dtype if log_weights.dtype.size > 2 else tf.float32),
        )

    @classmethod
    def over(cls, chunks: Iterable[tf.Tensor]) -> "LogMeanExp":
        """From chunks of log weights ``[S_i, ...]``, one at least, taken one after the other."""
        return functools.reduce(cls.merge, map(cls.of, chunks))

    def merge(self, other: "LogMeanExp") -> "LogMeanExp":
        """Both samples together."""
        return LogMeanExp(
            _log_add_exp(self.log_sum, other.log_sum),
            _log_add_exp(self.log_sum_squares, other.log_sum_squares),
            self.count + other.count,
        )

    def estimate(self) -> Estimate:
        """The estimate so far; its standard error is NaN for a single sample."""
        count = tf.cast(self.count, tf.float64)
        log_count = tf.math.log(count)
        # var(w)/mean(w)^2 = S sum w^2 / (sum w)^2 - 1, with S/(S-1) for the unbiased variance
        relative = tf.exp(self.log_sum_squares - 2.0 * self.log_sum + log_count) - 1.0
        variance = tf.maximum(relative, 0.0) / (count - 1.0)
        effective = tf.exp(2.0 * self.log_sum - self.log_sum_squares)
        found = self.log_sum - log_count, tf.sqrt(variance), effective
        return Estimate(*(tf.cast(tensor, self.count.dtype) for tensor in found))


def _log_add_exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_logsumexp(tf.stack([a, b]), axis=0)


def importance_log_likelihood(sample_log_weights, num_samples: int, seed, chunk_size: int = 100) -> Estimate:
    """Log p(x) by importance sampling, `chunk_size` samples at a time.

    Args:
        sample_log_weights: ``(num_samples, seed) -> [num_samples, ...]``: that many fresh log weights, the *sampled*
            ones (`log_weight`), never Rao-Blackwellised terms. `seed` is an int32 pair.
        num_samples: S >= 1.
        seed: An int, or an int32 pair as TensorFlow's stateless functions take it.
        chunk_size: Samples held at once, >= 1; it bounds the memory. The samples drawn depend on it.

    Returns:
        `Estimate` of shapes ``[...]``.

    Raises:
        ValueError: If num_samples or chunk_size is below 1.

    Example:
        >>> def sample_log_weights(num_samples, seed):  # for two examples; E[w] = exp(1/2)
        ...     return tf.random.stateless_normal([num_samples, 2], seed)
        >>> estimate = hvae_tf.importance_log_likelihood(sample_log_weights, 1000, seed=0)
        >>> bool(tf.reduce_all(tf.abs(estimate.value - 0.5) < 5.0 * estimate.standard_error))
        True
    """
    check_count("num_samples", num_samples)
    check_count("chunk_size", chunk_size)
    seed = tf.convert_to_tensor([0, seed] if isinstance(seed, (int, np.integer)) else seed, tf.int32)
    chunks = (
        sample_log_weights(min(chunk_size, num_samples - start), tf.random.experimental.stateless_fold_in(seed, chunk))
        for chunk, start in enumerate(range(0, num_samples, chunk_size))
    )
    return LogMeanExp.over(chunks).estimate()
