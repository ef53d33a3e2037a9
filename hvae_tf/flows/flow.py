"""The contract of a flow, deterministic or stochastic: a map of samples that knows what it does to their log weight.

    log w = log p(x, z_K) - log q0(z_0|x) + log_ratio,
    log_ratio = log r(v_K | z_K, x) - log q(v_0 | z_0, x) + log |det|

v is whatever the flow draws beside z_0: nothing (a planar flow), a momentum (the Hamiltonian flow), a momentum for each
of its transitions (Hamiltonian variational inference). This is the path ratio of stochastic normalizing flows (Wu,
Koehler & Noe 2020); exp(log w) has mean p(x) for every flow that keeps the contract.
"""

import abc
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.configured import serialized
from hvae_tf.densities import Gaussian
from hvae_tf.targets.target import Target


class FlowResult(NamedTuple):
    """Where a flow took its samples, and what that does to their weights; all in nats.

    Attributes:
        z: ``[..., l]``, the final latent z_K.
        log_joint: ``[...]``, log p(x, z_K).
        log_ratio: ``[...]``, or broadcasting with it: the formula above as sampled, for importance weights.
        expected_log_ratio: ``[...]``, or broadcasting with it: the same mean, expectations known in closed form taken;
            for ELBOs only.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), event_size=2)
        >>> hvae_tf.IdentityFlow(2).transform(target, tf.ones([5, 2])).log_joint.numpy().tolist()
        [-1.0, -1.0, -1.0, -1.0, -1.0]
    """

    z: tf.Tensor
    log_joint: tf.Tensor
    log_ratio: tf.Tensor
    expected_log_ratio: tf.Tensor


class Flow(tf.Module, abc.ABC):
    """A map of z_0, and of random numbers of its own, which may read the target.

    Its variables are plain `tf.Variable`s, on the flow itself, on `tf.Module`s that it holds, or in Keras layers that
    it holds; a model finds, trains, counts and saves all of them, see `FlowLayer`.

    Args:
        event_size: l.
        dtype: Floating type of parameters and samples.
        name: Of the module.

    Raises:
        ValueError: If event_size is below 1.
    """

    def __init__(self, event_size: int, *, dtype=tf.float32, name: str | None = None):
        super().__init__(name=name)
        self.event_size = check_count("event_size", event_size)
        self.dtype = tf.as_dtype(dtype)

    def check_target(self, target: Target) -> None:
        """Raises ValueError unless the target's z is of this flow's size."""
        if target.event_size != self.event_size:
            raise ValueError(
                f"the flow moves z of size {self.event_size}, the target has z of size {target.event_size}; "
                "build the flow with event_size equal to the target's"
            )

    def noise(self, shape, seed) -> Any:
        """What the flow draws beside z_0: a nest of tensors ``[*shape, ...]``, ``()`` if nothing.

        Args:
            shape: The leading axes of z, a tuple or an int32 tensor.
            seed: An int32 pair; what is drawn is a function of it.
        """
        return ()

    @abc.abstractmethod
    def transform(self, target: Target, z: tf.Tensor, noise=(), q0: Gaussian | None = None, context=None):
        """Moves z.

        Args:
            target: What is sampled.
            z: ``[..., l]``, z_0.
            noise: From `noise`; zeros of its structure are the centre.
            q0: What z_0 was drawn from, for flows that bridge from there to the target.
            context: ``[B, c]``, what the encoder says of x, for flows with amortised parameters; a model gives mean and
                log standard deviation of q0 in one tensor (of a full covariance, the marginal ones).

        Returns:
            `FlowResult`.

        Raises:
            ValueError: If sizes do not agree.
        """

    @property
    def moves_z(self) -> bool:
        """Whether z_K may be another than z_0; False promises that it is not."""
        return True

    @property
    def reparameterised(self) -> bool:
        """Whether log weights are differentiable along their path; if not, only their mean has the right gradient."""
        return True

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """Numbers that tell how the flow stands, by name: for reports of divergence and callbacks."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON can hold them."""
        return {"event_size": self.event_size, "dtype": self.dtype.name}

    def _configurations_of(self, *parts: str) -> dict[str, Any]:
        """For `get_config`: what Keras saves of these attributes, objects with configurations of their own."""
        return {part: serialized(getattr(self, part)) for part in parts}

    @classmethod
    def from_config(cls, config):
        """The flow of this configuration, with new variables; what Keras saved of its parts is made anew."""
        parts = {
            name: keras.saving.deserialize_keras_object(value)
            for name, value in config.items()
            if isinstance(value, dict) and "class_name" in value
        }
        return cls(**config | parts)


@keras.saving.register_keras_serializable("hvae_tf")
class IdentityFlow(Flow):
    """No flow at all: mean-field variational inference, as a row of every table of flows.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), event_size=2)
        >>> hvae_tf.IdentityFlow(2).transform(target, tf.ones([5, 2])).log_ratio.numpy().tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]
    """

    @property
    def moves_z(self) -> bool:
        return type(self).transform is not IdentityFlow.transform  # what is derived from it may

    def transform(self, target, z, noise=(), q0=None, context=None):
        self.check_target(target)
        log_joint = target.log_joint(z)
        nothing = tf.zeros_like(log_joint)
        return FlowResult(z, log_joint, nothing, nothing)
