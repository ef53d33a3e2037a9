"""The Hamiltonian variational auto-encoder of Caterini, Doucet & Sejdinovic (2018)."""

import math

import keras
import numpy as np

from hvae_tf.models.base import FlowVAE

INV_SQRT_BETA_0 = math.sqrt(1.5)  # where section 4.2 starts it


@keras.saving.register_keras_serializable("hvae_tf")
class HVAE(FlowVAE):
    """A VAE whose posterior is moved by K tempered leapfrog steps on log p(x, z): Algorithm 1.

    Its loss is the negative of the Rao-Blackwellised Hamiltonian ELBO, equation (12), with the entropy of q0 in closed
    form, in nats per image. The defaults are those of section 4.2. For a flow of your own take `FlowVAE`.

    Args:
        encoder: Keras model ``[B, H, W, C] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, H, W, outputs]``, what the likelihood reads.
        num_leapfrog_steps: K >= 1; the decoder is evaluated K + 1 times, with its gradient.
        tempering: ``"none"``, ``"fixed"``, ``"fixed-released"`` or ``"free"``, see `hvae_tf.dynamics.tempering`.
        step_size: Initial eps, in (0, max_step_size): a number, or an array that broadcasts to ``[l]`` or ``[K, l]``.
        max_step_size: xi, the bound of eps.
        step_size_per: ``"flow"``, one eps per dimension shared by all steps, or ``"step"``, one for every step too.
        inv_sqrt_beta_0: Initial 1/sqrt(beta_0) > 1, for fixed tempering.
        alpha: Initial alpha_k in (0, 1), for free tempering.
        differentiation: ``"backprop"``, ``"checkpoint"`` or ``"reversible"``: what training costs in time and memory,
            see `hvae_tf.flows.differentiation`.
        num_samples: L, draws for each image in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        **kwargs: `name` and `dtype`, as for `keras.Model`.

    Raises:
        ValueError: See `FlowVAE` and `HamiltonianFlow`.
    """

    def __init__(
        self, encoder, decoder, num_leapfrog_steps, tempering="free", step_size=0.2, max_step_size=0.5,
        step_size_per="flow", inv_sqrt_beta_0=INV_SQRT_BETA_0, alpha=0.9, num_samples=1, likelihood="bernoulli", seed=0,
        differentiation="backprop", **kwargs,
    ):  # fmt: skip
        flow_config = {
            "num_leapfrog_steps": num_leapfrog_steps,
            "tempering": tempering,
            "step_size": np.asarray(step_size).tolist(),
            "max_step_size": max_step_size,
            "step_size_per": step_size_per,
            "inv_sqrt_beta_0": inv_sqrt_beta_0,
            "alpha": alpha,
            "differentiation": differentiation,
        }
        super().__init__(encoder, decoder, "hamiltonian", flow_config, num_samples, likelihood, seed, **kwargs)

    def _flow_config(self):
        return {**self.flow_layer.flow_config, "num_samples": self.num_samples}
