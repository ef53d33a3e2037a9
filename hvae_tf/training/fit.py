"""`fit`: one training loop for all models, on Keras's own; what is killed goes on where it was.

After every epoch, every `checkpoint_seconds` and at Ctrl-C, weights, optimiser, best weights, history and early
stopping's memory go to one file, atomically. Batches and noise being functions of the number of batches seen, a run
that was killed at any moment, ``kill -9`` included, and started again replays what came after its last checkpoint and
ends bit for bit where the uninterrupted run ends (on one kind of machine; on a GPU this needs
`tf.config.experimental.enable_op_determinism`).

Under `tf.distribute.MirroredStrategy` make the model in the strategy's scope; `fit` may be called in it or outside.
"""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import filelock
import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.data.batches import TrainBatches, untuned
from hvae_tf.data.events import scaled
from hvae_tf.training.checkpoint import CheckpointError
from hvae_tf.training.collapse import warn_of_collapse
from hvae_tf.training.configuration import describe_run, remember_compiled
from hvae_tf.training.interrupt import InterruptAtBatchEnd
from hvae_tf.training.run import Run, TrainingResult

_CHECKED_AT_ONCE = 10_000  # events


class Batches(Protocol):
    """What `fit` trains on; `hvae_tf.data.TrainBatches` is one."""

    steps_per_epoch: int

    def dataset(self, start: int, stop: int) -> tf.data.Dataset:
        """Batches number start to stop - 1, each a function of its number."""

    def configuration(self) -> dict[str, Any]:
        """What the batches are a function of, besides the step; JSON can hold it."""


