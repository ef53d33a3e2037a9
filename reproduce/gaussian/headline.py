"""What Figure 1's report opens with, and whether its data sets are an unlikely draw: sentences made of the records."""

from typing import NamedTuple

import numpy as np

from reproduce.gaussian.configs import FIGURE_1A, LINES
from reproduce.gaussian.differences import difference
from reproduce.gaussian.problem import true_parameters
from reproduce.gaussian.records import Records
from reproduce.tables import markdown, t_half_width

FAR_BELOW = 0.1  # of the maximum likelihood's error
UNLIKELY = 0.05  # of all sizes together: a size's own level is this over twice their number


def headline(records: Records, variant: str) -> str:
    """What the figure shows at its largest size, and where a method lands below the maximum likelihood; a paragraph."""
    d = records.dims[-1]
    errors = _errors(records, variant, d)
    if not errors:
        return "**What the figure shows**: no line of Figure 1a has a record at the largest size."
    ml = _likeliest(records, variant, d)
    values = [f"{plain(errors[m].mean())} for {LINES[m].label}" for m in sorted(errors, key=lambda m: errors[m].mean())]
    text = (
        f"**What the figure shows**: at d = {d}, the largest size, the mean squared error of the parameters is "
        f"{_listed(values)}; the exact maximum likelihood on the same data has {plain(ml.mean())}. "
    )
    ours = [m for m in errors if m.startswith("hvae")]
    others = [m for m in errors if not m.startswith("hvae")]
    if ours and others:
        hvae, other = (min(found, key=lambda m: errors[m].mean()) for found in (ours, others))
        gap = difference(errors[hvae], errors[other], variant)
        said = {
            "lower": "has the smallest error there, as the paper says",
            "higher": "does not have the smallest error there",
            "not told apart": "cannot be told from the best other method there",
        }[gap.verdict]
        less = f"{plain(abs(gap.mean))}" + ("" if np.isnan(gap.half_width) else f" ± {gap.half_width:.2g}")
        way = "less" if gap.mean < 0 else "more"
        text += f"{LINES[hvae].label} {said}: {less} {way} than {LINES[other].label}. "
    return (text + _below(records, variant)).strip()


def _below(records: Records, variant: str) -> str:
    """Where a method's error of Delta is below the maximum likelihood's own, told by data sets."""
    far: dict[str, list[int]] = {}
    near: dict[str, list[int]] = {}
    for d in records.dims:
        for method in FIGURE_1A:
            error = records.results(variant, method, "delta_error").get(d)
            likeliest = records.results(variant, method, "ml_delta_error").get(d)
            if error is not None and difference(error, likeliest, variant).verdict == "lower":
                found = far if error.mean() <= (1.0 - FAR_BELOW) * likeliest.mean() else near
                found.setdefault(method, []).append(d)
    less = f"Less far below, yet told apart from it: {_where(near)}." if near else ""
    if not far:
        return less
    return (
        f"Errors of Δ more than {100 * FAR_BELOW:.0f} % below the maximum likelihood's ({_where(far)}) are no "
        "merit of a bound: training has stopped on its way from zero, which is near the true Δ where d is small. "
        + less
    )


def _where(found: dict[str, list[int]]) -> str:
    return "; ".join(
        f"{LINES[method].label} at d = {_listed([str(d) for d in dims])}" for method, dims in found.items()
    )


def plain(value: float) -> str:
    """Four digits, and no exponent: ``18 070``."""
    return f"{value:.4g}" if value < 1000 else f"{float(f'{value:.4g}'):,.0f}".replace(",", " ")


def _errors(records: Records, variant: str, d: int) -> dict[str, np.ndarray]:
    found = {m: records.results(variant, m, "theta_error").get(d) for m in FIGURE_1A}
    return {m: values for m, values in found.items() if values is not None}


def _likeliest(records: Records, variant: str, d: int, name: str = "ml_theta_error") -> np.ndarray:
    """The exact maximum likelihood's errors on the data of size d, which all methods share."""
    return next(v for m in LINES if (v := records.results(variant, m, name).get(d)) is not None)


def _listed(words) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# ------------------------------------------------------------------------------------------------------------ the draw


