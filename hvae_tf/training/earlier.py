"""Runs that were begun with earlier versions: they go on, in the columns that they have.

Where models logged `elbo`, ELBO = -(reconstruction + rate), so nothing of such a run is lost; what its earlier epochs
did not log is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hvae_tf.training.architecture import architecture, digest_of_variables

_LOSS, _SUM, _COUNT, _BATCHES = slice(0, 2), 2, 3, 4  # of the arrays of loss, elbo, and the number of batches


def as_begun(row: Mapping[str, float], history: Mapping[str, list[float]]) -> dict[str, float]:
    """An epoch's numbers by the names that the epochs before it were logged by."""
    row = dict(row)
    for prefix in ("", "val_"):
        if f"{prefix}elbo" in history and f"{prefix}rate" in row:
            row[f"{prefix}elbo"] = -(row.pop(f"{prefix}reconstruction") + row.pop(f"{prefix}rate"))
    return row


def metrics_as_now(arrays: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """The metrics of an epoch that is under way, of a model that now has `count` arrays of them.

    Those of `elbo` become those of `rate`, with the sign changed, beside a `reconstruction` of zero: an epoch logs
    their sum.
    """
    if (len(arrays), count) != (5, 7):
        return list(arrays)
    zero = np.zeros_like(arrays[_SUM])
    return [*arrays[_LOSS], zero, arrays[_COUNT], -arrays[_SUM], arrays[_COUNT], arrays[_BATCHES]]


def described_as_now(found: dict[str, Any], model: keras.Model) -> dict[str, Any]:
    """What a folder's run is, of a model that cannot be saved: only its variables used to be written down."""
    if found.get("model_architecture") != digest_of_variables(model):
        return found
    return found | {"model_architecture": architecture(model)}
