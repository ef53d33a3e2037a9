"""Whether a trained posterior still tells of x: a warning, and a callback that counts active units on the way."""

import warnings

import keras
import numpy as np

from hvae_tf.diagnostics import ACTIVE, Activity, active_units

EVENTS = 500  # of the validation data are looked at
FEWEST = 20  # below so many events a variance says little
FEW = 0.1  # a smaller part of the dimensions than this being active is a collapse


class ActiveUnits(keras.callbacks.Callback):
    """Counts the active units after every epoch, and logs the number as ``active_units``.

    In `hvae_tf.fit` it becomes a column of the history.

    Args:
        x: ``[n, *event_shape]``; a few hundred events of the validation data.
        y: Contexts of a conditional model, ``[n, *context_shape]``.
        threshold: See `FlowVAE.active_units`, also for what follows.
        num_samples: Where a flow moves z; 1 takes the encoder's means, which costs next to nothing.
        seed: Of the samples.

    Attributes:
        history: An `Activity` for each epoch of this process.
    """

    def __init__(self, x, y=None, *, threshold: float = ACTIVE, num_samples: int = 32, seed: int = 0):
        super().__init__()
        self.history: list[Activity] = []
        self._x, self._y = x, y
        self._settings = {"threshold": threshold, "num_samples": num_samples, "seed": seed}

    def on_epoch_end(self, epoch, logs=None):
        found = self.model.active_units(self._x, y=self._y, **self._settings)
        self.history.append(found)
        if logs is not None:
            logs["active_units"] = float(found.num_active)


def warn_of_collapse(model: keras.Model, x: np.ndarray, y: np.ndarray | None = None) -> None:
    """Warns, in one line, where fewer than a tenth of the dimensions of z tell of x; does nothing for other models.

    The encoder's means are looked at first, which is one pass of it over some hundred events; a flow's posterior only
    where they tell nothing.

    Args:
        model: With a method `active_units`, or any.
        x: ``[n, *event_shape]``.
        y: Contexts of a conditional model.
    """
    if not hasattr(model, "active_units") or len(x) < FEWEST:
        return
    x, y = x[:EVENTS], None if y is None else y[:EVENTS]
    size = model.latent_size
    few = max(1.0, FEW * size)
    q0 = model.posterior(keras.ops.cast(x, model.variable_dtype), y)
    if np.sum(active_units(q0.mean)) >= few:
        return
    found = model.active_units(x, y=y)
    if found.num_active < few:
        warnings.warn(
            f"the posterior has collapsed: {found.num_active} of {size} latent dimensions are active on {len(x)} "
            f"validation events (variance of the posterior mean above {ACTIVE}): z tells next to nothing of x; train "
            "longer, or take larger networks or another learning rate",
            stacklevel=3,
        )
