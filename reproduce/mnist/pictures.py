"""What a model's pictures show: how they are taken from the model, kept beside its record, and drawn."""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hvae_tf.data import ImageData
from reproduce.tables import png

CORRELATION_IMAGES, CORRELATION_SAMPLES = 20, 2000
DPI = 110


def posterior_correlation(model, x: np.ndarray) -> tuple[float, np.ndarray]:
    """How far the latents of an image are from independent given the image.

    Args:
        model: The model.
        x: ``[B, H, W, C]``, binarised images.

    Returns:
        The root mean square correlation between two latents under the posterior, over images and pairs, less what
        independent latents would show in as many samples; and the first image's correlation matrix ``[l, l]``.
    """
    z = model.encode(x, num_samples=CORRELATION_SAMPLES, seed=0)
    correlations = np.array([np.corrcoef(z[:, i].T) for i in range(z.shape[1])])
    off = correlations[:, ~np.eye(z.shape[-1], dtype=bool)]
    mean_square = np.mean(np.square(off)) - 1.0 / (CORRELATION_SAMPLES - 1)
    return float(np.sign(mean_square) * np.sqrt(abs(mean_square))), correlations[0]


def pictures(model, data: ImageData) -> tuple[float, bytes]:
    """The posterior's correlation, and an npz of what the figures show of this model."""
    x = data.binarised("test")[:CORRELATION_IMAGES]
    correlation, matrix = posterior_correlation(model, x)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        samples=np.round(255 * model.sample(36, seed=0)).astype(np.uint8),
        originals=np.round(255 * x[:12]).astype(np.uint8),
        reconstructions=np.round(255 * model.reconstruct(x[:12])).astype(np.uint8),
        correlation=matrix.astype(np.float16),
    )
    return correlation, buffer.getvalue()


def load_pictures(folder: Path, by_cell: dict[str, list]) -> list[tuple[str, float, dict]]:
    """(cell, posterior correlation, arrays) of the first run of each cell that has pictures."""
    shown = []
    for cell, group in by_cell.items():
        path = folder / "pictures" / f"{group[0]['name']}.npz"
        if path.exists():
            with np.load(path) as arrays:
                shown.append((cell, group[0]["results"]["posterior_correlation"], dict(arrays)))
    return shown


def _grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images ``[n, H, W, C]`` side by side, white lines between."""
    rows = [
        np.concatenate(
            [np.pad(i, ((1, 1), (1, 1), (0, 0)), constant_values=128) for i in images[k : k + columns]], axis=1
        )
        for k in range(0, len(images), columns)
    ]
    return np.concatenate(rows)


def _show(axis, image, title=None):
    axis.imshow(image.squeeze(), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    if title:
        axis.set_title(title, fontsize=9)


def samples(shown) -> bytes:
    """Samples from the prior (pixel probabilities), a panel a cell."""
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.0 * columns, 3.2 * rows), squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for axis, (cell, _, arrays) in zip(axes.ravel(), shown, strict=False):
        axis.axis("on")
        _show(axis, _grid(arrays["samples"], 6), cell)
    fig.tight_layout()
    return png(fig, DPI)


def reconstructions(shown) -> bytes:
    """Binarised test images, and each cell's reconstruction of them below."""
    strips = [("test images", shown[0][2]["originals"]), *((cell, a["reconstructions"]) for cell, _, a in shown)]
    fig, axes = plt.subplots(len(strips), 1, figsize=(8.0, 0.85 * len(strips)), squeeze=False)
    for axis, (name, images) in zip(axes[:, 0], strips, strict=True):
        _show(axis, _grid(images, len(images)))
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    fig.tight_layout()
    return png(fig, DPI)


def posterior_correlation_figure(shown) -> bytes:
    """Correlations between latents given the first test image, a panel a cell, with the number over images."""
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    size = (3.0 * columns + 0.8, 3.3 * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.ravel():
        axis.axis("off")
    for axis, (cell, correlation, arrays) in zip(axes.ravel(), shown, strict=False):
        axis.axis("on")
        matrix = arrays["correlation"].astype(float)
        np.fill_diagonal(matrix, 0.0)
        drawn = axis.imshow(matrix, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
        axis.set_title(f"{cell}: r.m.s. {correlation:.3f}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    fig.colorbar(drawn, ax=axes, shrink=0.8, label="correlation given the image")
    return png(fig, DPI)
