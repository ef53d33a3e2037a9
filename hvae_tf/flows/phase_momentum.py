"""Where a Hamiltonian flow's momentum starts, and what its end is held against.

    rho_0 ~ N(0, s^2),    log_ratio = log N(rho_K | nu, I) - log N(rho_0 | 0, s^2) + log |det|

The paper ties s to the tempering, s = 1/sqrt(beta_0) = prod_k 1/alpha_k, so that |det| and the scale of rho_0 cancel.
Nothing requires it: the weight is unbiased for any s and nu. A shift nu before the last tempering is a mean of N(rho_K)
after it, so this covers the quasi-refreshment of Chen, Xu & Campbell (2022) at the last step.
"""

import abc

import numpy as np
import tensorflow as tf

from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.dynamics.tempering import TemperingSchedule


class PhaseMomentum(tf.Module, abc.ABC):
    """The two ends of the momentum.

    Args:
        event_size: l.
        batch_shape: Of the independent repeats.
        shift: Whether nu is learned, from 0; else it is 0.
        dtype: Floating type of the variables.
    """

    def __init__(self, event_size: int, batch_shape, shift: bool, dtype):
        super().__init__(name=type(self).__name__)
        self.event_size = event_size
        shape, numpy_dtype = (*batch_shape, event_size), tf.as_dtype(dtype).as_numpy_dtype
        self._shift = tf.Variable(np.zeros(shape, numpy_dtype), name="momentum_shift") if shift else None

    @abc.abstractmethod
    def scale(self, schedule: TemperingSchedule) -> tf.Tensor:
        """s, broadcasting with ``[..., l]``."""

    @abc.abstractmethod
    def log_scale_total(self, schedule: TemperingSchedule) -> tf.Tensor:
        """sum_j log s_j, ``[...]``."""

    @abc.abstractmethod
    def log_volume(self, log_det: tf.Tensor) -> tf.Tensor | float:
        """sum_j log s_j + log |det|, ``[...]``: what is left of both in the expected ratio."""

    def draw(self, gamma: tf.Tensor, schedule: TemperingSchedule) -> tuple[tf.Tensor, tf.Tensor]:
        """rho_0 = s gamma ``[..., l]``, and log N(rho_0 | 0, s^2) ``[...]``, for gamma ~ N(0, I)."""
        log_prob = standard_normal_log_prob(gamma) - self.log_scale_total(schedule)
        return gamma * self.scale(schedule), log_prob

    def centred(self, rho: tf.Tensor) -> tf.Tensor:
        """rho_K - nu, which is held to be of N(0, I)."""
        return rho if self._shift is None else rho - self._shift


class TiedMomentum(PhaseMomentum):
    """s = 1/sqrt(beta_0), the paper's."""

    def scale(self, schedule):
        return schedule.inv_sqrt_beta_0[..., None]

    def log_scale_total(self, schedule):
        return self.event_size * tf.math.log(schedule.inv_sqrt_beta_0)

    def log_volume(self, log_det):
        return 0.0  # log |det| = l/2 log beta_0 cancels with the scale of N(rho_0 | 0, I/beta_0)


class LearnedMomentum(PhaseMomentum):
    """s learned dimension by dimension, whatever the tempering; it starts where the tempering would have it."""

    def __init__(self, event_size, batch_shape, shift, dtype, schedule: TemperingSchedule):
        super().__init__(event_size, batch_shape, shift, dtype)
        start = np.log(schedule.inv_sqrt_beta_0.numpy())[..., None]
        self._log_scale = tf.Variable(np.broadcast_to(start, (*batch_shape, event_size)), name="log_momentum_scale")

    def scale(self, schedule):
        return tf.exp(self._log_scale)

    def log_scale_total(self, schedule):
        return tf.reduce_sum(self._log_scale, axis=-1)

    def log_volume(self, log_det):
        return tf.reduce_sum(self._log_scale, axis=-1) + log_det
