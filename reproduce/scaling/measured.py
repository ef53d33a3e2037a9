"""What the simulation starts from: step times, evaluations, sizes and counted work, all read from records."""

import csv
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RecordError
from reproduce.configs import TABLE1_CELLS, Cell, Evaluation
from reproduce.mnist.cells import PAPER_RUNS
from reproduce.mnist.evaluation import ELBO_SAMPLES, read_run_record

TRAIN_IMAGES, VALIDATION_IMAGES, TEST_IMAGES, BATCH, BYTES = 50_000, 10_000, 10_000, 100, 4
COPIES = 4  # of the weights in a checkpoint: themselves, Adamax's two moments, the best so far
VALIDATION_STEP = 1.0 / 3.0  # of a training step's counted work on an image: what a step goes through once, not thrice
EVALUATED_AT_ONCE = (10, 100)  # samples of an image, and images, as `log_likelihood` has them unless it is told
LIBRARY = ("hvae_tf", "tensorflow", "keras")


class PublishedRun(NamedTuple):
    """One of the paper's trainings: K, 0 for the VAE, and its epochs."""

    steps: int
    epochs: int


class TimedOn(NamedTuple):
    """What the steps of one core were timed on: processor, versions of the library, and the day as ISO has it."""

    processor: str
    versions: Mapping[str, str]
    date: str


class Recorded(NamedTuple):
    """A VAE or an HVAE of this repository.

    Attributes:
        name: Of the run.
        steps: K, 0 for the VAE.
        epochs: That it was trained.
        epoch_seconds: Median over its epochs.
        evaluation_seconds: Scaled to the published evaluation.
        parameters: Of the model.
        comparable: Whether it was trained as the benchmark's steps were timed, see `read_measured`.
    """

    name: str
    steps: int
    epochs: int
    epoch_seconds: float
    evaluation_seconds: float
    parameters: int
    comparable: bool


class Measured(NamedTuple):
    """What was measured, and counted.

    Attributes:
        one_core: Seconds of a training step on one core, by K.
        two_cores: The same on two.
        of_batches: The same on two at K = 5, by the images of a batch.
        of_samples: Seconds of an importance sample of an image on two cores, by K.
        data_share: Of a training's time, what waits for data.
        step_flops: Counted, of a training step, by K.
        decoder_multiply_adds: Of one image.
        activation_bytes: Kept for an image and an evaluation of the decoder.
        recorded: Runs of this repository.
        processor: Of the machine.
    """

    one_core: Mapping[int, float]
    two_cores: Mapping[int, float]
    of_batches: Mapping[int, float]
    of_samples: Mapping[int, float]
    data_share: float
    step_flops: Mapping[int, float]
    decoder_multiply_adds: int
    activation_bytes: float
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
    def parameters(self) -> int:
        """Of a model."""
        return max(run.parameters for run in self.recorded)

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint."""
        return COPIES * BYTES * self.parameters

    @property
    def validation_share(self) -> float:
        """Of an epoch's training steps, what its validation takes; counted."""
        return VALIDATION_STEP * VALIDATION_IMAGES / TRAIN_IMAGES

    @property
    def epoch_factor(self) -> float:
        """An epoch's seconds over those of its steps by what is known of its parts: validation, and data."""
        return 1.0 / (1.0 - self.data_share) + self.validation_share

    def epoch_seconds(self, steps: int) -> float:
        """An epoch on one core; where K was not timed, its step is on the line through those that were."""
        return _at(self.one_core, steps) * self.steps_per_epoch * self.epoch_factor

    def evaluation_seconds(self, steps: int) -> float:
        """A published evaluation on one core, which takes half of the samples that two cores take in the same time."""
        full = Evaluation()
        samples = TEST_IMAGES * full.repeats * (full.samples + ELBO_SAMPLES)
        return 2.0 * samples * _at(self.of_samples, steps)


def _at(seconds: Mapping[int, float], steps: int) -> float:
    """What was measured at a K; where nothing was, on the line through the K >= 1: the VAE lies on another."""
    if steps in seconds:
        return seconds[steps]
    flows = {k: value for k, value in seconds.items() if k >= 1}
    slope, level = np.polyfit(list(flows), list(flows.values()), 1)
    return float(level + slope * steps)


