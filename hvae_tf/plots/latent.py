"""What the latent space holds: traversals, the plane of a model with l = 2, active units."""

import statistics
from typing import Any

import numpy as np

from hvae_tf.diagnostics import ACTIVE, Activity
from hvae_tf.plots.drawing import check_drawable, figure, is_image, limits, show
from hvae_tf.plots.events import of_rows

DIMENSIONS = 8  # of a traversal, unless asked for


def traversal(model, x, dimensions=None, values=None, *, y=None) -> Any:
    """One event, as one dimension of its z after the other goes through values; a row a dimension.

    Args:
        model: A `FlowVAE`.
        x: ``[*event_shape]``.
        dimensions: Which; by default those, up to eight, in which q0(z_0|x) is farthest from the prior.
        values: ``[n]``; from -3 to 3 by default, the prior's standard deviation being 1.
        y: The context of a conditional model, ``[*context_shape]``.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If events of this shape cannot be drawn, or see `FlowVAE.traverse`.
    """
    check_drawable(model.event_shape)
    x, values = np.asarray(x)[None], np.linspace(-3.0, 3.0, 9) if values is None else np.asarray(values)
    if dimensions is None:
        context = None if y is None else np.asarray(y)[None]
        q0 = model.posterior(x.astype(model.variable_dtype), context)
        mean, deviation = np.asarray(q0.mean)[0], np.asarray(q0.standard_deviation)[0]
        rate = 0.5 * (mean**2 + deviation**2 - 1.0) - np.log(deviation)
        dimensions = sorted(np.argsort(-rate)[:DIMENSIONS])
    moved = np.concatenate([model.traverse(x, int(dimension), values, y=y) for dimension in dimensions])
    names = [rf"$z_{{{dimension + 1}}}$" for dimension in dimensions]
    fig = of_rows(model, moved, names, [f"{value:.3g}" for value in values])
    if is_image(model.event_shape):
        fig.supxlabel("value of the one dimension, the others being the event's", fontsize=9)
    fig.suptitle("One dimension of z at a time: the mean of p(x|z)", fontsize=10)
    return fig


def prior_plane(model, points: int = 11, *, y=None) -> np.ndarray:
    """The means of p(x|z) ``[points, points, *event_shape]`` at quantiles of the prior, of a model with l = 2.

    Args:
        model: A `FlowVAE` with l = 2.
        points: Quantiles in each direction: (i + 1/2) / points.
        y: The context of a conditional model, ``[*context_shape]``.

    Raises:
        ValueError: If l is not 2.
    """
    if model.latent_size != 2:
        raise ValueError(f"the model has l = {model.latent_size}; a plane of z needs l = 2 (for more, `traversal`)")
    quantiles = [statistics.NormalDist().inv_cdf((i + 0.5) / points) for i in range(points)]
    return model.decode(np.stack(np.meshgrid(quantiles, quantiles, indexing="ij"), axis=-1), y=y)


def draw_plane(axis, plane) -> None:
    """Draws images ``[P, P, H, W, C]``, indexed by (z_1, z_2), on an axis: z_1 to the right, z_2 upwards."""
    plane = np.asarray(plane)
    span = limits(plane)
    plane = np.pad(plane, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], constant_values=span[0])  # white between the tiles
    points, _, height, width, channels = plane.shape
    tiles = plane[:, ::-1].transpose(1, 2, 0, 3, 4).reshape(points * height, points * width, channels)
    show(axis, tiles, span=span)
    axis.set(xlabel="$z_1$, quantiles of the prior", ylabel="$z_2$")


def latent_grid(model, points: int = 11, *, y=None) -> Any:
    """The plane of a model with l = 2: what its decoder makes of a grid of quantiles of the prior.

    Args:
        model: A `FlowVAE` of images with l = 2.
        points: In each direction.
        y: The context of a conditional model, ``[*context_shape]``.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If l is not 2, or events are no images.
    """
    if not is_image(model.event_shape):
        raise ValueError(f"events have shape {model.event_shape}; a grid of pictures needs images (H, W, 1 or 3)")
    height, width = model.event_shape[:2]
    plane = prior_plane(model, points, y=y)
    fig = figure(0.5 * points + 0.8, 0.5 * points * height / width + 1.0)
    draw_plane(fig.subplots(), plane)
    fig.suptitle("The mean of p(x|z) over the plane of z", fontsize=10)
    return fig


def active_units(found: Activity) -> Any:
    """What each dimension does: the variance of the posterior mean, and the rate, largest first.

    Args:
        found: Of `FlowVAE.active_units`.

    Returns:
        A matplotlib `Figure`.
    """
    order = np.argsort(-found.variance)
    places = np.arange(len(order))
    fig = figure(max(5.0, 0.22 * len(order) + 2.0), 4.4)
    top, bottom = fig.subplots(2, 1, sharex=True)
    colors = np.where(found.active[order], "C0", "0.75")
    smallest = 1e-5
    top.bar(places, np.maximum(found.variance[order], smallest), color=colors, bottom=0.0)
    top.axhline(ACTIVE, color="black", lw=0.8, ls="--")
    top.set(yscale="log", ylim=(smallest, max(2.0, 1.5 * float(found.variance.max()))), ylabel="variance of E[z|x]")
    bottom.bar(places, found.rate[order], color=colors)
    bottom.set(ylabel="rate of q0, nats", xlabel="dimension of z")
    few = len(order) <= 32
    bottom.set_xticks(places if few else [], [str(i + 1) for i in order] if few else [], fontsize=7)
    fig.suptitle(f"{found.num_active} of {len(order)} dimensions active (dashed: {ACTIVE:g})", fontsize=10)
    return fig
