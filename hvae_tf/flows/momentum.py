"""Where a stochastic flow takes its momenta from: what is drawn at the start of each transition, and what is let go.

A source maps the momentum v that comes in, and noise, to the momentum v' that the transition starts with, and to what
it lets go of v, u: a map of (v, noise) that keeps volume, up to the scale that its density holds. `GaussianMomentum`
lets go of all of v; `hvae_tf.flows.refreshment` of a part.
"""

import abc
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian
from hvae_tf.dynamics.leapfrog import PhaseState
from hvae_tf.flows.parts import FlowPart


class MomentumDraw(NamedTuple):
    """What was drawn.

    Attributes:
        value: ``[..., l]``, v', which the transition starts with.
        log_prob: ``[...]``, log q_t of what is new: v' itself, or the noise that refreshes a part of v.
        expected_log_prob: ``[...]``, or broadcasting with it: its mean where that has a closed form.
        released: ``[..., l]``, u, what is let go of the momentum that came in; the reverse model of the transition
            before is a density of it.
        kept: ``[]``, eta, the share of the momentum that came in which v' keeps; 0 where v' is all new.
    """

    value: tf.Tensor
    log_prob: tf.Tensor
    expected_log_prob: tf.Tensor
    released: tf.Tensor
    kept: tf.Tensor | float = 0.0


class MomentumSource(FlowPart):
    """The densities q_t(v' | z, v) of a flow's transitions, each with one draw ``[..., l]`` of N(0, I) to spend."""

    @abc.abstractmethod
    def draw(self, t: int, noise: tf.Tensor, state: PhaseState) -> MomentumDraw:
        """Draws v' at the start of transition t; before the first there is nothing to let go of.

        Args:
            t: 0, ..., T - 1.
            noise: ``[..., l]``, of N(0, I).
            state: Where the transition starts; its momentum is the one that the transition before ended with, zero
                before the first: what a source that refreshes in part needs.
        """


@keras.saving.register_keras_serializable("hvae_tf")
class GaussianMomentum(MomentumSource):
    """q_t = N(0, diag s_t^2), whatever came before.

    Args:
        scale: Initial s > 0: a number, or an array that broadcasts to ``[T, l]``.
        learned: Whether s is trained, by its logarithm.

    Raises:
        ValueError: If a scale is not positive and finite; by `build`, if its shape does not fit.
    """

    def __init__(self, scale=1.0, learned: bool = True):
        super().__init__()
        self._initial_scale = np.asarray(scale, np.float64)
        if not np.all(np.isfinite(self._initial_scale) & (self._initial_scale > 0.0)):
            raise ValueError(f"the momentum's scale is {scale}; expected positive finite numbers")
        self.learned = bool(learned)

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        shape = (num_transitions, event_size)
        try:
            initial = np.broadcast_to(self._initial_scale, shape)
        except ValueError as error:
            shape_given = self._initial_scale.shape
            raise ValueError(
                f"the momentum's scale has shape {shape_given}; expected one broadcasting to {shape}"
            ) from error
        self._fixed = tf.constant(initial, self.dtype)
        self._log_scale = self._variable("log_momentum_scale", np.log(initial)) if self.learned else None

    @property
    def scales(self) -> tf.Tensor:
        """s, ``[T, l]``, as it stands."""
        return self._fixed if self._log_scale is None else tf.exp(self._log_scale)

    def draw(self, t, noise, state):
        scale = self.scales[t]
        density = DiagonalGaussian(tf.zeros_like(scale), scale)
        return MomentumDraw(scale * noise, density.log_prob_of_noise(noise), -density.entropy(), state.rho)

    def get_config(self):
        return {"scale": self._initial_scale.tolist(), "learned": self.learned}


def get_momentum(momentum_scale) -> MomentumSource:
    """A `MomentumSource`, ``"learned"`` for a learned scale that starts at 1, or a fixed scale.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(momentum_scale, MomentumSource):
        return momentum_scale
    if isinstance(momentum_scale, str):
        if momentum_scale != "learned":
            raise ValueError(f"momentum_scale is {momentum_scale!r}; expected 'learned', a number, or a MomentumSource")
        return GaussianMomentum()
    return GaussianMomentum(momentum_scale, learned=False)