def read_measured(benchmarks: Path, records: Path) -> Measured:
    """Everything from its records.

    A record is comparable where it says that it was trained on one core of the processor whose steps were timed, by the
    same versions of the library, and no earlier than they were: an earlier or unlike training held against today's
    steps would count the difference as other work of an epoch. IWAE is neither the VAE nor an HVAE, and is left out.

    Args:
        benchmarks: The folder of the benchmarks' results.
        records: A folder of Table 1's records.

    Raises:
        RecordError: If one is missing or of another kind.
    """
    try:
        names = ("step_time", "memory", "scaling", "mirrored", "nll_throughput", "input_pipeline")
        step, memory, scaling, cores, samples, data = (
            json.loads((benchmarks / f"{name}.json").read_text()) for name in names
        )
        one_core, two_cores = (
            {int(k): statistics.median(found[contestant]) for k, found in cores["seconds_per_step"].items()}
            for contestant in ("one core", "two cores, parts of the batch")
        )
        flops = {int(k): float(value) for k, value in step["step_flops"].items()}
        activations = float(memory["backprop_fit"]["bytes_per_image_and_evaluation"])
        batches = next(axis["seconds"] for axis in scaling["axes"] if axis["axis"] == "batch")
        of_batches = {int(size): statistics.median(seconds) for size, seconds in batches.items()}
        of_samples = {
            row["K"]: statistics.median(row["seconds_per_chunk"]) / (row["chunk_size"] * row["batch_size"])
            for row in samples["throughput"]
            if (row["chunk_size"], row["batch_size"]) == EVALUATED_AT_ONCE
        }
        shares = [turn["waited"] / turn["total"] for turns in data["turns"].values() for turn in turns]
        timed = (cores, scaling, samples)
        threads = tuple(record["options"]["threads"] for record in timed)
        multiply_adds, machine = step["multiply_adds"]["decoder"], cores["machine"]
        timed_on = TimedOn(machine["processor"], {name: machine["packages"][name] for name in LIBRARY}, machine["date"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecordError(f"{benchmarks} has not the benchmarks that are needed ({error!r}); make them anew") from error
    if threads != (2,) * len(timed):
        raise RecordError(f"{benchmarks}: mirrored, scaling and nll_throughput are of {threads} cores; expected 2")
    if not {0, 1, 5} <= set(one_core) & set(of_samples):
        raise RecordError(f"{benchmarks}: mirrored and nll_throughput need K = 0, 1 and 5; make them anew")
    found = [read_run_record(path) for path in sorted(records.glob("*.json"))]
    recorded = tuple(_recorded(record, timed_on) for record in found if _cell(record).model in ("vae", "hvae"))
    if not recorded:
        raise RecordError(f"{records} has no record of a VAE or an HVAE; make some with table1.py")
    return Measured(
        one_core, two_cores, of_batches, of_samples, statistics.median(shares), flops, multiply_adds, activations,
        recorded, timed_on.processor,
    )  # fmt: skip


def _cell(record: dict) -> Cell:
    return TABLE1_CELLS[record["configuration"]["cell"]]


def _recorded(record: dict, timed_on: TimedOn) -> Recorded:
    results, full = record["results"], Evaluation()
    done = results["evaluation"]
    scale = TEST_IMAGES * full.samples * full.repeats / (done["images"] * done["samples"] * done["repeats"])
    training = results["training"]
    return Recorded(
        record["name"], _cell(record).num_leapfrog_steps, training["epochs"], training["seconds_per_epoch"],
        results["evaluation_seconds"] * scale, results["parameters"], _comparable(record, timed_on),
    )  # fmt: skip


def _comparable(record: dict, timed_on: TimedOn) -> bool:
    """See `read_measured`."""
    configuration, where = record["configuration"], record["environment"]
    versions = where.get("packages", {})
    return (
        (configuration["dataset"], configuration["batch_size"]) == ("mnist", BATCH)
        and configuration.get("limit") is None
        and record["results"]["training"].get("cores") == 1
        and where.get("device") == f"CPU: {timed_on.processor}"
        and all(versions.get(name) == version for name, version in timed_on.versions.items())
        and where.get("written", "")[:10] >= timed_on.date
    )


def published_runs() -> list[PublishedRun]:
    """The trainings behind the paper's Table 1, from its supplement."""
    with PAPER_RUNS.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [PublishedRun(int(row["K"] or 0), int(row["epochs"])) for row in rows]
