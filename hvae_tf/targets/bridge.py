"""Between a start pi_0 that can be sampled and a target pi_1 = p(x, .): pi_b = pi_0^(1-b) pi_1^b, 0 <= b <= 1.

b is a temperature in the sense of annealed importance sampling (Neal 2001). It is not the beta of a Hamiltonian flow,
which scales momenta.

One evaluation gives both ends with their gradients; mixing them at any b is free. So a chain that goes from one
temperature to the next evaluates nothing again: what it carries serves its weight and its next half kick alike.
"""

from typing import NamedTuple, Protocol

import tensorflow as tf

from hvae_tf.targets.target import Target, ValueAndGrad


class Start(Protocol):
    """What a bridge needs of pi_0, a normalised density; `DiagonalGaussian` and `FullGaussian` have it."""

    @property
    def standard_deviation(self) -> tf.Tensor:
        """``[..., l]``, the scale of every dimension."""

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Draws ``[..., l]`` from noise ``[..., l]`` of N(0, I)."""

    def value_and_grad(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log pi_0(z) ``[...]``, and its gradient in z ``[..., l]``."""


class BridgeEvaluation(NamedTuple):
    """Both ends of a bridge at a point.

    Attributes:
        log_start: ``[...]``, log pi_0(z) in nats.
        grad_start: ``[..., l]``, its gradient in z.
        log_target: ``[...]``, log pi_1(z) = log p(x, z) in nats.
        grad_target: ``[..., l]``, its gradient in z.
    """

    log_start: tf.Tensor
    grad_start: tf.Tensor
    log_target: tf.Tensor
    grad_target: tf.Tensor

    @property
    def log_ratio(self) -> tf.Tensor:
        """``[...]``, log pi_1 - log pi_0, which is d log pi_b / db; from the prior it is log p(x|z)."""
        return self.log_target - self.log_start

    def at(self, b) -> ValueAndGrad:
        """Log pi_b ``[...]`` and its gradient ``[..., l]``, for a scalar b."""
        return ValueAndGrad(
            (1.0 - b) * self.log_start + b * self.log_target, (1.0 - b) * self.grad_start + b * self.grad_target
        )


class BridgedTarget:
    """pi_b for every b at once.

    Args:
        start: pi_0, a Gaussian (an encoder's q0, or `hvae_tf.densities.standard_normal`) or another `Start`.
        target: pi_1, unnormalised.

    Raises:
        ValueError: If the two differ in l.
    """

    def __init__(self, start: Start, target: Target):
        size = start.standard_deviation.shape[-1]
        if size != target.event_size:
            raise ValueError(f"the start has event size {size}, the target {target.event_size}; expected one size l")
        self.start = start
        self.target = target
        self.event_size = target.event_size

    def evaluate(self, z: tf.Tensor) -> BridgeEvaluation:
        """Both ends at z ``[..., l]``: one evaluation of the target, and none for any temperature."""
        return BridgeEvaluation(*self.start.value_and_grad(z), *self.target.value_and_grad(z))
