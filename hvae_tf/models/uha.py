"""The variational auto-encoder with uncorrected Hamiltonian annealing (Geffner & Domke 2021; Zhang et al. 2021)."""

import functools

import keras

from hvae_tf.flows.annealed import AnnealedFlow
from hvae_tf.models.flow_vae import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class UHA(FlowVAE):
    """A VAE whose posterior is moved through T densities between q0 and p(x, z): differentiable AIS.

    Its loss is the negative of the annealed bound, with the entropies of q0 and of the momenta's noise in closed form,
    in nats per event. Either ``UHA(encoder, decoder, T, ...)``, or a flow as an object:
    ``UHA(encoder, decoder, flow=AnnealedFlow(...))``. To start from a trained VAE, hand over its networks:
    ``UHA(vae.encoder, vae.decoder, T)``; they are then shared by the two models.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        num_temperatures: T >= 1; the decoder is evaluated T n + 1 times, with its gradient.
        num_leapfrog_steps: n >= 1, 1 unless given.
        flow: An `AnnealedFlow`, in the place of all arguments that describe one.
        num_samples: L, draws for each event in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        kl: ``"prior-sampled"`` (the default), or ``"sampled"``, in which nothing is taken in closed form.
        gradient: ``"standard"`` or ``"path"``, see `FlowVAE`.
        name: Of the model.
        dtype: Its policy, as for `keras.Model`.
        **flow_options: What else `AnnealedFlow` takes: `refreshment` (0.0 for Langevin steps), `temperatures`,
            `reverse`, `step_size`, `adjoint`, ...

    Raises:
        ValueError: See `FlowVAE` and `AnnealedFlow`.
    """

    _flow_kind = AnnealedFlow

    def __init__(
        self, encoder, decoder, num_temperatures=None, num_leapfrog_steps=None, *, flow=None, num_samples=1,
        likelihood="bernoulli", seed=0, kl=None, gradient="standard", name=None, dtype=None, **flow_options,
    ):  # fmt: skip
        if num_leapfrog_steps is not None:
            flow_options["num_leapfrog_steps"] = num_leapfrog_steps
        described = num_temperatures is not None or bool(flow_options)
        if described == (flow is not None):
            raise ValueError("UHA takes num_temperatures with options of its flow, or flow=AnnealedFlow(...)")
        if flow is None:
            flow = functools.partial(AnnealedFlow, num_temperatures=num_temperatures, **flow_options)
        super().__init__(
            encoder, decoder, flow, num_samples=num_samples, likelihood=likelihood, seed=seed, kl=kl,
            gradient=gradient, name=name, dtype=dtype,
        )  # fmt: skip
