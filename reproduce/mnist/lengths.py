"""How long is long enough: one cell trained by schedules of unlike lengths, each judged by AIS; page and figure."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hvae_tf.runs import RecordError, Report, RunStore, read_record
from reproduce.judging.models import JudgedModel
from reproduce.judging.presets import JudgePreset
from reproduce.judging.work import JudgeTask
from reproduce.mnist.cells import Run, label, paper_runs
from reproduce.mnist.comparison import Trained, check_judged, protocol, same_model
from reproduce.mnist.evaluation import read_run_record
from reproduce.mnist.times import recorded_seconds
from reproduce.mnist.work import Settings, TableTask
from reproduce.tables import fixed, markdown, mean_half_up, png, t_half_width

JUDGE_SHARE = 0.3  # of a task's time that AIS takes, roughly


@dataclasses.dataclass(frozen=True)
class LengthTask:
    """One training of so many epochs, then its AIS; records under a folder called after the epochs.

    Attributes:
        of: The run.
        settings: Whose protocol has `max_epochs`.
        judge: How it is judged.
    """

    of: Run
    settings: Settings
    judge: JudgePreset

    @property
    def name(self) -> str:
        return f"{self.of.name}-{self.settings.config.max_epochs}-epochs"

    @property
    def cost(self) -> float:
        return TableTask(self.of, self.settings).cost

    def _stores(self, store: RunStore) -> tuple[RunStore, RunStore]:
        folder = store.folder / str(self.settings.config.max_epochs)
        return RunStore(folder), RunStore(folder / "judge")

    def _tasks(self, trained: RunStore) -> tuple[TableTask, JudgeTask]:
        model = JudgedModel(trained.folder / "models" / f"{self.of.name}.keras")
        return TableTask(self.of, self.settings), JudgeTask(model, self.judge, self.settings.data_dir)

    def done(self, store: RunStore) -> bool:
        trained, judged = self._stores(store)
        training, judging = self._tasks(trained)
        return training.done(trained) and judging.done(judged)

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        trained, judged = self._stores(store)
        training, judging = self._tasks(trained)

        def first(fraction, doing="", *, kept=False):
            progress((1.0 - JUDGE_SHARE) * fraction, doing, kept=kept)

        def then(fraction, doing="", *, kept=False):
            progress(1.0 - JUDGE_SHARE * (1.0 - fraction), doing, kept=kept)

        if force or not training.done(trained) or not (judging.model.path.exists() or judging.done(judged)):
            training.run(trained, first, force)  # a model that is gone comes from its checkpoint, or this is said
        if force or not judging.done(judged):
            judging.run(judged, then, force)


def read_lengths(folder: Path, cell: str, others: Sequence[tuple[Path, Path]] = ()) -> list[Trained]:
    """All trainings of a cell that are on record and judged, by epochs and seed.

    Args:
        folder: With a folder for each number of epochs.
        cell: Which.
        others: Folders of Table 1's records, each with that of the judge's; a training that the folder has too is
            taken from here.

    Raises:
        RecordError: If a record is damaged, or the trainings are unlike in more than their length.
    """
    places = [(path, path / "judge") for path in sorted(folder.glob("[0-9]*")) if path.is_dir()]
    found = []
    for records, judge in [*places, *others]:
        for path in sorted(records.glob(f"{cell}-seed*.json")):
            record, judged = read_run_record(path), judge / path.name
            if record["configuration"]["cell"] != cell or not judged.exists():
                continue
            judgement = read_record(judged)
            check_judged(judgement, str(judged))
            if not same_model(record, judgement):
                continue
            results = judgement["results"]
            values = np.array(results["per_image"]["ais"], float)
            gap = results.get("gap"), results.get("gap_standard_error")
            found.append(Trained(record["configuration"]["max_epochs"], record, values, *gap))
    found = list({(one.epochs, one.record["seed"]): one for one in found}.values())  # one that is there twice is one
    if len({but_for_length(one.record) for one in found}) > 1:
        raise RecordError(f"{folder}: trainings of unlike protocols or data; keep them in folders of their own")
    return sorted(found, key=lambda one: (one.epochs, one.record["seed"]))


def but_for_length(record: dict) -> tuple[str, str]:
    """What trainings that differ in their epochs alone have in common: the protocol's rest, and the data."""
    configuration = {k: v for k, v in record["configuration"].items() if k != "max_epochs"}
    return protocol({"configuration": configuration}), record["data_fingerprint"]


def longer_than(records: Sequence[dict], folder: Path | None, cell: str = "vae") -> list[Trained]:
    """The trainings of a cell in `folder` that took more epochs than the records of a table, and are else alike."""
    if not records or folder is None or not folder.is_dir():
        return []
    epochs, alike = records[0]["configuration"]["max_epochs"], but_for_length(records[0])
    trained = read_lengths(folder, cell)
    return [one for one in trained if one.epochs > epochs and but_for_length(one.record) == alike]


class Length(NamedTuple):
    """All trainings of one length.

    Attributes:
        epochs: Of the schedule.
        ais: Mean over images, a value a seed.
        importance: The same by importance sampling, on its own images.
        seconds: Of training, mean over seeds.
    """

    epochs: int
    ais: list[float]
    importance: list[float]
    seconds: float


def by_length(trained: Sequence[Trained]) -> tuple[list[Length], int]:
    """The trainings by their length, and the images on which all were judged by AIS."""
    images = min(len(one.ais) for one in trained)
    lengths = []
    for epochs in sorted({one.epochs for one in trained}):
        group = [one for one in trained if one.epochs == epochs]
        results = [one.record["results"] for one in group]
        seconds = [recorded_seconds(one.record) for one in group]
        lengths.append(
            Length(epochs, [float(one.ais[:images].mean()) for one in group],
                   [float(np.mean(r["nll"])) for r in results], float(np.mean(seconds)))
        )  # fmt: skip
    return lengths, images


