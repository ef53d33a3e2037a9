"""Hamiltonian variational inference (Salimans, Kingma & Welling 2015) as a flow."""

import keras
import tensorflow as tf

from hvae_tf.flows.chain import StochasticFlow
from hvae_tf.flows.momentum import get_momentum
from hvae_tf.flows.reverse import get_reverse
from hvae_tf.flows.reverse_model import ReverseModel


@keras.saving.register_keras_serializable("hvae_tf")
class HVIFlow(StochasticFlow):
    """`StochasticFlow` with Gaussian momenta and a learned reverse model.

    With ``num_transitions=1``, ``momentum_scale=1.0`` and ``reverse="standard"`` it is the untempered Hamiltonian flow.

    Args:
        event_size: l, the dimension of z.
        num_transitions: T >= 1.
        num_leapfrog_steps: n >= 1, steps of each transition.
        step_size: Initial eps, in (0, max_step_size).
        max_step_size: xi, the bound of eps.
        momentum_scale: s of q_t = N(0, diag s^2): ``"learned"``, from 1; a number or an array, fixed; or a
            `MomentumSource`.
        reverse: ``"network"``, ``"linear"``, ``"standard"`` or ``"score"``, or a `ReverseModel`, see
            `hvae_tf.flows.reverse`.
        dtype: Floating type of parameters and samples.
        **options: What else `StochasticFlow` takes: `step_size_per`, `integrator`, `adjoint`.

    Raises:
        ValueError: See `StochasticFlow`.
    """

    def __init__(
        self,
        event_size: int,
        num_transitions: int = 1,
        num_leapfrog_steps: int = 1,
        *,
        step_size=0.1,
        max_step_size: float = 0.5,
        momentum_scale="learned",
        reverse: str | ReverseModel = "network",
        dtype=tf.float32,
        **options,
    ):
        super().__init__(
            event_size, num_transitions, num_leapfrog_steps, momentum=get_momentum(momentum_scale),
            reverse=get_reverse(reverse), step_size=step_size, max_step_size=max_step_size, dtype=dtype, **options,
        )  # fmt: skip

    def get_config(self):
        config = super().get_config()
        config["momentum_scale"] = config.pop("momentum")
        return config
