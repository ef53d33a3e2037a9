"""Likelihoods p(x|z) of an event of any shape, from the numbers that a decoder puts out.

An event is what one example is: a row of a table ``[C]``, a sequence ``[T, C]``, an image ``[H, W, C]``. Its last axis
counts channels. For an event ``[*axes, C]`` a likelihood reads decoder outputs ``[*axes, C * outputs_per_channel]``.
Log-densities are in nats, summed over all axes of the event.
"""

import abc
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.configured import Configured, resolve
from hvae_tf.networks.activations import softplus

tfd = tfp.distributions


class Likelihood(Configured, tf.Module, abc.ABC):
    """The distribution of every number of an event given the decoder's outputs; they are independent given z.

    A likelihood may have variables of its own, such as a noise scale for all examples: it makes them in `build`, as
    `tf.Variable`s, and a model trains and saves them.

    Attributes:
        reads_logits: Whether it takes the decoder's outputs for logits, so that probabilities would be a mistake.
    """

    reads_logits = False

    def __init__(self):
        super().__init__(name=type(self).__name__.lower())

    def build(self, event_shape: tuple[int, ...], dtype) -> None:
        """Makes the likelihood's variables, for events of this shape, where they are not made yet.

        The model calls it, and every target of the model again.

        Raises:
            ValueError: If there are variables already, for events of another shape.
        """

    @abc.abstractmethod
    def check_outputs(self, num_outputs: int, num_channels: int) -> None:
        """Raises ValueError unless a decoder with `num_outputs` last suits events of `num_channels` channels."""

    @abc.abstractmethod
    def distribution(self, outputs: tf.Tensor, event_shape) -> tfp.distributions.Distribution:
        """p(x|z) with batch shape ``[...]`` and this event shape, from outputs ``[..., *axes, C * outputs]``."""

    def log_prob(self, outputs: tf.Tensor, x: tf.Tensor, event_shape) -> tf.Tensor:
        """Log p(x|z), from ``[..., *axes, C * outputs]`` and ``[..., *axes, C]`` (broadcasting) to ``[...]``."""
        return self.distribution(outputs, event_shape).log_prob(x)

    def mean(self, outputs: tf.Tensor, event_shape) -> tf.Tensor:
        """E[x|z], ``[..., *axes, C]``: for binary pixels their probabilities."""
        return self.distribution(outputs, event_shape).mean()

    def sample(self, outputs: tf.Tensor, event_shape, seed) -> tf.Tensor:
        """A draw of x given z, ``[..., *axes, C]``; `seed` is an int32 pair."""
        return tf.cast(self.distribution(outputs, event_shape).sample(seed=seed), outputs.dtype)

    def fisher_information(self, outputs: tf.Tensor, columns: tf.Tensor, event_shape) -> tf.Tensor:
        """J^T W J ``[..., l, l]``: what an event tells of z, W being the Fisher information of the decoder's outputs.

        Args:
            outputs: ``[..., *axes, C * outputs]``.
            columns: ``[..., l, *axes, C * outputs]``, J: their derivatives along the axes of z.
            event_shape: Of the event.

        Raises:
            ValueError: If the likelihood has none.
        """
        weighted = self._weighted(outputs[(..., None, *[slice(None)] * len(event_shape))], columns, event_shape)
        shape = tf.concat([tf.shape(columns)[: -len(event_shape)], [-1]], axis=0)
        weighted, columns = (tf.reshape(tensor, shape) for tensor in (weighted, columns))
        return tf.linalg.matmul(columns, weighted, transpose_b=True)

    def _weighted(self, outputs, columns, event_shape) -> tf.Tensor:
        """W J, of the shape of `columns`; `outputs` broadcast with them."""
        raise ValueError(f"{type(self).__name__} has no Fisher information, which the metric Fisher() needs")

    @abc.abstractmethod
    def check_values(self, x: np.ndarray, num_outputs: int) -> None:
        """Raises ValueError if x ``[..., C]`` holds values outside the support; the decoder has `num_outputs` last."""