def _paper(cell: str, trained: Sequence[Trained]) -> tuple[float, str]:
    """The paper's NLL of a cell, and its epochs; NaN where the data are not the paper's."""
    runs = paper_runs(cell) if trained[0].record["configuration"]["dataset"] == "mnist" else []
    value = mean_half_up([run["nll"] for run in runs])
    return float(value) if value else float("nan"), "/".join(run["epochs"] for run in runs)


def figure(trained: Sequence[Trained], cell: str) -> bytes:
    """NLL against epochs: a point a training, a line through the means; the paper's value across, and at its epochs."""
    lengths, images = by_length(trained)
    paper, _ = _paper(cell, trained)
    fig, axis = plt.subplots(figsize=(7.0, 4.4), layout="constrained")
    for length in lengths:
        axis.plot([length.epochs] * len(length.ais), length.ais, "o", color="#0072B2", mfc="none", ms=6)
    axis.plot([n.epochs for n in lengths], [np.mean(n.ais) for n in lengths], "-", color="#0072B2", lw=1.2)
    axis.plot(
        [], [], "o-", color="#0072B2", mfc="none", label=f"{label(cell)}: a point a training, a line through the means"
    )
    ticks = {length.epochs: str(length.epochs) for length in lengths}
    if np.isfinite(paper):
        epochs = float(np.mean([int(run["epochs"]) for run in paper_runs(cell)]))
        ticks[epochs] = f"{round(epochs, -2):.0f}"
        axis.axhline(paper, color="black", ls="--", lw=1)
        axis.plot(epochs, paper, "k*", ms=12)
        axis.plot(
            [], [], "k*--", lw=1, ms=9,
            label=f"the paper's NLL after about {ticks[epochs]} epochs with early stopping (all test images, IS)",
        )  # fmt: skip
    axis.set(xscale="log", xlabel="epochs of the schedule")
    axis.set_ylabel(f"NLL by AIS on the first {images} test images, nats", fontsize=9)
    axis.set_xticks(sorted(ticks), _lowered(ticks), fontsize=9)
    axis.minorticks_off()
    axis.margins(x=0.12, y=0.15)
    axis.grid(alpha=0.3)
    axis.set_title("How long is long enough?", fontsize=11)
    fig.legend(fontsize=8, loc="outside lower center")
    return png(fig, 110)


def _lowered(ticks: dict[float, str]) -> list[str]:
    """The labels of a logarithmic axis in order, every second one of those that would touch on a line of its own."""
    labels, before = [], (0.0, False)
    for value in sorted(ticks):
        lower = value < 1.35 * before[0] and not before[1]
        labels.append("\n" * lower + ticks[value])
        before = value, lower
    return labels


def table_csv(trained: Sequence[Trained]) -> str:
    """A row a training."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["epochs", "seed", "ais", "images", "importance_nll", "neg_elbo", "training_seconds"])
    _, images = by_length(trained)
    for one in trained:
        results = one.record["results"]
        writer.writerow([
            one.epochs, one.record["seed"], f"{one.ais[:images].mean():.4f}", images, f"{np.mean(results['nll']):.4f}",
            f"{np.mean(results['neg_elbo']):.4f}", fixed(recorded_seconds(one.record), 0),
        ])  # fmt: skip
    return buffer.getvalue()


def page(trained: Sequence[Trained], cell: str) -> str:
    """The page."""
    lengths, images = by_length(trained)
    paper, epochs = _paper(cell, trained)
    config = trained[0].record["configuration"]
    rows = []
    for before, length in zip([None, *lengths], lengths, strict=False):
        mean = float(np.mean(length.ais))
        width = t_half_width(length.ais)
        rows.append([
            length.epochs, len(length.ais), f"{mean:.2f}" + (f" ± {width:.2f}" if np.isfinite(width) else ""),
            f"{mean - np.mean(before.ais):+.2f}" if before else "",
            f"{np.mean(length.importance):.2f}", fixed(length.seconds / 3600.0, 2),
        ])  # fmt: skip
    head = ["epochs", "seeds", "NLL by AIS", "less the row above's", "NLL by IS", "hours of training"]
    parts = [
        f"# How long is long enough? {label(cell)} on {config['dataset']}",
        "Generated by `reproduce/training_length.py` from records; nothing here is typed.",
        f"Nats per image, lower is better. Each row is a training of its own from the start: Adamax, "
        f"{config['schedule']} learning rate {config['learning_rate']:g} over just that many epochs, batches of "
        f"{config['batch_size']}. AIS is on the first {images} test images, the same for all rows; IS on the images of "
        "each record. ± is the half width of a 95 % t-interval over seeds, absent with one seed.",
        markdown(head, rows),
        "![NLL against epochs](training_length.png)",
    ]  # fmt: skip
    if np.isfinite(paper):
        last = float(np.mean(lengths[-1].importance))
        parts.append(
            f"The paper has {paper:.2f} by importance sampling on all test images, after {epochs} epochs with early "
            f"stopping. The longest schedule here is {last - paper:+.2f} nats from that by the same estimator, but the "
            "images and the schedule are others."
        )
    if len(lengths) < 2:
        parts.append("With one length only, nothing can be said yet of how much longer training gains.")
    return "\n\n".join(parts) + "\n"
