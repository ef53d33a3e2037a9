"""The variational auto-encoder: the model with no flow (Kingma & Welling 2014), the baseline of section 4.2."""

import keras

from hvae_tf.models.flow_vae import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class VAE(FlowVAE):
    """A VAE with a Gaussian posterior; its loss is the negative ELBO, with the entropy of q0 in closed form.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        **kwargs: `num_samples`, `likelihood`, `seed`, `name` and `dtype`, see `FlowVAE`.

    Raises:
        ValueError: See `FlowVAE`.
    """

    def __init__(self, encoder, decoder, **kwargs):
        if "flow" in kwargs:
            raise ValueError("a VAE has no flow; take FlowVAE, or HVAE")
        super().__init__(encoder, decoder, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["flow"]
        return config
