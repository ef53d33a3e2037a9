"""What a model's pictures show: how they are taken from the model, kept beside its record, and drawn."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hvae_tf.data import ImageData
from hvae_tf.plots import mosaic, show
from hvae_tf.runs import RecordError
from reproduce.mnist.cells import label
from reproduce.tables import png

CORRELATION_IMAGES, CORRELATION_SAMPLES = 20, 2000
DPI = 110
SPAN, LINE = (0, 255), 128  # of pictures that are kept in bytes, and of what stands between them
DIMENSIONS = {"samples": 4, "originals": 4, "reconstructions": 4, "correlation": 2}


# -------------------------------------------------------------------------------------------------- taken from a model


def posterior_correlation(model, x: np.ndarray) -> tuple[float, np.ndarray]:
    """How far the latents of an image are from independent given the image.

    Args:
        model: The model.
        x: ``[B, H, W, C]``, binarised images.

    Returns:
        The root mean square correlation between two latents under the posterior, over images and pairs, less what
        independent latents would show in as many samples (negative where that is more); and the first image's
        correlation matrix ``[l, l]``.
    """
    z = model.sample_posterior(x, num_samples=CORRELATION_SAMPLES, seed=0)
    correlations = np.array([np.corrcoef(z[:, i].T) for i in range(z.shape[1])])
    off = correlations[:, ~np.eye(z.shape[-1], dtype=bool)]
    mean_square = np.mean(np.square(off)) - 1.0 / (CORRELATION_SAMPLES - 1)
    return float(np.sign(mean_square) * np.sqrt(abs(mean_square))), correlations[0]


def take_pictures(model, data: ImageData) -> tuple[float, bytes]:
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


def read_pictures(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `take_pictures` made.

    Raises:
        RecordError: If the file is damaged.
        FileNotFoundError: If there is none.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in DIMENSIONS}
        for name, dimensions in DIMENSIONS.items():
            if arrays[name].ndim != dimensions or not arrays[name].size or arrays[name].dtype.kind not in "uf":
                raise ValueError(f"{name} has shape {arrays[name].shape}")
    except FileNotFoundError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise RecordError(
            f"{path} is damaged ({reason}); table1.py makes it again where its model is still there, or delete it to "
            "have a report without it"
        ) from error
    return arrays


# --------------------------------------------------------------------------------------------------------------- drawn


class Shown(NamedTuple):
    """What the figures show of a cell: of its first run that has pictures.

    Attributes:
        cell: Which.
        seed: The run's, where the cell has several runs on record; else None.
        correlation: The run's root mean square correlation between two latents.
        images: Over how many.
        arrays: See `take_pictures`.
    """

    cell: str
    seed: int | None
    correlation: float
    images: int
    arrays: Mapping[str, np.ndarray]

    @property
    def title(self) -> str:
        """On two short lines at most."""
        return label(self.cell, short=True) + ("" if self.seed is None else f", seed {self.seed}")


def load_pictures(folder: Path, by_cell: Mapping[str, list]) -> list[Shown]:
    """The cells that have pictures."""
    shown = []
    for cell, group in by_cell.items():
        for record in group:
            path = folder / "pictures" / f"{record['name']}.npz"
            if path.exists():
                results = record["results"]
                images = min(CORRELATION_IMAGES, results["evaluation"]["of"])
                seed = record["seed"] if len(group) > 1 else None
                shown.append(Shown(cell, seed, results["posterior_correlation"], images, read_pictures(path)))
                break
    return shown


def panels(count: int, width: float, height: float):
    """A figure of so many panels, at most four in a row, and their axes; inches a panel.

    Three in a row where that fills the last row better by two panels or more: nine are 3 + 3 + 3, not 4 + 4 + 1.
    """
    columns = 3 if count > 4 and -count % 4 - -count % 3 > 1 else min(4, count)
    rows = -(-count // columns)
    size = (width * columns + 0.8, height * rows + 0.5)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.ravel()[count:]:
        axis.set_visible(False)
    return fig, axes.ravel()[:count]


def samples(shown: list[Shown]) -> bytes:
    """Samples from the prior (pixel probabilities), a panel a cell."""
    fig, axes = panels(len(shown), 3.0, 3.5)
    for axis, one in zip(axes, shown, strict=True):
        show(axis, mosaic(one.arrays["samples"], 6, LINE), one.title, SPAN)
    fig.suptitle("Digits from the prior: pixel probabilities at 36 draws of z", fontsize=10)
    return png(fig, DPI)


def reconstructions(shown: list[Shown]) -> bytes:
    """Binarised test images, and each cell's reconstruction of them below."""
    strips = [("test images,\nbinarised", shown[0].arrays["originals"])]
    strips += [(one.title, one.arrays["reconstructions"]) for one in shown]
    fig, axes = plt.subplots(len(strips), 1, figsize=(9.0, 0.85 * len(strips) + 0.4), squeeze=False)
    for axis, (name, images) in zip(axes[:, 0], strips, strict=True):
        show(axis, mosaic(images, len(images), LINE), span=SPAN)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    fig.suptitle("Test images and their reconstructions: pixel probabilities", fontsize=10)
    fig.tight_layout()
    return png(fig, DPI)


def posterior_correlation_figure(shown: list[Shown]) -> bytes:
    """Correlations between latents given the first test image, a panel a cell, with the number over images."""
    fig, axes = panels(len(shown), 3.2, 3.6)
    for axis, one in zip(axes, shown, strict=True):
        matrix = one.arrays["correlation"].astype(float)
        np.fill_diagonal(matrix, 0.0)
        drawn = axis.imshow(matrix, cmap="RdBu_r", vmin=-0.3, vmax=0.3, origin="lower", interpolation="nearest")
        size = f"{one.correlation:.3f}" if one.correlation > 0.0 else "none beyond noise"
        axis.set_title(f"{one.title}\nr.m.s. over {one.images} images: {size}", fontsize=9)
        axis.set(xlabel="number of a latent", ylabel="number of another")
        axis.xaxis.label.set_size(8)
        axis.yaxis.label.set_size(8)
        axis.tick_params(labelsize=7)
    fig.suptitle("Correlation between two latents, given one image: the first test image", fontsize=11)
    fig.colorbar(drawn, ax=axes, shrink=0.8, aspect=30, extend="both", label="correlation (the diagonal is left out)")
    return png(fig, DPI)
