"""The bound that IWAE maximises, on test images: of several draws, where every other model's is of one."""

from pathlib import Path

import numpy as np

from hvae_tf.files import fingerprint
from hvae_tf.runs import RecordError, RunStore, make_record
from reproduce.family.cells import FamilyCell, FamilyPreset
from reproduce.judged.work import Settings, judge_of, records_of
from reproduce.mnist.training import load_model

REPEATS = 100  # of each image, whose bounds are averaged


def bounds_of(folder: Path) -> RunStore:
    """Where these records are."""
    return RunStore(folder / "bounds")


def has_own_bound(cell: FamilyCell) -> bool:
    """Whether what it maximises is the bound of several draws."""
    return cell.kind == "iwae"


def bound(model, x, num_samples: int, repeats: int = REPEATS) -> np.ndarray:
    """Minus E log 1/L sum_i w_i of each event in nats, ``[B]``: the mean over repeats of L draws each."""
    values = [model.log_likelihood(x, num_samples, seed, chunk_size=num_samples).value for seed in range(repeats)]
    return -np.mean(np.asarray(values, np.float64), axis=0)


def make_bounds(settings: Settings) -> None:
    """Records of the bounds of all models on record that maximise one of their own, where the model's file is there."""
    folder, preset, store = settings.folder, settings.preset, bounds_of(settings.folder)
    for record in records_of(folder).read_all():
        name, path = record["name"], folder / "models" / f"{record['name']}.keras"
        cell = preset.cells.get(record["configuration"]["cell"])
        if cell is None or not has_own_bound(cell) or not path.exists():
            continue
        data, model = settings.data(), load_model(path)
        images = min(preset.judge.importance_images, len(data.test))
        wanted = {
            "cell": record["configuration"]["cell"], "num_samples": cell.evaluations, "repeats": REPEATS,
            "images": images, "weights": fingerprint(*model.get_weights()),
        }  # fmt: skip
        try:
            if store.done(name, wanted, record["seed"]):
                continue
        except RecordError:  # of another training
            store.path(name).unlink()
        values = bound(model, data.binarised("test")[:images], cell.evaluations)
        store.write(make_record(
            name, configuration=wanted, seed=record["seed"], data_fingerprint=data.fingerprint, history={},
            wall_seconds=0.0, results={"neg_bound": values.round(5)},
        ))  # fmt: skip


def own_bound(folder: Path, preset: FamilyPreset, record: dict, neg_elbo: np.ndarray) -> np.ndarray:
    """-bound of each image: the ELBO, or where the model maximises another, that, or NaN where it is not on record.

    Args:
        folder: Of all results.
        preset: The table.
        record: Of the training.
        neg_elbo: ``[m]``, by the judge.

    Raises:
        RecordError: If a record is damaged.
    """
    cell = preset.cells.get(record["configuration"].get("cell"))
    if cell is None or not has_own_bound(cell):
        return neg_elbo
    store, name = bounds_of(folder), record["name"]
    if not store.path(name).exists():
        return np.full(len(neg_elbo), np.nan)
    found = store.read(name)
    judged = judge_of(folder).read(name)["results"]
    if found["configuration"]["weights"] != judged["weights"]:  # one of them is of an earlier training
        return np.full(len(neg_elbo), np.nan)
    return np.array(found["results"]["neg_bound"], float)
