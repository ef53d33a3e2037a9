"""Records of Table 1 and of the judge, made up, for the tests of what reads them."""

import numpy as np

import hvae_tf
from reproduce.configs import Table1Config
from reproduce.mnist.cells import Run, configuration

TINY = Table1Config(
    dataset="digits", limit=(100, 40, 30), max_epochs=2, patience=None, batch_size=50, latent_size=3, hidden_units=8,
    filters=(4, 4),
)  # fmt: skip


def run_record(cell, seed, nll, config=TINY, images=10_000, samples=1000, of=10_000, per_image=None):
    """A run's record whose evaluations gave `nll`, and -ELBOs 3 nats above."""
    run = Run(cell, seed)
    results = {
        "evaluation": {"images": images, "samples": samples, "repeats": len(nll), "of": of},
        "neg_elbo": [value + 3.0 for value in nll],
        "nll": nll,
        "neg_elbo_image_sd": 25.0,
        "nll_image_sd": 25.0,
        "evaluation_seconds": 1.0,
        "training": {"epochs": 2, "wall_seconds": 1.0, "seconds_per_epoch": 0.5},
        "parameters": 1,
        "posterior_correlation": 0.01,
    }
    if per_image is not None:
        values = np.asarray(per_image)
        results["per_image"] = {"neg_elbo": (values + 3.0).tolist(), "nll": values.tolist()}
    return hvae_tf.runs.make_record(
        run.name,
        configuration=configuration(run, config),
        seed=seed,
        data_fingerprint="0",
        history={"val_loss": [90.0, 88.0]},
        wall_seconds=1.0,
        results=results,
    )


def judge_record(cell, seed, values, gap=0.1, **changes):
    """The judge's record of the same run."""
    results = {"ais": float(np.mean(values)), "per_image": {"ais": list(map(float, values))}, "gap": gap}
    record = hvae_tf.runs.make_record(
        Run(cell, seed).name, configuration={}, seed=seed, data_fingerprint="0", history={}, wall_seconds=1.0,
        results={**results, **changes},
    )  # fmt: skip
    return record
