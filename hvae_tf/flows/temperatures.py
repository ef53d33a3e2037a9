"""Temperatures of a flow that goes from q0 to the target: b_1, ..., b_T of pi_b = q0^(1-b) p(x, .)^b.

These are the temperatures of annealed importance sampling; the beta of a Hamiltonian flow, which scales momenta, is
something else. b_0 = 0 is where z_0 comes from, b_{T+1} = 1 what the weight is of; the moves are those in between, so
the schedules are those of T + 1 intervals.
"""

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.flows.parts import FlowPart
from hvae_tf.targets.temperatures import SCHEDULES, temperature_schedule


class Temperatures(FlowPart):
    """The temperatures of T transitions.

    Args:
        values: Initial b_1..b_T in [0, 1]: ``"linear"`` or ``"sigmoid"``, see `temperature_schedule`; or numbers, one
            for all or T.

    Raises:
        ValueError: If a name is unknown, or a number out of its range; by `build`, if there are not T.
    """

    def __init__(self, values="linear"):
        super().__init__()
        if isinstance(values, str):
            if values not in SCHEDULES:
                raise ValueError(f"unknown temperatures {values!r}; accepted: {', '.join(SCHEDULES)}, or numbers")
            self.values: Any = values
            return
        self.values = np.asarray(values, np.float64)
        if self.values.ndim > 1 or not np.all((self.values >= 0.0) & (self.values <= 1.0)):
            raise ValueError(f"temperatures are {values}; expected numbers in [0, 1], one for all or a list")

    def _initial(self) -> np.ndarray:
        count = self._shape[0]
        if isinstance(self.values, str):
            return temperature_schedule(count + 1, self.values)[1:-1]
        if self.values.shape not in ((), (count,)):
            raise ValueError(f"there are {self.values.size} temperatures; expected {count}, one for each transition")
        return np.broadcast_to(self.values, (count,))

    @abc.abstractmethod
    def __call__(self) -> tf.Tensor:
        """b_1..b_T, ``[T]``, as they stand."""

    def get_config(self):
        return {"values": self.values if isinstance(self.values, str) else self.values.tolist()}


@keras.saving.register_keras_serializable("hvae_tf")
class FixedTemperatures(Temperatures):
    """They stay what they are."""

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        self._values = tf.constant(self._initial(), self.dtype)

    def __call__(self):
        return self._values


@keras.saving.register_keras_serializable("hvae_tf")
class LearnedTemperatures(Temperatures):
    """0 < b_1 < .. < b_T < 1, learned: their T + 1 increments, which add up to 1, are a softmax.

    Raises:
        ValueError: By `build`, if the initial values do not increase strictly, from above 0 to below 1.
    """

    def build(self, num_transitions, event_size, dtype=tf.float32):
        super().build(num_transitions, event_size, dtype)
        initial = self._initial()
        increments = np.diff(initial, prepend=0.0, append=1.0)
        if not np.all(increments > 0.0):
            raise ValueError(f"temperatures to be learned start at {initial}; expected 0 < b_1 < ... < b_T < 1")
        initial = np.log(increments).astype(self.dtype.as_numpy_dtype)
        self._log_increments = tf.Variable(initial, name="log_temperature_increments")

    def __call__(self):
        return tf.cumsum(tf.nn.softmax(self._log_increments))[:-1]


def get_temperatures(temperatures) -> Temperatures:
    """A `Temperatures`, ``"learned"``, or fixed ones: ``"linear"``, ``"sigmoid"``, or numbers in [0, 1].

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(temperatures, Temperatures):
        return temperatures
    if isinstance(temperatures, str) and temperatures == "learned":
        return LearnedTemperatures()
    if isinstance(temperatures, str) and temperatures not in SCHEDULES:
        accepted = ", ".join(("learned", *SCHEDULES))
        raise ValueError(f"unknown temperatures {temperatures!r}; accepted: {accepted}, numbers, or a Temperatures")
    return FixedTemperatures(temperatures)
