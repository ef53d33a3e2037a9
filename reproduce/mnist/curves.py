"""How training went: the validation bound against epochs and, cells being unlike in cost, against time."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker

from reproduce.configs import TABLE1_CELLS
from reproduce.mnist.cells import label
from reproduce.mnist.comparison import MEASURES, Table
from reproduce.mnist.times import epoch_seconds, training_seconds
from reproduce.tables import png

DPI = 110
# colours that the colour-blind tell apart (Okabe and Ito)
COLORS = {0: "black", 1: "#0072B2", 5: "#E69F00", 10: "#009E73", 15: "#CC79A7", 20: "#56B4E9"}
DASHES = {"free": "-", "fixed": "--", "none": ":", "": "-"}
MARKERS = {"free": "o", "fixed": "s", "none": "^", "": "D"}
LONGER = (("P", "--"), ("*", "-."), ("h", ":"), ("v", (0, (8, 2))), ("X", (0, (6, 1, 1, 1, 1, 1))))  # marker, dashes


def style_of(cell: str) -> dict:
    """A cell's line: colour by K, dashes and marker by tempering; thin, its markers half filled, with one eps for all.

    Markers are hollow but of cells with the KL in closed form, so that those that lie on one another are all seen.
    """
    spec = TABLE1_CELLS[cell]
    color = "grey" if spec.kind == "iwae" else COLORS[spec.num_leapfrog_steps]
    thin = (spec.step_size == "shared" and spec.num_leapfrog_steps > 1) or spec.num_samples > 5
    filled = {"fillstyle": "bottom", "mfc": color, "markerfacecoloralt": "none"} if thin else {"mfc": "none"}
    if spec.kl == "analytic":
        filled = {"mfc": color}
    return {
        "color": color,
        "ls": DASHES[spec.tempering],
        "marker": MARKERS[spec.tempering],
        "lw": 0.8 if thin else 1.5,
        "ms": 7 if spec.tempering else 5.5,  # a diamond is larger than the others
        **filled,
    }


def first_images(counts: Iterable[int]) -> str:
    """How many of the first test images, in words: "the first 100", or "the first 100 to 400"."""
    found = sorted(set(counts))
    return f"the first {found[0]}" + (f" to {found[-1]}" if len(found) > 1 else "")


def _legend(fig, axis) -> None:
    handles, labels = axis.get_legend_handles_labels()
    labels = [text.replace("\n", ", ") for text in labels]
    fig.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3 if len(labels) > 6 else 2)


def _limits(axis, records) -> None:
    """The range where the ends of the curves can be told apart."""
    losses = [record["history"]["val_loss"] for record in records]
    if len(losses[0]) > 5:
        final = [loss[-1] for loss in losses]
        axis.set_ylim(min(final) - 1.0, min(max(final) + 8.0, max(map(max, losses)) + 0.5))


def _loss_label(records) -> str:
    """What curves show; IWAE's own bound is no ELBO."""
    iwae = any(record["configuration"]["model"] == "iwae" for record in records)
    return "−ELBO on validation images, nats" + "\n(of IWAE its own −bound)" * iwae


def _seconds_axis(axis) -> None:
    """A logarithmic axis of seconds that is labelled at 1, 2 and 5; at 1 and 3 over more than two decades."""
    low, high = axis.get_xlim()
    axis.set(xlabel="seconds of training")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high < 100.0 * low else (1.0, 3.0)))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    axis.grid(alpha=0.3)