class Draw(NamedTuple):
    """How the data sets of a size fell.

    Attributes:
        d: The size.
        datasets: How many.
        mean: Of the maximum likelihood's squared error of Delta.
        expected: What that is in the long run.
        p: The probability of a mean at least so far on its side.
    """

    d: int
    datasets: int
    mean: float
    expected: float
    p: float


def draws(records: Records, variant: str) -> list[Draw]:
    """Every size's.

    The mean of the data is Delta_ML, and its error in coordinate j is normal with variance v_j = 1 + sigma_j^2 / N,
    for z is shared by all observations. So the sum over n data sets is chi-squared with n d degrees of freedom, times a
    v_j that differs from one by a part in N.
    """
    from scipy import stats

    found = []
    for d in records.dims:
        if not any(d in records.results(variant, m, "ml_delta_error") for m in LINES):
            continue
        errors = _likeliest(records, variant, d, "ml_delta_error")
        n = next(iter(records.by_key.values()))["configuration"]["num_observations"]
        expected = float(np.sum(1.0 + true_parameters(d)[1] ** 2 / n))
        total, freedom = errors.sum() * d / expected, len(errors) * d
        p = float(min(stats.chi2.cdf(total, freedom), stats.chi2.sf(total, freedom)))
        found.append(Draw(d, len(errors), float(errors.mean()), expected, p))
    return found


def draw_section(records: Records, variant: str, more: Records | None = None) -> str:
    """Which sizes have unlikely data sets, with `more` data sets where they are."""
    found = draws(records, variant)
    level = UNLIKELY / (2 * len(found))
    unlikely = [draw for draw in found if draw.p < level]
    said = [
        f"**At d = {x.d} the {x.datasets} data sets are an unlikely draw**: the exact maximum likelihood's error of "
        f"Delta has the mean {x.mean:.4g} where {x.expected:.4g} is expected, and so "
        f"{'small' if x.mean < x.expected else 'large'} a mean has probability {x.p:.1g}. Every method that comes near "
        "the maximum likelihood is drawn along, so the "
        f"{'dip' if x.mean < x.expected else 'bump'} there says nothing of methods"
        for x in unlikely
    ]
    text = (
        "## The draw of data sets\n\nAll methods have the same data sets, and an error is mostly that of the data "
        "themselves. "
        + (f"{'. '.join(said)}. " if said else "No size has an unlikely draw. ")
        + f"p is the probability of a mean at least so far on its side; below {level:.2g} it is called unlikely "
        f"({UNLIKELY:g} for all sizes together). Differences between methods are paired by data set, and so hardly "
        "touched by the draw.\n\n"
    )
    rows = [[x.d, x.datasets, f"{x.mean:.4g}", f"{x.expected:.4g}", f"{x.p:.2g}"] for x in found]
    text += markdown(["d", "data sets", "ML's error of Delta", "expected", "p"], rows) + "\n"
    if more is not None and more.by_key:
        text += "\n" + _more_section(records, more, variant)
    return text


def _more_section(records: Records, more: Records, variant: str) -> str:
    """Errors of the figure's data sets beside those of more of them, at the sizes that both have."""
    methods = [m for m in LINES if more.results(variant, m, "theta_error")]
    count = next(iter(more.by_key.values()))["configuration"]["datasets"]
    rows = []
    for d in more.dims:
        for records_, label in ((records, "the figure's"), (more, "more")):
            errors = [records_.results(variant, m, "theta_error").get(d) for m in methods]
            if all(e is None for e in errors):
                continue
            ml = _likeliest(records_, variant, d)
            rows.append([d, f"{label}, {len(ml)}", *(_interval(e) for e in (ml, *errors))])
    return (
        f"### More data sets at small d\n\n{count} data sets for each of the smallest sizes, a call of its own "
        "(`--preset small-d`, records and figures in [small-d/](small-d/report.md)); the first of them are the "
        "figure's. Mean squared error of the parameters with its 95 % t-interval.\n\n"
        + markdown(["d", "data sets", "exact ML", *methods], rows) + "\n"
    )  # fmt: skip


def _interval(values: np.ndarray | None) -> str:
    return "" if values is None else f"{values.mean():.3g} ± {t_half_width(values):.2g}"
