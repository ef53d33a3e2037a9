"""The contract of a target: log p(x, z) as a function of z, and its gradient, in one call."""

import abc
from typing import NamedTuple

import tensorflow as tf


class ValueAndGrad(NamedTuple):
    """What one evaluation of a target yields.

    Attributes:
        log_joint: ``[...]``, log p(x, z) in nats.
        grad: ``[..., l]``, its gradient in z, which is ``-grad U(z)`` of the paper.
    """

    log_joint: tf.Tensor
    grad: tf.Tensor


class Target(abc.ABC):
    """An unnormalised log-density log p(x, z) of z in R^l, the data x being held fixed.

    The potential energy of the paper is ``U(z) = -log p(x, z)`` (section 2.3). A subclass gives `_log_joint`; it
    gives `_value_and_grad` too where the gradient has a closed form, else the gradient is taken by autodiff, in a
    way that can be differentiated again.

    Attributes:
        event_size: l, the dimension of z.

    Example:
        >>> class Standard(hvae_tf.Target):
        ...     event_size = 2
        ...     def _log_joint(self, z):
        ...         return -0.5 * tf.reduce_sum(z**2, axis=-1)
        >>> Standard().value_and_grad(tf.constant([3.0, 4.0])).grad.numpy().tolist()
        [-3.0, -4.0]
    """

    event_size: int

    @abc.abstractmethod
    def _log_joint(self, z: tf.Tensor) -> tf.Tensor:
        """Log p(x, z), ``[..., l] -> [...]``."""

    def _value_and_grad(self, z: tf.Tensor) -> ValueAndGrad:
        with tf.GradientTape() as tape:
            tape.watch(z)
            log_joint = self._log_joint(z)
        return ValueAndGrad(log_joint, tape.gradient(log_joint, z, unconnected_gradients="zero"))

    def log_joint(self, z: tf.Tensor) -> tf.Tensor:
        """Log p(x, z) in nats.

        Args:
            z: ``[..., l]``.

        Returns:
            ``[...]``.

        Raises:
            ValueError: If the last axis of z is not of size `event_size`.
        """
        return self._checked(z, self._log_joint(self._point(z)))

    def value_and_grad(self, z: tf.Tensor) -> ValueAndGrad:
        """Log p(x, z) and its gradient in z, from one evaluation.

        Args:
            z: ``[..., l]``.

        Returns:
            `ValueAndGrad` of shapes ``[...]`` and ``[..., l]``.

        Raises:
            ValueError: If the last axis of z is not of size `event_size`.
        """
        z = self._point(z)
        value = self._value_and_grad(z)
        self._checked(z, value.log_joint)
        return value

    def _fisher_information(self, z: tf.Tensor) -> tf.Tensor:
        raise ValueError(
            f"{type(self).__name__} has no Fisher information, which the metric Fisher() needs; give it one "
            "(`_fisher_information`, or LogDensityTarget's fisher_information), or take the metric Dense()"
        )

    def fisher_information(self, z: tf.Tensor) -> tf.Tensor:
        """How sharply the data tell z from its neighbours, the prior's precision included: a metric of the space of z.

        E[-d^2 log p(x, z) / dz dz'] over x given z, for what has the form of a likelihood times a Gaussian prior.

        Args:
            z: ``[..., l]``.

        Returns:
            ``[..., l, l]``, symmetric and positive definite; differentiable in z.

        Raises:
            ValueError: If the target has none, or the last axis of z is not of size `event_size`.
        """
        z = self._point(z)
        found = self._fisher_information(z)
        if not found.shape.is_compatible_with([*z.shape, self.event_size]):
            raise ValueError(
                f"{type(self).__name__} gave a Fisher information of shape {found.shape} at z of shape {z.shape}; "
                f"expected {[*z.shape, self.event_size]}"
            )
        return tf.ensure_shape(found, [*z.shape, self.event_size])

    def _point(self, z: tf.Tensor) -> tf.Tensor:
        z = tf.convert_to_tensor(z)
        if z.shape.rank == 0 or z.shape[-1] != self.event_size:
            raise ValueError(f"z has shape {z.shape}; expected [..., {self.event_size}], the target's event size last")
        return z

    def _checked(self, z: tf.Tensor, log_joint: tf.Tensor) -> tf.Tensor:
        if not log_joint.shape.is_compatible_with(z.shape[:-1]):
            raise ValueError(
                f"{type(self).__name__} gave log_joint of shape {log_joint.shape} at z of shape {z.shape}; "
                f"expected {z.shape[:-1]}: one value for each z, summed over the last axis only"
            )
        return log_joint


class LogDensityTarget(Target):
    """A target from any function of z.

    Args:
        log_joint: ``[..., l] -> [...]``, log p(x, z) in nats, differentiable by TensorFlow.
        event_size: l.
        fisher_information: ``[..., l] -> [..., l, l]``, for the metric `Fisher` alone; None where there is none.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), event_size=2)
        >>> log_joint, grad = target.value_and_grad(tf.constant([[3.0, 4.0]]))
        >>> log_joint.numpy().tolist(), grad.numpy().tolist()
        ([-12.5], [[-3.0, -4.0]])
    """

    def __init__(self, log_joint, event_size: int, fisher_information=None):
        self._function = log_joint
        self._metric = fisher_information
        self.event_size = event_size

    def _log_joint(self, z: tf.Tensor) -> tf.Tensor:
        return self._function(z)

    def _fisher_information(self, z: tf.Tensor) -> tf.Tensor:
        return super()._fisher_information(z) if self._metric is None else self._metric(z)
