"""The pictures of the report on metrics, from the records."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from reproduce.riemann.samplers import log_density, problem
from reproduce.riemann.settings import METHODS, SAMPLERS, TARGETS
from reproduce.tables import png, t_half_width

DPI = 110
COLORS = {"none": "C0", "dense": "C1", "fisher": "C2"}
MARKERS = {"none": "o", "dense": "s", "fisher": "^"}
LABELS = {"none": "no metric, ε per dimension", "dense": "dense, learned", "fisher": "Fisher, at the encoder's mean"}


def trajectories_figure(records) -> bytes:
    """One path of each integrator on each target, from the same start with the same momentum."""
    fig, axes = plt.subplots(1, len(TARGETS), figsize=(4.3 * len(TARGETS), 4.6), layout="constrained")
    for axis, name in zip(axes, TARGETS, strict=True):
        where, found = problem(name), records[f"samplers-{name}"]["results"]["trajectories"]
        paths = {label: np.array(found[label]["z"]) for label in ("leapfrog", "generalised leapfrog")}
        points = np.concatenate(list(paths.values()))
        density = np.exp(log_density(where.target, where.grid))
        axis.contour(
            *where.grid, density.T / density.max(), levels=[0.01, 0.05, 0.2, 0.5, 0.9], colors="0.6", linewidths=0.8
        )
        for (label, path), color in zip(paths.items(), ("C0", "C3"), strict=True):
            axis.plot(*path.T, "-o", ms=3, lw=1.2, color=color, label=label)
        axis.plot(*points[0], "*", ms=13, color="black", zorder=5, label="start")
        inside = np.argwhere(density > 0.01 * density.max())
        for setter, grid, column in ((axis.set_xlim, where.grid[0], 0), (axis.set_ylim, where.grid[1], 1)):
            held = np.concatenate([grid[inside[:, column]], points[:, column]])
            margin = 0.05 * (held.max() - held.min())
            setter(held.min() - margin, held.max() + margin)
        axis.set(xlabel="z₁", ylabel="z₂", title=f"{name}: ε = {found['step_size']}, {found['steps']} steps")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return png(fig, DPI)


def samplers_figure(records) -> bytes:
    """Effective samples by three measures of cost."""
    from reproduce.riemann.report import rates

    fig, axes = plt.subplots(1, 3, figsize=(12.0, 3.9), layout="constrained")
    titles = ("per 1000 gradients of log p", "per 1000 evaluations of gradient or metric", "per second")
    width = 0.8 / len(SAMPLERS)
    for measure, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for place, sampler in enumerate(SAMPLERS):
            found = [rates(records[f"samplers-{name}"]["results"]["samplers"][sampler])[measure] for name in TARGETS]
            at = np.arange(len(TARGETS)) + (place - 1) * width
            values, errors = np.transpose(found)
            axis.bar(at, values, width, yerr=1.96 * errors, capsize=3, color=f"C{place}", label=sampler)
        axis.set_xticks(range(len(TARGETS)), TARGETS)
        axis.set(yscale="log", ylabel="effective samples", title=title)
        axis.grid(alpha=0.3, axis="y")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return png(fig, DPI)


def bounds_figure(cells, digits) -> bytes:
    """The bound over the VAE's, and what it lacks of log p(x), against K."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")

    def gain(record, seed):
        return record["elbo"] - cells["none", 0][seed]["elbo"]

    def lack(record, seed):
        return record["log_likelihood_judged"] - record["elbo_judged"]

    for axis, value in ((left, gain), (right, lack)):
        for place, method in enumerate(METHODS):
            found = [[value(record, i) for i, record in enumerate(cells[method, steps])] for steps in digits.steps]
            at = np.array(digits.steps) * 1.04 ** (place - 1)
            widths = [t_half_width(values) if len(values) > 1 else 0.0 for values in found]
            axis.errorbar(
                at, np.mean(found, axis=1), yerr=widths, color=COLORS[method], marker=MARKERS[method], ms=5, capsize=3,
                label=LABELS[method],
            )  # fmt: skip
        plain = np.mean([value(record, i) for i, record in enumerate(cells["none", 0])])
        axis.axhline(plain, color="black", ls="--", label="VAE")
        axis.set_xscale("log")
        axis.set_xticks(digits.steps, digits.steps)
        axis.minorticks_off()
        axis.set_xlabel("leapfrog steps K")
        axis.grid(alpha=0.3)
    left.set(ylabel="bound − the VAE's of the same seed, nats", title="The bound")
    right.set(ylabel="log p(x) by annealing − bound, nats", title="What it lacks")
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return png(fig, DPI)
