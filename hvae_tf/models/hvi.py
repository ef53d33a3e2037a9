"""The variational auto-encoder with Hamiltonian variational inference (Salimans, Kingma & Welling 2015)."""

import functools

import keras

from hvae_tf.flows.chain import StochasticFlow
from hvae_tf.flows.hvi import HVIFlow
from hvae_tf.models.flow_vae import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class HVI(FlowVAE):
    """A VAE whose posterior is moved by T transitions of n leapfrog steps, each from a new momentum.

    Its loss is the negative of the auxiliary lower bound, with the entropies of q0 and of the momenta in closed form,
    in nats per event. The reverse model learns beside encoder and decoder. Either ``HVI(encoder, decoder, T, n, ...)``,
    or a flow as an object: ``HVI(encoder, decoder, flow=HVIFlow(...))``.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        num_transitions: T >= 1, 1 unless given.
        num_leapfrog_steps: n >= 1, 4 unless given; the decoder is evaluated T n + 1 times, with its gradient.
        flow: An `HVIFlow` or another `StochasticFlow`, in the place of all arguments that describe one.
        num_samples: L, draws for each event in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        kl: ``"prior-sampled"`` (the default), or ``"sampled"``, in which nothing is taken in closed form.
        gradient: ``"standard"`` or ``"path"``, see `FlowVAE`.
        name: Of the model.
        dtype: Its policy, as for `keras.Model`.
        **flow_options: What else `HVIFlow` takes: `reverse`, `momentum_scale`, `step_size`, `adjoint`, ...

    Raises:
        ValueError: See `FlowVAE` and `HVIFlow`.

    Example:
        >>> sizes = {"event_shape": (6,), "latent_size": 2, "hidden_units": (8,)}
        >>> networks = hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes)
        >>> model = hvae_tf.HVI(*networks, num_transitions=1, num_leapfrog_steps=2, reverse="linear")
        >>> model.flow.num_leapfrog_steps
        2
    """

    _flow_kind = StochasticFlow

    def __init__(
        self, encoder, decoder, num_transitions=None, num_leapfrog_steps=None, *, flow=None, num_samples=1,
        likelihood="bernoulli", seed=0, kl=None, gradient="standard", name=None, dtype=None, **flow_options,
    ):  # fmt: skip
        counts = {"num_transitions": num_transitions, "num_leapfrog_steps": num_leapfrog_steps}
        described = flow_options | {key: value for key, value in counts.items() if value is not None}
        if flow is None:
            flow = functools.partial(HVIFlow, **{"num_leapfrog_steps": 4} | described)
        elif described:
            raise ValueError(
                f"HVI was given a flow and {', '.join(described)}; give flow=HVIFlow(...) or options of one, not both"
            )
        super().__init__(
            encoder, decoder, flow, num_samples=num_samples, likelihood=likelihood, seed=seed, kl=kl,
            gradient=gradient, name=name, dtype=dtype,
        )  # fmt: skip
