"""What a training tells of itself: its epochs to the display, and a line for each where that is wanted."""

import time
from collections.abc import Callable

import keras

from hvae_tf.runs import Report
from reproduce.progress import clock, say

SECONDS = 0.5  # between two reports amid an epoch


class EpochProgress(keras.callbacks.Callback):
    """Tells a `Report` how far a training is.

    Args:
        report: What is told.
        name: Of the training.
        max_epochs: Of the training.
        share: Of the report's whole that the training is.
        lines: Whether each epoch has a line of its own on the standard output.

    Attributes:
        begun: Whether there was anything left to train.
    """

    def __init__(self, report: Report, name: str, max_epochs: int, *, share: float = 1.0, lines: bool = False):
        super().__init__()
        self._report, self._name, self._max_epochs, self._share, self._lines = report, name, max_epochs, share, lines
        self._epoch, self.begun, self._told = 0, False, 0.0

    def _tell(self, epochs: float, kept: bool = False) -> None:
        self._told = time.monotonic()
        doing = f"{self._name}, epoch {min(int(epochs) + 1, self._max_epochs)}/{self._max_epochs}"
        self._report(self._share * epochs / self._max_epochs, doing, kept=kept)

    def on_epoch_begin(self, epoch, logs=None):
        if not self.begun:  # those before it are of an earlier call
            self._tell(epoch, kept=True)
        self._epoch, self.begun, self._began = epoch, True, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params.get("steps")
        if steps and time.monotonic() - self._told > SECONDS:
            self._tell(self._epoch + min((batch + 1) / steps, 1.0))

    def on_epoch_end(self, epoch, logs=None):
        self._tell(epoch + 1)
        if self._lines and logs:
            losses = f"loss {logs['loss']:.3f}" + (f", validation {logs['val_loss']:.3f}" if "val_loss" in logs else "")
            took = time.monotonic() - self._began
            took = f"{took:.1f} s" if took < 60 else clock(took)
            say(f"{self._name} {epoch + 1:4}/{self._max_epochs}  {losses}  {took}")


class FitProgress(keras.callbacks.Callback):
    """Tells how much is done of one call of `keras.Model.fit` that has one epoch.

    Args:
        tell: What is told the fraction.
    """

    def __init__(self, tell: Callable[[float], None]):
        super().__init__()
        self._tell, self._told = tell, 0.0

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params.get("steps")
        if steps and time.monotonic() - self._told > SECONDS:
            self._told = time.monotonic()
            self._tell(min((batch + 1) / steps, 1.0))
