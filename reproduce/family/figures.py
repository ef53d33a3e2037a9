"""The pictures of the family's reports."""

import math
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hvae_tf.plots import mosaic, show
from reproduce.mnist.pictures import LINE, SPAN, panels
from reproduce.tables import png, t_half_width

DPI = 110
BASE = "vae"
MARKERS = {"iwae": "s", "hvae-free": "o", "hvae-none": "D", "hvi": "^", "uha": "v", "lmcvae": "<", "hmc": "P"}
MARKERS |= {"hvae-fixed": "p", "untied-fixed": "X", "untied-free": "*"}
NAMES = {
    "iwae": "IWAE", "hvae-free": "HVAE, free tempering", "hvae-none": "HVAE, no tempering", "hvi": "HVI", "uha": "UHA",
    "lmcvae": "L-MCVAE", "hmc": "HMC-VAE", "hvae-fixed": "HVAE, fixed tempering",
    "untied-fixed": "HVAE, fixed, untied momentum", "untied-free": "HVAE, free, untied momentum",
}  # fmt: skip


def inference_figure(lines: Sequence, cells: Mapping) -> bytes:
    """-bound less AIS, and AIS, against evaluations; bars are 95 % intervals over seeds."""
    by_name = {line.name: line for line in lines}
    counts = sorted({cells[line.name].evaluations for line in lines if line.name != BASE})
    drawn, axes = plt.subplots(1, 2, figsize=(11.0, 4.6), layout="constrained")
    kinds = [kind for kind in MARKERS if any(f"{kind}-{n}" in by_name for n in counts)]
    shift = np.linspace(-0.35, 0.35, len(kinds))
    for axis, values in zip(axes, ("slack", "ais"), strict=True):
        if base := by_name.get(BASE):
            numbers = getattr(base, values)
            axis.axhline(numbers.mean(), color="black", lw=1, ls="--", label="VAE")
            half = t_half_width(numbers)
            if math.isfinite(half):
                axis.axhspan(numbers.mean() - half, numbers.mean() + half, color="0.85", zorder=0)
        for i, kind in enumerate(kinds):
            points = [(n, by_name[f"{kind}-{n}"]) for n in counts if f"{kind}-{n}" in by_name]
            x = [n + shift[i] for n, _ in points]
            numbers = [getattr(line, values) for _, line in points]
            halves = [t_half_width(v) for v in numbers]  # NaN with one seed: no bar
            axis.errorbar(x, [v.mean() for v in numbers], halves, marker=MARKERS[kind], color=f"C{i}", capsize=3, lw=1,
                          label=NAMES[kind])  # fmt: skip
        axis.set(xlabel="evaluations of the decoder, a training step and image", xticks=counts)
        axis.set_xlim(min(counts) - 1.0, max(counts) + 1.0)
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="−bound less AIS, nats: lower is better", title="What inference lacks")
    axes[1].set(ylabel="−log p(x) by AIS, nats: lower is better", title="What the decoder is worth")
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return png(drawn, DPI)


def curves_figure(curves: Mapping[str, Sequence[float]], labels: Mapping[str, str]) -> bytes:
    """The validation -bound by epoch, a line a cell."""
    drawn, axes = plt.subplots(figsize=(8.5, 4.6), layout="constrained")
    styles = ["-", "--", "-.", ":"]
    for i, (name, curve) in enumerate(curves.items()):
        axes.plot(
            range(1, len(curve) + 1), curve, color=f"C{i % 10}", ls=styles[i // 10 % 4], lw=1.2, label=labels[name]
        )
    last = [curve[-1] for curve in curves.values()]
    spread = max(max(last) - min(last), 0.02 * min(last))
    axes.set(xlabel="epochs", ylabel="loss on validation events, nats: each model's own")
    axes.set_ylim(min(last) - spread, max(last) + 4 * spread)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.grid(alpha=0.3)
    axes.set_title("What each maximises, by epoch; first seed")
    return png(drawn, DPI)


def samples_figure(pictures: Mapping[str, np.ndarray], labels: Mapping[str, str]) -> bytes:
    """Samples from the prior (pixel probabilities), a panel a cell."""
    drawn, axes = panels(len(pictures), 3.0, 3.5)
    for axis, (cell, images) in zip(axes, pictures.items(), strict=True):
        show(axis, mosaic(images, 6, LINE), labels[cell].replace(", ", "\n", 1), SPAN)
    drawn.suptitle("From the prior: pixel probabilities at 36 draws of z, the same draws for every model", fontsize=10)
    return png(drawn, DPI)
