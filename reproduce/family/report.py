"""What the family's records say: a table, verdicts, and a figure that tells inference from decoder."""

import csv
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.files import update
from hvae_tf.runs import RecordError
from reproduce.differences import ALONE, LEVEL, Difference, Spread, together
from reproduce.family.bounds import own_bound
from reproduce.family.cells import FamilyPreset
from reproduce.family.figures import curves_figure, inference_figure, samples_figure
from reproduce.family.gains import Line, gain, not_apart, told, undecided
from reproduce.judged.findings import (
    ABOUT_DIFFERENCES,
    Row,
    difference,
    differences_table,
    on_common_images,
    read_row,
    read_spread,
    read_table1_row,
)
from reproduce.judged.timing import STEPS, Ratio, read_times
from reproduce.judged.work import check_one_protocol, judge_of, protocol_of, records_of
from reproduce.tables import fixed, markdown, t_half_width

BASE, WIDTH = "vae", 80


class Found(NamedTuple):
    """What the records hold.

    Attributes:
        lines: A line a cell, in their order.
        configuration: Of a training of this folder; of one of Table 1 where there is none.
        curves: By cell, the validation -bound by epoch of its first model.
        pictures: By cell, samples ``[n, H, W, C]`` of its first model.
        beside: The cells that Table 1 stands in for.
        times: By cell, of a training step, where that was timed.
        missing: Cells of the table that have no model on record.
        spreads: Over seeds of Table 1's trainings, by what is compared; none where none of them is here.
    """

    lines: list[Line]
    configuration: dict
    curves: dict[str, list[float]]
    pictures: dict[str, np.ndarray]
    beside: list[str]
    times: Mapping[str, Ratio]
    missing: list[str]
    spreads: Mapping[str, Spread | None]


def read_found(folder: Path, preset: FamilyPreset, table1: Path, judge: Path) -> Found:
    """All that is on record, of these cells.

    Raises:
        RecordError: If there is nothing, a record is damaged, or the folder's are of unlike protocols or data.
    """
    rows: dict[str, list[tuple[Row, dict, Path]]] = {}
    judged = judge_of(folder)
    for record in records_of(folder).read_all():
        cell = record["configuration"]["cell"]
        if cell in preset.cells and judged.path(record["name"]).exists():
            row = read_row(record, judged.read(record["name"]), preset.cells[cell].label)
            rows.setdefault(cell, []).append((row, record, folder))
    own = [record for group in rows.values() for _, record, _ in group]
    check_one_protocol(own, folder)
    beside = []
    for cell, other in preset.beside.items():
        names = sorted(path.stem for path in table1.glob(f"{other}-seed*.json"))
        found = [read_table1_row(name, preset.cells[cell].label, table1, judge) for name in names]
        alike = [pair for pair in found if pair and (not own or protocol_of(pair[1]) == protocol_of(own[0]))]
        if cell not in rows and alike:
            rows[cell] = [(*pair, table1) for pair in alike]
            beside.append(cell)
    if not rows:
        raise RecordError(f"{folder} has no records to report")
    members = [member for group in rows.values() for member in group]
    cut = dict(zip(map(id, members), on_common_images([row for row, _, _ in members]), strict=True))
    rows = {cell: [(cut[id(member)], *member[1:]) for member in group] for cell, group in rows.items()}
    configuration = (own or [rows[beside[0]][0][1]])[0]["configuration"]
    lines, curves, pictures = [], {}, {}
    for name in preset.cells:
        if group := sorted(rows.get(name, []), key=lambda member: member[0].seed):
            of_cell = [row for row, _, _ in group]
            means = []
            for row, record, where in group:
                neg_bound = own_bound(where, preset, record, row.neg_elbo)[: len(row.neg_elbo)]
                means.append([values.mean() for values in (neg_bound, row.ais, row.ais[: len(neg_bound)])])
            neg_bound, ais, common = np.array(means).T
            lines.append(Line(name, of_cell, neg_bound, ais, common, neg_bound - common))
            curves[name] = group[0][1]["history"]["val_loss"]
            path = group[0][2] / "pictures" / f"{group[0][1]['name']}.npz"
            if path.exists():
                with np.load(path, allow_pickle=False) as archive:
                    pictures[name] = archive["samples"]
    missing = [name for name in (*preset.names, *preset.beside) if name not in curves]
    spreads = {of: read_spread(table1, judge, of) for of in ("ais", "neg_elbo")} if beside else {}
    return Found(lines, configuration, curves, pictures, beside, read_times(folder), missing, spreads)


def over_seeds(values: Sequence[float], digits: int = 2) -> str:
    """The mean, with half the 95 % t-interval over seeds where there are some."""
    half = t_half_width(values)
    return fixed(float(np.mean(values)), digits) + (f" ± {fixed(half, digits)}" if math.isfinite(half) else "")


