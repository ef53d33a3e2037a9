"""Tempering: the momentum is scaled by alpha_k in (0, 1) after leapfrog step k (section 2.3 of the paper).

Every scheme starts the momentum at inverse temperature beta_0 and ends at beta_K = 1, so

    alpha_k = sqrt(beta_{k-1} / beta_k),     prod_k alpha_k = sqrt(beta_0).

A scheme works with b_k = 1/sqrt(beta_k), in which alpha_k = b_k / b_{k-1}.
"""

import abc
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.configured import Configured, resolve
from hvae_tf.numerics import logit

INV_SQRT_BETA_0 = math.sqrt(1.5)  # where section 4.2 starts it


class TemperingSchedule(NamedTuple):
    """The numbers that a scheme gives to the flow.

    Attributes:
        inv_sqrt_beta_0: ``[...]``, 1/sqrt(beta_0) >= 1: the scale of the first momentum.
        alphas: K tensors ``[...]`` in (0, 1], the factor on the momentum after each step.
    """

    inv_sqrt_beta_0: tf.Tensor
    alphas: tuple[tf.Tensor, ...]

    @property
    def beta_0(self) -> tf.Tensor:
        """``[...]``, the initial inverse temperature in (0, 1]."""
        return 1.0 / tf.square(self.inv_sqrt_beta_0)


class Tempering(Configured, tf.Module, abc.ABC):
    """A tempering scheme. A flow builds it, for its K steps; calling it then gives the `TemperingSchedule`.

    A subclass makes its variables in `build` and gives `_schedule`, whose alphas multiply to sqrt(beta_0): bounds count
    on that. To be saved with a model, it is registered with `keras.saving.register_keras_serializable`.

    Attributes:
        num_steps: K, or None as long as it is not built.
    """

    def __init__(self):
        super().__init__(name=type(self).__name__)
        self.num_steps: int | None = None

    def build(self, num_steps: int, batch_shape=(), dtype=tf.float32) -> None:
        """Makes the variables.

        Args:
            num_steps: K >= 1.
            batch_shape: Shape of the independent repeats, each with its own parameters.
            dtype: Floating type of the schedule.

        Raises:
            ValueError: If K is not an integer of at least 1, or it is built already.
        """
        if self.num_steps is not None:
            raise ValueError(f"this {self.name} is built already, for K = {self.num_steps}; make one for each flow")
        self.num_steps = check_count("num_steps", num_steps)
        self._batch_shape = tuple(batch_shape)
        self._dtype = tf.as_dtype(dtype)

    def __call__(self) -> TemperingSchedule:
        """The schedule as it stands.

        Raises:
            ValueError: If it is not built.
        """
        if self.num_steps is None:
            raise ValueError(f"this {self.name} is not built; call build(num_steps), or hand it to a HamiltonianFlow")
        return self._schedule(self.num_steps)

    @abc.abstractmethod
    def _schedule(self, num_steps: int) -> TemperingSchedule: ...

    def _variable(self, name, value, shape):
        return tf.Variable(np.broadcast_to(value, shape).astype(self._dtype.as_numpy_dtype), name=name)


@keras.saving.register_keras_serializable("hvae_tf")
class NoTempering(Tempering):
    """alpha_k = 1, beta_0 = 1: plain Hamiltonian dynamics, homogeneous in time. No parameters.

    Example:
        >>> tempering = hvae_tf.NoTempering()
        >>> tempering.build(num_steps=2)
        >>> [float(alpha) for alpha in tempering().alphas]
        [1.0, 1.0]
    """

    def _schedule(self, num_steps):
        one = tf.ones(self._batch_shape, self._dtype)
        return TemperingSchedule(one, (one,) * num_steps)


