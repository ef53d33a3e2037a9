"""Tempering: the momentum is scaled by alpha_k in (0, 1) after leapfrog step k (section 2.3 of the paper).

Every scheme starts the momentum at inverse temperature beta_0 and ends at beta_K = 1, so

    alpha_k = sqrt(beta_{k-1} / beta_k),     prod_k alpha_k = sqrt(beta_0).

A scheme works with b_k = 1/sqrt(beta_k), in which alpha_k = b_k / b_{k-1}.
"""

import abc
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.variables import AddVariable, logit, tf_variable


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


class Tempering(tf.Module, abc.ABC):
    """A tempering scheme over K steps; calling it gives the `TemperingSchedule`.

    Args:
        num_steps: K >= 1.
        batch_shape: Shape of the independent repeats, each with its own parameters.
        dtype: Floating type of the schedule.
        add_variable: Creates the variables, see `hvae_tf.variables`.

    Raises:
        ValueError: If K is not an integer of at least 1.
    """

    def __init__(self, num_steps, *, batch_shape=(), dtype=tf.float32, add_variable: AddVariable = tf_variable):
        super().__init__(name=type(self).__name__)
        self.num_steps = check_count("num_steps", num_steps)
        self._batch_shape = tuple(batch_shape)
        self._dtype = tf.as_dtype(dtype)
        self._add_variable = add_variable

    def _variable(self, name, value, shape):
        return self._add_variable(name, np.broadcast_to(value, shape).astype(self._dtype.as_numpy_dtype))

    @abc.abstractmethod
    def __call__(self) -> TemperingSchedule: ...


class NoTempering(Tempering):
    """alpha_k = 1, beta_0 = 1: plain Hamiltonian dynamics, homogeneous in time. No parameters."""

    def __call__(self) -> TemperingSchedule:
        one = tf.ones(self._batch_shape, self._dtype)
        return TemperingSchedule(one, (one,) * self.num_steps)


class FixedTempering(Tempering):
    """The paper's fixed scheme: one learned beta_0, and quadratic in between (Algorithm 1).

        1/sqrt(beta_k) = (1 - 1/sqrt(beta_0)) k^2/K^2 + 1/sqrt(beta_0)

    beta_0 is learned through 1/sqrt(beta_0) = 1 + exp(t).

    Args:
        num_steps: K >= 1.
        inv_sqrt_beta_0: Initial 1/sqrt(beta_0) > 1.
        **kwargs: See `Tempering`.

    Raises:
        ValueError: If inv_sqrt_beta_0 is not above 1.
    """

    def __init__(self, num_steps, inv_sqrt_beta_0=5.0, **kwargs):
        super().__init__(num_steps, **kwargs)
        if not (np.isfinite(inv_sqrt_beta_0) and inv_sqrt_beta_0 > 1.0):
            raise ValueError(f"inv_sqrt_beta_0 is {inv_sqrt_beta_0}; expected a finite 1/sqrt(beta_0) above 1")
        self._t = self._variable("log_excess_inv_sqrt_beta_0", np.log(inv_sqrt_beta_0 - 1.0), self._batch_shape)

    def _inv_sqrt_beta(self, b_0, fraction):
        """1/sqrt(beta_k), at fraction = k/K."""
        return (1.0 - b_0) * fraction**2 + b_0

    def __call__(self) -> TemperingSchedule:
        b_0 = 1.0 + tf.exp(self._t)
        K = self.num_steps
        b = [b_0, *(self._inv_sqrt_beta(b_0, k / K) for k in range(1, K)), tf.ones_like(b_0)]
        return TemperingSchedule(b_0, tuple(b[k] / b[k - 1] for k in range(1, K + 1)))


class ReleasedFixedTempering(FixedTempering):
    """Fixed tempering as the authors' released MNIST code has it: quadratic in 1/beta_k, not in 1/sqrt(beta_k).

    The two agree only at K = 1. Kept for comparison with published numbers; see ``docs/deviations.md``.
    """

    def _inv_sqrt_beta(self, b_0, fraction):
        return tf.sqrt((1.0 - b_0**2) * fraction**2 + b_0**2)


class FreeTempering(Tempering):
    """The paper's free scheme: every alpha_k is learned, and beta_0 = prod_k alpha_k^2.

    alpha_k = sigmoid(.).

    Args:
        num_steps: K >= 1.
        alpha: Initial value of every alpha_k, in (0, 1).
        **kwargs: See `Tempering`.

    Raises:
        ValueError: If alpha is outside (0, 1).
    """

    def __init__(self, num_steps, alpha=0.9, **kwargs):
        super().__init__(num_steps, **kwargs)
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha is {alpha}; expected a value in (0, 1)")
        self._logit_alpha = self._variable("logit_alpha", logit(alpha), (self.num_steps, *self._batch_shape))

    def __call__(self) -> TemperingSchedule:
        # log_sigmoid keeps beta_0 accurate where K is large and the alphas are small
        log_alphas = tf.math.log_sigmoid(self._logit_alpha)
        inv_sqrt_beta_0 = tf.exp(-tf.reduce_sum(log_alphas, axis=0))
        return TemperingSchedule(inv_sqrt_beta_0, tuple(tf.unstack(tf.exp(log_alphas))))


TEMPERINGS = {
    "none": NoTempering,
    "fixed": FixedTempering,
    "fixed-released": ReleasedFixedTempering,
    "free": FreeTempering,
}


def make_tempering(name: str, num_steps: int, **kwargs) -> Tempering:
    """The scheme called `name`, one of `TEMPERINGS`.

    Raises:
        ValueError: If the name is unknown; the message lists those accepted.
    """
    if name not in TEMPERINGS:
        raise ValueError(f"unknown tempering {name!r}; accepted: {', '.join(TEMPERINGS)}")
    return TEMPERINGS[name](num_steps, **kwargs)
