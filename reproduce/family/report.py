"""What the family's records say: a table, verdicts, and a figure that tells inference from decoder."""

import csv
import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.files import update
from hvae_tf.runs import RecordError
from reproduce.family.cells import FamilyPreset
from reproduce.family.figures import curves_figure, inference_figure, samples_figure
from reproduce.judged.findings import Row, read_row, read_table1_row
from reproduce.judged.work import judge_of, records_of
from reproduce.tables import fixed, markdown, t_half_width

BASE, WIDTH = "vae", 80


class Line(NamedTuple):
    """A cell, over its seeds; nats per image.

    Attributes:
        name: Of the cell.
        rows: Its trained models.
        neg_bound: Mean -bound of each, on the images that have one.
        ais: Mean NLL by AIS of each.
        common: The same, on the images that have a bound.
        slack: Mean of -bound less AIS of each, on those.
    """

    name: str
    rows: list[Row]
    neg_bound: np.ndarray
    ais: np.ndarray
    common: np.ndarray
    slack: np.ndarray


class Found(NamedTuple):
    """What the records hold.

    Attributes:
        lines: A line a cell, in their order.
        configuration: Of a training of this folder; of one of Table 1 where there is none.
        curves: By cell, the validation -bound by epoch of its first model.
        pictures: By cell, samples ``[n, H, W, C]`` of its first model.
        beside: The cells that Table 1 stands in for.
    """

    lines: list[Line]
    configuration: dict
    curves: dict[str, list[float]]
    pictures: dict[str, np.ndarray]
    beside: list[str]


def read_found(folder: Path, preset: FamilyPreset, table1: Path, judge: Path) -> Found:
    """All that is on record, of these cells.

    Raises:
        RecordError: If there is nothing, or a record is damaged.
    """
    rows: dict[str, list[tuple[Row, dict, Path]]] = {}
    judged = judge_of(folder)
    for record in records_of(folder).read_all():
        cell = record["configuration"]["cell"]
        if cell in preset.cells and judged.path(record["name"]).exists():
            row = read_row(record, judged.read(record["name"]), preset.cells[cell].label)
            rows.setdefault(cell, []).append((row, record, folder))
    own = [record for group in rows.values() for _, record, _ in group]
    beside = []
    for cell, other in preset.beside.items():
        names = sorted(path.stem for path in table1.glob(f"{other}-seed*.json"))
        found = [read_table1_row(name, preset.cells[cell].label, table1, judge) for name in names]
        if cell not in rows and any(found):
            rows[cell] = [(*pair, table1) for pair in found if pair]
            beside.append(cell)
    if not rows:
        raise RecordError(f"{folder} has no records to report")
    configuration = (own or [rows[beside[0]][0][1]])[0]["configuration"]
    lines, curves, pictures = [], {}, {}
    for name in preset.cells:
        if group := sorted(rows.get(name, []), key=lambda member: member[0].seed):
            of_cell = [row for row, _, _ in group]
            means = [
                [values.mean() for values in (row.neg_elbo, row.ais, row.ais[: len(row.neg_elbo)])] for row in of_cell
            ]
            neg_bound, ais, common = np.array(means).T
            lines.append(Line(name, of_cell, neg_bound, ais, common, neg_bound - common))
            curves[name] = group[0][1]["history"]["val_loss"]
            path = group[0][2] / "pictures" / f"{group[0][1]['name']}.npz"
            if path.exists():
                with np.load(path, allow_pickle=False) as archive:
                    pictures[name] = archive["samples"]
    return Found(lines, configuration, curves, pictures, beside)


def over_seeds(values: Sequence[float], digits: int = 2) -> str:
    """The mean, with half the 95 % t-interval over seeds where there are some."""
    half = t_half_width(values)
    return fixed(float(np.mean(values)), digits) + (f" ± {fixed(half, digits)}" if math.isfinite(half) else "")


class Gain(NamedTuple):
    """What a cell has over the VAE, in nats; positive is better. Intervals over seeds; NaN where seeds do not give one.

    Attributes:
        bound: Of the bound.
        bound_half: Half its 95 % interval.
        decoder: Of log p(x) by AIS.
        decoder_half: Half its 95 % interval.
        inference: Of how near the bound is to log p(x).
        inference_half: Half its 95 % interval.
    """

    bound: float
    bound_half: float
    decoder: float
    decoder_half: float
    inference: float
    inference_half: float


def gain(line: Line, base: Line) -> Gain:
    """A cell's, seed by seed."""
    pairs = {}
    for name in ("neg_bound", "common", "slack"):
        sides = [{row.seed: v for row, v in zip(x.rows, getattr(x, name), strict=True)} for x in (base, line)]
        common = sorted(sides[0].keys() & sides[1].keys())
        each = np.array([sides[0][seed] - sides[1][seed] for seed in common])
        half = t_half_width(each)
        pairs[name] = (float(each.mean()) if len(each) else math.nan, half if math.isfinite(half) else math.nan)
    return Gain(*pairs["neg_bound"], *pairs["common"], *pairs["slack"])


def told(value: float, half: float) -> str:
    """In a word."""
    if math.isnan(half):
        return "one seed: open"
    if abs(value) <= half:
        return "not told apart"
    return "better" if value > 0 else "worse"


def write_report(folder: Path, preset: FamilyPreset, table1: Path, judge: Path, script: str) -> list[Path]:
    """Writes ``report.md``, ``baselines.csv`` and the figures; gives their paths."""
    found = read_found(folder, preset, table1, judge)
    labels = {name: cell.label for name, cell in preset.cells.items()}
    files: dict[str, str | bytes] = {
        "report.md": page(found, preset.cells, script),
        "baselines.csv": lines_csv(found.lines, preset.cells),
        "inference.png": inference_figure(found.lines, preset.cells),
        "curves.png": curves_figure(found.curves, labels),
    }
    if found.pictures:
        files["samples.png"] = samples_figure(found.pictures, labels)
    for name, content in files.items():
        update(folder / name, content)
    return [folder / name for name in files]


