"""The variational auto-encoder: the model with no flow (Kingma & Welling 2014), the baseline of section 4.2."""

import keras

from hvae_tf.models.flow_vae import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class VAE(FlowVAE):
    """A VAE with a Gaussian posterior; its loss is the negative ELBO, E log p(x|z) - KL(q0(z|x), p(z)).

    With ``kl="analytic"`` the divergence is in closed form; by default only q0's entropy is, and the prior is sampled;
    with ``kl="sampled"`` both are sampled. See `FlowVAE`, also for ``gradient="path"``.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``, or (mean, Cholesky
            factor ``[B, l, l]``).
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        **kwargs: `num_samples`, `likelihood`, `seed`, `kl`, `gradient`, `name` and `dtype`, see `FlowVAE`.

    Raises:
        ValueError: See `FlowVAE`.

    Example:
        >>> sizes = {"event_shape": (6,), "latent_size": 2, "hidden_units": (8,)}
        >>> model = hvae_tf.VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes), kl="analytic")
        >>> model.latent_size, model.event_shape
        (2, (6,))
    """

    def __init__(self, encoder, decoder, **kwargs):
        if "flow" in kwargs:
            raise ValueError("a VAE has no flow; take FlowVAE, or HVAE")
        super().__init__(encoder, decoder, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["flow"]
        return config
