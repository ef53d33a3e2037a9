"""What a training step of each cell costs beside the VAE's, timed in turn in one process; a record of its own.

Seconds of the trainings themselves do not compare: each had whatever the machine left it. Here every round of a cell
follows one of the VAE, cells take turns, and processor time is counted instead of the clock's.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RunStore, make_record
from hvae_tf.runs.record import as_json
from reproduce.judged.protocol import Preset, Run

NAME = "times"
BASE = "vae"
ROUNDS = 25
STEPS = 24  # a round and cell: an epoch of the digits


class Ratio(NamedTuple):
    """Processor time of a training step over the VAE's.

    Attributes:
        median: Over rounds.
        lower: Their first quartile.
        upper: The third.
    """

    median: float
    lower: float
    upper: float

    def __str__(self):
        return f"{self.median:.1f} ({self.lower:.1f} to {self.upper:.1f})"


def configuration(preset: Preset, cells: Iterable[str]) -> dict:
    """What the record is a record of."""
    each = {cell: preset.cells[cell].configuration() for cell in cells}
    return {"cells": each, **dataclasses.asdict(preset.protocol), "rounds": ROUNDS, "steps": STEPS}


def make_times(preset: Preset, cells: Iterable[str], data, folder: Path, say: Callable[[str], None]) -> None:
    """Times a training step of the VAE and of these cells, and leaves a record; in it other cells keep their times.

    Args:
        preset: The table.
        cells: Names of those that are timed.
        data: The images.
        folder: Of all results.
        say: Hears of every round.
    """
    names = [name for name in dict.fromkeys(cells) if name != BASE]
    base = _step(preset, BASE, data)
    steps = {name: _step(preset, name, data) for name in names}
    seconds: dict[str, dict[str, list[float]]] = {name: {"base": [], "own": []} for name in names}
    for number in range(1, ROUNDS + 1):
        for name, step in steps.items():
            for label, timed in (("base", base), ("own", step)):
                began = time.process_time()
                for _ in range(STEPS):
                    timed()
                seconds[name][label].append((time.process_time() - began) / STEPS)
        say(f"timed, round {number} of {ROUNDS}")
    _leave(RunStore(folder / NAME), seconds, configuration(preset, names), data.fingerprint)


def _leave(store: RunStore, seconds: dict[str, dict[str, list[float]]], configuration: dict, fingerprint: str) -> None:
    """Writes the record, with what an older one of the same protocol and data has of other cells."""
    if store.path(NAME).exists():
        old = store.read(NAME)
        before, now = ({**as_json(c), "cells": None} for c in (old["configuration"], configuration))
        if before == now and old["data_fingerprint"] == fingerprint:
            seconds = {**old["results"]["processor_seconds_per_step"], **seconds}
            configuration = {**configuration, "cells": {**old["configuration"]["cells"], **configuration["cells"]}}
    store.write(make_record(
        NAME, configuration=configuration, seed=0, data_fingerprint=fingerprint, history={}, wall_seconds=0.0,
        results={"processor_seconds_per_step": seconds},
    ))  # fmt: skip


def _step(preset: Preset, name: str, data) -> Callable[[], None]:
    """One training step, traced; of a cell that warms up, one after that."""
    from hvae_tf.data import TrainBatches
    from reproduce.judged.training import build

    if hasattr(preset.protocol, "warm_up_steps"):
        preset = dataclasses.replace(preset, protocol=dataclasses.replace(preset.protocol, warm_up_steps=0))
    batches = TrainBatches(data, preset.protocol.batch_size, 0)
    model = build(Run(name, 0), preset, data, preset.protocol.max_epochs * batches.steps_per_epoch)
    model.fit(batches.dataset(0, 2), shuffle=False, verbose=0)
    batch = iter(batches.dataset(0, 1).cache().repeat())
    return lambda: model.train_function(batch)


def read_times(folder: Path) -> dict[str, Ratio]:
    """By cell, of what was timed; nothing where nobody has.

    Raises:
        RecordError: If the record is damaged.
    """
    store = RunStore(folder / NAME)
    if not store.path(NAME).exists():
        return {}
    seconds = store.read(NAME)["results"]["processor_seconds_per_step"]
    ratios = {name: np.divide(of["own"], of["base"]) for name, of in seconds.items()}
    return {name: Ratio(*(float(q) for q in np.quantile(r, (0.5, 0.25, 0.75)))) for name, r in ratios.items()}
