"""What a model must beat: pixels independent of each other, each with its own mean over the training images.

A decoder that learns nothing from its latents can do this well by its biases alone. Bound and likelihood are one here,
and exact.
"""

from pathlib import Path

import numpy as np

from hvae_tf.data import ImageData
from hvae_tf.runs import RecordError, RunStore, make_record, read_record
from hvae_tf.runs.record import is_numbers

NAME = "no-latent"


def baseline_path(folder: Path) -> Path:
    """Where a table's folder keeps the baseline's record."""
    return folder / "baseline" / f"{NAME}.json"


def no_latent_nll(data: ImageData) -> np.ndarray:
    """Minus the log-likelihood of the binarised test images, ``[k]``, in nats.

    A pixel's probability is (sum of its intensities + 1/2) / (number of training images + 1), so that what was never
    seen is not impossible.
    """
    train, x = data.intensities("train").astype(np.float64), data.binarised("test")
    p = (train.sum(axis=0) + 0.5) / (len(train) + 1.0)
    log_p = x * np.log(p) + (1.0 - x) * np.log1p(-p)
    return -log_p.reshape(len(x), -1).sum(axis=1)


def keep_baseline(folder: Path, data: ImageData) -> None:
    """Writes the baseline's record for these data, unless it is there."""
    path = baseline_path(folder)
    if path.exists() and read_baseline(folder)["data_fingerprint"] == data.fingerprint:
        return
    nll = no_latent_nll(data)
    RunStore(path.parent).write(
        make_record(
            NAME,
            configuration={"model": "independent pixels, mean intensities", "dataset": data.name},
            seed=0,
            data_fingerprint=data.fingerprint,
            history={},
            wall_seconds=0.0,
            results={"nll": float(nll.mean()), "per_image": {"nll": np.round(nll, 3).tolist()}},
        )
    )


def read_baseline(folder: Path) -> dict | None:
    """The baseline's record; None where there is none.

    Raises:
        RecordError: If it is damaged.
    """
    path = baseline_path(folder)
    if not path.exists():
        return None
    record = read_record(path)
    values = record["results"].get("per_image")
    values = values.get("nll") if isinstance(values, dict) else None
    if not isinstance(values, list) or not values or not is_numbers(values, len(values)) or None in values:
        raise RecordError(
            f"{path}: results.per_image.nll is missing or not numbers; delete the file to have it made again"
        )
    return record