def fit(
    model: keras.Model,
    batches: Batches,
    validation: np.ndarray | tuple[np.ndarray, np.ndarray],
    folder: Path | str,
    *,
    max_epochs: int,
    patience: int | None = None,
    validation_batch_size: int = 100,
    configuration: Mapping[str, Any] | None = None,
    checkpoint_steps: int | None = None,
    checkpoint_seconds: float | None = 60.0,
    limits: Mapping[str, float] | None = None,
    restore_best: bool = True,
    tensorboard: bool = False,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> TrainingResult:
    """Trains a compiled model, or goes on with the training that `folder` holds, to its end.

    The same call starts, resumes, and after the end only loads what was reached. `folder` gets ``checkpoint.bin`` and
    ``history.csv``, one row an epoch. One line warns where training batches are binarised and validation is not, and at
    the end where the posterior has collapsed, see `FlowVAE.active_units`.

    Args:
        model: Compiled; its logs hold ``loss``, the negative bound in nats per event. Its randomness must be a function
            of its variables, of its optimiser's, or of `batches_seen`, a variable that counts its training batches. On
            return it holds the best weights, and the optimiser's state at the last step.
        batches: The training batches, by number. Under a strategy of several replicas a batch is split among them.
        validation: ``[m, *event_shape]``, as the likelihood takes events: images for ``"bernoulli"`` binarised already;
            for a conditional model a pair ``(x, y)``, as its batches are.
        folder: Where this run is kept; made if missing. One run a folder.
        max_epochs: Training ends after so many.
        patience: Training ends after so many epochs in a row without a validation loss below the best; None: never.
        validation_batch_size: Events a validation step.
        configuration: Whatever else the run depends on, as JSON has it; resuming with another fails.
        checkpoint_steps: Checkpoints every so many batches too, not only at epoch ends.
        checkpoint_seconds: Checkpoints amid an epoch when the last one is so old; None: never. It bounds what a kill
            costs; where the run ends does not depend on it.
        limits: Per logged name the largest value let through, such as ``{"loss": 1e6}``; names that the first epoch
            logs.
        restore_best: False leaves the last epoch's weights in the model.
        tensorboard: Writes the history as event files to ``<folder>/tensorboard`` too.
        callbacks: Further Keras callbacks, called before the checkpoint is written; what they themselves remember is
            not kept over a restart. A run that goes on amid an epoch begins that epoch a second time for them
            (`on_epoch_begin`), with the optimiser as it was: let a learning rate be a function of the epoch alone, or
            compile a schedule. What they log may differ from epoch to epoch. A pass of Keras's own `fit` is the rest of
            an epoch, then all whole epochs; where `steps_per_execution` does not divide an epoch, every epoch is a
            pass.
        verbose: As in `keras.Model.fit`.

    Raises:
        CheckpointError: If `folder` holds a run of another configuration, or a damaged one, or another process is
            training there.
        DivergenceError: If a logged number is not finite or above its limit.
        ValueError: If an argument is out of range, images are not what the likelihood accepts, those of training too
            where a `TrainBatches` yields them as they are, batches are missing, the
            model is not compiled or was trained already, its optimiser averages weights (`use_ema`), or the strategy is
            not supported; after the first epoch, which is kept, if a name of `limits` was not logged.
        RuntimeError: If a pass over the data makes no progress.
        KeyboardInterrupt: At Ctrl-C, which waits for the end of the batch; its message says what the folder holds.

    Example:
        >>> import tempfile
        >>> data = hvae_tf.load("digits", limit=100)
        >>> sizes = {"event_shape": data.event_shape, "latent_size": 2, "hidden_units": (8,)}
        >>> model = hvae_tf.VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes))
        >>> model.compile("adamax")
        >>> batches = hvae_tf.TrainBatches(data, batch_size=50, seed=0)
        >>> folder = tempfile.mkdtemp()  # of your own, where it is to be kept
        >>> hvae_tf.fit(model, batches, data.binarised("validation"), folder, max_epochs=2, verbose=0).epochs
        2
    """
    max_epochs = check_count("max_epochs", max_epochs)
    validation_batch_size = check_count("validation_batch_size", validation_batch_size)
    patience = None if patience is None else check_count("patience", patience)
    checkpoint_steps = None if checkpoint_steps is None else check_count("checkpoint_steps", checkpoint_steps)
    if checkpoint_seconds is not None and not checkpoint_seconds > 0:
        raise ValueError(f"checkpoint_seconds is {checkpoint_seconds!r}; expected a positive number, or None")
    if getattr(model, "optimizer", None) is None or not model.built:
        raise ValueError("the model has no optimizer or no weights yet; build it and call model.compile(optimizer=...)")
    strategy = _strategy_of(model)
    _check_batches(model, batches)
    validation = _check_validation(model, validation)
    images, contexts = validation if isinstance(validation, tuple) else (validation, None)
    _check_binarised(batches, images)
    if getattr(model, "context_spec", None) is not None:
        model.check_context(contexts, len(images), "y of validation")
    else:
        contexts = None  # which a model of p(x) takes no notice of
    try:
        configuration = json.loads(json.dumps(dict(configuration or {})))
    except TypeError as error:
        raise ValueError(f"configuration holds what JSON cannot ({error}); use plain numbers and strings") from error
    _check_strategy(strategy, model, batches, len(images), validation_batch_size)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".training.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise CheckpointError(f"another process is training in {folder}; wait for it, or choose another") from None
    try:
        with strategy.scope(), InterruptAtBatchEnd() as interrupt:
            if not model.optimizer.built:  # a LossScaleOptimizer would make its variables twice
                model.optimizer.build(model.trainable_variables)
            described = describe_run(model, batches, validation)
            described |= {
                "max_epochs": max_epochs,
                "patience": patience,
                "validation_batch_size": validation_batch_size,
                "configuration": configuration,
            }
            run = Run(
                model, folder, described, batches.steps_per_epoch, max_epochs=max_epochs, patience=patience,
                checkpoint_steps=checkpoint_steps, checkpoint_seconds=checkpoint_seconds, limits=limits,
                interrupt=interrupt,
            )  # fmt: skip
            try:
                run.start(tensorboard)
                _train_or_say(model, batches, run, validation, validation_batch_size, callbacks, verbose)
            finally:
                remember_compiled(model.optimizer, described["optimizer"])
            result = run.result(restore_best)
    finally:
        lock.release()
    if result.epochs:
        warn_of_collapse(model, images, contexts)
    return result


def _train_or_say(model, batches, run, *arguments) -> None:
    """`_train`; a Ctrl-C says what the folder holds."""
    try:
        _train(model, batches, run, *arguments)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{run.folder} holds the training up to step {run.progress.step} "
            f"({run.progress.epochs} of at most {run.max_epochs} epochs): the same command goes on from there"
        ) from None


def _train(model, batches, run, validation, validation_batch_size, callbacks, verbose) -> None:
    """Keras's fit, from where the run is to its end, in passes that end where an epoch does."""
    length = batches.steps_per_epoch
    with tf.device("CPU:0"):  # batched once, where Keras would do it again with a tuner's thread to end each time
        validation = untuned(tf.data.Dataset.from_tensor_slices(validation).batch(validation_batch_size))
    while not run.progress.stopped:
        start, epoch = run.progress.step, run.progress.step // length
        # one pass for all epochs, where Keras's executions of several steps do not run from one into the next
        whole = start % length == 0 and length % getattr(model, "steps_per_execution", 1) == 0
        epochs = run.max_epochs if whole else epoch + 1
        count = epochs * length - start
        dataset = batches.dataset(start, epochs * length).take(count)
        try:
            model.fit(
                dataset.apply(tf.data.experimental.assert_cardinality(count)),
                initial_epoch=epoch,
                epochs=epochs,
                steps_per_epoch=length if whole else None,
                shuffle=False,
                validation_data=validation,
                callbacks=[*callbacks, run],
                verbose=verbose,
            )
        except tf.errors.FailedPreconditionError as error:
            if "Input dataset was expected to contain" not in error.message:
                raise
            raise ValueError(
                f"batches.dataset({start}, {epochs * length}) ended before its {count} batches; steps_per_epoch is "
                f"{length}, and every epoch must have as many"
            ) from None
        if model.stop_training:
            break
        if run.progress.step <= start:
            raise RuntimeError(
                f"training makes no progress: a pass over epoch {epoch + 1} ended at batch {run.step} where "
                f"{epochs * length} was expected; see whether the model's fit or Keras's settings cut it short"
            )


