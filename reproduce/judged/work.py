"""A run from its networks to its record: trained, saved, judged; each stage is skipped where its result stands."""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import keras

from hvae_tf.data import ImageData, load
from hvae_tf.files import atomic_write
from hvae_tf.runs import InlineExecutor, RunStore, make_record, run_all
from reproduce.cli import interrupt_comes_through
from reproduce.judged.protocol import Preset, Run
from reproduce.judged.training import active_units, take_pictures, train
from reproduce.judging.models import JudgedModel
from reproduce.judging.work import JudgeTask
from reproduce.mnist.training import save_model
from reproduce.table1 import take_cores
from reproduce.workers import available_cores, run_side_by_side

TRAINING_STEP = 6.0  # passes through a decoder that one evaluation costs in a training step, there and back
SIZES = {"mnist": 50_000, "digits": 1_200}  # training images, about


def records_of(folder: Path) -> RunStore:
    """Where the records of trainings are."""
    return RunStore(folder / "records")


def judge_of(folder: Path) -> RunStore:
    """Where the judge's records are."""
    return RunStore(folder / "judge")


@functools.lru_cache(maxsize=1)
def load_data(dataset: str, data_dir: Path | None, limit) -> ImageData:
    """The images, whole and checked; read once a process."""
    return load(dataset, data_dir, limit=limit)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all runs of a call have in common.

    Attributes:
        preset: The table.
        folder: Of all results.
        data_dir: Where TFDS keeps its data sets; None: its own default.
        cores: That each run has; None where TensorFlow decides. Recorded, for seconds an epoch depend on it.
        verbose: Keras's.
    """

    preset: Preset
    folder: Path
    data_dir: Path | None = None
    cores: int | None = None
    verbose: int = 0

    def data(self) -> ImageData:
        """The images that the protocol asks for."""
        protocol = self.preset.protocol
        return load_data(protocol.dataset, self.data_dir, protocol.limit)


@dataclasses.dataclass(frozen=True)
class JudgedTask:
    """A run as `hvae_tf.runs.run_all` takes it: trained, recorded, judged."""

    of: Run
    settings: Settings

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def cost(self) -> float:
        """Of a training and an evaluation, in passes of an image through the decoder; rough."""
        protocol = self.settings.preset.protocol
        images = (protocol.limit or (SIZES.get(protocol.dataset, SIZES["mnist"]),))[0]
        step = TRAINING_STEP * self.settings.preset.cells[self.of.cell].evaluations
        return step * images * protocol.max_epochs + self._judge().cost

    @property
    def model_path(self) -> Path:
        """Of the trained model."""
        return self.settings.folder / "models" / f"{self.name}.keras"

    def _judge(self) -> JudgeTask:
        return JudgeTask(JudgedModel(self.model_path), self.settings.preset.judge, self.settings.data_dir)

    def _trained(self, store: RunStore) -> bool:
        return store.done(self.name, self.settings.preset.configuration(self.of), self.of.seed)

    def done(self, store: RunStore) -> bool:
        if not self._trained(store):
            return False
        judged = judge_of(self.settings.folder)
        if self.model_path.exists():
            return self._judge().done(judged)
        return judged.done(self.name, self.settings.preset.judge.configuration(), self.of.seed)

    def run(self, store: RunStore, progress: Callable[[float], None], force: bool) -> None:
        folder = self.settings.folder
        if self.settings.verbose:
            print(f"== {self.name}", flush=True)
        if force:  # the old record stands until the new model is trained
            shutil.rmtree(folder / "work" / self.name, ignore_errors=True)
        if force or not (self._trained(store) and self.model_path.exists()):
            self._train(store, progress)
        if force or not self._judge().done(judge_of(folder)):
            self._judge().run(judge_of(folder), lambda fraction: None, force)

    def _train(self, store, progress):
        settings, data = self.settings, self.settings.data()
        epochs = settings.preset.protocol.max_epochs
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: progress(0.8 * (epoch + 1) / epochs))
        model, result = train(
            self.of, settings.preset, data, settings.folder / "work" / self.name, verbose=settings.verbose,
            callbacks=[told],
        )  # fmt: skip
        training = {k: v for k, v in dataclasses.asdict(result).items() if k != "history"}
        with interrupt_comes_through():
            save_model(model, self.model_path)
            atomic_write(settings.folder / "pictures" / f"{self.name}.npz", take_pictures(model))
            active = active_units(model, data.binarised("test"))
        store.write(make_record(
            self.name, configuration=settings.preset.configuration(self.of), seed=self.of.seed,
            data_fingerprint=data.fingerprint, history=result.history, wall_seconds=training["wall_seconds"],
            results={
                "training": {**training, "cores": settings.cores}, "active_units": active,
                "parameters": model.count_params(),
            },
        ))  # fmt: skip


def do_runs(runs, settings: Settings, *, processes: int | None, cores: int | None, force: bool) -> dict[str, str]:
    """Does the runs that are not done, side by side where there are several; gives what went wrong, by run.

    Args:
        runs: Of the table.
        settings: What they have in common; the number of cores is put in here.
        processes: Runs at once; None takes one if `cores` is given, else one for each core.
        cores: Of each run; None takes one side by side, else all.
        force: Whether to do again what is done.
    """
    store = records_of(settings.folder)
    runs = [run for run in runs if force or not JudgedTask(run, settings).done(store)]
    if not runs:
        return {}
    processes = min(processes or (1 if cores else available_cores()), len(runs))
    cores = (cores or 1) if processes > 1 else take_cores(cores)
    quiet = settings.verbose == 0
    settings = dataclasses.replace(settings, cores=cores, verbose=0 if processes > 1 else settings.verbose)
    settings.data()  # what is wrong with it is said once, before anything is started
    tasks = [JudgedTask(run, settings) for run in runs]
    if processes == 1:
        return run_all(tasks, store, InlineExecutor(), force=force)
    if not quiet:
        print(f"{len(tasks)} runs to do, {processes} at once; records go to {settings.folder}", flush=True)
    return run_side_by_side(tasks, store, processes, cores=cores or 1, force=force, quiet=quiet)
