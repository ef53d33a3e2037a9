"""The report on metrics: tables and verdicts, a function of the records alone."""

import csv
import io
import math
import textwrap

import numpy as np

from hvae_tf.runs import RecordError
from reproduce.riemann.settings import (
    BATCH_SIZE,
    FISHER_TURN,
    HIDDEN_UNITS,
    LATENT_SIZE,
    LEARNING_RATE,
    METHODS,
    SAMPLERS,
    TARGETS,
    TURN,
    Preset,
    cell_name,
    cells,
)
from reproduce.tables import fixed, markdown, t_half_width

WIDTH = 80
NORMAL_95 = 1.96
MEANS_ERROR = "effective_means_error"
NAMES = {"none": "no metric", "dense": "dense", "fisher": "Fisher"}
TITLES = {
    "logistic": "logistic regression, five observations",
    "banana": "banana, s = 2, b = 0.5",
    "funnel": "funnel, s = 1.5",
}


def report(records: dict, preset: Preset) -> dict[str, str | bytes]:
    """The files, by name.

    Raises:
        RecordError: If a record is missing.
    """
    from reproduce.riemann.figures import bounds_figure, samplers_figure, trajectories_figure

    digits = preset.digits
    wanted = [f"samplers-{name}" for name in TARGETS]
    wanted += [cell_name(*cell, seed) for cell in cells(digits) for seed in range(digits.seeds)]
    if missing := [name for name in wanted if name not in records]:
        raise RecordError(
            f"{len(missing)} records are missing ({', '.join(missing[:3])}, ...); run without --report-only"
        )
    found = {
        cell: [records[cell_name(*cell, seed)]["results"] for seed in range(digits.seeds)] for cell in cells(digits)
    }
    return {
        "report.md": page(records, found, preset),
        "samplers.csv": samplers_csv(records),
        "digits.csv": digits_csv(found),
        "trajectories.png": trajectories_figure(records),
        "samplers.png": samplers_figure(records),
        "digits.png": bounds_figure(found, digits),
    }


def rates(row) -> list[tuple[float, float]]:
    """Effective samples for 1000 gradients, for 1000 evaluations of gradient or metric, for a second; with errors."""
    value = np.array([row["effective"], row["effective_error"]])
    evaluations = row["gradients"] * (1.0 + row["metric_evaluations_per_step"])
    return [tuple(value / cost) for cost in (row["gradients"] / 1e3, evaluations / 1e3, row["seconds"])]


def _off(name, row) -> tuple[float, float]:
    """How far the worse of the means, and of the variances, is from what it is exactly, in standard errors."""
    from reproduce.riemann.samplers import problem

    where = problem(name)
    pairs = ("mean", where.mean), ("variance", where.sd**2)
    return tuple(
        float(np.max(np.abs(np.array(row[key]) - exact) / np.array(row[f"{key}_error"]))) for key, exact in pairs
    )


def _best_hmc(rows, measure: int) -> tuple[str, tuple[float, float]]:
    """Which HMC has most effective samples by this measure of cost, and how many."""
    found = {sampler: rates(rows[sampler])[measure] for sampler in SAMPLERS if sampler != "RMHMC"}
    best = max(found, key=lambda sampler: found[sampler][0])
    return best, found[best]


def _csv(head, rows) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([head, *rows])
    return buffer.getvalue()


def samplers_csv(records) -> str:
    """One row for each target and sampler."""
    head = ["target", "sampler", "step_size", "length", "acceptance", "per_1000_gradients", "standard_error",
            "of_means_alone", "per_1000_evaluations", "per_second", "metric_evaluations_per_step", "unsolved_proposals",
            "mean_off", "sd_off"]  # fmt: skip
    rows = []
    for name in TARGETS:
        for sampler in SAMPLERS:
            row = records[f"samplers-{name}"]["results"]["samplers"][sampler]
            (gradient, error), (evaluation, _), (second, _) = rates(row)
            rows.append([
                name, sampler, row["step_size"], row["length"], fixed(row["acceptance"], 3), fixed(gradient, 2),
                fixed(error, 2), fixed(1e3 * row["effective_means"] / row["gradients"], 2), fixed(evaluation, 2),
                fixed(second, 1), fixed(row["metric_evaluations_per_step"], 2), fixed(row["unsolved_proposals"], 5),
                *(fixed(off, 2) for off in _off(name, row)),
            ])  # fmt: skip
    return _csv(head, rows)


