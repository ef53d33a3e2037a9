"""Table 1's work: how one cell with one seed becomes a trained model, a record and some pictures.

A run trains (resuming from its last checkpoint), saves its model, is evaluated block by block (resuming there too), and
is recorded. Each stage is skipped where its result stands, and done again where what it left is damaged. Only a model
that is gone from beside its record is not trained again unasked.
"""

import dataclasses
import functools
import shutil
import sys
from pathlib import Path

import keras
import tensorflow as tf

from hvae_tf.data import DataError, ImageData, load
from hvae_tf.files import atomic_write
from hvae_tf.runs import RecordError, Report, RunStore, make_record
from reproduce.configs import TABLE1_CELLS, Evaluation, Table1Config
from reproduce.epochs import EpochProgress
from reproduce.mnist.cells import Run, comparable, configuration
from reproduce.mnist.evaluation import ELBO_SAMPLES, evaluate, read_run_record, satisfies
from reproduce.mnist.pictures import read_pictures, take_pictures
from reproduce.mnist.training import has_flow, load_model, save_model, train

TRAINING_STEP = (
    6.0  # passes through a decoder that a VAE's training step on an image costs, both networks, there and back
)


@functools.lru_cache(maxsize=1)
def load_data(dataset: str, data_dir: Path | None, limit) -> ImageData:
    """The images, whole and checked; read once a process.

    Raises:
        DataError: If they are not there or damaged, or are of colours, which are no probabilities of a dot.
    """
    data = load(dataset, data_dir, limit=limit)
    if data.image_shape[-1] != 1:
        raise DataError(
            f"{dataset} has {data.image_shape[-1]} channels; Table 1's likelihood is the Bernoulli of grey images "
            "(other likelihoods: docs/guide.md)"
        )
    return data


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all runs of a call have in common.

    Attributes:
        config: The protocol.
        evaluation: How a trained model is judged.
        data_dir: Where TFDS keeps its data sets; None: its own default.
        cores: That each run has; None where TensorFlow decides. Recorded, for seconds an epoch depend on it.
        per_image: Whether a record without the values of single images is evaluated again.
        tensorboard: Whether event files are written.
        epoch_lines: Whether each epoch prints a line of its own.
        strategy: What splits the batches of one training among devices; for runs in the caller's own process.
        adjoint: How flows are differentiated in training. Recorded beside the cores, not in the configuration: the
            gradients are equal up to rounding, so a record stands whichever made it.
    """

    config: Table1Config
    evaluation: Evaluation
    data_dir: Path | None = None
    cores: int | None = None
    per_image: bool = False
    tensorboard: bool = False
    epoch_lines: bool = False
    strategy: tf.distribute.Strategy | None = None
    adjoint: str = "backprop"

    def data(self) -> ImageData:
        """The images that the protocol asks for."""
        return load_data(self.config.dataset, self.data_dir, self.config.limit)


@dataclasses.dataclass(frozen=True)
class TableTask:
    """A run as `hvae_tf.runs.run_all` takes it."""

    of: Run
    settings: Settings

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def cost(self) -> float:
        return sum(costs(self.of, self.settings))

    def done(self, store: RunStore) -> bool:
        return state_of(self.of, self.settings, store) == "done"

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        if force:  # its old record stands until the new model is trained
            shutil.rmtree(store.folder / "work" / self.name, ignore_errors=True)
        do_run(self.of, self.settings, self.settings.data(), store, progress, force=force)


def costs(run: Run, settings: Settings) -> tuple[float, float]:
    """Of a whole training, and of a whole evaluation, in passes of an image through the decoder; rough."""
    spec, config, evaluation = TABLE1_CELLS[run.cell], settings.config, settings.evaluation
    limit = config.limit or (50_000, 10_000, 10_000)
    images = min(limit[2], evaluation.images or limit[2])
    training = TRAINING_STEP * relative_step(run.cell) * limit[0] * config.max_epochs
    gradients = 3.0 * (spec.num_leapfrog_steps + 1) if spec.kind == "hvae" else 1.0
    return training, gradients * (evaluation.samples + ELBO_SAMPLES) * images * evaluation.repeats


def relative_step(cell: str) -> float:
    """A training step's time over the VAE's: a leapfrog step costs about a whole VAE step, a sample a decoder."""
    spec = TABLE1_CELLS[cell]
    return 1.0 + 1.1 * spec.num_leapfrog_steps + 0.7 * (spec.num_samples - 1)


def state_of(run: Run, settings: Settings, store: RunStore) -> str:
    """``"done"``, ``"trained"`` (its evaluation is less than asked for, or its pictures are damaged), ``"no model"``
    (the same, and what would be evaluated is gone), ``"started"`` or ``"missing"``.

    Raises:
        RecordError: If there is a record of another configuration, or a damaged one.
    """
    path = store.path(run.name)
    if not path.exists():
        return "started" if (store.folder / "work" / run.name).exists() else "missing"
    record = read_run_record(path)
    store.done(run.name, comparable(configuration(run, settings.config), record["configuration"]), run.seed)
    if _evaluated(record, settings) and _pictures_stand(store, run):
        return "done"
    return "trained" if _model_path(store, run).exists() or _has_checkpoint(store, run) else "no model"


def _evaluated(record: dict, settings: Settings) -> bool:
    """Whether a record's evaluation is at least what is asked for."""
    results = record["results"]
    return satisfies(results["evaluation"], settings.evaluation) and (not settings.per_image or "per_image" in results)


