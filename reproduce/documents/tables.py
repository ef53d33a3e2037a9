"""The tables of the documents, each a function of records or of a report that was made of them."""

import csv
import functools
import textwrap
from pathlib import Path

import numpy as np

from reproduce.differences import BUT_FOR_BOTH, BUT_FOR_THE_JUDGE, EQUAL, OF_THESE
from reproduce.documents import costs
from reproduce.documents.aims import aims
from reproduce.documents.blocks import report_paragraph, report_table
from reproduce.tables import markdown

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "results"
WIDTH, HALF = 120, "95 %, ±"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _table1(*columns: str) -> str:
    """The cells of Table 1 that were run, with AIS differences to the VAE."""
    less, error = "less the VAE's", "s.e. over images"
    differences = {
        row["model"]: (
            row[less] + (f" ({row[error]})" if row[error] else ""), f"± {row[HALF]}" if row[HALF] else "",
            row["verdict"], row["among all"],
        )
        for row in report_table(RESULTS / "table1/budget/table1.md", less)
        if row["measure"] == "AIS"
    }  # fmt: skip
    rows = []
    for row in report_table(RESULTS / "table1/budget/table1.md", "−ELBO"):
        difference, half, verdict, among = differences.get(row["model"], ("", "", "", ""))
        cells = {
            "cell": row["model"].replace(", a step size for each step", ""),
            "seeds": row["seeds"],
            "−ELBO": row["−ELBO"],
            "NLL, IS": row["IS-1000"],
            "NLL, AIS": row["AIS"],
            "less the VAE's, AIS (s.e.)": difference,
            "95 %": half,
            "verdict": verdict,
            "among all": among,
            "posterior correlation": row["posterior correlation"],
        }
        rows.append([cells[column] for column in columns])
    return markdown(columns, rows)


def _readme_table1() -> str:
    """The table, and what its differences say beside the VAE."""
    columns = ("cell", "seeds", "−ELBO", "NLL, IS", "NLL, AIS", "less the VAE's, AIS (s.e.)", "95 %")
    kinds: dict[tuple[str, bool], list[str]] = {}
    for row in report_table(RESULTS / "table1/budget/table1.md", "less the VAE's"):
        if row["measure"] == "AIS":
            label = row["model"].replace("HVAE, ", "").replace(", a step size for each step", "")
            kinds.setdefault((row["verdict"], row["among all"] == "yes"), []).append(label)
    number = sum(map(len, kinds.values()))
    together = f"at 95 % over images, seeds and AIS's own error, all {number} comparisons together"
    if not any(among for _, among in kinds):
        kinds["none", True] = []
    said = [
        f"{sentence}: {'; '.join(kinds[kind])}." if kinds[kind] else f"{sentence}."
        for kind, sentence in (
            (("lower", True), f"Better than the VAE {together}"),
            (("lower", False), "Better at 95 % if taken alone"),
            (("lower" + BUT_FOR_BOTH, False), "Better at 95 % over seeds and images, but not with AIS's own error"),
            (("lower" + BUT_FOR_THE_JUDGE, False), "Better at 95 % over seeds and images, within AIS's own error"),
            (("lower" + OF_THESE, False), "Better as trained here, while other seeds might turn it round"),
            ((EQUAL, False), "Not told apart"),
            (("higher" + BUT_FOR_BOTH, False), "Worse at 95 % over seeds and images, but not with AIS's own error"),
            (("higher" + BUT_FOR_THE_JUDGE, False), "Worse at 95 % over seeds and images, within AIS's own error"),
            (("higher" + OF_THESE, False), "Worse as trained here, while other seeds might turn it round"),
            (("higher", False), "Worse at 95 % if taken alone"),
            (("higher", True), f"Worse {together}"),
            (("none", True), f"Of all {number} together none is told apart"),
        )
        if kind in kinds
    ]
    begin = "**Against the VAE whose KL is in closed form**", "**At equal time.**"
    quoted = [report_paragraph(RESULTS / "table1/budget/table1.md", start) for start in begin]
    paragraphs = [" ".join(said), *(text.replace(", a step size for each step", "") for text in quoted)]
    return "\n\n".join([_table1(*columns), *(textwrap.fill(text, WIDTH) for text in paragraphs)])


def _figure1(part: str) -> str:
    """Figure 1's mean errors by method, for a few sizes."""
    records = [row for row in _rows(RESULTS / "figure1/figure1.csv") if row["variant"] == "corrected"]
    sizes = sorted({int(row["d"]) for row in records})
    methods = {
        "hvae-k1": "HVAE, K = 1",
        "hvae-k10": "HVAE, K = 10",
        "hvae-k10-untempered": "K = 10, untempered",
        "vb": "VB",
        "nf-k1": "NF, K = 1",
        "nf-k30": "NF, K = 30",
    }
    rows = []
    for size in sizes:
        if size not in (1, 11, 25, 51, 101, 301):
            continue
        errors = [
            [float(row[f"{part}_error"]) for row in records if row["method"] == name and int(row["d"]) == size]
            for name in methods
        ]
        rows.append([size, *(f"{np.mean(values):.3g}" if values else "" for values in errors)])
    return markdown(["d", *methods.values()], rows)


