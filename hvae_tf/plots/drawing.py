"""Events as pictures: images side by side, rows of a table and sequences as lines."""

from typing import Any

import numpy as np

SHOWN = 12  # images of a strip


def figure(width: float, height: float) -> Any:
    """An empty matplotlib `Figure` of so many inches, which lays itself out.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        message = "hvae_tf.plots needs matplotlib, which is not installed; pip install matplotlib"
        raise ModuleNotFoundError(message, name="matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained")


def is_image(event_shape) -> bool:
    """Whether events of this shape are images that can be shown: ``(H, W, 1)`` or ``(H, W, 3)``."""
    return len(event_shape) == 3 and event_shape[-1] in (1, 3)


def check_drawable(event_shape) -> None:
    """Raises ValueError unless events of this shape can be drawn."""
    if not is_image(event_shape) and len(event_shape) > 2:
        raise ValueError(
            f"events of shape {tuple(event_shape)} cannot be drawn; expected rows (d,), sequences (t, d), or images "
            "(H, W, 1) or (H, W, 3)"
        )


def limits(*arrays) -> tuple[float, float]:
    """(0, 1) where all values lie there, else the least and the largest."""
    low, high = (float(f([f(array) for array in arrays])) for f in (np.min, np.max))
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, max(high, low + 1e-12))


def mosaic(images, columns: int, line: float = 0.5) -> np.ndarray:
    """Images side by side, lines between, in rows from the left.

    Args:
        images: ``[n, H, W, C]``.
        columns: Images in a row.
        line: The value of the lines, and of what is left free in the last row.

    Returns:
        ``[rows (H + 2), columns (W + 2), C]``, of the dtype of the images, or where that is of integers or booleans
        and `line` is not, of one for both.
    """
    images = np.asarray(images)
    if images.dtype.kind != "f":
        images = images.astype(np.result_type(images, line))
    images = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=line)
    rows = -(-len(images) // columns)
    missing = rows * columns - len(images)
    images = np.pad(images, [(0, missing), *[(0, 0)] * 3], constant_values=line)
    height, width, channels = images.shape[1:]
    images = images.reshape(rows, columns, height, width, channels)
    return images.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def show(axis, image, title: str | None = None, span: tuple[float, float] = (0.0, 1.0)) -> None:
    """Draws an image ``[H, W, C]`` on an axis, without ticks.

    Args:
        axis: A matplotlib `Axes`.
        image: One channel is drawn dark on light, three as colours.
        title: Above it.
        span: The values of the two ends of the scale.
    """
    image = np.asarray(image)
    if image.shape[-1] == 3:
        low, high = span
        axis.imshow(np.clip((image - low) / (high - low), 0.0, 1.0), interpolation="nearest")
    else:
        axis.imshow(image[..., 0], cmap="gray_r", vmin=span[0], vmax=span[1], interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    if title:
        axis.set_title(title, fontsize=9)


def tiles(axis, images, span, rows=None, columns=None) -> None:
    """Draws images ``[R, C, H, W, channels]`` as one mosaic, with labels of its rows and columns."""
    images = np.asarray(images)
    height, width = images.shape[2:4]
    show(axis, mosaic(images.reshape(-1, *images.shape[2:]), images.shape[1], line=sum(span) / 2), span=span)
    for labels, size, setter in ((rows, height + 2, axis.set_yticks), (columns, width + 2, axis.set_xticks)):
        if labels is not None:
            setter(size * (np.arange(len(labels)) + 0.5) - 0.5, labels)
    axis.tick_params(length=0, labelsize=8)


def lines(axis, event, **style) -> None:
    """Draws a row ``[d]``, or a sequence ``[t, d]``, a line a channel."""
    event = np.asarray(event)
    columns = event[:, None] if event.ndim == 1 else event
    style = {"marker": ".", "lw": 1.0, **style}
    label = style.pop("label", None)
    for i, column in enumerate(columns.T):
        color = {} if "color" in style or event.ndim == 1 else {"color": f"C{i % 10}"}
        axis.plot(column, label=label if i == 0 else None, **color, **style)
    axis.tick_params(labelsize=7)


def panels(fig, count: int, columns: int):
    """So many axes in rows of `columns`, with one scale; what is left over is not shown."""
    rows = -(-count // columns)
    axes = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    return axes[:count]
