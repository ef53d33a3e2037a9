"""``report.md``: each claim of section 4.1 with what the numbers say. Generated from the records alone."""

import numpy as np

from reproduce.gaussian.configs import FIGURE_1A, LINES
from reproduce.gaussian.differences import Difference, difference
from reproduce.gaussian.headline import draw_section, headline
from reproduce.gaussian.records import ERRORS, Records
from reproduce.tables import markdown


def _table(head, rows) -> str:
    return markdown(head, rows) + "\n"


def report(records: Records, variants, more: Records | None = None) -> str:
    """``report.md``: what the figure shows, and each claim of section 4.1 with what the numbers say.

    `more` are records of more data sets at some sizes, if there are any.
    """
    example = next(iter(records.by_key.values()))["configuration"]
    text = [
        "# Figure 1: what the numbers say\n",
        f"{headline(records, variants[0])}\n",
        "Generated from the records in this folder by `reproduce/figure1_gaussian.py`; nothing here is typed.\n",
        f"{example['iterations']} RMSProp iterations, {example['datasets']} data sets of N = "
        f"{example['num_observations']}, {example['num_samples']} samples an ELBO; VB's is an expectation in closed "
        "form, but for the line that is sampled. Errors are squared 2-norms. Every ± is the half width of a 95 % "
        "t-interval over data sets; differences are paired by data set; the 'best other' method is the one with the "
        "smallest mean on the same data. 'ML' is "
        "the exact maximum likelihood on the same data, which a converged method with a tight bound reaches. z cannot "
        "be told from Delta, so E|Delta_ML - Delta|^2 is about d. A method that has not converged can land below ML "
        "in Delta where the true Delta is near the zero that training starts from, and above it where it is far.\n",
    ]
    lines = {v: [m for m in LINES if any((v, m, d) in records.by_key for d in records.dims)] for v in variants}
    missing = [
        f"{v} {m} d={d}" for v in variants for m in lines[v] for d in records.dims if (v, m, d) not in records.by_key
    ]
    if missing:
        text.append(f"**Not complete**: no record of {', '.join(missing)}.\n")
    absent = [LINES[m].label for m in LINES if not any(m in found for found in lines.values())]
    if absent:
        text.append(f"Not asked for, and not here: {'; '.join(absent)}.\n")
    text.append(draw_section(records, variants[0], more))
    for variant in variants:
        text.append(f"## Variant `{variant}`\n")
        if variant == "as-released":
            text.append(
                "Its data sets are one chain of warm starts, not independent trainings, and errors trend along it: "
                "there are no intervals here, and 'lower' or 'higher' means in every data set.\n"
            )
        text += [_claims(records, variant), _excess_table(records, variant), _convergence(records, variant)]
        if variant == "as-released":
            text.append(_warm_start(records))
    return "\n".join(text)


def _claims(records, variant) -> str:
    d = records.dims[-1]
    at = {m: {n: records.results(variant, m, n).get(d) for n in ERRORS} for m in LINES}
    at = {m: values for m, values in at.items() if values["theta_error"] is not None}
    out = [f"### The paper's claims, at the largest size d = {d}\n"]
    out.append(_first_claim(records, variant))
    out.append(
        _worst_claim(
            at, variant, "vb", "delta_error", '"The VB method suffers most on prediction of Delta as d increases"'
        )
    )
    for method in ("nf-k1", "nf-k30"):
        out.append(
            _worst_claim(
                at, variant, method, "sigma_error", f'"The NF method does poorly on predicting Sigma" ({method})'
            )
        )
    for method in ("hvae-k1", "hvae-k10"):
        out.append(_tempering_claim(records, variant, method))
    return "\n".join(line for line in out if line)


def _first_claim(records, variant) -> str:
    """HVAE performs best as d increases: each HVAE against the best of the others, size by size."""
    head, rows, verdicts = ["d", "HVAE", "best other", "HVAE − other"], [], []
    for d in records.dims:
        errors = {m: records.results(variant, m, "theta_error").get(d) for m in FIGURE_1A}
        others = {m: e for m, e in errors.items() if e is not None and not m.startswith("hvae")}
        for hvae in ("hvae-k1", "hvae-k10"):
            if errors[hvae] is None or not others:
                continue
            best = min(others, key=lambda m: others[m].mean())
            gap = difference(errors[hvae], others[best], variant)
            rows.append(
                [d, f"{hvae} {errors[hvae].mean():.4g}", f"{best} {others[best].mean():.4g}", f"{gap}, {gap.verdict}"]
            )
            if d == records.dims[-1]:
                verdicts.append(f"{hvae} is {_said(gap)} the best other method ({best}): {gap}")
    if not rows:
        return ""
    title = '**"As the dimension increases, HVAE performs best in parameter estimation"** — '
    return title + "; ".join(verdicts) + ".\n\n" + _table(head, rows)