def digits_csv(found) -> str:
    """One row for each training."""
    head = ["method", "num_leapfrog_steps", "seed", "elbo", "elbo_error", "elbo_judged", "log_likelihood_judged"]
    rows = []
    for (method, steps), results in found.items():
        for seed, r in enumerate(results):
            values = [fixed(r[key], 4) for key in head[3:]]
            rows.append([method if steps else "vae", steps, seed, *values])
    return _csv(head, rows)


# ------------------------------------------------------------------------------------------------------------ the page


def page(records, found, preset: Preset) -> str:
    """The whole report."""
    sampling, digits = preset.sampling, preset.digits
    units = " and ".join(map(str, HIDDEN_UNITS))
    parts = [
        "# Metrics: where Riemannian dynamics help",
        "Generated by `reproduce/manifold.py` from the records in this folder; nothing here is typed. Intervals are at "
        "95 %. What the metrics are: [docs/manifold.md](../../docs/manifold.md).",
        "## Verdicts",
        _verdicts(records, found, digits),
        "## 1. Trajectories",
        "One path of leapfrog, G = I, and one of the generalised leapfrog in the target's Fisher information, from the "
        "same start, with the same momentum in units of the metric and the same ε. Grey: 1, 5, 20, 50 and 90 % of the "
        "peak.",
        "![trajectories](trajectories.png)",
        "## 2. Effective samples: HMC against RMHMC",
        f"{sampling.chains} chains from exact draws, with an accept step. Effective samples are the fewest of z − mean "
        "and of its squares, in both coordinates, the mean being the exact one; their standard errors are over eight "
        "groups of chains. Those of the means alone stand beside: a trajectory of half a turn takes z to the other "
        "side of the mean, which is antithetic: worth more than independent draws for the mean, and for nothing else. "
        f"For each sampler ε (of {_list(sampling.step_sizes)}) and the number of steps (of {_list(sampling.lengths)}; "
        f"RMHMC: up to {sampling.longest_in_metric}) are those with the most effective samples for a gradient on a "
        f"pilot of {sampling.pilot_steps} steps of each chain, of those with an acceptance of "
        f"{sampling.least_acceptance:g} or more, and with at most {100 * sampling.most_unsolved:g} % of proposals in "
        "which an equation has no solution that the iteration finds: such a proposal is refused, which leaves the "
        "target as it is only where it is rare. The table is "
        f"{sampling.steps} steps of each chain, with fresh noise. A step of RMHMC takes one gradient and several "
        "evaluations of the metric, which in two dimensions cost about as much; seconds are of a busy machine and of "
        "graphs of small operations. The second HMC has the inverse of the exact covariance for its metric, one for "
        "all places.",
        _samplers(records),
        _edges(records, sampling),
        "![effective samples](samplers.png)",
        "Means and standard deviations beside the exact ones; the last columns are how far the worse of the two "
        "coordinates is off, in standard errors over chains, the second by the variances. Where a sampler hardly "
        "moves, neither it nor its effective samples can be trusted, and are too good.",
        _moments(records),
        f"## 3. The bound against K on digits, l = {LATENT_SIZE}",
        f"Encoder and decoder with {units} units, {digits.epochs} epochs in batches of {BATCH_SIZE}, Adamax along a "
        f"cosine from {LEARNING_RATE:g}; {digits.seeds} seeds, each with the same networks and batches for all. No "
        "tempering. Without a metric the flow learns an ε for each dimension; in a metric, one ε; all start near a "
        f"quarter of a turn, ε K = {TURN:g}, in the Fisher metric {FISHER_TURN:g}, and the last column tells how far "
        "they went from there in so many epochs: each is judged not far from where it began. The bound is "
        f"the mean over 297 test digits of {digits.elbo_samples} samples; log p(x) is by annealed importance sampling "
        f"({digits.temperatures} temperatures) on the first {digits.judged}: what it exceeds the bound by is the "
        "posterior's fault, the rest is the decoder's.",
        _digits(found),
        "![bound against K](digits.png)",
        "Differences of the bound, seed by seed, from the flow without a metric at the same K, and from the VAE. The "
        "first say little where the flow without a metric is itself below the VAE, which is a flow of no steps:",
        _differences(found, digits),
        _along_k(found, digits),
    ]
    return (
        "\n\n".join(part if part.startswith(("|", "#", "!", "- ")) else textwrap.fill(part, WIDTH) for part in parts)
        + "\n"
    )