def _figure1_faulty() -> str:
    """What the released code's errors do to the errors of Sigma and Delta at the largest size."""
    records = _rows(RESULTS / "figure1/figure1.csv")
    largest = max(int(row["d"]) for row in records)
    rows = []
    for method, label in (("nf-k1", "NF, K = 1"), ("nf-k30", "NF, K = 30"), ("vb", "VB"), ("hvae-k1", "HVAE, K = 1")):
        cells = []
        for part in ("sigma", "delta"):
            for variant in ("corrected", "as-released"):
                wanted = (variant, method, str(largest))
                values = [
                    float(row[f"{part}_error"])
                    for row in records
                    if (row["variant"], row["method"], row["d"]) == wanted
                ]
                cells.append(f"{np.mean(values):.3g}")
        rows.append([label, *cells])
    columns = ("", "Σ, right bounds", "Σ, as released", "Δ, right bounds", "Δ, as released")
    return markdown((f"d = {largest}", *columns[1:]), rows)


def _judge() -> str:
    gaps = report_table(RESULTS / "judge/standard/judge.md", "gap")
    missed = {row["model"]: row for row in report_table(RESULTS / "judge/standard/judge.md", "IS less AIS")}
    columns = [
        "model", "what 1000 importance samples miss", "images", "gap between AIS's bounds", "largest gap of an image"
    ]  # fmt: skip
    rows = []
    for row in gaps:
        of_sampling = missed[row["model"]]
        rows.append([row["model"], of_sampling["IS less AIS"], of_sampling["images"], row["gap"], row["largest gap"]])
    return markdown(columns, rows)


def _judge_misses() -> str:
    """The judge's own paragraph."""
    return textwrap.fill(report_paragraph(RESULTS / "judge/standard/judge.md", "The importance sampler misses"), WIDTH)


def _judge_seconds() -> str:
    rows = _rows(RESULTS / "judge/standard/judge.csv")
    images = sorted({int(row["images"]) for row in rows})
    minutes = sorted(float(row["seconds"]) / 60 for row in rows)
    judged = " to ".join(map(str, dict.fromkeys((images[0], images[-1]))))
    return (
        f"A model of Table 1, {judged} images and BDMC, took {minutes[0]:.0f} to {minutes[-1]:.0f} minutes (what was "
        "done\nside by side, added up), with whatever share of the cores it had."
    )


def _hvi() -> str:
    rows = report_table(RESULTS / "hvi/report.md", "log Z less it")
    return markdown(("", "bound, nats", "log Z less it"), [list(row.values())[:3] for row in rows])


def _mnist(report: str, *columns: str) -> str:
    """Models trained on MNIST beside Table 1's, and those less the VAE by AIS, image by image."""
    path = RESULTS / report
    rows = report_table(path, columns[0])
    less = {
        row[""].removesuffix(" less VAE"): f"{row['nats']} ± {row['s.e. over images']}"
        for row in report_table(path, "s.e. over images")
        if row[""].endswith(" less VAE")
    }
    head = ("model", "seeds", *columns, "AIS less the VAE's, s.e. over images")
    shown = [[row["model"], row["seeds"], *(row[name] for name in columns)] for row in rows]
    return "\n\n".join([
        markdown(head, [[*line, less.get(line[0], "")] for line in shown]), textwrap.fill(ABOUT_MNIST, WIDTH),
    ])  # fmt: skip


def _estimators() -> str:
    rows = report_table(RESULTS / "vae_derivation/report.md", "variance of the gradient")
    return markdown(list(rows[0]), [list(row.values()) for row in rows])


ABOUT_MNIST = (
    "± beside a mean is half a 95 % t-interval over the cell's own seeds, absent with one. AIS is on more test images "
    "than the bounds, so that the difference of the two columns is not the one that is given, on common images; the "
    "gap is BDMC's, on images that the model simulates."
)
OF_BOUNDS = "−bound", "AIS", "−bound less AIS", "BDMC gap"
TABLES = {
    "readme-table1": _readme_table1,
    "table1": functools.partial(
        _table1, "cell", "seeds", "−ELBO", "NLL, IS", "NLL, AIS", "less the VAE's, AIS (s.e.)", "95 %", "verdict",
        "among all", "posterior correlation",
    ),
    "figure1-theta": functools.partial(_figure1, "theta"),
    "figure1-sigma": functools.partial(_figure1, "sigma"),
    "figure1-delta": functools.partial(_figure1, "delta"),
    "figure1-faulty": _figure1_faulty,
    "speed": costs.speed,
    "epochs": costs.epochs,
    "memory": costs.memory,
    "aims": aims,
    "judge": _judge,
    "judge-misses": _judge_misses,
    "judge-seconds": _judge_seconds,
    "hvi": _hvi,
    "hvi-mnist": functools.partial(_mnist, "hvi/budget/report.md", *OF_BOUNDS),
    "hmc-mnist": functools.partial(_mnist, "hmc_vae/budget/report.md", "−ELBO of q0", "AIS", "gap", "active units"),
    "untied-mnist": functools.partial(_mnist, "untied/budget/report.md", *OF_BOUNDS),
    "estimators": _estimators,
}  # fmt: skip
"""By name, what a block `<!-- table: NAME -->` holds."""