def _said(gap: Difference) -> str:
    return {"lower": "better than", "higher": "worse than", "not told apart": "not told apart from"}[gap.verdict]


def _worst_claim(at, variant, method, name, claim) -> str:
    """Whether `method` has the largest error of its kind, against every other line of Figure 1a."""
    if method not in at:
        return ""
    sentences, worse = [], []
    for other in FIGURE_1A:
        if other in at and other != method and not (method.startswith("nf") and other.startswith("nf")):
            gap = difference(at[method][name], at[other][name], variant)
            worse.append(gap.verdict == "higher")
            sentences.append(f"against {other} {at[other][name].mean():.4g}: {gap}, {gap.verdict}")
    verdict = "holds" if worse and all(worse) else "holds in part" if any(worse) else "does not hold"
    return f"**{claim}** — {verdict}: {name} of {method} is {at[method][name].mean():.4g}; {'; '.join(sentences)}.\n"


def _tempering_claim(records, variant, method) -> str:
    rows, last = [], None
    for d in records.dims:
        a, b = (records.results(variant, m, "theta_error").get(d) for m in (method, f"{method}-untempered"))
        if a is not None and b is not None:
            last = difference(a, b, variant)
            rows.append([d, f"{a.mean():.4g}", f"{b.mean():.4g}", f"{last}, {last.verdict}"])
    if not rows:
        return ""
    held = {"lower": "holds", "higher": "is contradicted", "not told apart": "is not shown"}[last.verdict]
    title = (
        f'**"The tempered methods perform better than their non-tempered counterparts"** ({method}) — {held} there.\n\n'
    )
    return title + _table(["d", "tempered", "beta_0 = 1", "difference"], rows)


def _excess_table(records, variant) -> str:
    """Error above that of the exact maximum likelihood on the same data."""
    out = ["### Error above the exact maximum likelihood's\n"]
    for name in ("delta_error", "sigma_error"):
        rows = []
        for d in records.dims:
            row, likeliest = [d], None
            for method in LINES:
                error = records.results(variant, method, name).get(d)
                exact = records.results(variant, method, f"ml_{name}").get(d)
                likeliest = exact if exact is not None else likeliest
                row.append("" if error is None else str(difference(error, exact, variant)))
            row.insert(1, f"{likeliest.mean():.4g}" if likeliest is not None else "")
            rows.append(row)
        out.append(f"{name}:\n\n" + _table(["d", "ML itself", *LINES], rows))
    return "\n".join(out)


def _convergence(records, variant) -> str:
    """How far each method ended from the optimum of its own bound, where that is known exactly."""
    methods = [m for m in LINES if not m.startswith("nf")]
    rows, loose = [], []
    for d in records.dims:
        row, bound = [d], [d]
        for method in methods:
            reached = records.results(variant, method, "exact_elbo").get(d)
            best, likeliest = (
                records.results("corrected", method, n).get(d) for n in ("optimal_elbo", "maximum_evidence")
            )
            if reached is None or best is None or len(best) != len(reached):
                row.append("")
                bound.append("")
                continue
            row.append(f"{np.mean(best - reached):.3g} (max {np.max(best - reached):.3g})")
            bound.append(f"{np.mean(likeliest - best):.3g}")
        rows.append(row)
        loose.append(bound)
    return (
        "### Converged?\n\nNats between the method's exact bound where training stopped and the optimum of that bound: "
        "mean (largest) over data sets. For HVAE the optimum is the closed form's, the best that L-BFGS finds from "
        "where training stopped (in variant corrected) and from a few other step sizes; for VB it is the evidence at "
        "the maximum likelihood. A planar flow's optimum is not known.\n\n"
        + _table(["d", *methods], rows)
        + "\nNats between the optimum of the bound and the maximum of the evidence (what the family itself costs):\n\n"
        + _table(["d", *methods], loose)
    )


def _warm_start(records) -> str:
    """The first data set is a fresh start, the others go on from it: what the chain itself does."""
    rows = []
    d = records.dims[-1]
    for method in LINES:
        released = records.results("as-released", method, "theta_error").get(d)
        exact = records.results("as-released", method, "ml_theta_error").get(d)
        fresh = records.results("corrected", method, "theta_error").get(d)
        if released is None or len(released) < 2:
            continue
        baseline = ["", ""] if fresh is None else _first_and_rest(fresh - exact)
        rows.append([method, *_first_and_rest(released - exact), *baseline])
    return (
        f"### What the warm start does\n\ntheta_error above ML's at d = {d}. Data set 0 is a fresh start in both "
        "variants, so its column shows the planar flow's faulty term, up to noise; the rest adds the warm start.\n\n"
        + _table(
            ["method", "as-released, data set 0", "as-released, rest", "corrected, data set 0", "corrected, rest"], rows
        )
    )


def _first_and_rest(excess: np.ndarray) -> list[str]:
    return [f"{excess[0]:.4g}", f"{excess[1:].mean():.4g}"]