def write_report(folder: Path, preset: FamilyPreset, table1: Path, judge: Path, script: str) -> list[Path]:
    """Writes ``report.md``, ``baselines.csv`` and the figures; gives their paths."""
    found = read_found(folder, preset, table1, judge)
    labels = {name: cell.label for name, cell in preset.cells.items()}
    files: dict[str, str | bytes] = {
        "report.md": page(found, preset, script),
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
                     "active_units"])  # fmt: skip
    for line in lines:
        for row, neg_bound, ais, slack in zip(line.rows, line.neg_bound, line.ais, line.slack, strict=True):
            numbers = (neg_bound, np.mean(row.nll), ais, slack, row.gap)
            writer.writerow([line.name, row.seed, cells[line.name].evaluations, *(f"{v:.4f}" for v in numbers),
                             row.active_units])  # fmt: skip
    return buffer.getvalue()


def page(found: Found, preset: FamilyPreset, script: str) -> str:
    """``report.md``."""
    lines, configuration, cells = found.lines, found.configuration, preset.cells
    table = [
        (
            line.rows[0].label, cells[line.name].evaluations, len(line.rows), over_seeds(line.neg_bound),
            over_seeds([float(np.mean(row.nll)) for row in line.rows]), over_seeds(line.ais),
            over_seeds(line.slack), fixed(float(np.mean([row.gap for row in line.rows])), 3), _units(line.rows),
            *([found.times.get(line.name, "1" if line.name == BASE else "")] if found.times else []),
        ) for line in lines
    ]  # fmt: skip
    row = lines[0].rows[0]
    head = ("model", "evaluations", "seeds", "−bound", "IS-1000", "AIS", "−bound less AIS", "BDMC gap", "active units")
    parts = [
        f"# {preset.title}",
        f"Generated by `reproduce/{script}` from the records in this folder; nothing here is typed.",
        f"Every cell is trained on {configuration['dataset']} for {configuration['max_epochs']} epochs by one protocol "
        f"(Adamax, cosine from {configuration['learning_rate']:g}, batches of {configuration['batch_size']}, l = "
        f"{configuration['latent_size']}), and evaluates its decoder as often for an image and training step as the "
        "second column says: with its gradient in z, or, for IWAE, without. Decoders are judged by annealed importance "
        f"sampling on {len(row.ais)} test images, bounds on {len(row.neg_elbo)} of them. Nats per image; ± is half a "
        "95 % t-interval over seeds. A test image is binarised once, the same for all." + trial(configuration),
        markdown((*head, *(["time a step, VAE = 1"] if found.times else [])), table),
        "*−bound less AIS* is what inference still lacks: how far the model's own bound is below log p(x) of its own "
        "decoder. IWAE's own bound is that of all its draws, E log 1/L Σ w. HMC-VAE maximises no bound of the refined "
        "draws; its bound is the ELBO of its encoder, which does not see the refinement.",
        *([_times()] if found.times else []),
        *([_beside(found, cells)] if found.beside else []),
        *([f"Not on record: {'; '.join(cells[name].label for name in found.missing)}."] if found.missing else []),
        *_judge(lines),
        *_claims(found, preset.claims),
        *_against_base(lines),
        *_pairs(found, preset.pairs),
        "![inference and decoder](inference.png)",
        "![bound by epoch](curves.png)",
        *(["![digits from the prior](samples.png)"] if found.pictures else []),
    ]  # fmt: skip
    return "\n\n".join(part if part[0] in "|#!" else textwrap.fill(part, WIDTH) for part in parts) + "\n"


def trial(configuration: dict) -> str:
    """What a reader has to know of a training on a part of the data; nothing where it had all."""
    limit = configuration.get("limit")
    return f" **A trial on the first {limit[0]} images of each split.**" if limit else ""


def _times() -> str:
    return (
        "Time is processor time of a training step over the VAE's, timed before it: the median over rounds in which "
        f"the cells take turns, {STEPS} steps each, and in brackets their quartiles."
    )