@keras.saving.register_keras_serializable("hvae_tf")
class Bernoulli(Likelihood):
    """Binary numbers; the decoder's outputs are logits. Any x in [0, 1] is scored, by the same formula."""

    reads_logits = True

    def check_outputs(self, num_outputs, num_channels):
        if num_outputs != num_channels:
            raise ValueError(
                f"the decoder puts out {num_outputs} numbers last for events of {num_channels} channels; "
                f"the bernoulli likelihood expects one logit per channel: {num_channels}"
            )

    def distribution(self, outputs, event_shape):
        return tfd.Independent(tfd.Bernoulli(logits=outputs), reinterpreted_batch_ndims=len(event_shape))

    def log_prob(self, outputs, x, event_shape):
        return tf.reduce_sum(x * outputs - softplus(outputs), axis=list(range(-len(event_shape), 0)))

    def mean(self, outputs, event_shape):
        return tf.sigmoid(outputs)

    def _weighted(self, outputs, columns, event_shape):
        return tf.sigmoid(outputs) * tf.sigmoid(-outputs) * columns  # pi (1 - pi)

    def check_values(self, x, num_outputs):
        _refuse_not_finite(x)
        if not ((x >= 0) & (x <= 1)).all():
            raise ValueError(
                f"x has values from {x.min()} to {x.max()}; the bernoulli likelihood expects values in [0, 1]: "
                "scale and binarise x first, or take another likelihood"
            )


@keras.saving.register_keras_serializable("hvae_tf")
class Normal(Likelihood):
    """Real numbers.

    Args:
        scale: Where the standard deviations come from. ``"decoder"``: of 2C outputs the first C are the means, the last
            C the logarithms of the standard deviations. Otherwise the decoder puts out C means: with ``"learned"`` each
            channel has one standard deviation for all examples, a variable that is trained with the model; a number, or
            one for each channel, stays as it is, in the unit of x.
        initial_scale: Where learned standard deviations start, positive: a number, or one for each channel.

    Raises:
        ValueError: If `scale` is another word, or a scale is not positive and finite.

    Example:
        >>> likelihood = hvae_tf.likelihoods.Normal()
        >>> outputs = tf.zeros([5, 6])  # for events of 3 channels: 3 means, 3 log standard deviations
        >>> likelihood.log_prob(outputs, tf.zeros([5, 3]), event_shape=(3,)).shape
        TensorShape([5])
        >>> hvae_tf.likelihoods.Normal(scale=0.1).log_prob(tf.zeros([5, 3]), tf.zeros([5, 3]), event_shape=(3,)).shape
        TensorShape([5])
    """

    def __init__(self, scale="decoder", initial_scale=1.0):
        super().__init__()
        if isinstance(scale, str) and scale not in ("decoder", "learned"):
            raise ValueError(f"unknown scale {scale!r}; accepted: decoder, learned, or positive numbers")
        self.scale = scale if isinstance(scale, str) else _standard_deviations("scale", scale).tolist()
        self.initial_scale = _standard_deviations("initial_scale", initial_scale).tolist()
        self.log_scale: tf.Variable | None = None

    def build(self, event_shape, dtype):
        channels = tuple(event_shape[-1:])
        if self.log_scale is not None and tuple(self.log_scale.shape) != channels:
            raise ValueError(
                f"this {self.name} likelihood is built already, for events of {self.log_scale.shape[0]} channels, and "
                f"got events of {channels[0]}; make a likelihood for each model"
            )
        if self.scale == "learned" and self.log_scale is None:
            initial = np.broadcast_to(np.log(self.initial_scale), channels)
            self.log_scale = tf.Variable(initial.astype(tf.as_dtype(dtype).as_numpy_dtype), name="log_scale")

    def check_outputs(self, num_outputs, num_channels):
        if not isinstance(self.scale, str) and np.shape(self.scale) not in ((), (num_channels,)):
            raise ValueError(
                f"scale has shape {np.shape(self.scale)} for events of {num_channels} channels; expected a number, or "
                "one for each channel"
            )
        wanted = 2 * num_channels if self.scale == "decoder" else num_channels
        what = "a mean and a log standard deviation" if self.scale == "decoder" else "a mean"
        if num_outputs != wanted:
            raise ValueError(
                f"the decoder puts out {num_outputs} numbers last for events of {num_channels} channels; "
                f"the normal likelihood with scale={self.scale!r} expects {what} per channel: {wanted}"
            )

    def _mean_and_log_scale(self, outputs):
        if self.scale == "decoder":
            return tf.split(outputs, 2, axis=-1)
        log_scale = np.log(self.scale) if self.log_scale is None else self.log_scale
        return outputs, tf.cast(log_scale, outputs.dtype)

    def _weighted(self, outputs, columns, event_shape):
        precision = tf.exp(-2.0 * self._mean_and_log_scale(outputs)[1])
        if self.scale != "decoder":
            return precision * columns
        of_mean, of_log_scale = tf.split(columns, 2, axis=-1)
        return tf.concat([precision * of_mean, 2.0 * of_log_scale], axis=-1)

    def distribution(self, outputs, event_shape):
        mean, log_scale = self._mean_and_log_scale(outputs)
        scale = tf.exp(log_scale)
        return tfd.Independent(tfd.Normal(mean, scale), reinterpreted_batch_ndims=len(event_shape))

    def check_values(self, x, num_outputs):
        _refuse_not_finite(x)

    def get_config(self):
        return {"scale": self.scale, "initial_scale": self.initial_scale}


