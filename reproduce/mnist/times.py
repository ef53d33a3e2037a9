"""How long a training takes, for comparing cells: by the benchmark's steps, which took turns, where it has such steps.

Trainings share their machine with other work, each with other work at another time, so the seconds that they record do
not compare cells. `benchmarks/mirrored.py` takes steps of all K in turns, on one core.
"""

import functools
import json
import math
import statistics
from pathlib import Path

from reproduce.configs import TABLE1_CELLS, Table1Config

BENCHMARK = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "results" / "mirrored.json"
STEPS_AN_EPOCH = 500  # of MNIST in batches of 100


@functools.cache
def step_seconds() -> dict[int, float]:
    """Of a training step on one core, by K, 0 for the VAE; nothing without the benchmark.

    The VAE's is its median over rounds, another's that times the median of the ratios of the rounds: within a round
    the machine was as busy for both.
    """
    if not BENCHMARK.exists():
        return {}
    turns = {int(k): ways["one core"] for k, ways in json.loads(BENCHMARK.read_text())["seconds_per_step"].items()}
    if not turns.get(0):
        return {}
    base = statistics.median(turns[0])
    return {
        k: base * statistics.median(own / vae for own, vae in zip(seconds, turns[0], strict=False))
        for k, seconds in turns.items()
        if seconds
    }


def is_benchmarked(record: dict) -> bool:
    """Whether the benchmark has steps of these networks on these data: the paper's on MNIST."""
    configuration, published = record["configuration"], Table1Config()
    names = ("dataset", "limit", "batch_size", "latent_size", "hidden_units")
    return (
        bool(step_seconds())
        and all(configuration.get(name) == getattr(published, name) for name in names)
        and tuple(configuration.get("filters") or ()) == published.filters
    )


def epoch_seconds(record: dict) -> float:
    """Of training: on one core by the benchmark, or what the run recorded where the benchmark has none of its kind.

    NaN for cells that the benchmark leaves out (IWAE, K = 15), and where there is neither.
    """
    if is_benchmarked(record):
        spec = TABLE1_CELLS[record["configuration"]["cell"]]
        seconds = math.nan if spec.kind == "iwae" else step_seconds().get(spec.num_leapfrog_steps, math.nan)
        return STEPS_AN_EPOCH * seconds
    return _recorded_epoch(record)


def training_seconds(record: dict) -> float:
    """`epoch_seconds` times the epochs."""
    return record["results"]["training"]["epochs"] * epoch_seconds(record)


def recorded_seconds(record: dict) -> float:
    """Epochs times the recorded seconds an epoch, which pauses are no part of; NaN where there is none."""
    return record["results"]["training"]["epochs"] * _recorded_epoch(record)


def _recorded_epoch(record: dict) -> float:
    return record["results"]["training"].get("seconds_per_epoch") or math.nan
