"""The judge's pictures: both bounds against T, and what the importance sampler misses."""

import itertools

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker

from reproduce.configs import TABLE1_CELLS
from reproduce.judging.findings import Findings, cell_of, paired, values
from reproduce.judging.models import cell_label
from reproduce.mnist.curves import style_of
from reproduce.tables import png

DPI = 110


def bounds_figure(findings: Findings) -> bytes | None:
    """Both bounds on log p(x), and the gap between them, against T, for each model that has a curve; None without."""
    if not findings.curves:
        return None
    rows = len(findings.curves)
    fig, axes = plt.subplots(rows, 2, figsize=(9.5, 4.0 * rows), squeeze=False, layout="constrained")
    for (left, right), record in zip(axes, findings.curves, strict=True):
        results, configuration = record["results"], record["configuration"]
        at, simulated = np.array(configuration["temperatures"], float), configuration["simulated"]
        lower, upper, gap, error = (
            np.array(results[name], float) for name in ("lower", "upper", "gap", "gap_standard_error")
        )
        left.fill_between(at, lower, upper, color="0.9")
        left.plot(at, upper, "v-", color="C3", label="upper: chains back from the exact posterior draw")
        left.plot(at, lower, "^-", color="C0", label="lower: chains forward from the encoder")
        left.set(ylabel="bound on log p(x), nats: mean over images")
        left.legend(fontsize=8)
        right.errorbar(at, gap, 1.96 * error, fmt="o-", color="black", capsize=3, ms=4, lw=1)
        right.set(ylabel="gap between the bounds, nats (95 %)")
        if np.all(gap > 0.0):
            right.set_yscale("log")
            right.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            right.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            right.yaxis.set_minor_formatter(ticker.NullFormatter())
            if np.any(gap <= 1.96 * error):
                said = "gap between the bounds, nats\n(95 %: a bar that leaves the axis takes in zero)"
                right.set_ylabel(said, fontsize=9)
        for axis in (left, right):
            axis.set(xlabel="temperatures T", xscale="log", xticks=at)
            axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            axis.xaxis.set_minor_locator(ticker.NullLocator())
            axis.grid(alpha=0.3)
        left.set_title(f"{_name(record, lines=True)}: {simulated} images that it simulates", fontsize=10)
        right.set_title("the same: how far apart the bounds are", fontsize=10)
    fig.suptitle("Bidirectional Monte Carlo: both bounds close in on log p(x) as chains grow longer")
    return png(fig, DPI)


def importance_figure(findings: Findings) -> bytes:
    """What the importance sampler misses, image by image against what the model's own bound misses, and in the mean."""
    records, styles = findings.records, _styles(findings)
    samples = records[0]["configuration"].get("importance_samples", "")
    means = [paired(record, "nll") for record in records]
    fewest, most = (extreme(mean.images for mean in means) for extreme in (min, max))
    shared = f"the first {fewest} test images"
    height = 3.6 + 0.2 * len(records) + 0.1 * len(styles)  # a row a model, and the legend below
    fig, (left, right) = plt.subplots(1, 2, figsize=(12.5, height), layout="constrained")
    for cell, group in findings.cells.items():
        own, sampler = (np.concatenate([_above(record, m)[:fewest] for record in group]) for m in ("neg_elbo", "nll"))
        left.plot(own, sampler, label=cell_label(cell), **{**styles[cell], "ms": 4, "mew": 0.8, "alpha": 0.7})
    left.axhline(0.0, color="black", lw=0.8)
    left.set(
        xlabel="what the model's own bound misses:\nlog p(x) by AIS − ELBO, nats",
        ylabel=f"what {samples} importance samples miss:\nlog p(x) by AIS − by IS, nats",
    )
    left.set_title(f"a point a model and image: {shared}", fontsize=10)
    left.grid(alpha=0.3)
    places = np.arange(len(records))[::-1]
    for place, record, mean in zip(places, records, means, strict=True):
        right.errorbar(mean.value, place, xerr=1.96 * mean.error, capsize=3, **{**styles[cell_of(record)], "lw": 1.2})
    right.axvline(0.0, color="black", lw=0.8)
    right.set_yticks(places, map(_name, records), fontsize=8)
    over = shared if fewest == most else f"its first {fewest} to {most} test images"
    right.set(xlabel=f"mean over {over} of\nlog p(x) by AIS − by IS, nats, with its 95 % interval")
    right.set_ylim(-0.6, len(records) - 0.4)
    right.set_title("in the mean, a row a model", fontsize=10)
    right.grid(alpha=0.3, axis="x")
    fig.suptitle("What the importance sampler misses of log p(x)")
    fig.legend(fontsize=8, loc="outside lower center", ncols=3, markerscale=1.5)
    return png(fig, DPI)


def _styles(findings: Findings) -> dict[str, dict]:
    """A cell's points: Table 1's are drawn as they are there, others by what that leaves."""
    others = itertools.cycle([("#D55E00", "v"), ("#CC79A7", "p"), ("#56B4E9", "h"), ("grey", "X")])
    styles = {}
    for cell in findings.cells:
        if cell in TABLE1_CELLS:
            styles[cell] = style_of(cell)
        else:
            color, marker = next(others)
            styles[cell] = {"color": color, "marker": marker, "mfc": "none", "ms": 6}
    return {cell: {**style, "ls": "none"} for cell, style in styles.items()}


def _above(record: dict, measure: str) -> np.ndarray:
    other, ais = values(record, measure), values(record, "ais")
    images = min(len(other), len(ais))
    return other[:images] - ais[:images]


def _name(record: dict, lines: bool = False) -> str:
    return f"{cell_label(cell_of(record), lines)}, seed {record['seed']}"
