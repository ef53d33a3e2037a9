"""`fit`: one training loop for all models, on Keras's own; what is killed goes on where it was.

After every epoch (and every `checkpoint_steps` steps if asked) weights, optimiser, best weights, history and early
stopping's memory go to one file, atomically. Batches and noise being functions of the step, a run that was killed at
any moment, ``kill -9`` included, and started again replays what came after its last checkpoint and ends bit for bit
where the uninterrupted run ends (on one kind of machine; on a GPU this needs
`tf.config.experimental.enable_op_determinism`).
"""

import dataclasses
import hashlib
import json
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import filelock
import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checkpoints import (
    CheckpointError,
    Progress,
    assign,
    load_checkpoint,
    save_checkpoint,
    state_variables,
    values,
)
from hvae_tf.checks import check_count
from hvae_tf.divergence import DivergenceError, DivergenceGuard
from hvae_tf.files import atomic_write, fingerprint

CHECKPOINT = "checkpoint.bin"
HISTORY = "history.csv"
DIVERGENCE = "divergence.json"
TENSORBOARD = "tensorboard"


class Batches(Protocol):
    """What `fit` trains on; `hvae_tf.data.TrainBatches` is one."""

    steps_per_epoch: int

    def dataset(self, start: int, stop: int) -> tf.data.Dataset:
        """Batches number start to stop - 1, each a function of its number."""

    def configuration(self) -> dict[str, Any]:
        """What the batches are a function of, besides the step; JSON can hold it."""


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """How a training run went.

    Attributes:
        stopped: ``"patience"``, ``"max_epochs"``, or ``"callback"`` where a callback stopped it unfinished.
        epochs: Finished epochs.
        best_epoch: Epoch of the lowest validation loss, from 1.
        best_loss: That loss, nats per image.
        history: Per name, one number for each epoch: ``loss``, ``val_loss``, the model's metrics, ``learning_rate``.
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


def fit(
    model: keras.Model,
    batches: Batches,
    validation: np.ndarray,
    folder: Path | str,
    *,
    max_epochs: int,
    patience: int | None = None,
    validation_batch_size: int = 100,
    configuration: Mapping[str, Any] | None = None,
    checkpoint_steps: int | None = None,
    limits: Mapping[str, float] | None = None,
    restore_best: bool = True,
    tensorboard: bool = False,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> TrainingResult:
    """Trains a compiled model, or goes on with the training that `folder` holds, to its end.

    The same call starts, resumes, and after the end only loads what was reached. `folder` gets ``checkpoint.bin`` and
    ``history.csv``, one row an epoch.

    Args:
        model: Compiled; its logs hold ``loss``, the negative bound in nats per image. Its randomness must be a function
            of ``optimizer.iterations`` or of its variables. On return it holds the best weights, and the optimiser's
            state at the last step.
        batches: The training batches, by number.
        validation: ``[m, height, width, channels]``, binarised already.
        folder: Where this run is kept; made if missing. One run a folder.
        max_epochs: Training ends after so many.
        patience: Training ends after so many epochs in a row without a validation loss below the best; None: never.
        validation_batch_size: Images a validation step.
        configuration: Whatever else the run depends on, as JSON has it; resuming with another fails.
        checkpoint_steps: Checkpoints every so many steps too, not only at epoch ends.
        limits: Per logged name the largest value let through, such as ``{"gradient_norm": 1e6}``.
        restore_best: False leaves the last epoch's weights in the model.
        tensorboard: Writes the history as event files to ``<folder>/tensorboard`` too.
        callbacks: Further Keras callbacks, called before the checkpoint is written; what they themselves remember is
            not kept over a restart.
        verbose: As in `keras.Model.fit`.

    Raises:
        CheckpointError: If `folder` holds a run of another configuration, or a damaged one, or another process is
            training there.
        DivergenceError: If a logged number is not finite or above its limit.
        ValueError: If an argument is out of range, or the model is not compiled or was trained already.
    """
    check_count("max_epochs", max_epochs)
    check_count("validation_batch_size", validation_batch_size)
    for name, value in (("patience", patience), ("checkpoint_steps", checkpoint_steps)):
        if value is not None:
            check_count(name, value)
    if getattr(model, "optimizer", None) is None or not model.built:
        raise ValueError("the model has no optimizer or no weights yet; build it and call model.compile(optimizer=...)")
    validation = np.asarray(validation)
    if validation.ndim < 1 or not len(validation):
        raise ValueError(f"validation has shape {validation.shape}; expected at least one image")
    try:
        configuration = json.loads(json.dumps(dict(configuration or {})))
    except TypeError as error:
        raise ValueError(f"configuration holds what JSON cannot ({error}); use plain numbers and strings") from error
    model.optimizer.build(model.trainable_variables)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = _describe(model, batches, validation)
    described |= {
        "max_epochs": max_epochs,
        "patience": patience,
        "validation_batch_size": validation_batch_size,
        "configuration": configuration,
    }
    lock = filelock.FileLock(folder / ".training.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise CheckpointError(f"another process is training in {folder}; wait for it, or choose another") from None
    try:
        run = _Run(model, folder, described, batches.steps_per_epoch, max_epochs, patience, checkpoint_steps, limits)
        run.start(tensorboard)
        try:
            _train(model, batches, run, validation, validation_batch_size, callbacks, verbose)
        except KeyboardInterrupt:
            print(
                f"\nInterrupted. {folder} holds the training up to step {run.progress.step} "
                f"({run.progress.epochs} of at most {max_epochs} epochs): the same command goes on from there.",
                file=sys.stderr,
            )
            raise
        return run.end(restore_best)
    finally:
        lock.release()


def _train(model, batches, run, validation, validation_batch_size, callbacks, verbose) -> None:
    """Keras's fit, from where the run is to its end: the rest of an epoch first, then whole epochs."""
    length = batches.steps_per_epoch
    while not run.progress.stopped:
        step, whole = run.progress.step, run.progress.step % length == 0
        epoch = step // length
        epochs = run.max_epochs if whole else epoch + 1
        model.fit(
            batches.dataset(step, epochs * length),
            initial_epoch=epoch,
            epochs=epochs,
            steps_per_epoch=length if whole else None,
            shuffle=False,
            validation_data=validation,
            validation_batch_size=validation_batch_size,
            callbacks=[*callbacks, run],
            verbose=verbose,
        )
        if model.stop_training:
            break


