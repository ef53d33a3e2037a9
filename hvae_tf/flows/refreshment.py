"""Partial refreshment of a momentum: a rotation of (momentum, noise), so that N(0, I) stays what it is.

    v' = eta v + sqrt(1 - eta^2) xi,    u = sqrt(1 - eta^2) v - eta xi,    xi ~ N(0, I)

v' goes on, u is let go. The map (v, xi) -> (v', u) keeps volume, so the weight gains log r(u) - log N(xi). With
r = N(0, I) that is log N(v) - log N(v'), for a rotation keeps |v|^2 + |xi|^2: what uncorrected Hamiltonian annealing
(Geffner & Domke 2021) has in its bound. There is no division by 1 - eta^2: eta = 1, where nothing is let go, is a case
like any other.
"""

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian, standard_normal, standard_normal_log_prob
from hvae_tf.flows.momentum import MomentumDraw, MomentumSource
from hvae_tf.numerics import logit


@keras.saving.register_keras_serializable("hvae_tf")
class PartialRefreshment(MomentumSource):
    """Keeps the share eta of the momentum, one eta for all transitions; the first momentum is all new.

    Args:
        kept: eta in [0, 1]: 0 draws every momentum anew, 1 keeps the first. In (0, 1) where it is learned.
        learned: Whether eta is trained, as eta = sigmoid(.).

    Raises:
        ValueError: If eta is out of its range.
    """

    def __init__(self, kept: float = 0.5, learned: bool = True):
        super().__init__()
        self.learned = bool(learned)
        self.initial_kept = float(kept)
        inside = 0.0 < self.initial_kept < 1.0 if self.learned else 0.0 <= self.initial_kept <= 1.0
        if not inside:
            wanted = "(0, 1), where it is learned" if self.learned else "[0, 1]"
            raise ValueError(f"the share of the momentum that is kept is {kept}; expected a number in {wanted}")

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        self._logit_kept = None
        if self.learned:
            initial = logit(self.initial_kept).astype(self.dtype.as_numpy_dtype)
            self._logit_kept = tf.Variable(initial, name="logit_kept_momentum")

    @property
    def kept(self) -> tf.Tensor:
        """eta, ``[]``, as it stands."""
        return tf.constant(self.initial_kept, self.dtype) if self._logit_kept is None else tf.sigmoid(self._logit_kept)

    @property
    def _renewed(self) -> tf.Tensor:
        """sqrt(1 - eta^2), the share of what is new."""
        if self._logit_kept is None:
            return tf.constant(np.sqrt(1.0 - self.initial_kept**2), self.dtype)
        return tf.sqrt(tf.sigmoid(-self._logit_kept) * (1.0 + self.kept))  # (1 - eta)(1 + eta)

    def draw(self, t, noise, state):
        log_prob = standard_normal_log_prob(noise)
        expected = -_standard(noise).entropy()
        if t == 0:
            return MomentumDraw(noise, log_prob, expected, state.rho)
        kept, renewed = self.kept, self._renewed
        value = kept * state.rho + renewed * noise
        return MomentumDraw(value, log_prob, expected, renewed * state.rho - kept * noise, kept)

    def get_config(self):
        return {"kept": self.initial_kept, "learned": self.learned}


def _standard(noise) -> DiagonalGaussian:
    return standard_normal(noise.shape[-1], noise.dtype)


def get_refreshment(refreshment) -> MomentumSource:
    """A `MomentumSource`, ``"learned"`` for an eta that is learned from 1/2, or a fixed eta in [0, 1].

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(refreshment, MomentumSource):
        return refreshment
    if isinstance(refreshment, str):
        if refreshment != "learned":
            raise ValueError(f"refreshment is {refreshment!r}; expected 'learned', a number, or a MomentumSource")
        return PartialRefreshment()
    return PartialRefreshment(refreshment, learned=False)
