"""Likelihoods p(x|z) of an image, from the numbers that a decoder puts out.

A likelihood reads, for images ``[H, W, C]``, decoder outputs ``[H, W, C * outputs_per_channel]``. Log-densities are in
nats, summed over the pixels and channels of an image.
"""

import abc
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.networks.activations import softplus

tfd = tfp.distributions

_IMAGE_AXES = (-3, -2, -1)


class Likelihood(abc.ABC):
    """The distribution of every pixel given the decoder's outputs; pixels are independent given z."""

    @abc.abstractmethod
    def check_outputs(self, num_outputs: int, num_channels: int) -> None:
        """Raises ValueError unless a decoder with `num_outputs` last suits images of `num_channels` channels."""

    @abc.abstractmethod
    def distribution(self, outputs: tf.Tensor, num_channels: int) -> tfp.distributions.Distribution:
        """p(x|z) with batch shape ``[...]`` and event shape ``[H, W, C]``, from ``[..., H, W, C * outputs]``."""

    def log_prob(self, outputs: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Log p(x|z), ``[..., H, W, C * outputs]`` and ``[..., H, W, C]`` (broadcasting) to ``[...]``."""
        return self.distribution(outputs, x.shape[-1]).log_prob(x)

    def mean(self, outputs: tf.Tensor, num_channels: int) -> tf.Tensor:
        """E[x|z], ``[..., H, W, C]``: for binary pixels their probabilities."""
        return self.distribution(outputs, num_channels).mean()

    def sample(self, outputs: tf.Tensor, num_channels: int, seed) -> tf.Tensor:
        """A draw of x given z, ``[..., H, W, C]``; `seed` is an int32 pair."""
        return tf.cast(self.distribution(outputs, num_channels).sample(seed=seed), outputs.dtype)

    @abc.abstractmethod
    def check_values(self, x: np.ndarray, num_outputs: int) -> None:
        """Raises ValueError if x ``[..., C]`` holds values outside the support; the decoder has `num_outputs` last."""

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("hvae_tf")
class Bernoulli(Likelihood):
    """Binary pixels; the decoder's outputs are logits. Any x in [0, 1] is scored, by the same formula."""

    def check_outputs(self, num_outputs, num_channels):
        if num_outputs != num_channels:
            raise ValueError(
                f"the decoder puts out {num_outputs} maps for images of {num_channels} channels; "
                f"the bernoulli likelihood expects one logit per channel: {num_channels}"
            )

    def distribution(self, outputs, num_channels):
        return tfd.Independent(tfd.Bernoulli(logits=outputs), reinterpreted_batch_ndims=3)

    def log_prob(self, outputs, x):
        return tf.reduce_sum(x * outputs - softplus(outputs), axis=_IMAGE_AXES)

    def mean(self, outputs, num_channels):
        return tf.sigmoid(outputs)

    def check_values(self, x, num_outputs):
        if not ((x >= 0) & (x <= 1)).all():
            raise ValueError(
                f"x has values from {x.min()} to {x.max()}; the bernoulli likelihood expects values in [0, 1]: "
                "scale and binarise the images first"
            )


@keras.saving.register_keras_serializable("hvae_tf")
class Normal(Likelihood):
    """Real pixels; of 2C outputs the first C are the means, the last C the logarithms of the standard deviations."""

    def check_outputs(self, num_outputs, num_channels):
        if num_outputs != 2 * num_channels:
            raise ValueError(
                f"the decoder puts out {num_outputs} maps for images of {num_channels} channels; "
                f"the normal likelihood expects a mean and a log standard deviation per channel: {2 * num_channels}"
            )

    def distribution(self, outputs, num_channels):
        mean, log_scale = tf.split(outputs, 2, axis=-1)
        return tfd.Independent(tfd.Normal(mean, tf.exp(log_scale)), reinterpreted_batch_ndims=3)

    def check_values(self, x, num_outputs):
        if not np.isfinite(x).all():
            raise ValueError(
                f"x holds {np.count_nonzero(~np.isfinite(x))} values that are not finite; remove them first"
            )


@keras.saving.register_keras_serializable("hvae_tf")
class Categorical(Likelihood):
    """Pixels in {0, .., classes - 1}, whole numbers of any dtype; the outputs are C groups of `classes` logits.

    Its mean is the mean level, sum_k k p_k.
    """

    def check_outputs(self, num_outputs, num_channels):
        if num_outputs % num_channels or num_outputs < 2 * num_channels:
            raise ValueError(
                f"the decoder puts out {num_outputs} maps for images of {num_channels} channels; the categorical "
                f"likelihood expects as many logits for each channel, two or more: a multiple of {num_channels}"
            )

    def _logits(self, outputs, num_channels):
        classes = outputs.shape[-1] // num_channels
        return tf.reshape(outputs, tf.concat([tf.shape(outputs)[:-1], [num_channels, classes]], 0))

    def distribution(self, outputs, num_channels):
        logits = self._logits(outputs, num_channels)
        return tfd.Independent(tfd.Categorical(logits=logits), reinterpreted_batch_ndims=3)

    def log_prob(self, outputs, x):
        return self.distribution(outputs, x.shape[-1]).log_prob(tf.cast(x, tf.int32))

    def mean(self, outputs, num_channels):
        probabilities = tf.nn.softmax(self._logits(outputs, num_channels))
        return tf.linalg.matvec(probabilities, tf.range(probabilities.shape[-1], dtype=outputs.dtype))

    def check_values(self, x, num_outputs):
        classes = num_outputs // x.shape[-1]
        if not ((x >= 0) & (x < classes) & (np.floor(x) == x)).all():
            raise ValueError(
                f"x has values from {x.min()} to {x.max()}; the categorical likelihood of this decoder expects whole "
                f"numbers from 0 to {classes - 1}"
            )


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
    if isinstance(likelihood, Likelihood):
        return likelihood
    if not isinstance(likelihood, str) or likelihood not in LIKELIHOODS:
        raise ValueError(
            f"unknown likelihood {likelihood!r}; accepted: {', '.join(LIKELIHOODS)}, or a Likelihood object"
        )
    return LIKELIHOODS[likelihood]()
