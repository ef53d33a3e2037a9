"""One training run in one folder: its checkpoints, history and early stopping, as a Keras callback.

Progress is counted in batches. `optimizer.iterations` counts updates, which are fewer where gradients are accumulated
or where loss scaling skips one.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hvae_tf.files import atomic_write
from hvae_tf.training.checkpoint import (
    Progress,
    assign,
    assign_replicas,
    load_checkpoint,
    replica_values,
    save_checkpoint,
    state_variables,
    values,
)
from hvae_tf.training.configuration import check_configuration, refuse_averages
from hvae_tf.training.earlier import as_begun, described_as_now, metrics_as_now
from hvae_tf.training.history import add_row, as_csv, mended
from hvae_tf.training.interrupt import InterruptAtBatchEnd
from hvae_tf.training.nonfinite import DivergenceError, DivergenceGuard
from hvae_tf.training.tensorboard import HistoryEvents

CHECKPOINT = "checkpoint.bin"
HISTORY = "history.csv"
DIVERGENCE = "divergence.json"
TENSORBOARD = "tensorboard"


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """How a training run went.

    Attributes:
        stopped: ``"patience"``, ``"max_epochs"``, or ``"callback"`` where a callback stopped it unfinished.
        epochs: Finished epochs.
        best_epoch: Epoch of the lowest validation loss, from 1.
        best_loss: That loss, nats per image.
        history: Per name, one number for each epoch: ``loss``, ``val_loss``, the model's metrics, ``learning_rate``,
            what callbacks log; NaN for an epoch in which it was not logged.
        wall_seconds: Wall time over all restarts, of the training that was kept.
        seconds_per_epoch: Median over epochs, validation included.
    """

    stopped: str
    epochs: int
    best_epoch: int
    best_loss: float
    history: dict[str, list[float]]
    wall_seconds: float
    seconds_per_epoch: float


class Run(keras.callbacks.Callback):
    """A run's memory: checkpoints, history, early stopping and the divergence guard.

    Args:
        model: Compiled and built; where it has a `batches_seen`, that is kept equal to the run's count.
        folder: Where the run is kept.
        configuration: What the run is, see `describe_run`.
        steps_per_epoch: Batches in an epoch.
        max_epochs: See `fit`.
        patience: See `fit`.
        checkpoint_steps: See `fit`.
        checkpoint_seconds: See `fit`.
        limits: See `fit`.
        interrupt: What notes a Ctrl-C.

    Attributes:
        step: Batches trained on, those of this process since the last checkpoint included.
        progress: What the last checkpoint holds.
    """

    def __init__(
        self, model: keras.Model, folder: Path, configuration: dict[str, Any], steps_per_epoch: int, *,
        max_epochs: int, patience: int | None, checkpoint_steps: int | None, checkpoint_seconds: float | None,
        limits: Mapping[str, float] | None, interrupt: InterruptAtBatchEnd,
    ):  # fmt: skip
        super().__init__()
        self.set_model(model)
        self.folder = folder
        self.configuration = configuration
        self.steps_per_epoch = steps_per_epoch
        self.max_epochs = max_epochs
        self.patience = patience
        self.checkpoint_steps = checkpoint_steps
        self.checkpoint_seconds = checkpoint_seconds
        self.interrupt = interrupt
        self.guard = DivergenceGuard(model, limits)
        self.progress = Progress()
        self.step = 0
        self._epoch_start = 0
        self._best: list[np.ndarray] = []
        self._metrics: list[np.ndarray] = []
        self._events: HistoryEvents | None = None
        self._limits_checked = False

    # -- the checkpoint -----------------------------------------------------------------------------------------------

    def start(self, tensorboard: bool) -> None:
        """Loads the folder's checkpoint, or writes the first one."""
        for stale in self.folder.glob(".*.tmp"):  # what a killed process was writing
            stale.unlink()
        self._mark = self._saved_at = time.monotonic()
        path = self.folder / CHECKPOINT
        if path.exists():
            groups, progress, found = load_checkpoint(path)
            check_configuration(self.folder, described_as_now(found, self.model), self.configuration)
            if not progress.stopped:
                refuse_averages(self.model.optimizer)
            assign(self._state(), groups["state"], str(path))
            progress.history = mended(progress.history, progress.epochs)
            self.progress, self._best = progress, groups["best"]
            self._metrics = metrics_as_now(groups["metrics"], len(self.model.metrics_variables))
            self._set_step(progress.step)
        elif updates := count_updates(self.model.optimizer):
            raise ValueError(
                f"the optimizer has made {updates} steps and {self.folder} holds no run; "
                "compile the model anew, or give the folder of its run"
            )
        elif not all(np.all(np.isfinite(array)) for array in values(self.model.trainable_variables)):
            raise ValueError("the model's weights are not finite; build it anew, or look at what it was loaded from")
        else:
            refuse_averages(self.model.optimizer)
            self._set_step(0)
            self._save()
        self._write_history()  # a kill may have come between the two files
        if tensorboard:
            self._events = HistoryEvents(self.folder / TENSORBOARD)
            for epoch in range(1, self.progress.epochs + 1):
                self._events.write(self.progress.history, epoch)

    def result(self, restore_best: bool) -> TrainingResult:
        """The result; the best weights are put into the model if asked for."""
        progress = self.progress
        if restore_best and progress.best_epoch:
            assign(state_variables(self.model), self._best)
        return TrainingResult(
            stopped=progress.stopped or "callback",
            epochs=progress.epochs,
            best_epoch=progress.best_epoch,
            best_loss=float("nan") if progress.best_loss is None else progress.best_loss,
            history=progress.history,
            wall_seconds=progress.seconds,
            seconds_per_epoch=statistics.median(progress.epoch_seconds or [float("nan")]),
        )

    def _set_step(self, step: int) -> None:
        self.step = step
        if hasattr(self.model, "batches_seen"):  # what the noise is a function of
            self.model.batches_seen.assign(step)

    def _state(self):
        return [*state_variables(self.model), *self.model.optimizer.variables]

    def _save(self, metrics=()) -> None:
        variables = self._state()
        groups = {"state": values(variables), "best": self._best, "metrics": replica_values(metrics)}
        self._guarded(self.guard.check_state, groups["state"], [variable.path for variable in variables])
        save_checkpoint(self.folder / CHECKPOINT, groups, self.progress, self.configuration)
        self._saved_at = time.monotonic()

    def _save_amid_epoch(self) -> None:
        self._advance()
        self._save(self.model.metrics_variables)

    def _write_history(self) -> None:
        atomic_write(self.folder / HISTORY, as_csv(self.progress.history))

    def _advance(self) -> None:
        """Brings the progress's step and times up to now."""
        now = time.monotonic()
        self.progress.step = self.step
        self.progress.seconds += now - self._mark
        self.progress.partial_seconds += now - self._mark
        self._mark = now

    # -- Keras's hooks ------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start = self.step
        if self._metrics:  # of the part of this epoch that is done
            assign_replicas(self.model.metrics_variables, self._metrics)
            self._metrics = []

    def on_train_batch_begin(self, batch, logs=None):
        self.guard.remember(self.step)

    def on_train_batch_end(self, batch, logs=None):
        before = self.step
        epoch_end = (self._epoch_start // self.steps_per_epoch + 1) * self.steps_per_epoch
        # Keras numbers the last execution of an epoch as if it were whole; `fit` sees to it that no batch is missing
        self.step = min(self._epoch_start + batch + 1, epoch_end)
        self._guarded(self.guard.check_logs, logs)
        self.interrupt.armed = True
        if self.step == epoch_end:
            return
        if self.interrupt.pending:
            self._save_amid_epoch()
            raise KeyboardInterrupt
        due = self.checkpoint_steps and self.step // self.checkpoint_steps > before // self.checkpoint_steps
        late = self.checkpoint_seconds and time.monotonic() - self._saved_at >= self.checkpoint_seconds
        if due or late:
            self._save_amid_epoch()

    def on_test_batch_end(self, batch, logs=None):
        if self.interrupt.pending:  # the last checkpoint stands
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if self.step != (epoch + 1) * self.steps_per_epoch:
            return  # a callback stopped it amid the epoch: the last checkpoint stands
        self._guarded(self.guard.check_logs, logs)
        if "val_loss" not in logs:
            raise ValueError(f"the model logs {', '.join(logs)}; its train_step and test_step must return 'loss'")
        progress = self.progress
        self._advance()
        row = as_begun(logs, progress.history) | {
            "learning_rate": float(np.asarray(self.model.optimizer.learning_rate))
        }
        add_row(progress.history, row)
        progress.epoch_seconds.append(progress.partial_seconds)
        progress.partial_seconds = 0.0
        if progress.best_loss is None or logs["val_loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch = float(logs["val_loss"]), progress.epochs
            self._best = values(state_variables(self.model))
        if self.patience is not None and progress.epochs - progress.best_epoch >= self.patience:
            progress.stopped = "patience"
        elif progress.epochs >= self.max_epochs:
            progress.stopped = "max_epochs"
        self._save()
        self._write_history()
        if self._events:
            self._events.write(progress.history, progress.epochs)
        if progress.stopped:
            self.model.stop_training = True
        if not self._limits_checked:
            self.guard.check_limits({*logs, *progress.history})
            self._limits_checked = True
        if self.interrupt.pending:
            raise KeyboardInterrupt

    # -- numbers that are not finite ----------------------------------------------------------------------------------

    def _guarded(self, check, *arguments) -> None:
        """Runs a check of the guard; where it fails, leaves a report and the last good checkpoint in the model."""
        try:
            check(*arguments, self.step)
        except DivergenceError as error:
            report = {
                "step": error.step,
                "message": str(error),
                "logs": {name: repr(value) for name, value in error.logs.items()},
                "parameters": {name: np.asarray(value).tolist() for name, value in error.parameters.items()},
            }
            atomic_write(self.folder / DIVERGENCE, json.dumps(report, indent=1) + "\n")
            groups, progress, _ = load_checkpoint(self.folder / CHECKPOINT)
            assign(self._state(), groups["state"])
            self._set_step(progress.step)
            raise DivergenceError(
                f"{error}. All values: {self.folder / DIVERGENCE}; the last good checkpoint (step {progress.step}, "
                f"{progress.epochs} epochs) is kept. A smaller learning rate or smaller initial step sizes may help, "
                "in another folder",
                error.step,
                error.logs,
                error.parameters,
            ) from None


def count_updates(optimizer: keras.optimizers.Optimizer) -> int:
    """How often gradients were given to an optimiser, or to one inside it, accumulated ones included."""
    return max(int(variable.numpy()) for variable in optimizer.variables if variable.name == "iteration")