def _check_batches(model, batches) -> None:
    """Raises ValueError unless these are batches by number, of events that the model accepts, all of them."""
    if not all(hasattr(batches, name) for name in ("dataset", "steps_per_epoch", "configuration")):
        raise ValueError(
            f"batches is {type(batches).__name__}; expected hvae_tf.TrainBatches(data, batch_size, seed), or train "
            "with Keras's model.fit"
        )
    if not _is_plain(batches) or not hasattr(model, "check_input") or batches.binarised:
        return
    for first in range(0, len(batches.data.train), _CHECKED_AT_ONCE):
        part = batches.data.train[first : first + _CHECKED_AT_ONCE]
        model.check_input(scaled(part, batches.data.max_value), "the training data")


def _is_plain(batches) -> bool:
    """Whether they yield the data that they hold; a subclass may do anything to them."""
    return isinstance(batches, TrainBatches) and type(batches).batch is TrainBatches.batch


def _check_binarised(batches, images: np.ndarray) -> None:
    """Warns where a model is trained on zeros and ones, and validated on what lies between."""
    if _is_plain(batches) and batches.binarised and np.any((images > 0.0) & (images < 1.0)):
        warnings.warn(
            "the training batches are binarised, and validation holds values between 0 and 1; take "
            "TrainBatches(..., binarised=False), or data.binarised('validation')",
            stacklevel=3,
        )


def _check_validation(model, validation):
    """The validation images as an array, in what the model accepts; with their contexts a pair of arrays."""
    if isinstance(validation, tuple) and len(validation) == 2:
        return _check_validation(model, validation[0]), np.asarray(validation[1])
    if isinstance(validation, tf.data.Dataset):
        raise ValueError("validation is a tf.data.Dataset; expected an array, or a pair (x, y) of arrays")
    try:
        validation = np.asarray(validation)
    except ValueError as error:
        raise ValueError(f"validation is no array ({error}); where there are contexts give the tuple (x, y)") from error
    if validation.ndim < 1 or not len(validation):
        raise ValueError(f"validation has shape {validation.shape}; expected at least one image")
    if hasattr(model, "check_input"):
        model.check_input(validation, "validation")
    elif validation.dtype.kind == "f" and not np.all(np.isfinite(validation)):
        count = np.count_nonzero(~np.isfinite(validation))
        raise ValueError(f"validation holds {count} values that are not finite; remove them first")
    return validation


def _strategy_of(model) -> tf.distribute.Strategy:
    """What the model trains under; raises ValueError for what trains no Keras 3 model."""
    strategy = getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "MultiWorkerMirroredStrategy does not train any Keras 3 model: its fit fails with 'Invalid reduction "
            "dimension 0' (keras#20585); take tf.distribute.MirroredStrategy on one machine"
        )
    return strategy


def _check_strategy(strategy, model, batches, validation_images, validation_batch_size) -> None:
    """Raises ValueError unless every replica gets a part of every batch."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    with strategy.scope():
        outside = [v.path for v in model.variables if not strategy.extended.variable_created_in_scope(v.value)]
    if outside:
        raise ValueError(
            f"{outside[0]} was made outside the scope of {type(strategy).__name__}; make the model and its optimizer "
            "in `with strategy.scope():`"
        )
    sizes = {tensor.shape[0] for tensor in tf.nest.flatten(batches.dataset(0, 1).element_spec) if tensor.shape.rank}
    uneven = [size for size in sizes if size is not None and size % replicas]
    if uneven:
        raise ValueError(
            f"batches of {uneven[0]} images do not divide among {replicas} replicas; take a multiple of {replicas}"
        )
    part = -(-validation_batch_size // replicas)  # the first replicas are served first
    for size in {min(validation_images, validation_batch_size), validation_images % validation_batch_size} - {0}:
        if size <= part * (replicas - 1):
            raise ValueError(
                f"{validation_images} validation images in batches of {validation_batch_size} make one of {size}, "
                f"which leaves nothing for the last of {replicas} replicas; take another validation_batch_size"
            )
