"""How a trained model is judged: -ELBO and NLL on test images, block by block, each block kept."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from hvae_tf.data import ImageData
from hvae_tf.records import atomic_write, fingerprint
from reproduce.configs import Evaluation

IMAGES_PER_BLOCK = 100
ELBO_SAMPLES = 10


def evaluate(model, data: ImageData, evaluation: Evaluation, path: Path, progress=lambda fraction: None) -> dict:
    """-ELBO and NLL in nats on binarised test images, `repeats` times; block by block, each block kept in `path`.

    Returns:
        Means over images for each repeat, and the standard deviations over images.
    """
    x = data.binarised("test")[: evaluation.images]
    key = {"evaluation": dataclasses.asdict(evaluation), "weights": fingerprint(*model.get_weights())}
    kept = json.loads(path.read_text()) if path.exists() else {}
    if {name: kept.get(name) for name in key} != key:
        kept = {**key, "blocks": {}, "seconds": 0.0}
    blocks = range(0, len(x), IMAGES_PER_BLOCK)
    for repeat in range(evaluation.repeats):
        for number, start in enumerate(blocks):
            if f"{repeat}/{start}" not in kept["blocks"]:
                began = time.monotonic()
                block, seed = x[start : start + IMAGES_PER_BLOCK], 1 + repeat + evaluation.repeats * number
                elbo = model.elbo(block, num_samples=min(ELBO_SAMPLES, evaluation.samples), seed=seed)
                log_likelihood = model.log_likelihood(block, evaluation.samples, seed=seed).value
                kept["blocks"][f"{repeat}/{start}"] = [np.round(v, 4).tolist() for v in (elbo, log_likelihood)]
                kept["seconds"] += time.monotonic() - began
                atomic_write(path, json.dumps(kept))
            progress((repeat * len(blocks) + number + 1) / (evaluation.repeats * len(blocks)))
    values = np.array([
        np.concatenate([kept["blocks"][f"{repeat}/{start}"] for start in blocks], axis=1)
        for repeat in range(evaluation.repeats)
    ])  # fmt: skip
    neg_elbo, nll = -values[:, 0], -values[:, 1]
    return {
        "evaluation": {**dataclasses.asdict(evaluation), "images": len(x), "of": len(data.test)},
        "neg_elbo": neg_elbo.mean(axis=1),
        "nll": nll.mean(axis=1),
        "neg_elbo_image_sd": neg_elbo.mean(axis=0).std(ddof=1),
        "nll_image_sd": nll.mean(axis=0).std(ddof=1),
        "evaluation_seconds": kept["seconds"],
    }


def satisfies(found: dict, wanted: Evaluation) -> bool:
    """Whether an evaluation on record is at least the one asked for."""
    images = found["of"] if wanted.images is None else min(wanted.images, found["of"])
    return found["images"] >= images and found["samples"] >= wanted.samples and found["repeats"] >= wanted.repeats