class _Run(keras.callbacks.Callback):
    """A run's memory: checkpoints, history, early stopping and the divergence guard."""

    def __init__(self, model, folder, configuration, steps_per_epoch, max_epochs, patience, checkpoint_steps, limits):
        super().__init__()
        self.set_model(model)
        self.folder = folder
        self.configuration = configuration
        self.steps_per_epoch = steps_per_epoch
        self.max_epochs = max_epochs
        self.patience = patience
        self.checkpoint_steps = checkpoint_steps
        self.guard = DivergenceGuard(model, limits)
        self.progress = Progress()
        self._best: list[np.ndarray] = []
        self._metrics: list[np.ndarray] = []
        self._events = None

    # -- the checkpoint -----------------------------------------------------------------------------------------------

    def start(self, tensorboard: bool) -> None:
        """Loads the folder's checkpoint, or writes the first one."""
        for stale in self.folder.glob(".*.tmp"):  # what a killed process was writing
            stale.unlink()
        path = self.folder / CHECKPOINT
        if path.exists():
            groups, progress, found = load_checkpoint(path)
            _check_configuration(self.folder, found, self.configuration)
            assign(self._state(), groups["state"], str(path))
            self.progress, self._best, self._metrics = progress, groups["best"], groups["metrics"]
        elif int(self.model.optimizer.iterations) != 0:
            raise ValueError(
                f"the optimizer has made {int(self.model.optimizer.iterations)} steps and {self.folder} holds no run; "
                "compile the model anew, or give the folder of its run"
            )
        elif not all(np.all(np.isfinite(array)) for array in values(self.model.trainable_variables)):
            raise ValueError("the model's weights are not finite; build it anew, or look at what it was loaded from")
        else:
            self._save()
        self._write_history()  # a kill may have come between the two files
        if tensorboard:
            self._events = _Events(self.folder / TENSORBOARD)
            for epoch in range(1, self.progress.epochs + 1):
                self._events.write(self.progress.history, epoch)
        self._mark = time.monotonic()

    def end(self, restore_best: bool) -> TrainingResult:
        """The result, the best weights being put into the model."""
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

    def _state(self):
        return [*state_variables(self.model), *self.model.optimizer.variables]

    def _save(self, metrics=()) -> None:
        variables = self._state()
        groups = {"state": values(variables), "best": self._best, "metrics": values(metrics)}
        self._checked(self.guard.check_state, groups["state"], [variable.path for variable in variables])
        save_checkpoint(self.folder / CHECKPOINT, groups, self.progress, self.configuration)

    def _write_history(self) -> None:
        names = list(self.progress.history)
        lines = [",".join(["epoch", *names])]
        for epoch, row in enumerate(zip(*self.progress.history.values(), strict=True), 1):
            lines.append(",".join([str(epoch), *map(repr, row)]))
        atomic_write(self.folder / HISTORY, "\n".join(lines) + "\n")

    def _advance(self) -> None:
        """Brings step and times up to now."""
        now = time.monotonic()
        self.progress.step = int(self.model.optimizer.iterations)
        self.progress.seconds += now - self._mark
        self.progress.partial_seconds += now - self._mark
        self._mark = now

    # -- Keras's hooks ------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch, logs=None):
        if self._metrics:  # of the part of this epoch that is done
            assign(self.model.metrics_variables, self._metrics)
            self._metrics = []

    def on_train_batch_begin(self, batch, logs=None):
        self.guard.remember()

    def on_train_batch_end(self, batch, logs=None):
        self._checked(self.guard.check, logs)
        if not self.checkpoint_steps:
            return
        step = int(self.model.optimizer.iterations)
        if step % self.checkpoint_steps == 0 and step % self.steps_per_epoch:
            self._advance()
            self._save(self.model.metrics_variables)

    def on_epoch_end(self, epoch, logs=None):
        if int(self.model.optimizer.iterations) != (epoch + 1) * self.steps_per_epoch:
            return  # a callback stopped it amid the epoch: the last checkpoint stands
        self._checked(self.guard.check, logs)
        if "val_loss" not in logs:
            raise ValueError(f"the model logs {', '.join(logs)}; its train_step and test_step must return 'loss'")
        progress = self.progress
        self._advance()
        row = {**logs, "learning_rate": np.asarray(self.model.optimizer.learning_rate)}
        for name, value in row.items():
            progress.history.setdefault(name, []).append(float(value))
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

    # -- divergence ---------------------------------------------------------------------------------------------------

    def _checked(self, check, *arguments) -> None:
        """Runs a check of the guard; where it fails, leaves a report and the last good checkpoint in the model."""
        try:
            check(*arguments, int(self.model.optimizer.iterations))
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
            raise DivergenceError(
                f"{error}. All values: {self.folder / DIVERGENCE}; the last good checkpoint (step {progress.step}, "
                f"{progress.epochs} epochs) is kept. A smaller learning rate or smaller initial step sizes may help, "
                "in another folder",
                error.step,
                error.logs,
                error.parameters,
            ) from None


