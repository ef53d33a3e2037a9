"""What the family's records say: a table, verdicts, and a figure that tells inference from decoder."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.files import update
from hvae_tf.runs import RecordError
from reproduce.family.cells import EVALUATIONS
from reproduce.judged.findings import Row, read_row
from reproduce.judged.protocol import Cell
from reproduce.judged.work import judge_of, records_of
from reproduce.tables import fixed, markdown, png, t_half_width

DPI = 110
BASE = "vae"
MARKERS = {"iwae": "s", "hvae-free": "o", "hvae-none": "D", "hvi": "^", "uha": "v", "lmcvae": "<", "hmc": "P"}


class Line(NamedTuple):
    """A cell, over its seeds; nats per image.

    Attributes:
        name: Of the cell.
        rows: Its trained models.
        neg_bound: Mean -bound of each, on the images that have one.
        ais: Mean NLL by AIS of each.
        slack: Mean of NLL's lower side less the bound, -bound - AIS, of each, on the images that have both.
    """

    name: str
    rows: list[Row]
    neg_bound: np.ndarray
    ais: np.ndarray
    slack: np.ndarray


def read_lines(folder: Path, cells: Mapping[str, Cell]) -> tuple[list[Line], dict]:
    """The cells that are on record, in their order, and a configuration.

    Raises:
        RecordError: If there are none, or a record is damaged.
    """
    found: dict[str, list[Row]] = {}
    configuration = {}
    judged = judge_of(folder)
    for record in records_of(folder).read_all():
        cell = record["configuration"]["cell"]
        if cell in cells and judged.path(record["name"]).exists():
            configuration = record["configuration"]
            row = read_row(record, judged.read(record["name"]), cells[cell].label)
            found.setdefault(cell, []).append(row)
    if not found:
        raise RecordError(f"{folder} has no records to report")
    lines = []
    for name in cells:
        if rows := found.get(name):
            rows.sort(key=lambda row: row.seed)
            slack = [np.mean(row.neg_elbo - row.ais[: len(row.neg_elbo)]) for row in rows]
            means = [[np.mean(values) for values in (row.neg_elbo, row.ais)] for row in rows]
            lines.append(Line(name, rows, *np.array(means).T, np.array(slack)))
    return lines, configuration


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
    for name in ("neg_bound", "ais", "slack"):
        sides = [{row.seed: v for row, v in zip(x.rows, getattr(x, name), strict=True)} for x in (base, line)]
        common = sorted(sides[0].keys() & sides[1].keys())
        each = np.array([sides[0][seed] - sides[1][seed] for seed in common])
        half = t_half_width(each)
        pairs[name] = (float(each.mean()) if len(each) else math.nan, half if math.isfinite(half) else math.nan)
    return Gain(*pairs["neg_bound"], *pairs["ais"], *pairs["slack"])


def told(value: float, half: float) -> str:
    """In a word."""
    if math.isnan(half):
        return "one seed: open"
    if abs(value) <= half:
        return "not told apart"
    return "better" if value > 0 else "worse"


def write_report(folder: Path, cells: Mapping[str, Cell]) -> list[Path]:
    """Writes ``report.md``, ``baselines.csv`` and ``inference.png``; gives their paths."""
    lines, configuration = read_lines(folder, cells)
    files = {
        "report.md": page(lines, configuration, cells),
        "baselines.csv": lines_csv(lines, cells),
        "inference.png": figure(lines, cells),
    }
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


def page(lines: Sequence[Line], configuration: dict, cells) -> str:
    """``report.md``."""
    table = [
        (
            line.rows[0].label, cells[line.name].evaluations, len(line.rows), over_seeds(line.neg_bound),
            over_seeds([float(np.mean(row.nll)) for row in line.rows]), over_seeds(line.ais),
            over_seeds(line.slack), fixed(float(np.mean([row.gap for row in line.rows])), 3),
            f"{np.mean([row.active_units for row in line.rows]):.0f} of {line.rows[0].latent_size}",
            fixed(float(np.mean([row.seconds for row in line.rows])), 2),
        ) for line in lines
    ]  # fmt: skip
    row = lines[0].rows[0]
    parts = [
        "# The family at equal numbers of evaluations",
        "Generated by `reproduce/baselines.py` from the records in this folder; nothing here is typed.",
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
        "not see the refinement. Seconds are those of a training with one core among others.",
        *_against_base(lines),
        "![inference and decoder](inference.png)",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


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


def figure(lines: Sequence[Line], cells) -> bytes:
    """AIS less own bound, and AIS, against evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    by_name = {line.name: line for line in lines}
    drawn, axes = plt.subplots(1, 2, figsize=(11.0, 4.6), layout="constrained")
    shift = np.linspace(-0.35, 0.35, len(MARKERS))
    for axis, values in zip(axes, ("slack", "ais"), strict=True):
        if base := by_name.get(BASE):
            numbers = getattr(base, values)
            axis.axhline(numbers.mean(), color="black", lw=1, ls="--", label="VAE")
            half = t_half_width(numbers)
            if math.isfinite(half):
                axis.axhspan(numbers.mean() - half, numbers.mean() + half, color="0.85", zorder=0)
        for i, (kind, marker) in enumerate(MARKERS.items()):
            points = [(n, by_name[f"{kind}-{n}"]) for n in EVALUATIONS if f"{kind}-{n}" in by_name]
            if not points:
                continue
            x = [n + shift[i] for n, _ in points]
            numbers = [getattr(line, values) for _, line in points]
            halves = [half if math.isfinite(half := t_half_width(v)) else 0.0 for v in numbers]
            label = points[0][1].rows[0].label.split(",")[0]
            label += {"hvae-free": ", free tempering", "hvae-none": ", no tempering"}.get(kind, "")
            axis.errorbar(x, [v.mean() for v in numbers], halves, marker=marker, color=f"C{i}", capsize=3, lw=1,
                          label=label)  # fmt: skip
        axis.set(xlabel="evaluations of the decoder, a training step and image", xticks=EVALUATIONS)
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="−bound less AIS, nats: lower is better", title="What inference lacks")
    axes[1].set(ylabel="−log p(x) by AIS, nats: lower is better", title="What the decoder is worth")
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return png(drawn, DPI)
