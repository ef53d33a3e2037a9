"""How training went: the validation bound against epochs and, cells being unlike in cost, against time."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker

from reproduce.configs import TABLE1_CELLS
from reproduce.mnist.cells import label
from reproduce.mnist.comparison import MEASURES, Table
from reproduce.tables import png

DPI = 110
COLORS = {0: "black", 1: "C0", 5: "C1", 10: "C2", 15: "C3", 20: "C4"}
DASHES = {"free": "-", "fixed": "--", "none": ":", "": "-"}
MARKERS = {"free": "o", "fixed": "s", "none": "^", "": "D"}


def _style(cell: str) -> dict:
    """A cell's line: colour by K, dashes and marker by tempering, thin where all steps share a step size."""
    spec = TABLE1_CELLS[cell]
    color = "grey" if spec.model == "iwae" else COLORS.get(spec.num_leapfrog_steps, "C5")
    thin = (spec.step_size == "shared" and spec.num_leapfrog_steps > 1) or spec.num_samples > 5
    return {
        "color": color,
        "ls": DASHES[spec.tempering],
        "marker": MARKERS[spec.tempering],
        "lw": 0.8 if thin else 1.5,
        "ms": 5,
        "mfc": "none" if thin else color,
    }


def _legend(fig, axis) -> None:
    handles, labels = axis.get_legend_handles_labels()
    labels = [text.replace("\n", ", ") for text in labels]
    fig.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2)


def _limits(axis, records) -> None:
    """The range where the ends of the curves can be told apart."""
    losses = [record["history"]["val_loss"] for record in records]
    if len(losses[0]) > 5:
        final = [loss[-1] for loss in losses]
        axis.set_ylim(min(final) - 1.0, min(max(final) + 12.0, max(map(max, losses)) + 0.5))


def _seconds_axis(axis) -> None:
    """A logarithmic axis of seconds that is labelled at 1, 2 and 5."""
    axis.set(xlabel="seconds of training", xscale="log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    axis.grid(alpha=0.3)


def training_curves(table: Table) -> bytes:
    """Validation -ELBO against epochs, a line a run."""
    fig, axis = plt.subplots(figsize=(7.5, 4.8 + 0.1 * len(table.cells)), layout="constrained")
    for cell, group in table.cells.items():
        for i, record in enumerate(group):
            loss = record["history"]["val_loss"]
            name = label(cell, short=True) if i == 0 else None
            axis.plot(range(1, len(loss) + 1), loss, label=name, markevery=[-1], **_style(cell))
    axis.set(xlabel="epoch", ylabel="−ELBO on validation images, nats", title="Training, at equal epochs: a line a run")
    _limits(axis, table.records)
    axis.grid(alpha=0.3)
    _legend(fig, axis)
    return png(fig, DPI)


def _seconds(record) -> float | None:
    return record["results"]["training"].get("seconds_per_epoch")


LONGER = ("dimgrey", "darkgrey", "lightgrey")


def equal_time(table: Table) -> bytes | None:
    """The validation bound along training, and the test NLL at its end, against seconds of training.

    A curve is the mean over a cell's seeds, its time the mean of their seconds an epoch; a point is a run. Longer
    trainings have curves of their own. None where no record says how long its epochs took.
    """
    curves = [(label(cell, short=True), group, _style(cell)) for cell, group in table.cells.items()]
    lengths = sorted({one.epochs for one in table.longer})
    for number, epochs in enumerate(lengths):
        group = [one.record for one in table.longer if one.epochs == epochs]
        cell = group[0]["configuration"]["cell"]
        color = LONGER[number % len(LONGER)]
        curves.append((f"{label(cell)}, {epochs} epochs", group, {**_style(cell), "color": color, "mfc": color}))
    curves = [(name, [r for r in group if _seconds(r)], style) for name, group, style in curves]
    curves = [curve for curve in curves if curve[1]]
    if not curves:
        return None
    judged_by = "ais" if all(table.score(r, "ais") for _, group, _ in curves for r in group) else "nll"
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.4 + 0.1 * len(curves)), layout="constrained")
    for name, group, style in curves:
        length = min(len(r["history"]["val_loss"]) for r in group)
        loss = np.mean([r["history"]["val_loss"][:length] for r in group], axis=0)
        seconds = np.mean([_seconds(r) for r in group]) * np.arange(1, length + 1)
        left.plot(seconds, loss, label=name, markevery=[-1], **style)
        ends = [_seconds(r) * r["results"]["training"]["epochs"] for r in group]
        right.plot(ends, [table.score(r, judged_by).mean for r in group], **{**style, "ls": "none"})
    _limits(left, [r for _, group, _ in curves for r in group])
    left.set_ylabel("−ELBO on validation images, nats")
    left.set_title("along training: a curve a cell, mean over its seeds", fontsize=10)
    right.set_ylabel(f"NLL on test images ({MEASURES[judged_by]}), nats")
    right.set_title("at its end: a point a run", fontsize=10)
    right.margins(x=0.15, y=0.15)
    _seconds_axis(left)
    _seconds_axis(right)
    _from_where_curves_enter(left)
    fig.suptitle("At equal time")
    _legend(fig, left)
    return png(fig, DPI)


def _from_where_curves_enter(axis) -> None:
    """Cuts off the times at which every curve is still above the axis."""
    top = axis.get_ylim()[1]
    entered = [x[y <= top][0] for x, y in (line.get_data() for line in axis.lines) if np.any(y <= top)]
    if entered:
        axis.set_xlim(left=0.8 * min(entered))
