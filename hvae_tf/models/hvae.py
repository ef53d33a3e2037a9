"""The Hamiltonian variational auto-encoder of Caterini, Doucet & Sejdinovic (2018)."""

import functools

import keras

from hvae_tf.dynamics.tempering import FixedTempering, FreeTempering, ReleasedFixedTempering
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.models.flow_vae import FlowVAE


@keras.saving.register_keras_serializable("hvae_tf")
class HVAE(FlowVAE):
    """A VAE whose posterior is moved by K tempered leapfrog steps on log p(x, z): Algorithm 1.

    Its loss is the negative of the Rao-Blackwellised Hamiltonian ELBO, equation (12), with the entropy of q0 in closed
    form, in nats per event. Either ``HVAE(encoder, decoder, K, tempering, ...)``, or a flow as an object:
    ``HVAE(encoder, decoder, flow=HamiltonianFlow(...))``.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        num_leapfrog_steps: K >= 1; the decoder is evaluated K + 1 times, with its gradient.
        tempering: ``"none"``, ``"fixed"``, ``"fixed-released"`` or ``"free"``, or an object, see `HamiltonianFlow`.
        flow: A `HamiltonianFlow`, in the place of all arguments that describe one.
        num_samples: L, draws for each event in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        kl: ``"prior-sampled"`` (the default, the paper's), ``"analytic"``, in which the divergence is in closed form,
            or ``"sampled"``, in which nothing is.
        gradient: ``"standard"`` or ``"path"``, see `FlowVAE`.
        name: Of the model.
        dtype: Its policy, as for `keras.Model`.
        **flow_options: What else `HamiltonianFlow` takes: `step_size`, `step_size_per`, `momentum_scale`,
            `adjoint`, ...

    Raises:
        ValueError: See `FlowVAE` and `HamiltonianFlow`.

    Example:
        >>> sizes = {"event_shape": (6,), "latent_size": 2, "hidden_units": (8,)}
        >>> model = hvae_tf.HVAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes), num_leapfrog_steps=2)
        >>> model.elbo(np.ones([4, 6], np.float32)).shape
        (4,)
    """

    _flow_kind = HamiltonianFlow

    def __init__(
        self, encoder, decoder, num_leapfrog_steps=None, tempering=None, *, flow=None, num_samples=1,
        likelihood="bernoulli", seed=0, kl=None, gradient="standard", name=None, dtype=None, **flow_options,
    ):  # fmt: skip
        if tempering is not None:
            flow_options["tempering"] = tempering
        described = num_leapfrog_steps is not None or bool(flow_options)
        if described == (flow is not None):
            raise ValueError("HVAE takes num_leapfrog_steps with options of its flow, or flow=HamiltonianFlow(...)")
        if flow is None:
            flow = functools.partial(HamiltonianFlow, num_leapfrog_steps=num_leapfrog_steps, **flow_options)
        super().__init__(
            encoder, decoder, flow, num_samples=num_samples, likelihood=likelihood, seed=seed, kl=kl,
            gradient=gradient, name=name, dtype=dtype,
        )  # fmt: skip

    @classmethod
    def from_config(cls, config):
        return super().from_config(_up_to_date(config))


def _up_to_date(config):
    """The configuration of a file that version 0.1 wrote, where the flow's knobs were the model's."""
    config = dict(config)
    if "num_leapfrog_steps" not in config:
        return config
    alpha, inv_sqrt_beta_0 = config.pop("alpha"), config.pop("inv_sqrt_beta_0")
    objects = {
        "fixed": lambda: FixedTempering(inv_sqrt_beta_0),
        "fixed-released": lambda: ReleasedFixedTempering(inv_sqrt_beta_0),
        "free": lambda: FreeTempering(alpha),
    }
    if config["tempering"] in objects:
        config["tempering"] = objects[config["tempering"]]()
    config["adjoint"] = config.pop("differentiation", "backprop")
    return config
