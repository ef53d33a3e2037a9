"""The pictures of HVI's report."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from reproduce.auxiliary.results import Results
from reproduce.tables import png

DPI = 110


def moves_figure(results: Results) -> bytes:
    """The bound against the number of coordinate moves T, and what it lacks."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.2), layout="constrained")
    counts, log_z = [row.num_moves for row in results.moves], results.bivariate.log_z
    lines = (
        ("Gibbs, a = 0; best linear reverse model", "C0", "o", [row.gibbs for row in results.moves]),
        ("best a; best linear reverse model", "C1", "s", [row.best for row in results.moves]),
        ("no learning: the moves' own reversal", "C2", "^", [row.own_reverse for row in results.moves]),
    )
    for label, color, marker, values in lines:
        left.plot(counts, values, color=color, marker=marker, ms=4, label=label)
        right.plot(counts, log_z - np.array(values), color=color, marker=marker, ms=4)
    left.axhline(log_z, color="black", lw=1.0, ls="--", label="log Z")
    left.set(xlabel="moves T", ylabel="bound, nats", title="The bound against T")
    right.set(xlabel="moves T", ylabel="log Z − bound, nats", yscale="log", title="What it lacks")
    left.legend(fontsize=8)
    for axis in (left, right):
        axis.set_xticks(range(0, max(counts) + 1, 4))
        axis.grid(alpha=0.3)
    fig.suptitle("Coordinate moves on a correlated Gaussian, in closed form")
    return png(fig, DPI)


def posterior_figure(results: Results) -> bytes:
    """The exact posterior's contours with samples of each approximation."""
    names = ["mean field", *(name for name in results.fits if name.startswith("HVI"))]
    fig, axes = plt.subplots(1, len(names), figsize=(3.3 * len(names), 3.9), sharey=True, layout="constrained")
    (x, y), density = results.contour.axes, np.exp(results.contour.log_density - results.contour.log_density.max())
    for axis, name in zip(np.atleast_1d(axes), names, strict=True):
        fit = results.fits[name]
        axis.plot(*fit.samples[:1000].T, ".", ms=2.5, alpha=0.35, color="C0")
        axis.contour(x, y, density.T, levels=[0.01, 0.05, 0.2, 0.5, 0.9], colors="black", linewidths=0.9)
        axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="logit m")
        axis.set_title(f"{name}\nbound {fit.bound:.3f} ± {fit.standard_error:.3f}", fontsize=9)
    np.atleast_1d(axes)[0].set_ylabel("log K")
    fig.suptitle("The beta-binomial posterior (contours at 1, 5, 20, 50, 90 % of its peak) and 1000 samples")
    return png(fig, DPI)


def bounds_figure(results: Results) -> bytes:
    """Each approximation's bound between the three reference lines."""
    fig, axis = plt.subplots(figsize=(8.0, 1.8 + 0.42 * len(results.fits)), layout="constrained")
    names = list(results.fits)
    for place, name in enumerate(reversed(names)):
        fit = results.fits[name]
        color = "C0" if name.startswith("HVI") else "C3" if name.startswith("HVAE") else "C7"
        axis.errorbar(fit.bound, place, xerr=1.96 * fit.standard_error, fmt="o", ms=4, capsize=3, color=color)
    axis.set_yticks(range(len(names)), names[::-1])
    lines = results.references
    for value, label, style in (
        (lines.mean_field, "best mean-field Gaussian", ":"),
        (lines.full_covariance, "best Gaussian", "-."),
        (lines.log_z, "log Z", "--"),
    ):
        axis.axvline(value, color="black", ls=style, lw=1.0, label=f"{label}, {value:.3f}")
    axis.set(xlabel="bound on log p(y), nats, with its 95 % interval", ylim=(-0.6, len(names) - 0.4))
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3, frameon=False)
    axis.grid(alpha=0.3, axis="x")
    axis.set_title("Trained on the beta-binomial posterior, from a mean-field q0", fontsize=10)
    return png(fig, DPI)
