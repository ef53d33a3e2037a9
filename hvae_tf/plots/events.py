"""What a model makes: samples, reconstructions, and what lies between two events."""

import math
from typing import Any

import numpy as np

from hvae_tf.plots.drawing import SHOWN, check_drawable, figure, is_image, limits, lines, mosaic, panels, show, tiles


def samples(model, n: int = 36, seed: int = 0, *, columns: int | None = None, y=None) -> Any:
    """New events from the prior, as `FlowVAE.sample` gives them: for binary pixels probabilities.

    Args:
        model: A `FlowVAE`.
        n: How many.
        seed: Of the draws.
        columns: Of the picture; about the square root of n by default.
        y: Contexts of a conditional model, ``[n, *context_shape]``, or one for all.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If events of this shape cannot be drawn, or see `FlowVAE.sample`.
    """
    check_drawable(model.event_shape)
    x = model.sample(n, seed, y=y)
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    if is_image(model.event_shape):
        height, width = model.event_shape[:2]
        fig = figure(max(2.5, 0.75 * columns), max(2.5, 0.75 * rows * height / width) + 0.4)
        show(fig.subplots(), mosaic(x, columns, line=sum(limits(x)) / 2), span=limits(x))
    else:
        fig = figure(1.9 * columns, 1.3 * rows + 0.6)
        for axis, event in zip(panels(fig, n, columns), x, strict=True):
            lines(axis, event, **_plain(event))
    fig.suptitle("From the prior: the mean of p(x|z)", fontsize=10)
    return fig


def reconstructions(model, x, seed: int | None = None, *, y=None) -> Any:
    """Events, and below each (for rows and sequences: over it) its reconstruction.

    Args:
        model: A `FlowVAE`.
        x: ``[n, *event_shape]``, a dozen or so.
        seed: None for reconstructions without noise, a number for draws from the flow's posterior.
        y: Contexts of a conditional model, ``[n, *context_shape]``, or one for all.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If events of this shape cannot be drawn, or see `FlowVAE.reconstruct`.
    """
    check_drawable(model.event_shape)
    x, again = np.asarray(x), model.reconstruct(x, seed, y=y)
    n = len(x)
    if is_image(model.event_shape):
        span, columns = limits(x, again), min(n, SHOWN)
        pairs = -(-n // columns)
        missing = pairs * columns - n
        strips = [np.pad(a, [(0, missing), *[(0, 0)] * 3], constant_values=np.mean(span)) for a in (x, again)]
        strips = [strip.reshape(pairs, columns, *model.event_shape) for strip in strips]
        both = np.stack(strips, axis=1).reshape(2 * pairs, columns, *model.event_shape)
        height, width = model.event_shape[:2]
        fig = figure(0.75 * columns + 1.4, 1.5 * pairs * height / width + 0.5)
        tiles(fig.subplots(), both, span, rows=["x", "reconstruction"] * pairs)
    else:
        columns = min(n, 4)
        fig = figure(2.6 * columns, 1.7 * -(-n // columns) + 0.9)
        for i, (axis, before, after) in enumerate(zip(panels(fig, n, columns), x, again, strict=True)):
            lines(axis, before, color="0.6", label="x" if not i else None)
            lines(axis, after, marker="", label="reconstruction" if not i else None, **_plain(after))
        fig.legend(fontsize=8, loc="outside lower center", ncols=2)
    fig.suptitle("Events and their reconstructions", fontsize=10)
    return fig


def interpolation(model, x_a, x_b, n: int = 9, *, y=None) -> Any:
    """What lies between pairs of events, a row a pair, see `FlowVAE.interpolate`.

    Args:
        model: A `FlowVAE`.
        x_a: ``[B, *event_shape]``, a few.
        x_b: ``[B, *event_shape]``.
        n: Points between, both ends included.
        y: Contexts of a conditional model.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If events of this shape cannot be drawn, or see `FlowVAE.interpolate`.
    """
    check_drawable(model.event_shape)
    x = model.interpolate(x_a, x_b, n, y=y)
    share = [f"{value:.2g}" for value in np.linspace(0.0, 1.0, n)]
    fig = of_rows(model, x, None, share)
    fig.supxlabel("share of the second event's z", fontsize=9)
    fig.suptitle("Between two events: the mean of p(x|z) on a straight line of z", fontsize=10)
    return fig


def of_rows(model, x, rows, columns) -> Any:
    """A figure of events ``[R, C, *event_shape]``: tiles, or a panel of lines a row, dark to light."""
    if is_image(model.event_shape):
        height, width = model.event_shape[:2]
        fig = figure(0.75 * x.shape[1] + 1.0, 0.75 * len(x) * height / width + 0.9)
        tiles(fig.subplots(), x, limits(x), rows=rows, columns=columns)
        return fig
    across = min(len(x), 3)
    fig = figure(3.0 * across + 0.6, 2.1 * -(-len(x) // across) + 0.8)
    from matplotlib import colormaps

    for i, axis in enumerate(panels(fig, len(x), across)):
        for share, event, label in zip(np.linspace(0.0, 1.0, x.shape[1]), x[i], columns, strict=True):
            lines(axis, event, marker="", color=colormaps["viridis"](share), label=None if i else label)
        if rows is not None:
            axis.set_title(rows[i], fontsize=9)
    fig.legend(fontsize=7, loc="outside right center")
    return fig


def _plain(event) -> dict:
    """The style of a row, all of one colour."""
    return {"color": "C0"} if np.ndim(event) == 1 else {}
