"""What the simulation starts from: step times, evaluations, sizes and counted work, all read from records."""

import csv
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RecordError
from reproduce.configs import TABLE1_CELLS, Evaluation
from reproduce.mnist.cells import PAPER_RUNS
from reproduce.mnist.evaluation import read_run_record

TRAIN_IMAGES, TEST_IMAGES, BATCH, BYTES = 50_000, 10_000, 100, 4
COPIES = 4  # of the weights in a checkpoint: themselves, Adamax's two moments, the best so far


class PublishedRun(NamedTuple):
    """One of the paper's trainings: K, 0 for the VAE, and its epochs."""

    steps: int
    epochs: int


class Recorded(NamedTuple):
    """A run of this repository: seconds of an epoch, and of an evaluation, scaled to the published one."""

    name: str
    steps: int
    epochs: int
    epoch_seconds: float
    evaluation_seconds: float
    parameters: int


class Measured(NamedTuple):
    """What was measured, and counted.

    Attributes:
        one_core: Seconds of a training step on one core, by K.
        two_cores: The same on two.
        of_batches: The same on two at K = 5, by the images of a batch.
        epoch_factor: An epoch's seconds over those of its steps alone: validation, checkpoints, other work.
        evaluation: Seconds of a published evaluation on one core: at K = 0, and more for each step.
        step_flops: Counted, of a training step, by K.
        decoder_multiply_adds: Of one image.
        activation_bytes: Kept for an image and an evaluation of the decoder.
        parameters: Of a model.
        recorded: The runs that these come from.
        processor: Of the machine.
    """

    one_core: Mapping[int, float]
    two_cores: Mapping[int, float]
    of_batches: Mapping[int, float]
    epoch_factor: float
    evaluation: tuple[float, float]
    step_flops: Mapping[int, float]
    decoder_multiply_adds: int
    activation_bytes: float
    parameters: int
    recorded: tuple[Recorded, ...]
    processor: str

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return TRAIN_IMAGES // BATCH

    @property
    def shares_not_shortened(self) -> tuple[float, float]:
        """Of a step on one core, the part that more cores do not shorten, in two ways.

        By a second core, median over K; and by the line through the times of batches of unlike sizes, whose intercept
        is what a step takes however few images a core has.
        """
        by_core = [2.0 * self.two_cores[k] / self.one_core[k] - 1.0 for k in self.one_core if k in self.two_cores]
        slope, level = np.polyfit(list(self.of_batches), list(self.of_batches.values()), 1)
        by_batch = level / (level + 2.0 * slope * BATCH)
        return max(0.0, statistics.median(by_core)), max(0.0, float(by_batch))

    @property
    def most_cores(self) -> int:
        """Of a run: as many as leave each a part of a batch as small as was timed."""
        return int(2 * BATCH / min(self.of_batches))

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint."""
        return COPIES * BYTES * self.parameters

    def epoch_seconds(self, steps: int) -> float:
        """An epoch on one core; for a K that was not timed, by the line through those that were."""
        step = self.one_core.get(steps)
        if step is None:
            slope, level = np.polyfit(list(self.one_core), list(self.one_core.values()), 1)
            step = float(level + slope * steps)
        return step * self.steps_per_epoch * self.epoch_factor

    def evaluation_seconds(self, steps: int) -> float:
        """A published evaluation on one core."""
        return self.evaluation[0] + self.evaluation[1] * steps


def read_measured(benchmarks: Path, records: Path) -> Measured:
    """Everything from its records.

    Args:
        benchmarks: The folder of the benchmarks' results.
        records: A folder of Table 1's records.

    Raises:
        RecordError: If one is missing or of another kind.
    """
    try:
        names = ("step_time", "memory", "scaling", "mirrored")
        step, memory, scaling, cores = (json.loads((benchmarks / f"{name}.json").read_text()) for name in names)
        one_core, two_cores = (
            {int(k): statistics.median(found[contestant]) for k, found in cores["seconds_per_step"].items()}
            for contestant in ("one core", "two cores, parts of the batch")
        )
        flops = {int(k): float(value) for k, value in step["step_flops"].items()}
        activations = float(memory["backprop_fit"]["bytes_per_image_and_evaluation"])
        batches = next(axis["seconds"] for axis in scaling["axes"] if axis["axis"] == "batch")
        of_batches = {int(size): statistics.median(seconds) for size, seconds in batches.items()}
        threads = tuple(record["options"]["threads"] for record in (cores, scaling))
        multiply_adds, processor = step["multiply_adds"]["decoder"], step["machine"]["processor"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecordError(f"{benchmarks} has not the benchmarks that are needed ({error!r}); make them anew") from error
    if threads != (2, 2):
        raise RecordError(f"{benchmarks}: mirrored and scaling are of {threads} cores; expected 2")
    recorded = tuple(_recorded(path) for path in sorted(records.glob("*.json")))
    if not {0, 1, 5} <= {run.steps for run in recorded}:
        raise RecordError(f"{records} has not the records of the VAE and of HVAE with K = 1 and 5 that are needed")
    factors = [
        run.epoch_seconds / (TRAIN_IMAGES // BATCH * one_core[run.steps]) for run in recorded if run.steps in one_core
    ]
    slope, level = np.polyfit([run.steps for run in recorded], [run.evaluation_seconds for run in recorded], 1)
    return Measured(
        one_core, two_cores, of_batches, statistics.median(factors), (float(level), float(slope)), flops, multiply_adds,
        activations, max(run.parameters for run in recorded), recorded, processor,
    )  # fmt: skip


def _recorded(path: Path) -> Recorded:
    record = read_run_record(path)
    results, full = record["results"], Evaluation()
    done = results["evaluation"]
    scale = TEST_IMAGES * full.samples * full.repeats / (done["images"] * done["samples"] * done["repeats"])
    training = results["training"]
    return Recorded(
        record["name"], TABLE1_CELLS[record["configuration"]["cell"]].num_leapfrog_steps, training["epochs"],
        training["seconds_per_epoch"], results["evaluation_seconds"] * scale, results["parameters"],
    )  # fmt: skip


def published_runs() -> list[PublishedRun]:
    """The trainings behind the paper's Table 1, from its supplement."""
    with PAPER_RUNS.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [PublishedRun(int(row["K"] or 0), int(row["epochs"])) for row in rows]