def training_curves(table: Table) -> bytes:
    """Validation -ELBO against epochs, a line a run: all of it, and from nearer the last quarter, of the shortest run.

    There a run's markers stand at epochs of its cell's own, so that lines that lie on one another can be told apart.
    """
    fig, axes = plt.subplots(1, 2, figsize=(11.0, 4.4 + 0.1 * len(table.cells)), layout="constrained")
    whole, last = axes
    shortest = min(len(record["history"]["val_loss"]) for record in table.records)
    start = max(1, 3 * shortest // 4)
    apart = max(1, (shortest - start) // 3)  # epochs between two markers of a line
    for number, (cell, group) in enumerate(table.cells.items()):
        offset = number * apart // len(table.cells)
        for i, record in enumerate(group):
            loss = np.array(record["history"]["val_loss"])
            epochs = np.arange(1, len(loss) + 1)
            name = label(cell, short=True) if i == 0 else None
            whole.plot(epochs, loss, **{**style_of(cell), "marker": ""})
            near = slice(start - 1, None)
            last.plot(epochs[near], loss[near], label=name, markevery=(offset, apart), **style_of(cell))
    _limits(whole, table.records)
    whole.set(ylabel=_loss_label(table.records))
    whole.set_title("a line a run", fontsize=10)
    last.set_title(f"the same, from epoch {start} on", fontsize=10)
    for axis in axes:
        axis.set(xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    fig.suptitle("Training, at equal epochs")
    _legend(fig, last)
    return png(fig, DPI)


# ---------------------------------------------------------------------------------------------------------- equal time


class Curve(NamedTuple):
    """A cell, or a longer training of it: its name, its runs that have a time, and how it is drawn."""

    name: str
    runs: Sequence[dict]
    style: dict


def _curves(table: Table) -> list[Curve]:
    curves = [Curve(label(cell, short=True), group, style_of(cell)) for cell, group in table.cells.items()]
    for number, epochs in enumerate(sorted({one.epochs for one in table.longer})):
        group = [one.record for one in table.longer if one.epochs == epochs]
        cell = group[0]["configuration"]["cell"]
        marker, dashes = LONGER[number % len(LONGER)]
        style = {**style_of(cell), "marker": marker, "ls": dashes, "lw": 1.0, "ms": 9}
        curves.append(Curve(f"{label(cell)}, {epochs} epochs", group, style))
    curves = [
        curve._replace(runs=[record for record in curve.runs if not math.isnan(epoch_seconds(record))])
        for curve in curves
    ]
    return [curve for curve in curves if curve.runs]


def equal_time(table: Table) -> bytes | None:
    """The validation bound along training, and the test NLL at its end, against seconds of training.

    A curve is the mean over a cell's seeds, its time the mean of their seconds an epoch; a point is a run. Longer
    trainings have curves of their own. Points are by AIS, and runs without it are counted, not drawn; by importance
    sampling where no run has it. None where no record says how long its epochs took.
    """
    curves = _curves(table)
    if not curves:
        return None
    fig, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.4 + 0.1 * len(curves)), layout="constrained")
    for name, group, style in curves:
        length = min(len(r["history"]["val_loss"]) for r in group)
        loss = np.mean([r["history"]["val_loss"][:length] for r in group], axis=0)
        seconds = np.mean([epoch_seconds(r) for r in group]) * np.arange(1, length + 1)
        left.plot(seconds, loss, label=name, markevery=[-1], **style)
    _limits(left, [r for curve in curves for r in curve.runs])
    left.set_ylabel(_loss_label([r for curve in curves for r in curve.runs]))
    left.set_title("along training: a curve a cell, mean over its seeds", fontsize=10)
    _ends(right, table, curves)
    for axis in (left, right):
        axis.set_xscale("log")
    _from_where_curves_enter(left)
    for axis in (left, right):
        _seconds_axis(axis)
    fig.suptitle("At equal time")
    _legend(fig, left)
    return png(fig, DPI)


def _ends(axis, table: Table, curves: Sequence[Curve]) -> None:
    """A point a run, all by one measure; the axis says which and on what images, the title what is left out."""
    runs = [record for curve in curves for record in curve.runs]
    measure = "ais" if any(table.score(record, "ais") for record in runs) else "nll"
    images = []
    for _, group, style in curves:
        scored = [(record, score) for record in group if (score := table.score(record, measure))]
        ends = [training_seconds(record) for record, _ in scored]
        axis.plot(ends, [score.mean for _, score in scored], **{**style, "ls": "none"})
        images += [score.images for _, score in scored]
    missing = len(runs) - len(images)
    left_out = f"\n{missing} run{'s' * (missing > 1)} without {MEASURES[measure]} left out" if missing else ""
    axis.set_ylabel(f"NLL ({MEASURES[measure]}) of {first_images(images)} test images, nats")
    axis.set_title(f"at its end: a point a run{left_out}", fontsize=10)
    axis.margins(x=0.15, y=0.15)


def _from_where_curves_enter(axis) -> None:
    """Cuts off the times at which every curve is still above the axis."""
    top = axis.get_ylim()[1]
    entered = [x[y <= top][0] for x, y in (line.get_data() for line in axis.lines) if np.any(y <= top)]
    if entered:
        axis.set_xlim(left=0.8 * min(entered))