def _model_path(store: RunStore, run: Run) -> Path:
    return store.folder / "models" / f"{run.name}.keras"


def _has_checkpoint(store: RunStore, run: Run) -> bool:
    return any((store.folder / "work" / run.name).glob("checkpoint*"))


def _pictures_path(store: RunStore, run: Run) -> Path:
    return store.folder / "pictures" / f"{run.name}.npz"


def _pictures_stand(store: RunStore, run: Run) -> bool:
    """False where a run's pictures are damaged; pictures that somebody took away are not missed."""
    try:
        read_pictures(_pictures_path(store, run))
    except FileNotFoundError:
        return True
    except RecordError:
        return False
    return True


def do_run(
    run: Run, settings: Settings, data: ImageData, store: RunStore, progress: Report, force: bool = False
) -> None:
    """Trains, saves, evaluates and records a run, going on where it was; `force` leaves an old record out of account.

    What is finished stands until the new model is trained.

    Raises:
        RecordError: If the run's record is damaged, or its model and what it was trained from is damaged or gone.
    """
    work, model_path = store.folder / "work" / run.name, _model_path(store, run)
    share = costs(run, settings)[0] / sum(costs(run, settings))
    record = None if force or not store.path(run.name).exists() else read_run_record(store.path(run.name))
    model, told = None if record is None else _kept_model(store, run), None
    if model is not None:  # trained: its evaluation is wanting, or its pictures are
        history, training = record["history"], record["results"]["training"]
    else:
        told = EpochProgress(progress, run.name, settings.config.max_epochs, share=share, lines=settings.epoch_lines)
        model, result = train(
            run, settings.config, data, work, strategy=settings.strategy, adjoint=settings.adjoint, verbose=0,
            tensorboard=settings.tensorboard, callbacks=[told],
        )  # fmt: skip
        history, training = result.history, {k: v for k, v in dataclasses.asdict(result).items() if k != "history"}
        training["cores"] = settings.cores
        if has_flow(run):
            training["adjoint"] = settings.adjoint
        if settings.strategy is not None:
            training["devices"] = list(settings.strategy.extended.worker_devices)
        store.path(run.name).unlink(missing_ok=True)  # an old record is not of this model
        record = None
        save_model(model, model_path)
        if settings.strategy is not None:
            model = load_model(model_path)  # judged on one device, like the others

    def judged(fraction, made):
        progress(share + (1.0 - share) * fraction, f"{run.name}, evaluation", kept=not made)

    judged(0.0, made=told is not None and told.begun)
    if record is not None and _evaluated(record, settings):
        atomic_write(_pictures_path(store, run), take_pictures(model, data)[1])
        return
    results = evaluate(model, data, settings.evaluation, work / "evaluation.json", judged)
    results["training"], results["parameters"] = training, model.count_params()
    results["posterior_correlation"], images = take_pictures(model, data)
    atomic_write(_pictures_path(store, run), images)
    made = make_record(
        run.name, configuration=configuration(run, settings.config), seed=run.seed, data_fingerprint=data.fingerprint,
        history=history, wall_seconds=training["wall_seconds"] + results["evaluation_seconds"], results=results,
    )  # fmt: skip
    if record is not None:  # where and by what it was trained stays on record
        made["results"]["evaluation_environment"], made["environment"] = made["environment"], record["environment"]
    store.write(made)


def _kept_model(store: RunStore, run: Run) -> keras.Model | None:
    """The model of a finished run; None where it has to be made again from its checkpoint.

    Raises:
        RecordError: If there is no checkpoint to make it from.
    """
    path = _model_path(store, run)
    if not path.exists():
        if _has_checkpoint(store, run):
            return None
        raise RecordError(
            f"{store.path(run.name)} stands, but its model is not in {path.parent}; --force trains it again"
        )
    try:
        return load_model(path)
    except RecordError as error:
        if not _has_checkpoint(store, run):
            raise
        again = f"it is made again from the checkpoint in {store.folder / 'work' / run.name}"
        print(f"{error.args[0].split('; ')[0]}; {again}", file=sys.stderr)
        return None
