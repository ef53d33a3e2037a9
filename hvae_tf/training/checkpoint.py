"""Training checkpoints: all weights, the optimiser and the training's own memory in one file, written atomically.

One file, so that no kill can leave weights of one step beside the memory of another.
"""

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.files import atomic_write

MAGIC = b"hvae_tf checkpoint 1\n"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and why."""


@dataclasses.dataclass
class Progress:
    """What a training run remembers besides its weights.

    Attributes:
        step: Training batches seen; an optimiser may have made fewer updates.
        history: Per logged name, one number for each finished epoch; NaN where it was not logged.
        best_epoch: Epoch of the lowest validation loss, from 1; 0 before there is one.
        best_loss: That loss, in nats; None before there is one.
        seconds: Wall time of the training that this state holds, over all restarts.
        epoch_seconds: Of each finished epoch, its validation included.
        partial_seconds: Of the epoch that is under way.
        stopped: Why training ended: ``"patience"`` or ``"max_epochs"``; empty while it goes on.
    """

    step: int = 0
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    best_loss: float | None = None
    seconds: float = 0.0
    epoch_seconds: list[float] = dataclasses.field(default_factory=list)
    partial_seconds: float = 0.0
    stopped: str = ""

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.epoch_seconds)


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """All variables of a model, generators' seeds included, without those of its metrics."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def values(variables) -> list[np.ndarray]:
    """The variables' values, copied."""
    return [np.array(variable.numpy()) for variable in variables]


def replica_values(variables) -> list[np.ndarray]:
    """As `values`; for variables that have one value a replica, such as those of metrics, all of them: ``[R, ...]``."""
    parts = [[np.array(part.numpy()) for part in _parts(variable)] for variable in variables]
    return [values[0] if len(values) == 1 else np.stack(values) for values in parts]


def assign_replicas(variables, arrays) -> None:
    """Sets variables to what `replica_values` gave."""
    for variable, array in zip(variables, arrays, strict=True):
        parts = _parts(variable)
        for part, value in zip(parts, [array] if len(parts) == 1 else array, strict=True):
            part.assign(value)


def _parts(variable) -> tuple[tf.Variable, ...]:
    """The `tf.Variable` of each replica."""
    return tf.distribute.get_strategy().experimental_local_results(variable.value)


def assign(variables, arrays, where: str = "checkpoint") -> None:
    """Sets the variables.

    Raises:
        CheckpointError: If number, shapes or dtypes differ; nothing is set then.
    """
    if len(variables) != len(arrays):
        raise CheckpointError(f"{where} holds {len(arrays)} arrays for {len(variables)} variables")
    for variable, array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape or variable.dtype != array.dtype.name:
            raise CheckpointError(
                f"{where}: {variable.path} is {variable.dtype}{list(variable.shape)}, "
                f"the file has {array.dtype.name}{list(array.shape)}"
            )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def save_checkpoint(path: Path, groups: dict[str, list[np.ndarray]], progress: Progress, configuration: dict) -> None:
    """Writes groups of arrays, the progress and what the run was configured as; atomic."""
    header = {"progress": dataclasses.asdict(progress), "configuration": configuration}
    header["groups"] = {group: len(arrays) for group, arrays in groups.items()}
    named: dict[str, Any] = {
        f"{group}/{i}": array for group, arrays in groups.items() for i, array in enumerate(arrays)
    }
    buffer = io.BytesIO()
    np.savez(buffer, **named, header=np.frombuffer(json.dumps(header).encode(), np.uint8))
    atomic_write(path, MAGIC + hashlib.sha256(buffer.getbuffer()).digest() + buffer.getvalue())


def load_checkpoint(path: Path) -> tuple[dict[str, list[np.ndarray]], Progress, dict]:
    """What `save_checkpoint` wrote: groups of arrays, progress, configuration.

    Raises:
        CheckpointError: If the file is damaged or of another format.
    """
    content = path.read_bytes()
    magic, digest, body = content[: len(MAGIC)], content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if magic != MAGIC or hashlib.sha256(body).digest() != digest:
        kind = "is damaged" if magic == MAGIC else f"is not a {MAGIC.decode().strip()}"
        raise CheckpointError(f"{path} {kind}; delete its folder to train from the start")
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        groups = {group: [file[f"{group}/{i}"] for i in range(n)] for group, n in header["groups"].items()}
    return groups, Progress(**header["progress"]), header["configuration"]
