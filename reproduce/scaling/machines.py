"""The simulated machines: runs dealt out over cores or GPUs, and what a run takes on one."""

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

from reproduce.configs import Evaluation
from reproduce.scaling.measured import BATCH, BYTES, TEST_IMAGES, Measured, PublishedRun

START_SECONDS = 15.0  # of a process until its first step: assumed
FOLDER_BANDWIDTH = 100e6  # bytes a second that a worker writes to the shared folder: assumed, a gigabit network's
CHECKPOINT_SECONDS = 60.0  # between two checkpoints at most, as `hvae_tf.fit` has it


class Gpu(NamedTuple):
    """A GPU as its maker describes it; not measured.

    Attributes:
        name: What it is.
        flops: Of float32, a second, without tensor cores.
        bandwidth: Of its memory, bytes a second.
    """

    name: str
    flops: float
    bandwidth: float


H200 = Gpu("H200", 67e12, 4.8e12)


class Outcome(NamedTuple):
    """How long all of it takes on a machine.

    Attributes:
        seconds: From the first run's start to the last one's end.
        busy: Core-seconds, or GPU-seconds, that runs have.
        units: Cores or GPUs of the machine.
        longest: Seconds of the longest run.
        cores_a_run: The most that a run has.
        written: Bytes a second that go to the shared folder as checkpoints, at most.
    """

    seconds: float
    busy: float
    units: int
    longest: float
    cores_a_run: int
    written: float


def deal(durations: Sequence[float], units: int) -> float:
    """When the last of the runs ends if the longest that waits goes to the unit that is free first."""
    free = [0.0] * units
    for duration in sorted(durations, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def working_seconds(run: PublishedRun, measured: Measured) -> float:
    """A run's training and evaluation on one core: what several cores shorten."""
    return run.epochs * measured.epoch_seconds(run.steps) + measured.evaluation_seconds(run.steps)


def writing_seconds(run: PublishedRun, measured: Measured) -> float:
    """That a run sends its checkpoints to the shared folder: one an epoch, or a minute where that is sooner."""
    checkpoints = run.epochs * max(1.0, measured.epoch_seconds(run.steps) / CHECKPOINT_SECONDS)
    return checkpoints * measured.checkpoint_bytes / FOLDER_BANDWIDTH


def waiting_seconds(run: PublishedRun, measured: Measured) -> float:
    """Of a run's start and its checkpoints: what no core shortens."""
    return START_SECONDS + writing_seconds(run, measured)


def one_core_seconds(run: PublishedRun, measured: Measured) -> float:
    """All of a run on one core."""
    return working_seconds(run, measured) + waiting_seconds(run, measured)


def on_cores(runs: Sequence[PublishedRun], measured: Measured, cores: int) -> Outcome:
    """Table 1 on so many cores: a core a run while there are more runs than cores, else several cores for long runs.

    On several cores a run's work is shortened by Amdahl's law, see `Measured.shares_not_shortened`.
    """
    durations = [one_core_seconds(run, measured) for run in runs]
    epochs = [measured.epoch_seconds(run.steps) for run in runs]
    if cores <= len(runs):
        seconds = deal(durations, cores)
        rates = sorted((1.0 / min(epoch, CHECKPOINT_SECONDS) for epoch in epochs), reverse=True)[:cores]
        return Outcome(seconds, sum(durations), cores, max(durations), 1, sum(rates) * measured.checkpoint_bytes)
    serial = max(measured.shares_not_shortened)
    parts = [(working_seconds(run, measured), waiting_seconds(run, measured)) for run in runs]

    def needed_by(end):
        return [cores_for(work, end - wait, serial, measured.most_cores) for work, wait in parts]

    # the end of the last run, by bisection
    low, high = 0.0, max(durations)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if sum(needed_by(middle)) <= cores else (middle, high)
    needed = needed_by(high)
    times = [work * amdahl(serial, n) + wait for (work, wait), n in zip(parts, needed, strict=True)]
    rate = sum(
        1.0 / min(epoch * amdahl(serial, n), CHECKPOINT_SECONDS) for epoch, n in zip(epochs, needed, strict=True)
    )
    busy = sum(time * n for time, n in zip(times, needed, strict=True))
    return Outcome(max(times), busy, cores, max(times), int(max(needed)), rate * measured.checkpoint_bytes)


def amdahl(serial: float, cores: float) -> float:
    """Time on so many cores over that on one."""
    return serial + (1.0 - serial) / cores


def cores_for(duration: float, end: float, serial: float, most: int) -> float:
    """The fewest cores, at most so many, on which a run ends by then; infinite if none do."""
    if duration <= end:
        return 1.0
    room = end / duration - serial
    needed = math.ceil((1.0 - serial) / room - 1e-9) if room > 0 else math.inf
    return needed if needed <= most else math.inf


def on_gpus(runs: Sequence[PublishedRun], measured: Measured, gpu: Gpu, count: int) -> Outcome:
    """Table 1 on so many GPUs, a run a GPU at a time, by the roofline of `gpu_seconds`."""
    durations = [gpu_seconds(run, measured, gpu) for run in runs]
    return Outcome(deal(durations, count), sum(durations), count, max(durations), 0, 0.0)


def gpu_seconds(run: PublishedRun, measured: Measured, gpu: Gpu) -> float:
    """A run's training and evaluation by the roofline: work over peak, or bytes over bandwidth, whichever is longer.

    The bytes are those of a program that sends what is kept for its gradients through the GPU's memory, once each way;
    one that keeps less, or keeps it nearer, is not bound by them, nor is one that uses tensor cores by the work.
    """
    evaluations = run.steps + 1
    traffic = 2.0 * measured.activation_bytes * BATCH * evaluations + 6.0 * BYTES * measured.parameters
    step = max(measured.step_flops[run.steps] / gpu.flops, traffic / gpu.bandwidth)
    full, passes = Evaluation(), 1.0 if run.steps == 0 else 2.0 * evaluations  # forward, and back to z
    kept = 0.0 if run.steps == 0 else measured.activation_bytes * passes  # the VAE's samples need no gradient
    points = float(TEST_IMAGES * full.samples * full.repeats)
    flops = 2.0 * measured.decoder_multiply_adds * passes * points
    evaluation = max(flops / gpu.flops, kept * points / gpu.bandwidth)
    return run.epochs * measured.steps_per_epoch * step + evaluation
