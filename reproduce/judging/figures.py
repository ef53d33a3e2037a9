"""The judge's pictures: both bounds against T, and what the importance sampler misses."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker

from reproduce.judging.findings import Findings, cell_of, paired, values
from reproduce.judging.models import cell_label
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
            right.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        for axis in (left, right):
            axis.set(xlabel="temperatures T", xscale="log", xticks=at)
            axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            axis.xaxis.set_minor_locator(ticker.NullLocator())
            axis.grid(alpha=0.3)
        left.set_title(f"{_name(record)}: {simulated} images that it simulates", fontsize=10)
        right.set_title("the same: how far apart the bounds are", fontsize=10)
    fig.suptitle("Bidirectional Monte Carlo: both bounds close in on log p(x) as chains grow longer")
    return png(fig, DPI)


def importance_figure(findings: Findings) -> bytes:
    """What the importance sampler misses, image by image against what the model's own bound misses, and in the mean."""
    records = findings.records
    samples = records[0]["configuration"].get("importance_samples", "")
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2 + 0.12 * len(records)), layout="constrained")
    colors = {cell: f"C{number}" for number, cell in enumerate(findings.cells)}
    for cell, group in findings.cells.items():
        own, sampler = (np.concatenate([_above(record, m) for record in group]) for m in ("neg_elbo", "nll"))
        left.plot(own, sampler, ".", ms=4, alpha=0.6, color=colors[cell], label=cell_label(cell))
    left.axhline(0.0, color="black", lw=0.8)
    left.set(
        xlabel="what the model's own bound misses:\nlog p(x) by AIS − ELBO, nats",
        ylabel=f"what {samples} importance samples miss:\nlog p(x) by AIS − by IS, nats",
    )
    left.set_title("a point an image", fontsize=10)
    left.legend(fontsize=8, loc="lower right")
    left.grid(alpha=0.3)
    places = np.arange(len(records))[::-1]
    for place, record in zip(places, records, strict=True):
        mean = paired(record, "nll")
        right.errorbar(mean.value, place, xerr=1.96 * mean.error, fmt="o", capsize=3, color=colors[cell_of(record)])
    right.axvline(0.0, color="black", lw=0.8)
    right.set_yticks(places, [_name(record) for record in records], fontsize=8)
    right.set(xlabel="mean over images of log p(x) by AIS − by IS,\nnats, with its 95 % interval")
    right.set_ylim(-0.6, len(records) - 0.4)
    right.set_title("in the mean, a row a model", fontsize=10)
    right.grid(alpha=0.3, axis="x")
    fig.suptitle("What the importance sampler misses of log p(x)")
    return png(fig, DPI)


def _above(record: dict, measure: str) -> np.ndarray:
    other, ais = values(record, measure), values(record, "ais")
    images = min(len(other), len(ais))
    return other[:images] - ais[:images]


def _name(record: dict) -> str:
    return f"{cell_label(cell_of(record), lines=True)}, seed {record['seed']}"