def _samplers(records) -> str:
    rows = []
    for name in TARGETS:
        for sampler in SAMPLERS:
            row = records[f"samplers-{name}"]["results"]["samplers"][sampler]
            gradient, *others = [_with_error(*rate) for rate in rates(row)]
            alone = _with_error(*(1e3 * row[key] / row["gradients"] for key in ("effective_means", MEANS_ERROR)))
            rows.append([
                TITLES[name], sampler, row["step_size"], row["length"], fixed(row["acceptance"]), gradient, alone,
                *others, fixed(row["metric_evaluations_per_step"], 1), f"{100 * row['unsolved_proposals']:.2g} %",
            ])  # fmt: skip
    head = ["target", "sampler", "ε", "steps", "acceptance", "per 1000 gradients", "of means alone",
            "per 1000 evaluations", "per second", "metric, per step", "proposals not solved"]  # fmt: skip
    return markdown(head, rows)


def _moments(records) -> str:
    from reproduce.riemann.samplers import problem

    def pair(values):
        return ", ".join(fixed(value) for value in values)

    rows = []
    for name in TARGETS:
        where = problem(name)
        rows.append([TITLES[name], "exactly", pair(where.mean), pair(where.sd), "", ""])
        for sampler in SAMPLERS:
            row = records[f"samplers-{name}"]["results"]["samplers"][sampler]
            offs = [fixed(off, 1) for off in _off(name, row)]
            rows.append(["", sampler, pair(row["mean"]), pair(np.sqrt(row["variance"])), *offs])
    return markdown(["target", "sampler", "means", "standard deviations", "mean off, s.e.", "sd off, s.e."], rows)


def _edges(records, sampling) -> str:
    """Where the best is at an end of what was tried."""
    found = []
    for name in TARGETS:
        for sampler in SAMPLERS:
            row = records[f"samplers-{name}"]["results"]["samplers"][sampler]
            grids = (
                ("ε", sampling.step_sizes, row["step_size"]),
                ("steps", sampling.lengths_of(sampler), row["length"]),
            )
            ends = [what for what, grid, value in grids if value == max(grid) or (value == min(grid) and value != 1)]
            if ends:
                found.append(f"{name}, {sampler} ({' and '.join(ends)})")
    if not found:
        return "No best setting is at an end of what was tried, but for one step, which is the least there is."
    return f"At an end of what was tried, so that a wider search may find better: {'; '.join(found)}."


def _list(values) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _with_error(value, error) -> str:
    """As many decimals as the error has to say."""
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f} ± {error:,.{places}f}"


def _mean(values, digits=2) -> str:
    width = t_half_width(values)
    mean = fixed(float(np.mean(values)), digits)
    return f"{mean} ± {width:.{digits}f}" if math.isfinite(width) else mean


def _digits(found) -> str:
    rows = []
    for (method, steps), results in found.items():
        lacks = [r["log_likelihood_judged"] - r["elbo_judged"] for r in results]
        ends = [np.mean(r["step_sizes"]) for r in results if "step_sizes" in r]
        rows.append([
            f"{NAMES[method]}, K = {steps}" if steps else "VAE", _mean([r["elbo"] for r in results]), _mean(lacks),
            _mean([r["log_likelihood_judged"] for r in results]), fixed(float(np.mean(ends))) if ends else "",
        ])  # fmt: skip
    return markdown(["", "bound", "log p(x) − bound", "log p(x), AIS", "ε at the end"], rows)