@keras.saving.register_keras_serializable("hvae_tf")
class FixedTempering(Tempering):
    """The paper's fixed scheme: one learned beta_0, and quadratic in between (Algorithm 1).

        1/sqrt(beta_k) = (1 - 1/sqrt(beta_0)) k^2/K^2 + 1/sqrt(beta_0)

    beta_0 is learned through 1/sqrt(beta_0) = 1 + exp(t).

    Args:
        inv_sqrt_beta_0: Initial 1/sqrt(beta_0) > 1.

    Raises:
        ValueError: If inv_sqrt_beta_0 is not above 1.

    Example:
        >>> tempering = hvae_tf.FixedTempering(inv_sqrt_beta_0=2.0)
        >>> tempering.build(num_steps=2)
        >>> [round(float(alpha), 3) for alpha in tempering().alphas]
        [0.875, 0.571]
    """

    def __init__(self, inv_sqrt_beta_0: float = INV_SQRT_BETA_0):
        super().__init__()
        if not (np.isfinite(inv_sqrt_beta_0) and inv_sqrt_beta_0 > 1.0):
            raise ValueError(f"inv_sqrt_beta_0 is {inv_sqrt_beta_0}; expected a finite 1/sqrt(beta_0) above 1")
        self.inv_sqrt_beta_0 = float(inv_sqrt_beta_0)

    def build(self, num_steps, batch_shape=(), dtype=tf.float32):
        super().build(num_steps, batch_shape, dtype)
        self._t = self._variable("log_excess_inv_sqrt_beta_0", np.log(self.inv_sqrt_beta_0 - 1.0), self._batch_shape)

    def _inv_sqrt_beta(self, b_0, fraction):
        """1/sqrt(beta_k), at fraction = k/K."""
        return (1.0 - b_0) * fraction**2 + b_0

    def _schedule(self, num_steps):
        b_0 = 1.0 + tf.exp(self._t)
        K = num_steps
        b = [b_0, *(self._inv_sqrt_beta(b_0, k / K) for k in range(1, K)), tf.ones_like(b_0)]
        return TemperingSchedule(b_0, tuple(b[k] / b[k - 1] for k in range(1, K + 1)))

    def get_config(self):
        return {"inv_sqrt_beta_0": self.inv_sqrt_beta_0}


@keras.saving.register_keras_serializable("hvae_tf")
class ReleasedFixedTempering(FixedTempering):
    """Fixed tempering as the authors' released MNIST code has it: quadratic in 1/beta_k, not in 1/sqrt(beta_k).

    The two agree only at K = 1. Kept for comparison with published numbers; see ``docs/deviations.md``.

    Example:
        >>> tempering = hvae_tf.ReleasedFixedTempering(inv_sqrt_beta_0=2.0)
        >>> tempering.build(num_steps=2)
        >>> [round(float(alpha), 3) for alpha in tempering().alphas]
        [0.901, 0.555]
    """

    def _inv_sqrt_beta(self, b_0, fraction):
        return tf.sqrt((1.0 - b_0**2) * fraction**2 + b_0**2)


@keras.saving.register_keras_serializable("hvae_tf")
class FreeTempering(Tempering):
    """The paper's free scheme: every alpha_k is learned, and beta_0 = prod_k alpha_k^2.

    alpha_k = sigmoid(.).

    Args:
        alpha: Initial value of every alpha_k, in (0, 1).

    Raises:
        ValueError: If alpha is outside (0, 1).

    Example:
        >>> tempering = hvae_tf.FreeTempering(alpha=0.5)
        >>> tempering.build(num_steps=2)
        >>> round(float(tempering().inv_sqrt_beta_0), 3)
        4.0
    """

    def __init__(self, alpha: float = 0.9):
        super().__init__()
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha is {alpha}; expected a value in (0, 1)")
        self.alpha = float(alpha)

    def build(self, num_steps, batch_shape=(), dtype=tf.float32):
        super().build(num_steps, batch_shape, dtype)
        self._logit_alpha = self._variable("logit_alpha", logit(self.alpha), (num_steps, *self._batch_shape))

    def _schedule(self, num_steps):
        # log_sigmoid keeps beta_0 accurate where K is large and the alphas are small
        log_alphas = tf.math.log_sigmoid(self._logit_alpha)
        inv_sqrt_beta_0 = tf.exp(-tf.reduce_sum(log_alphas, axis=0))
        return TemperingSchedule(inv_sqrt_beta_0, tuple(tf.unstack(tf.exp(log_alphas))))

    def get_config(self):
        return {"alpha": self.alpha}


TEMPERINGS = {
    "none": NoTempering,
    "fixed": FixedTempering,
    "fixed-released": ReleasedFixedTempering,
    "free": FreeTempering,
}


def get_tempering(tempering: str | Tempering) -> Tempering:
    """A `Tempering`, or a new one of this name, one of `TEMPERINGS`.

    Raises:
        ValueError: If it is neither; the message lists those accepted.
    """
    return resolve("tempering", tempering, Tempering, TEMPERINGS, "a Tempering")
