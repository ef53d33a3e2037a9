"""Figure 1's pictures: functions of the records alone."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator

from reproduce.gaussian.configs import LINES
from reproduce.gaussian.problem import true_parameters
from reproduce.tables import png, t_half_width

# colour, marker, its size and filling, dashes, width: where lines lie on each other, the narrow and dashed one is drawn
# over the broad one, and the small marker within the large one
STYLES = {
    "hvae-k1": ("C0", "o", 8.0, "none", "-", 2.4),
    "hvae-k10": ("C1", "s", 3.0, "full", (0, (4, 2)), 1.4),
    "hvae-k1-untempered": ("C5", "o", 8.0, "none", ":", 2.4),
    "hvae-k10-untempered": ("C6", "s", 3.0, "full", (0, (1, 1)), 1.4),
    "nf-k1": ("C2", "^", 8.0, "none", "-", 2.4),
    "nf-k30": ("C3", "v", 3.5, "full", (0, (4, 2)), 1.4),
    "vb": ("C4", "D", 5.0, "full", "-.", 1.4),
    "vb-sampled": ("C7", "D", 5.0, "none", (0, (1, 1)), 1.4),
}


def _line(axis, by_d, method, intervals):
    """The mean over data sets, with its 95 % t-interval where the data sets are independent trainings."""
    dims = sorted(by_d)
    if not dims:
        return
    mean = [by_d[d].mean() for d in dims]
    color, marker, size, fill, dash, width = STYLES[method]
    half = np.array([t_half_width(by_d[d]) if intervals and len(by_d[d]) > 1 else np.nan for d in dims])
    axis.errorbar(
        dims, mean, half, label=LINES[method].label, color=color, ls=dash, lw=width,
        marker=marker, ms=size, fillstyle=fill, mew=1.4, elinewidth=1.0, capsize=2.5 if fill == "none" else 4.5,
    )  # fmt: skip


def _maximum_likelihood_line(axis, records, variant, name):
    """The exact maximum likelihood's mean error: what a method with a tight bound would reach."""
    for method in LINES:
        by_d = records.results(variant, method, f"ml_{name}")
        if len(by_d) == len(records.dims):
            mean = [v.mean() for v in by_d.values()]
            axis.plot(list(by_d), mean, color="k", lw=7, alpha=0.18, label="exact ML", zorder=0, solid_capstyle="round")
            return


def _sizes(axis, records):
    """D on a logarithmic axis whose ticks are the sizes."""
    axis.set_xscale("log")
    axis.set_xticks(records.dims, [str(d) for d in records.dims])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(records.dims[0] / 1.25, records.dims[-1] * 1.25)
    axis.set_yscale("log", nonpositive="clip")
    axis.set_xlabel("d")
    axis.grid(alpha=0.3)


def _titles(variants) -> dict[str, str]:
    return {v: "corrected, with 95 % intervals" if v == "corrected" else v for v in variants}


def figure(records, variants, methods, title) -> bytes | None:
    """The paper's figure: mean of |theta - theta_hat|^2 against d, log y; a panel for each variant; None if empty."""
    if not any(records.results(v, m, "theta_error") for v in variants for m in methods):
        return None
    size = (3.4 + 4.8 * len(variants), 4.4)
    fig, axes = plt.subplots(1, len(variants), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, (variant, name) in zip(axes[0], _titles(variants).items(), strict=True):
        _maximum_likelihood_line(axis, records, variant, "theta_error")
        for method in methods:
            _line(axis, records.results(variant, method, "theta_error"), method, variant == "corrected")
        _sizes(axis, records)
        axis.set_title(name)
    axes[0, 0].set_ylabel(r"mean $\|\theta-\hat\theta\|_2^2$ over data sets")
    fig.legend(*axes[0, -1].get_legend_handles_labels(), fontsize=8, loc="outside right upper", handlelength=4)
    fig.suptitle(title)
    return png(fig, 130)


def parts(records, variants) -> bytes:
    """Delta and sigma apart, with 95 % intervals over data sets, the exact ML line and the floor E = d."""
    shape = (2, len(variants))
    size = (3.4 + 4.8 * len(variants), 8.0)
    fig, axes = plt.subplots(*shape, figsize=size, sharey="row", squeeze=False, layout="constrained")
    for column, (variant, label) in enumerate(_titles(variants).items()):
        for row, (name, symbol) in enumerate([("delta_error", r"\Delta"), ("sigma_error", r"\sigma")]):
            axis = axes[row, column]
            _maximum_likelihood_line(axis, records, variant, name)
            if name == "delta_error":
                floor = records.dims
            else:
                n = next(iter(records.by_key.values()))["configuration"]["num_observations"]
                floor = [np.sum(true_parameters(d)[1] ** 2) / (2 * n) for d in records.dims]
            axis.plot(
                records.dims, floor, "k:", lw=1.2, label="expected of ML:\nd for Δ,\n" + r"$\sum\sigma_j^2/(2N)$ for σ"
            )
            for method in LINES:
                _line(axis, records.results(variant, method, name), method, variant == "corrected")
            _sizes(axis, records)
            axis.set_title(f"{label}")
            if column == 0:
                axis.set_ylabel(rf"mean $\|{symbol}-\hat{symbol}\|_2^2$ over data sets")
    fig.legend(*axes[0, -1].get_legend_handles_labels(), fontsize=8, loc="outside right upper", handlelength=4)
    return png(fig, 130)


def learning_curves(records, variants) -> bytes:
    """Nats below the exact maximum of the evidence along training, at the smallest, a middle and the largest d."""
    dims = sorted({records.dims[0], records.dims[len(records.dims) // 2], records.dims[-1]})
    shape = (len(variants), len(dims))
    size = (2.0 + 4.0 * shape[1], 0.4 + 3.4 * shape[0])
    fig, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained")
    for row, variant in enumerate(variants):
        for column, d in enumerate(dims):
            axis = axes[row, column]
            for method, (color, *_, dash, width) in STYLES.items():
                record = records.by_key.get((variant, method, d))
                if record is None:
                    continue
                history, best = record["history"], np.mean(record["results"]["maximum_evidence"])
                known = history["exact_elbo"][0] is not None
                bound = np.array(history["exact_elbo" if known else "elbo"], float)
                below = np.where(
                    best - bound > 0, best - bound, np.nan
                )  # the faulty NF term is no bound: it may be above
                axis.plot(history["iteration"], below, color=color, ls=dash, lw=0.75 * width, label=LINES[method].label)
            axis.set(yscale="log", title=f"{variant}, d = {d}", xlabel="iteration (mean over data sets)")
            axis.grid(alpha=0.3)
        axes[row, 0].set_ylabel("max log p(D) − ELBO, nats")
    fig.legend(*axes[0, -1].get_legend_handles_labels(), fontsize=8, loc="outside right upper", handlelength=4)
    return png(fig, 130)