def _judge(lines: Sequence[Line]) -> list[str]:
    """Where importance sampling is nearer to log p(x) than AIS: both are above NLL in expectation."""
    models, nearer = [], []
    for line in lines:
        count = min(len(values) for row in line.rows for values in (row.nll, row.ais))
        each = np.array([row.nll[:count] - row.ais[:count] for row in line.rows])
        models += each.mean(axis=1).tolist()
        images = each.mean(axis=0)
        error = float(images.std(ddof=1) / math.sqrt(count)) if count > 1 else math.inf
        if images.mean() < -1.96 * error:
            nearer.append((float(images.mean()), f"{line.rows[0].label} {images.mean():+.3f} ± {error:.3f}"))
    below = [-value for value in models if value < 0.0]
    if not below:
        return []
    words = "; ".join(text for _, text in sorted(nearer))
    return [
        "IS-1000 and AIS are both above the true NLL in expectation, so the lower of the two is the nearer. Of "
        f"{len(models)} models IS-1000 is below AIS for {len(below)}, by up to {max(below):.3f} nats; a cell's models "
        "together, it is by more than 1.96 standard errors over images "
        + (f"for {len(nearer)} of {len(lines)} cells: {words}. There" if words else "for no cell. Where it is so")
        + " these chains are not the tighter judge, and AIS is off by at least as much."
    ]


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
    adjusted = together({(name, i): part for name, found in gains.items() for i, part in enumerate(found)})
    words = {
        (name, i): told(part, adjusted.get((name, i))) for name, found in gains.items() for i, part in enumerate(found)
    }
    rows = [
        (line.rows[0].label, *(cell for i, part in enumerate(gains[line.name]) for cell in (part, words[line.name, i])))
        for line in others
    ]
    decoders, nearer = (_better({line.rows[0].label: words[line.name, i] for line in others}) for i in (1, 2))
    return [
        "## Better inference, or a better decoder?",
        "What each has over the VAE of the same seed: the gain of its bound is the gain of log p(x) (a better decoder) "
        "and what its bound came nearer to log p(x) (better inference), on the images that have both.",
        markdown(("model", "bound", "", "log p(x), AIS", "", "inference", ""), rows),
        *_words(adjusted, decoders, nearer),
        *_highest(others, gains),
    ]  # fmt: skip


def _words(adjusted, decoders: str, nearer: str) -> list[str]:
    """What the table's words mean, and what they come to; nothing where no cell has seeds enough for one."""
    if not adjusted:
        return []
    return [
        "± is half a 95 % interval over seeds. The words allow for more: AIS is taken to be off by up to BDMC's gap, "
        "of the cell and of the VAE, whichever makes less of the difference; *better* and *worse* are what stands "
        f"where the {len(adjusted)} verdicts are to be right together at {100 * (1 - LEVEL):.0f} % (Holm), "
        f"*{ALONE[2:]}* what stands only where nothing else is asked. The gap is of images that the model simulates, a "
        "sign and no bound for these.",
        f"A better decoder than the VAE's: {decoders}",
        f"A bound nearer to log p(x): {nearer}",
    ]


def _claims(found: Found, claims) -> list[str]:
    """For each claim what the pairs at hand say of it: -bound and NLL by AIS, one less the other, image by image."""
    cells = {line.name: line.rows for line in found.lines}
    said = []
    for claim, pairs in claims.items():
        words = []
        for a, b in pairs:
            if a in cells and b in cells:
                bound, ais = (difference(cells[a], cells[b], of, found.spreads.get(of)) for of in ("neg_elbo", "ais"))
                words.append(
                    f"{cells[a][0].label} less {cells[b][0].label}: −bound {_with_error(bound)}, AIS {_with_error(ais)}"
                )
        said.append(f"*{claim}*: {'; '.join(words) or 'none of its pairs is on record'}.")
    if not said:
        return []
    explained = (
        f"Differences are taken image by image; {ABOUT_DIFFERENCES} Where there is no interval over seeds, ± is 1.96 "
        "standard errors over images."
    )
    return ["## Claims", *said, explained]


def _with_error(found: Difference) -> str:
    half = 1.96 * found.image_error if math.isnan(found.half) else found.half
    return f"{found.value:+.2f} ± {half:.2f} ({found.verdict})"


def _pairs(found: Found, pairs) -> list[str]:
    """Differences image by image, to the VAE and of these pairs, where there are such."""
    cells = {line.name: line.rows for line in found.lines}
    if not pairs or BASE not in cells:
        return []
    pairs = [*((name, BASE) for name in cells if name != BASE), *pairs]
    return [
        "## Image by image",
        f"NLL by AIS, of one less of the other, on the same images. {ABOUT_DIFFERENCES}",
        differences_table(cells, pairs, "ais", found.spreads.get("ais")),
        "−bound, likewise:",
        differences_table(cells, pairs, "neg_elbo", found.spreads.get("neg_elbo")),
    ]


def _better(words: Mapping[str, str]) -> str:
    surely = "; ".join(label for label, word in words.items() if word == "better")
    alone = "; ".join(label for label, word in words.items() if word == "better" + ALONE)
    return f"{surely or 'none that stands among so many verdicts'}." + (f" Taken alone: {alone}." if alone else "")


def _highest(others, gains) -> list[str]:
    """Which bound is highest, and from which it is not told apart; nothing where single seeds are too few to tell."""
    known = [line for line in others if not math.isnan(gains[line.name].bound.value)]
    if not known:
        return []
    best = max(known, key=lambda line: gains[line.name].bound.value)
    if undecided(best, known, "neg_bound"):
        return []
    found = gains[best.name]
    like = "; ".join(line.rows[0].label for line in not_apart(best, known, "neg_bound"))
    return [
        f"The highest bound has {best.rows[0].label}: {found.bound.value:+.2f} nats, of which "
        f"{found.decoder.value:+.2f} is the decoder's."
        + (f" Pair by pair it is not told apart at {100 * (1 - LEVEL):.0f} % from: {like}." if like else "")
    ]