@keras.saving.register_keras_serializable("hvae_tf")
class Categorical(Likelihood):
    """Numbers in {0, .., classes - 1}, whole, of any dtype; the outputs are C groups of `classes` logits.

    Its mean is the mean level, sum_k k p_k.
    """

    reads_logits = True

    def check_outputs(self, num_outputs, num_channels):
        if num_outputs % num_channels or num_outputs < 2 * num_channels:
            raise ValueError(
                f"the decoder puts out {num_outputs} numbers last for events of {num_channels} channels; the "
                "categorical likelihood expects as many logits for each channel, two or more: a multiple of "
                f"{num_channels}"
            )

    def _logits(self, outputs, num_channels):
        classes = outputs.shape[-1] // num_channels
        return tf.reshape(outputs, tf.concat([tf.shape(outputs)[:-1], [num_channels, classes]], 0))

    def distribution(self, outputs, event_shape):
        logits = self._logits(outputs, event_shape[-1])
        return tfd.Independent(tfd.Categorical(logits=logits), reinterpreted_batch_ndims=len(event_shape))

    def log_prob(self, outputs, x, event_shape):
        return self.distribution(outputs, event_shape).log_prob(tf.cast(x, tf.int32))

    def mean(self, outputs, event_shape):
        probabilities = tf.nn.softmax(self._logits(outputs, event_shape[-1]))
        return tf.linalg.matvec(probabilities, tf.range(probabilities.shape[-1], dtype=outputs.dtype))

    def _weighted(self, outputs, columns, event_shape):
        logits, grouped = (self._logits(tensor, event_shape[-1]) for tensor in (outputs, columns))
        probabilities = tf.nn.softmax(logits)
        mean = tf.reduce_sum(probabilities * grouped, axis=-1, keepdims=True)
        return tf.reshape(probabilities * (grouped - mean), tf.shape(columns))  # (diag p - p p^T) J

    def check_values(self, x, num_outputs):
        _refuse_not_finite(x)
        classes = num_outputs // x.shape[-1]
        if not ((x >= 0) & (x < classes) & (np.floor(x) == x)).all():
            raise ValueError(
                f"x has values from {x.min()} to {x.max()}; the categorical likelihood of this decoder expects whole "
                f"numbers from 0 to {classes - 1}"
            )


def _refuse_not_finite(x: np.ndarray) -> None:
    if not np.isfinite(x).all():
        raise ValueError(f"x holds {np.count_nonzero(~np.isfinite(x))} values that are not finite; remove them first")


def _standard_deviations(name: str, given) -> np.ndarray:
    """A number or an array ``[C]``; raises ValueError unless all are positive and finite."""
    found = np.asarray(given)
    if found.dtype.kind not in "fiu" or found.ndim > 1 or not (np.all(np.isfinite(found)) and np.all(found > 0)):
        raise ValueError(
            f"{name} is {given}; expected positive finite standard deviations, one or one for each channel"
        )
    return found.astype(np.float64)


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "normal": Normal,
    "categorical": Categorical,
}


def get_likelihood(likelihood: "str | Likelihood") -> Likelihood:
    """A `Likelihood` as it is, or the one of that name in `LIKELIHOODS`.

    Raises:
        ValueError: If it is neither; the message lists the names accepted.
    """
    return resolve("likelihood", likelihood, Likelihood, LIKELIHOODS, "a Likelihood object")
