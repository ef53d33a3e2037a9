"""A run from its networks to its record: trained, saved, judged; each stage is skipped where its result stands."""

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from hvae_tf.data import ImageData, load
from hvae_tf.files import atomic_write
from hvae_tf.runs import RecordError, Report, RunStore, make_record
from hvae_tf.runs.record import as_json
from reproduce.cli import counted, interrupt_comes_through, shown, wrapped
from reproduce.epochs import EpochProgress
from reproduce.judged.protocol import Preset, Protocol, Run
from reproduce.judged.training import active_units, take_pictures, train
from reproduce.judging.models import JudgedModel
from reproduce.judging.work import JudgeTask
from reproduce.mnist.training import save_model
from reproduce.progress import Display
from reproduce.table1 import take_cores
from reproduce.workers import at_once, run_with_display, worker_pool

TRAINING_SHARE = 0.8  # of a run's time, about
TRAINING_STEP = 6.0  # passes through a decoder that one evaluation costs in a training step, there and back
SIZES = {"mnist": 50_000, "digits": 1_200}  # training images, about


def records_of(folder: Path) -> RunStore:
    """Where the records of trainings are."""
    return RunStore(folder / "records")


def judge_of(folder: Path) -> RunStore:
    """Where the judge's records are."""
    return RunStore(folder / "judge")


def protocol_of(record: dict) -> str:
    """By what protocol, and on what data, a model was trained: equal strings for equal ones, Table 1's too."""
    configuration = {field.name: record["configuration"].get(field.name) for field in dataclasses.fields(Protocol)}
    return json.dumps(as_json([configuration, record["data_fingerprint"]]), sort_keys=True)


def check_one_protocol(records: Iterable[dict], folder: Path) -> None:
    """Raises RecordError where records that would stand in one table are of unlike protocols or data."""
    kinds = {protocol_of(record): record["name"] for record in records}
    if len(kinds) > 1:
        one, other = list(kinds.values())[:2]
        raise RecordError(
            f"{folder}: {one} and {other} are of unlike protocols or data, and one table has one; give one of them a "
            "folder of its own (--out)"
        )


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
        epoch_lines: Whether each epoch has a line of its own.
    """

    preset: Preset
    folder: Path
    data_dir: Path | None = None
    cores: int | None = None
    epoch_lines: bool = False

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
        return self._trained(store) and self._judge().done(judge_of(self.settings.folder))

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        folder = self.settings.folder
        if force:  # the old record stands until the new model is trained
            shutil.rmtree(folder / "work" / self.name, ignore_errors=True)
        if force or not (self._trained(store) and self.model_path.exists()):
            self._train(store, progress)
        if force or not self._judge().done(judge_of(folder)):

            def judged(fraction, doing="", *, kept=False):
                progress(TRAINING_SHARE + (1.0 - TRAINING_SHARE) * fraction, doing or f"{self.name}, judged", kept=kept)

            self._judge().run(judge_of(folder), judged, force)

    def _train(self, store, progress):
        settings, data = self.settings, self.settings.data()
        epochs = settings.preset.protocol.max_epochs
        epoch = EpochProgress(progress, self.name, epochs, share=TRAINING_SHARE, lines=settings.epoch_lines)
        work = settings.folder / "work" / self.name
        model, result = train(self.of, settings.preset, data, work, verbose=0, callbacks=[epoch])
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


def do_runs(args, settings: Settings) -> dict[str, str]:
    """Does the runs that are not done, side by side where there are several; gives what went wrong, by run.

    Args:
        args: Of `reproduce.judged.command`.
        settings: What the runs have in common; the number of cores is put in here.
    """
    store = records_of(settings.folder)
    runs = [run for run in args.runs if args.force or not JudgedTask(run, settings).done(store)]
    if not runs:
        return {}
    processes = at_once(args, len(runs))
    if processes > 1:
        settings = dataclasses.replace(settings, cores=args.cores or 1)
    else:
        settings = dataclasses.replace(settings, cores=take_cores(args.cores), epoch_lines=args.verbose == 2)
    _check_table(args, settings, store, runs)  # with its data, whose faults are said once, before anything is started
    tasks = [JudgedTask(run, settings) for run in runs]
    if processes > 1:
        tasks.sort(key=lambda task: -task.cost)  # the longest first, so that no core is left waiting for the last
    if args.verbose:
        where = f", {processes} at once" if processes > 1 else ""
        records = shown(settings.folder)
        print(wrapped(f"{counted(len(tasks), 'run')} to do{where}; records go to {records}"), flush=True)
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Display(quiet=not args.verbose))
        executor = stack.enter_context(worker_pool(processes, settings.cores or 1)) if processes > 1 else None
        return run_with_display(tasks, store, executor, force=args.force, display=display)


def _check_table(args, settings: Settings, store: RunStore, runs: list[Run]) -> None:
    """Raises RecordError where runs of this protocol would stand beside records of another."""
    replaced = {run.name for run in runs} if args.force else set()
    others = [record for record in store.read_all() if record["name"] not in replaced]
    asked = {"name": runs[0].name, "configuration": dataclasses.asdict(settings.preset.protocol)}
    check_one_protocol([*others, {**asked, "data_fingerprint": settings.data().fingerprint}], settings.folder)