def lines_csv(lines, cells) -> str:
    """One row a trained model."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["cell", "seed", "evaluations", "neg_bound", "importance_nll", "ais_nll", "slack", "bdmc_gap",
                     "active_units", "seconds_per_epoch"])  # fmt: skip
    for line in lines:
        for row, neg_bound, ais, slack in zip(line.rows, line.neg_bound, line.ais, line.slack, strict=True):
            numbers = (neg_bound, np.mean(row.nll), ais, slack, row.gap)
            writer.writerow([line.name, row.seed, cells[line.name].evaluations, *(f"{v:.4f}" for v in numbers),
                             row.active_units, f"{row.seconds:.3f}"])  # fmt: skip
    return buffer.getvalue()


def page(found: Found, cells, script: str) -> str:
    """``report.md``."""
    lines, configuration = found.lines, found.configuration
    table = [
        (
            line.rows[0].label, cells[line.name].evaluations, len(line.rows), over_seeds(line.neg_bound),
            over_seeds([float(np.mean(row.nll)) for row in line.rows]), over_seeds(line.ais),
            over_seeds(line.slack), fixed(float(np.mean([row.gap for row in line.rows])), 3),
            _units(line.rows),
            fixed(float(np.mean([row.seconds for row in line.rows])), 2),
        ) for line in lines
    ]  # fmt: skip
    row = lines[0].rows[0]
    parts = [
        "# The family at equal numbers of evaluations",
        f"Generated by `reproduce/{script}` from the records in this folder; nothing here is typed.",
        f"Every cell is trained on {configuration['dataset']} for {configuration['max_epochs']} epochs by one protocol "
        f"(Adamax, cosine from {configuration['learning_rate']:g}, batches of {configuration['batch_size']}, l = "
        f"{configuration['latent_size']}), and evaluates its decoder as often for an image and training step as the "
        "second column says: with its gradient in z, or, for IWAE, without. Decoders are judged by annealed importance "
        f"sampling on {len(row.ais)} test images, bounds on {len(row.neg_elbo)} of them. Nats per image; ± is half a "
        "95 % t-interval over seeds. A test image is binarised once, the same for all.",
        markdown(
            ("model", "evaluations", "seeds", "−bound", "IS-1000", "AIS", "−bound less AIS", "BDMC gap",
             "active units", "seconds an epoch"), table
        ),
        "*−bound less AIS* is what inference still lacks: how far the model's own bound is below log p(x) of its own "
        "decoder. HMC-VAE maximises no bound of the refined draws; its bound is the ELBO of its encoder, which does "
        "not see the refinement. IWAE's is the ELBO too, not the bound of several draws that it maximises. Seconds are "
        "by the clock, beside whatever else the machine did: they compare only where it did nothing else.",
        *([_beside(found, cells)] if found.beside else []),
        *_against_base(lines),
        "![inference and decoder](inference.png)",
        "![bound by epoch](curves.png)",
        *(["![digits from the prior](samples.png)"] if found.pictures else []),
    ]  # fmt: skip
    return "\n\n".join(part if part[0] in "|#!" else textwrap.fill(part, WIDTH) for part in parts) + "\n"


def _units(rows) -> str:
    known = [row.active_units for row in rows if row.active_units is not None]
    return f"{np.mean(known):.0f} of {rows[0].latent_size}" if known else ""


def _beside(found, cells):
    names = "; ".join(cells[name].label for name in found.beside)
    return (
        f"Runs of Table 1 stand in for {names}: the same networks, data and schedule. Of those the weights are the "
        "best epoch's by validation, here they are the last epoch's."
    )


def _against_base(lines):
    """Gains over the VAE, and what they say together."""
    base = next((line for line in lines if line.name == BASE), None)
    others = [line for line in lines if line.name != BASE]
    if base is None or not others:
        return []
    gains = {line.name: gain(line, base) for line in others}
    rows = []
    for line in others:
        g = gains[line.name]
        cells = []
        for value, half in ((g.bound, g.bound_half), (g.decoder, g.decoder_half), (g.inference, g.inference_half)):
            cells += [f"{value:+.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}"), told(value, half)]
        rows.append((line.rows[0].label, *cells))
    best = max(others, key=lambda line: gains[line.name].bound)
    better = [
        line.rows[0].label
        for line in others
        if told(gains[line.name].decoder, gains[line.name].decoder_half) == "better"
    ]
    nearer = [
        line.rows[0].label for line in others
        if told(gains[line.name].inference, gains[line.name].inference_half) == "better"
    ]  # fmt: skip
    return [
        "## Better inference, or a better decoder?",
        "What each has over the VAE of the same seed: the gain of its bound is the gain of log p(x) (a better decoder) "
        "and what its bound came nearer to log p(x) (better inference), on the images that have both.",
        markdown(("model", "bound", "", "log p(x), AIS", "", "inference", ""), rows),
        f"A better decoder than the VAE's, as far as these seeds tell: {'; '.join(better) or 'none'}.",
        f"A bound nearer to log p(x): {'; '.join(nearer) or 'none'}.",
        f"The highest bound has {best.rows[0].label}: {gains[best.name].bound:+.2f} nats, of which "
        f"{gains[best.name].decoder:+.2f} is the decoder's.",
    ]  # fmt: skip
