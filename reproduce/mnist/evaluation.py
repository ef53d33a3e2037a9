"""How a trained model is judged: -ELBO and NLL on test images, block by block; and what a record has of it."""

import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np

from hvae_tf.data import ImageData
from hvae_tf.files import atomic_write, fingerprint
from hvae_tf.runs import RecordError, read_record
from reproduce.configs import TABLE1_CELLS, Evaluation

IMAGES_PER_BLOCK = 100
ELBO_SAMPLES = 10


def evaluate(model, data: ImageData, evaluation: Evaluation, path: Path, progress=lambda fraction, made: None) -> dict:
    """-ELBO and NLL in nats on binarised test images, `repeats` times; block by block, each block kept in `path`.

    A `path` that is damaged, or of another model or evaluation, is written anew. `progress` hears the fraction done
    after every block, and whether it was made just now.

    Returns:
        Means over images for each repeat, standard deviations over images, and for each image the mean over repeats.
    """
    x = data.binarised("test")[: evaluation.images]
    sizes = [len(x[start : start + IMAGES_PER_BLOCK]) for start in range(0, len(x), IMAGES_PER_BLOCK)]
    weights = fingerprint(*model.get_weights())
    kept = _read_kept(path, {"evaluation": dataclasses.asdict(evaluation), "weights": weights}, sizes)
    for repeat in range(evaluation.repeats):
        for number, size in enumerate(sizes):
            start = number * IMAGES_PER_BLOCK
            made = f"{repeat}/{start}" not in kept["blocks"]
            if made:
                began = time.monotonic()
                block, seed = x[start : start + size], 1 + repeat + evaluation.repeats * number
                elbo = model.elbo(block, num_samples=min(ELBO_SAMPLES, evaluation.samples), seed=seed)
                log_likelihood = model.log_likelihood(block, evaluation.samples, seed=seed).value
                kept["blocks"][f"{repeat}/{start}"] = [np.round(v, 4).tolist() for v in (elbo, log_likelihood)]
                kept["seconds"] += time.monotonic() - began
                atomic_write(path, json.dumps(kept))
            progress((repeat * len(sizes) + number + 1) / (evaluation.repeats * len(sizes)), made)
    values = np.array([
        np.concatenate([kept["blocks"][f"{repeat}/{n * IMAGES_PER_BLOCK}"] for n in range(len(sizes))], axis=1)
        for repeat in range(evaluation.repeats)
    ])  # fmt: skip
    neg_elbo, nll = -values[:, 0], -values[:, 1]
    return {
        "evaluation": {**dataclasses.asdict(evaluation), "images": len(x), "of": len(data.test)},
        "weights": weights,
        "neg_elbo": neg_elbo.mean(axis=1),
        "nll": nll.mean(axis=1),
        "neg_elbo_image_sd": neg_elbo.mean(axis=0).std(ddof=1),
        "nll_image_sd": nll.mean(axis=0).std(ddof=1),
        "per_image": {
            "neg_elbo": np.round(neg_elbo.mean(axis=0), 4).tolist(),
            "nll": np.round(nll.mean(axis=0), 4).tolist(),
        },
        "evaluation_seconds": kept["seconds"],
    }


def _read_kept(path: Path, key: dict, sizes: list[int]) -> dict:
    """What `path` holds of this evaluation; nothing where it is of another, or damaged."""
    new = {**key, "blocks": {}, "seconds": 0.0}
    try:
        kept = json.loads(path.read_text())
        if {name: kept[name] for name in key} != key:
            return new
        shapes = {
            f"{repeat}/{number * IMAGES_PER_BLOCK}": (2, size)
            for repeat in range(key["evaluation"]["repeats"])
            for number, size in enumerate(sizes)
        }
        whole = all(np.array(block, float).shape == shapes[name] for name, block in kept["blocks"].items())
        return {**new, "blocks": kept["blocks"], "seconds": float(kept["seconds"])} if whole else new
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return new


def satisfies(found: dict, wanted: Evaluation) -> bool:
    """Whether an evaluation on record is at least the one asked for."""
    images = found["of"] if wanted.images is None else min(wanted.images, found["of"])
    return found["images"] >= images and found["samples"] >= wanted.samples and found["repeats"] >= wanted.repeats


# --------------------------------------------------------------------------------------------------- records of runs


def read_run_record(path: Path) -> dict:
    """The record of a run of Table 1.

    Raises:
        RecordError: If it is not one: the file, what is wrong in it, and what to do, in one line.
    """
    record = read_record(path)
    wrong = _first_wrong(record)
    if wrong:
        raise RecordError(
            f"{path}: {wrong} is missing or not what a record of Table 1 has there; delete the file to have the run "
            "done again"
        )
    return record


def _first_wrong(record: dict) -> str | None:
    """The first field that tables or figures would stumble over; None if there is none."""
    configuration, results = record["configuration"], record["results"]
    evaluation, training = results.get("evaluation"), results.get("training")
    per_image, images = results.get("per_image"), None
    for name in ("dataset", "schedule", "learning_rate", "batch_size", "max_epochs", "patience"):
        if name not in configuration:
            return f"configuration.{name}"
    if configuration.get("cell") not in TABLE1_CELLS:
        return "configuration.cell"
    if not _numbers(record["history"].get("val_loss")):
        return "history.val_loss"
    for name in ("images", "samples", "repeats", "of"):
        if not isinstance(evaluation, dict) or not _count(evaluation.get(name)):
            return f"results.evaluation.{name}"
        images = evaluation["images"]
    if not isinstance(training, dict) or not _count(training.get("epochs")):
        return "results.training.epochs"
    for name in ("neg_elbo", "nll"):
        if not _numbers(results.get(name)):
            return f"results.{name}"
        if per_image is not None and (
            not isinstance(per_image, dict) or not _numbers(per_image.get(name)) or len(per_image[name]) != images
        ):
            return f"results.per_image.{name}"
        sd = results.get(f"{name}_image_sd")
        if not (_number(sd) or (sd is None and images == 1)):
            return f"results.{name}_image_sd"
    return None if _number(results.get("posterior_correlation")) else "results.posterior_correlation"


def _number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _numbers(value) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_number, value))
