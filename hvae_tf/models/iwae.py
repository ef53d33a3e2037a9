"""The importance weighted auto-encoder of Burda, Grosse & Salakhutdinov (2016)."""

import keras
import tensorflow as tf

from hvae_tf.bounds.elbo import iwae_bound
from hvae_tf.models.flow_vae import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class IWAE(FlowVAE):
    """A VAE trained on the bound of L importance samples, E log 1/L sum_i w_i, through all of them.

    The loss is the negative of that bound in nats per event; what is logged as `reconstruction` and `rate` is of the
    same draws, and adds up to minus the mean of their log weights, the ELBO.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        num_samples: L, importance samples for each event in training and evaluation.
        **kwargs: `flow` (the paper's model has none), `likelihood`, `seed`, `kl` (of the method `elbo` alone: the bound
            is of sampled weights), `gradient`, `name` and `dtype`, see `FlowVAE`.

    Raises:
        ValueError: See `FlowVAE`; and for ``gradient="path"`` with more than one sample, where it is biased, or a flow
            that is not `reparameterised`.

    Example:
        >>> sizes = {"event_shape": (6,), "latent_size": 2, "hidden_units": (8,)}
        >>> hvae_tf.IWAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes), num_samples=5).num_samples
        5
    """

    def __init__(self, encoder, decoder, num_samples=5, **kwargs):
        super().__init__(encoder, decoder, num_samples=num_samples, **kwargs)
        if self.estimator.gradient == "path" and self.num_samples > 1:
            raise ValueError(
                f"gradient='path' is biased for the bound of {self.num_samples} samples; take gradient='standard'"
            )
        if not self.flow.reparameterised and self.num_samples > 1:
            raise ValueError(
                f"the gradient of {type(self.flow).__name__} is right for the ELBO alone, not for the bound of "
                f"{self.num_samples} samples; take FlowVAE(..., num_samples={self.num_samples})"
            )

    def _bound(self, draw):
        log_weights = self._draw_log_weight(draw)
        return iwae_bound(log_weights), tf.reduce_mean(log_weights, axis=0)
