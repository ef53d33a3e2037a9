"""The pictures of the documents: samples of a trained model, and the architecture."""

import io

import numpy as np

from reproduce.documents.architecture import architecture
from reproduce.documents.tables import RESULTS

_PIXELS = 2  # of the picture for each of a digit's


def samples() -> bytes:
    """Digits from the prior of the trained HVAE with K = 5 and free tempering, two rows, as a PNG."""
    with np.load(RESULTS / "table1/budget/pictures/k5-free-seed0.npz") as stored:
        digits = stored["samples"][:32, :, :, 0]
    rows = [np.concatenate([np.pad(digit, 1) for digit in row], axis=1) for row in np.split(digits, 2)]
    grid = 255 - np.concatenate(rows)
    return _png(np.kron(grid, np.ones((_PIXELS, _PIXELS), np.uint8)))


def same_picture(one: bytes, other: bytes) -> bool:
    """Whether two pictures show the same, whatever wrote them."""
    if one == other:
        return True
    if not (one.startswith(b"\x89PNG") and other.startswith(b"\x89PNG")):
        return False
    from matplotlib import image

    first, second = (image.imread(io.BytesIO(data)) for data in (one, other))
    return first.shape == second.shape and np.array_equal(first, second)


def _png(grey: np.ndarray) -> bytes:
    from matplotlib import image

    buffer = io.BytesIO()
    image.imsave(buffer, grey, format="png", cmap="gray", vmin=0, vmax=255, metadata={"Software": None})
    return buffer.getvalue()


PICTURES = {"samples.png": samples, "architecture.svg": architecture}
"""By file name in docs/images, what draws it."""