def _difference(found, method, steps, other=None) -> list[float]:
    """Of the bounds, seed by seed, to those of another cell: the flow without a metric at the same K by default."""
    pairs = zip(found[method, steps], found[other or ("none", steps)], strict=True)
    return [one["elbo"] - other["elbo"] for one, other in pairs]


def _differences(found, digits) -> str:
    others = [method for method in METHODS if method != "none"]
    rows = [
        [
            steps, *(_mean(_difference(found, method, steps), 3) for method in others),
            *(_mean(_difference(found, method, steps, ("none", 0)), 3) for method in METHODS),
        ]
        for steps in digits.steps
    ]  # fmt: skip
    head = ["K", *(f"{NAMES[method]} − no metric" for method in others), *(f"{NAMES[m]} − VAE" for m in METHODS)]
    return markdown(head, rows)


def _along_k(found, digits) -> str:
    """Whether bounds rise or fall from the least K to the largest."""
    low, high = digits.steps[0], digits.steps[-1]
    told = []
    for method in METHODS:
        values = _difference(found, method, high, (method, low))
        mean, half = float(np.mean(values)), t_half_width(values)
        word = {"more": "rises", "less": "falls"}.get(_told(mean - half, mean + half, 0.0), "changes within its error")
        told.append(f"{NAMES[method]} {word} by {mean:+.3f}" + (f" ± {half:.3f}" if math.isfinite(half) else ""))
    return f"From K = {low} to K = {high} the bound of {'; '.join(told)}."


# --------------------------------------------------------------------------------------------------------- the verdicts


def _ratio(one, other) -> tuple[float, float, float]:
    """The ratio of the two with its interval, from values with standard errors."""
    ratio = one[0] / other[0]
    half = NORMAL_95 * math.hypot(one[1] / one[0], other[1] / other[0])
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


def _told(low: float, high: float, null: float) -> str:
    return "more" if low > null else "less" if high < null else "not told apart"


def _gain(found, method, steps, other) -> tuple[str, str]:
    """A difference of bounds with its interval, as text, and what it says; nothing of one seed."""
    values = _difference(found, method, steps, other)
    mean, half = float(np.mean(values)), t_half_width(values)
    if not math.isfinite(half):
        return f"{mean:+.3f}", ""
    return f"{mean:+.3f} ± {half:.3f}", _told(mean - half, mean + half, 0.0)


def _verdicts(records, found, digits) -> str:
    verdicts = []
    measures = (
        "for each gradient of log p", "for each evaluation, those of the metric counted", "for each second here",
    )  # fmt: skip
    for measure, title in enumerate(measures):
        told = []
        for name in TARGETS:
            rows = records[f"samplers-{name}"]["results"]["samplers"]
            best, rate = _best_hmc(rows, measure)
            ratio, low, high = _ratio(rates(rows["RMHMC"])[measure], rate)
            told.append(f"{name} × {ratio:.2g} [{low:.2g}, {high:.2g}] of {best} ({_told(low, high, 1.0)})")
        verdicts.append(f"*RMHMC gives more effective samples than the better HMC*, {title}: {'; '.join(told)}.")
    for method, title in (("dense", "A learned dense metric"), ("fisher", "The Fisher information at the mean")):
        told = []
        for steps in digits.steps:
            beside, over = (_gain(found, method, steps, other) for other in (("none", steps), ("none", 0)))
            words = {beside[1], over[1]}
            word = words.pop() if len(words) == 1 else "not told apart"
            told.append(f"K = {steps}: {beside[0]} and {over[0]}" + (f" ({word})" if word else ""))
        verdicts.append(
            f"*{title} raises the bound on digits*, over one step size a dimension and over the VAE, both of which "
            f"have to say so: {'; '.join(told)} nats."
        )
    return "\n".join(textwrap.fill(f"- {verdict}", WIDTH, subsequent_indent="  ") for verdict in verdicts)
