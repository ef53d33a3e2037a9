"""The contract of a flow: a map of samples that knows its log-determinant."""

import abc
from typing import NamedTuple

import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.targets.target import Target


class FlowResult(NamedTuple):
    """Where a flow took its samples.

    Attributes:
        z: ``[..., l]``, the final latent z_K.
        rho: ``[..., l]``, the final momentum rho_K; None for a flow without momentum.
        log_joint: ``[...]``, log p(x, z_K) in nats.
        log_det: ``[...]`` (or broadcasting with it), log |det| of the whole map, in nats.
    """

    z: tf.Tensor
    rho: tf.Tensor | None
    log_joint: tf.Tensor
    log_det: tf.Tensor


class Flow(tf.Module, abc.ABC):
    """A diffeomorphism of z (and of a momentum rho, where `has_momentum`), which may read the target.

    Attributes:
        event_size: l.
        has_momentum: Whether the flow moves a momentum beside z.
    """

    has_momentum = False

    def __init__(self, event_size: int, name: str | None = None):
        super().__init__(name=name)
        self.event_size = check_count("event_size", event_size)

    def check_target(self, target: Target) -> None:
        """Raises ValueError unless the target's z is of this flow's size."""
        if target.event_size != self.event_size:
            raise ValueError(
                f"the flow moves z of size {self.event_size}, the target has z of size {target.event_size}; "
                "build the flow with event_size equal to the target's"
            )

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """Named numbers that show how the flow stands, for reports and callbacks."""
        return {}

    @abc.abstractmethod
    def __call__(self, target: Target, z: tf.Tensor, rho: tf.Tensor | None = None) -> FlowResult:
        """Moves z (and rho), both ``[..., l]``."""


class IdentityFlow(Flow):
    """No flow at all: mean-field variational inference, as a row of every table of flows."""

    def __call__(self, target, z, rho=None):
        self.check_target(target)
        log_joint = target.log_joint(z)
        return FlowResult(z, rho, log_joint, tf.zeros_like(log_joint))