# -- what a run is ----------------------------------------------------------------------------------------------------


def _describe(model, batches, validation) -> dict[str, Any]:
    """What the run's bits depend on, as far as it can be seen here."""
    optimizer = keras.saving.serialize_keras_object(model.optimizer)
    optimizer["config"].pop("name", None)
    described = {
        "model": type(model).__name__,
        "model_seed": getattr(model, "seed", None),
        "model_architecture": _architecture(model),
        "optimizer": optimizer,
        "jit_compile": bool(getattr(model, "jit_compile", False)),
        "batches": batches.configuration(),
        "steps_per_epoch": batches.steps_per_epoch,
        "validation": fingerprint(validation),
    }
    return json.loads(json.dumps(described))


def _architecture(model) -> str:
    """A digest of the model's configuration and variables, whatever running numbers Keras put into names."""
    try:
        config = json.dumps(model.get_config(), sort_keys=True, default=str)
    except (NotImplementedError, TypeError, ValueError):  # a model that cannot be saved
        config = ""
    config = re.sub(r'_\d+"', '"', config)
    shapes = [(variable.dtype, tuple(variable.shape)) for variable in state_variables(model)]
    return hashlib.sha256(f"{config}{shapes}".encode()).hexdigest()[:16]


def _check_configuration(folder, found: dict, wanted: dict) -> None:
    """Raises CheckpointError where a run's configuration is another."""
    unlike = _differences(found, wanted)
    if unlike:
        detail = "; ".join(unlike[:5])
        raise CheckpointError(f"{folder} holds a run of another configuration ({detail}); choose another folder")


def _differences(found, wanted, path="") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted({*found, *wanted})
        return [d for k in keys for d in _differences(found.get(k), wanted.get(k), f"{path}.{k}" if path else str(k))]
    return [] if found == wanted else [f"{path}: {found!r} there, {wanted!r} asked"]


class _Events:
    """The history as TensorBoard's event files: a function of the history, like the CSV file."""

    def __init__(self, folder: Path):
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(folder))
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self._metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin)

    def write(self, history: dict[str, list[float]], epoch: int) -> None:
        """Writes one epoch's numbers, the epoch counted from 1."""
        with self._writer.as_default():
            for name, column in history.items():
                tf.summary.write(f"epoch_{name}", np.float32(column[epoch - 1]), step=epoch, metadata=self._metadata)
        self._writer.flush()
