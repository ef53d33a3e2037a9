"""The importance weighted auto-encoder of Burda, Grosse & Salakhutdinov (2016)."""

import keras
import tensorflow as tf

from hvae_tf.bounds.elbo import iwae_bound
from hvae_tf.models.base import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class IWAE(FlowVAE):
    """A VAE trained on the bound of L importance samples, E log 1/L sum_i w_i, through all of them.

    The loss is the negative of that bound in nats per image; the metric `elbo` is the mean of the same log weights.

    Args:
        encoder: Keras model ``[B, H, W, C] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, H, W, outputs]``, what the likelihood reads.
        num_samples: L, importance samples for each image in training and evaluation.
        flow: A name or a function, see `FlowLayer`; the paper's model has none, ``"identity"``.
        flow_config: Keyword arguments of the flow.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        **kwargs: `name` and `dtype`, as for `keras.Model`.

    Raises:
        ValueError: See `FlowVAE`.
    """

    def __init__(
        self, encoder, decoder, num_samples=5, flow="identity", flow_config=None, likelihood="bernoulli", seed=0,
        **kwargs,
    ):  # fmt: skip
        super().__init__(encoder, decoder, flow, flow_config, num_samples, likelihood, seed, **kwargs)

    def _bound(self, draw):
        log_weights = self._draw_log_weight(draw)
        return iwae_bound(log_weights), tf.reduce_mean(log_weights, axis=0)
