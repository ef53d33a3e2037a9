"""Figure 1's pictures: functions of the records alone."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from reproduce.gaussian.configs import LINES
from reproduce.gaussian.problem import true_parameters
from reproduce.tables import png

STYLES = {
    "hvae-k1": ("C0", "o", "-"),
    "hvae-k10": ("C1", "s", "-"),
    "hvae-k1-untempered": ("C0", "o", "--"),
    "hvae-k10-untempered": ("C1", "s", "--"),
    "nf-k1": ("C2", "^", "-"),
    "nf-k30": ("C3", "v", "-"),
    "vb": ("C4", "D", "-"),
}


def _line(axis, by_d, method, bars=False):
    dims = sorted(by_d)
    if not dims:
        return
    mean = [by_d[d].mean() for d in dims]
    color, marker, dash = STYLES[method]
    style = {"color": color, "marker": marker, "ls": dash, "ms": 4, "lw": 1.3, "label": LINES[method].label}
    if bars:
        error = [by_d[d].std(ddof=1) / np.sqrt(len(by_d[d])) if len(by_d[d]) > 1 else 0.0 for d in dims]
        axis.errorbar(dims, mean, error, capsize=2, **style)
    else:
        axis.plot(dims, mean, **style)


def _maximum_likelihood_line(axis, records, variant, name):
    """The exact maximum likelihood's mean error: what a method with a tight bound would reach."""
    for method in LINES:
        by_d = records.results(variant, method, f"ml_{name}")
        if len(by_d) == len(records.dims):
            axis.plot(
                list(by_d), [v.mean() for v in by_d.values()], color="k", lw=2.5, alpha=0.35, label="exact ML", zorder=0
            )
            return


def figure(records, variants, methods, title) -> bytes:
    """The paper's layout: mean of |theta - theta_hat|^2 against d, log y; a panel for each variant."""
    fig, axes = plt.subplots(1, len(variants), figsize=(1.2 + 4.6 * len(variants), 4.2), sharey=True, squeeze=False)
    for axis, variant in zip(axes[0], variants, strict=True):
        _maximum_likelihood_line(axis, records, variant, "theta_error")
        for method in methods:
            _line(axis, records.results(variant, method, "theta_error"), method)
        axis.set(xlabel="d", yscale="log", title=variant)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel(r"mean $\|\theta-\hat\theta\|_2^2$")
    axes[0, -1].legend(fontsize=8)
    fig.suptitle(title)
    fig.tight_layout()
    return png(fig, 130)


def parts(records, variants) -> bytes:
    """Delta and sigma apart, with standard errors over data sets, the exact ML line and the floor E = d."""
    fig, axes = plt.subplots(2, len(variants), figsize=(1.2 + 5.2 * len(variants), 8.0), sharey="row", squeeze=False)
    for column, variant in enumerate(variants):
        for row, (name, symbol) in enumerate([("delta_error", r"\Delta"), ("sigma_error", r"\sigma")]):
            axis = axes[row, column]
            _maximum_likelihood_line(axis, records, variant, name)
            if name == "delta_error":
                axis.plot(records.dims, records.dims, "k:", lw=1.2, label="E of ML, about d")
            else:
                n = next(iter(records.by_key.values()))["configuration"]["num_observations"]
                floor = [np.sum(true_parameters(d)[1] ** 2) / (2 * n) for d in records.dims]
                axis.plot(records.dims, floor, "k:", lw=1.2, label=r"floor $\sum\sigma_j^2/(2N)$")
            for method in LINES:
                _line(axis, records.results(variant, method, name), method, bars=True)
            axis.set(xlabel="d", yscale="log", xscale="log", title=f"{variant}: $\\|{symbol}-\\hat{symbol}\\|_2^2$")
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    fig.tight_layout()
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
            for method, (color, _, dash) in STYLES.items():
                record = records.by_key.get((variant, method, d))
                if record is None:
                    continue
                history, best = record["history"], np.mean(record["results"]["maximum_evidence"])
                known = history["exact_elbo"][0] is not None
                bound = np.array(history["exact_elbo" if known else "elbo"], float)
                below = np.where(
                    best - bound > 0, best - bound, np.nan
                )  # the faulty NF term is no bound: it may be above
                axis.plot(history["iteration"], below, color=color, ls=dash, lw=1.2, label=LINES[method].label)
            axis.set(yscale="log", title=f"{variant}, d = {d}", xlabel="iteration (mean over data sets)")
            axis.grid(alpha=0.3)
        axes[row, 0].set_ylabel("max log p(D) − ELBO, nats")
    fig.legend(*axes[0, -1].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    return png(fig, 130)
