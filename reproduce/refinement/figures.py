"""The pictures of the report on refined latents."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from reproduce.refinement.factor_analysis import STARTS
from reproduce.refinement.findings import Findings
from reproduce.tables import png

DPI = 110


def kl_figure(lines: list[dict]) -> bytes:
    """KL(q'_M || p) against M, and against evaluations, in one dimension, without sampling."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.2), sharey=True, layout="constrained")
    for line in lines:
        steps, values = line["num_leapfrog_steps"], np.array(line["kl"])
        label = f"ε = {line['step_size']:g}, L = {steps} (acceptance {line['acceptance'][-1]:.2f})"
        moves = np.arange(len(values))
        left.semilogy(moves, values, marker="o", ms=3, label=label)
        right.semilogy(moves * steps, values, marker="o", ms=3)
    left.set(xlabel="moves M", ylabel="KL(q'_M ‖ p), nats", ylim=(1e-6, None))
    right.set(xlabel="leapfrog steps M·L", xlim=(-0.5, 25))
    left.set_title("one dimension, by quadrature", fontsize=10)
    right.set_title("the same against cost", fontsize=10)
    left.legend(fontsize=8)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return png(fig, DPI)


def bias_figure(rows: list[dict]) -> bytes:
    """The norm of the bias of the decoder's gradient against M; a panel a start, a line an L."""
    fig, axes = plt.subplots(1, len(STARTS), figsize=(10.0, 4.2), sharey=True, layout="constrained")
    for axis, start in zip(axes, STARTS, strict=True):
        lines = sorted({row["num_leapfrog_steps"] for row in rows})
        for number, steps in enumerate(lines):
            line = [row for row in rows if (row["start"], row["num_leapfrog_steps"]) == (start, steps)]
            axis.errorbar(
                [row["num_moves"] for row in line], [row["bias"] for row in line],
                yerr=[1.96 * row["standard_error"] for row in line], color=f"C{number}", marker="o", ms=4, capsize=2,
                label=f"L = {steps}, ε = {line[0]['step_size']:.2f} (acceptance {line[-1]['acceptance']:.2f})",
            )  # fmt: skip
        axis.axhline(
            np.median([row["noise"] for row in rows]), color="0.5", ls=":", label="what sampling noise alone has"
        )
        axis.set_yscale("log")
        axis.set_xlabel("moves M")
        axis.set_title(f"q0: {start}", fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("norm of the gradient's bias")
    return png(fig, DPI)


def likelihood_figure(findings: Findings) -> bytes:
    """NLL by AIS of every model, and its active units."""
    cells = findings.by_cell()
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 1.4 + 0.45 * len(cells)), sharey=True, layout="constrained")
    for place, rows in enumerate(cells.values()):
        values = [row.ais.mean() for row in rows]
        left.plot(values, [place] * len(values), "o", ms=4, alpha=0.6)
        left.plot(np.mean(values), place, "k|", ms=16)
        units = [row.active_units for row in rows if row.active_units is not None]
        right.plot(units, [place] * len(units), "o", ms=4, alpha=0.6)
    left.set_yticks(range(len(cells)), [rows[0].label for rows in cells.values()], fontsize=8)
    left.invert_yaxis()
    left.set(xlabel="NLL by AIS, nats (dots: trainings, bar: their mean)")
    right.set(xlabel=f"active units of {findings.rows[0].latent_size}", xlim=(-0.5, findings.rows[0].latent_size + 0.5))
    for axis in (left, right):
        axis.grid(alpha=0.3, axis="x")
    return png(fig, DPI)
