"""Everything that is made from Figure 1's records: the table, the pictures and the report."""

import csv
import io
from pathlib import Path

from hvae_tf.files import update
from reproduce.gaussian.claims import report
from reproduce.gaussian.configs import FIGURE_1A, FIGURE_1B, LINES, MORE, VARIANTS
from reproduce.gaussian.figures import figure, learning_curves, parts
from reproduce.gaussian.records import ERRORS, Records, load


def write_report(folder: Path, to: Path | None = None) -> list[Path]:
    """Writes ``figure1.csv``, the figures and ``report.md``, each only where it is not what stands there.

    Args:
        folder: Where the records are; a folder `MORE` in it may have some of more data sets.
        to: Where to write; `folder` by default.

    Returns:
        The paths of all that was made; nothing where there is no record.

    Raises:
        RecordError: As `load`.
    """
    records = load(folder)
    if not records.by_key:
        return []
    more = load(folder / MORE) if (folder / MORE).is_dir() else None
    variants = [v for v in VARIANTS if any(key[0] == v for key in records.by_key)]
    untempered = any(method.endswith("untempered") for _, method, _ in records.by_key)
    contents = {
        "figure1.csv": table(records),
        "figure1a.png": figure(records, variants, FIGURE_1A, "Figure 1a: HVAE, planar flows and VB"),
        "figure1b.png": figure(
            records, variants, FIGURE_1B if untempered else (), "Figure 1b: HVAE with and without tempering"
        ),
        "figure1_parts.png": parts(records, variants),
        "learning_curves.png": learning_curves(records, variants),
        "report.md": report(records, variants, more),
    }
    contents = {name: data for name, data in contents.items() if data is not None}
    paths = [(to or folder) / name for name in contents]
    for path, data in zip(paths, contents.values(), strict=True):
        update(path, data)
    return paths


def table(records: Records) -> str:
    """``figure1.csv``: one row a training, squared 2-norms."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["variant", "method", "d", "dataset", *ERRORS])
    for (variant, method, d), record in sorted(records.by_key.items(), key=lambda item: _order(item[0])):
        for i, row in enumerate(zip(*(record["results"][name] for name in ERRORS), strict=True)):
            writer.writerow([variant, method, d, i, *(f"{value:.6g}" for value in row)])
    return buffer.getvalue()


def _order(key):
    variant, method, d = key
    return VARIANTS.index(variant), list(LINES).index(method), d
