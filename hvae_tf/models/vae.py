"""The variational auto-encoder: the model with no flow (Kingma & Welling 2014), the baseline of section 4.2."""

import keras

from hvae_tf.models.base import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class VAE(FlowVAE):
    """A VAE with a Gaussian posterior; its loss is the negative ELBO, with the entropy of q0 in closed form.

    Args:
        encoder: Keras model ``[B, H, W, C] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, H, W, outputs]``, what the likelihood reads.
        num_samples: L, draws for each image in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        **kwargs: `name` and `dtype`, as for `keras.Model`.

    Raises:
        ValueError: See `FlowVAE`.
    """

    def __init__(self, encoder, decoder, num_samples=1, likelihood="bernoulli", seed=0, **kwargs):
        super().__init__(encoder, decoder, num_samples=num_samples, likelihood=likelihood, seed=seed, **kwargs)

    def _flow_config(self):
        return {"num_samples": self.num_samples}
