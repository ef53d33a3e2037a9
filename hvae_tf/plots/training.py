"""How training went."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hvae_tf.plots.drawing import figure

PANELS = {
    "loss": "loss: negative bound, nats",
    "reconstruction": "reconstruction, nats",
    "rate": "rate, nats",
    "active_units": "active units",
    "learning_rate": "learning rate",
}
COLUMNS = 5  # panels in a row


def training_curves(history) -> Any:
    """What was logged against epochs, training and validation together, a panel a name.

    Args:
        history: A `TrainingResult`, Keras's `History`, a mapping of lists, or the path of a ``history.csv``.

    Returns:
        A matplotlib `Figure`; a learning rate that stayed as it was has no panel.

    Raises:
        ValueError: If there is no loss in it.
    """
    curves = curves_of(history)
    if not len(curves.get("loss", [])):
        raise ValueError(f"the history holds {', '.join(curves) or 'nothing'}; expected a 'loss' for each epoch")
    shown = _names(curves)
    columns = min(len(shown), COLUMNS)
    rows = -(-len(shown) // columns)
    fig = figure(3.4 * columns + 0.4, 3.2 * rows)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for axis, name in zip(axes, shown, strict=False):
        for key, label, color in ((name, "training", "C0"), (f"val_{name}", "validation", "C1")):
            if key in curves:
                values = np.asarray(curves[key], np.float64)
                epochs = np.flatnonzero(~np.isnan(values)) + 1  # those at which it was logged
                axis.plot(epochs, values[epochs - 1], color=color, label=label, marker="." if len(epochs) < 30 else "")
        axis.set(xlabel="epoch", title=PANELS.get(name, name))
        if name == "active_units":
            axis.set_ylim(bottom=0.0)
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = fig.axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        fig.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2)
    return fig


def _names(curves) -> list[str]:
    """What has a panel: the names that are known, in their order, then the others as they come."""
    logged = dict.fromkeys(name.removeprefix("val_") for name in curves if name != "epoch")
    names = [name for name in PANELS if name in logged] + [name for name in logged if name not in PANELS]
    constant = len(set(curves.get("learning_rate", [0]))) == 1
    return [name for name in names if name != "learning_rate" or not constant]


def curves_of(history) -> dict[str, list[float]]:
    """The columns of a history, whatever holds it."""
    if isinstance(history, (str, Path)):
        with open(history) as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]} if rows else {}
    history = getattr(history, "history", history)
    if not isinstance(history, Mapping):
        raise ValueError(
            f"history is a {type(history).__name__}; expected a TrainingResult, Keras's History, a mapping, or a path"
        )
    return {name: list(column) for name, column in history.items()}
