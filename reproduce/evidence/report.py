"""The page, the table and the picture of all gaps, functions of the records alone."""

import csv
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hvae_tf.targets.known import KNOWN_TARGETS
from reproduce.evidence.flows import FLOWS
from reproduce.evidence.optimum import FAMILIES, smallest_gap
from reproduce.tables import markdown, png

DPI = 110
SHOWN_FROM = 1e-3  # nats; a smaller gap has the colour of this one
TOLD = 3.0  # standard errors beyond which a mark is made
TOGETHER = 2.0  # standard errors of a difference within which two gaps are not told apart
FAR, RISING, NONE = "▲", "↗", "–"


class Cell(NamedTuple):
    """A flow on a target, over seeds.

    Attributes:
        gap: log Z - bound in nats, the mean over seeds; infinite if a training has no bound.
        standard_error: Of that, from the draws.
        smallest: Over seeds.
        largest: Over seeds.
        seeds: How many.
        rise: By how much the bound rose from the last tenth but one of the training to the last, the mean over seeds.
        rise_error: Its standard error, from the draws of those steps.
        excess: The gap less the largest that the flow would have at its optimum; NaN where nothing is known of it.
        without: How trainings ended that have no bound, in words.
        over_seeds: Standard error of the gap from the trainings' spread; 0 where there is one.
    """

    gap: float
    standard_error: float
    smallest: float
    largest: float
    seeds: int
    rise: float = 0.0
    rise_error: float = 0.0
    excess: float = math.nan
    without: str = ""
    over_seeds: float = 0.0

    @property
    def error(self) -> float:
        """That of the draws or that over trainings, whichever is larger."""
        return max(self.standard_error, self.over_seeds)

    @property
    def marks(self) -> str:
        """The signs that a reader is to see beside the gap."""
        if not math.isfinite(self.gap):
            return ""
        return FAR * (self.excess > TOLD * self.standard_error) + RISING * (self.rise > TOLD * self.rise_error)

    def show(self) -> str:
        """As the tables have it."""
        if not math.isfinite(self.gap):
            return self.without
        text = f"{digits(self.gap, self.standard_error)} ± {digits(self.standard_error, self.standard_error)}"
        if self.seeds > 1:
            text += f" ({digits(self.smallest, self.standard_error)} to {digits(self.largest, self.standard_error)})"
        return text + (f" {self.marks}" if self.marks else "")


def digits(value: float, error: float) -> str:
    """The value with as many decimals as its error has a say in."""
    return f"{value:.{min(5, max(1, 1 - math.floor(math.log10(error)))) if error > 0 else 5}f}"


def cells(records: Sequence[dict]) -> dict[tuple[str, str], Cell]:
    """By (flow, target), of what is on record."""
    found: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        settings = record["configuration"]
        found.setdefault((settings["flow"], settings["target"]), []).append(record)
    return {key: _cell(*key, of) for key, of in found.items() if key[0] in FLOWS and key[1] in KNOWN_TARGETS}


def _cell(flow, target, records):
    results = [record["results"] for record in records]
    if without := [_without(result) for result in results if result["gap"] is None or result["standard_error"] is None]:
        return Cell(math.inf, math.inf, math.inf, math.inf, len(results), without="; ".join(dict.fromkeys(without)))
    gaps = [result["gap"] for result in results]
    error = math.hypot(*(result["standard_error"] for result in results)) / len(results)
    rises, errors = zip(*map(_rise, records), strict=True)
    # every flow can leave z where it is, so its best is no worse than that of its Gaussian q0
    excess = float(np.mean(gaps)) - smallest_gap(target, FAMILIES.get(flow, False))
    return Cell(
        float(np.mean(gaps)), error, min(gaps), max(gaps), len(gaps), float(np.mean(rises)),
        math.hypot(*errors) / len(errors), excess,
        over_seeds=float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0,
    )  # fmt: skip


def _without(result: dict) -> str:
    """How a training ended that has no bound."""
    if lost := result.get("lost_draws"):
        return f"no bound: {lost} draws lost"
    return f"diverged at step {result['steps']}" if "steps" in result else "diverged"


def _rise(record: dict) -> tuple[float, float]:
    """Of the bound, from the last tenth but one of the steps to the last; and its standard error."""
    settings, bounds = record["configuration"], record["history"]["bound"]
    tenth = max(1, len(bounds) // 10)
    if len(bounds) < 2 * tenth:
        return 0.0, math.inf
    of_draw = record["results"]["standard_error"] * math.sqrt(settings["draws"])
    draws = tenth * settings["iterations"] // len(bounds) * settings["batch_size"]
    rise = float(np.mean(bounds[-tenth:]) - np.mean(bounds[-2 * tenth : -tenth]))
    return rise, of_draw * math.sqrt(2.0 / draws)


def report(records: Sequence[dict]) -> dict[str, str | bytes]:
    """The files, by name."""
    table = cells(records)
    flows = [flow for flow in FLOWS if any(key[0] == flow for key in table)]
    targets = [target for target in KNOWN_TARGETS if any(key[1] == target for key in table)]
    return {
        "report.md": page(records, table, flows, targets),
        "gaps.csv": gaps_csv(table),
        "heat.png": heat_map(table, flows, targets),
    }


def gaps_csv(table) -> str:
    """One row a cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["target", "flow", "gradients", "gap", "standard_error", "smallest", "largest", "seeds", "excess",
                     "rise", "rise_error", "error_over_seeds"])  # fmt: skip
    for (flow, target), cell in sorted(table.items(), key=lambda item: (item[0][1], list(FLOWS).index(item[0][0]))):
        numbers = [f"{value:.6f}" for value in cell[:4]]
        more = [f"{value:.6f}" for value in (cell.excess, cell.rise, cell.rise_error, cell.over_seeds)]
        writer.writerow([target, flow, FLOWS[flow].gradients, *numbers, cell.seeds, *more])
    return buffer.getvalue()


def page(records, table, flows, targets) -> str:
    """``report.md``."""
    training = records[0]["configuration"]
    rows = [
        (FLOWS[flow].title, FLOWS[flow].gradients, *(_shown(table, flow, target) for target in targets))
        for flow in flows
    ]
    known = [
        (
            target,
            KNOWN_TARGETS[target].title,
            KNOWN_TARGETS[target].difficulty,
            f"{KNOWN_TARGETS[target].log_evidence:g}",
            *(f"{smallest_gap(target, full):.4f}" for full in FAMILIES.values()),
        )
        for target in targets
    ]
    nearest = [(KNOWN_TARGETS[target].title, *_nearest(table, flows, target)) for target in targets]
    return f"""# Every flow on targets of known evidence

Generated by `reproduce/targets.py` from the records in this folder; nothing here is typed.

What a bound lacks of log Z, in nats, after {training["iterations"]} steps of Adam ({training["batch_size"]} draws a
step, learning rate {training["learning_rate"]:g} falling to a hundredth of that along a cosine): flow and diagonal
Gaussian q0 are trained together, all in float64. The bound is the mean over {training["draws"]} fresh draws, with the
standard error over them. {_over_seeds(table)}
Nothing was tuned for a target. What is compared is what so many steps reach, not what each flow could reach.

{markdown(("flow", "gradients a draw", *targets), rows)}

{_legend(table)}

![gaps](heat.png)

## The nearest

All whose gap is within {TOGETHER:g} standard errors of the difference of the smallest: they are not told apart. The
error is that of the draws, or over trainings where there are several and it is larger; of one training nobody knows
what another would have given.

{markdown(("target", "nearest", "the next", "its gap"), nearest)}

## The targets

{
        markdown(
            (
                "name",
                "what it is",
                "what is difficult",
                "log Z",
                "gap of the best diagonal Gaussian",
                "of the best Gaussian",
            ),
            known,
        )
    }

In Python: `hvae_tf.targets.known.KNOWN_TARGETS["funnel"].make()`. Log Z and the gaps of the best Gaussians are exact,
or by quadrature.
"""


def _shown(table, flow, target) -> str:
    """A cell, or why it is empty."""
    if cell := table.get((flow, target)):
        return cell.show()
    return "" if FLOWS[flow].applies(KNOWN_TARGETS[target]) else NONE


def _over_seeds(table) -> str:
    counts = sorted({cell.seeds for cell in table.values()})
    if counts == [1]:
        return "Each was trained once."
    some = "" if len(counts) == 1 else "Where there are several trainings "
    text = f"{some}the mean over {counts[-1]} seeds stands, with the smallest and the largest in brackets."
    return text[0].upper() + text[1:]


def _legend(table) -> str:
    """What the signs mean that stand in the table, and how often each does."""
    cells = list(table.values())
    lines = []
    if count := sum(FAR in cell.marks for cell in cells):
        lines.append(
            f"- {FAR} ({_times(count)}): the optimisation has not arrived. The gap is more than {TOLD:g} standard "
            "errors above that of the best diagonal Gaussian, to which every flow here comes as near as one likes (to "
            "that of the best Gaussian, where the flow is any Gaussian); both are in the last table."
        )
    if count := sum(RISING in cell.marks for cell in cells):
        lines.append(
            f"- {RISING} ({_times(count)}): it was still on its way. The bound rose by more than {TOLD:g} standard "
            "errors from the last tenth but one of the steps to the last."
        )
    if count := sum(not math.isfinite(cell.gap) for cell in cells):
        lines.append(
            f"- *diverged* ({_times(count)}): a draw of that step had no finite bound, so the step has no gradient. In "
            "a metric that changes along the path such are draws whose implicit equations were not solved."
        )
    lines.append(f"- {NONE}: the target does not say what its Fisher information is, which the flow needs.")
    lines.append(
        "- *Gradients* are those of log p. Fisher at q0's mean takes the metric once besides; Fisher at z about ten "
        "times a step, with its slopes, and starts from shorter steps. The planar layers share one set of parameters."
    )
    return "\n".join(lines)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _nearest(table, flows, target) -> tuple[str, str, str]:
    """All that are not told apart from the smallest gap of a target, and the first that is: its title and its gap."""
    found = [(table[flow, target], flow) for flow in flows if (flow, target) in table]
    found = sorted(((cell, flow) for cell, flow in found if math.isfinite(cell.gap)), key=lambda pair: pair[0].gap)
    if not found:
        return "none", "", ""
    best = found[0][0]
    together = [
        (cell, flow) for cell, flow in found
        if cell.gap - best.gap <= TOGETHER * math.hypot(cell.error, best.error)
    ]  # fmt: skip
    apart = [pair for pair in found if pair not in together]
    names = "; ".join(f"{FLOWS[flow].title} {cell.show()}" for cell, flow in together)
    return (names, FLOWS[apart[0][1]].title, apart[0][0].show()) if apart else (names, "", "")


def heat_map(table, flows, targets) -> bytes:
    """Gaps as colours, on a log scale, with the numbers in them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    gaps = np.array([[_colour(table.get((flow, target))) for target in targets] for flow in flows])
    shown = gaps[np.isfinite(gaps)]
    norm = LogNorm(SHOWN_FROM, max(shown.max(initial=0.0), 10 * SHOWN_FROM))
    figure, axes = plt.subplots(
        figsize=(1.6 + 1.25 * len(targets) + 2.2, 1.4 + 0.42 * len(flows)), layout="constrained"
    )
    colours = plt.get_cmap("viridis_r").with_extremes(bad="0.85")
    image = axes.imshow(np.ma.masked_invalid(gaps), norm=norm, cmap=colours, aspect="auto")
    for i, flow in enumerate(flows):
        for j, target in enumerate(targets):
            if (flow, target) in table:
                dark = np.isfinite(gaps[i, j]) and norm(gaps[i, j]) > 0.5
                text = _short(table[flow, target])
            else:
                dark, text = False, _shown(table, flow, target)
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(targets)), [KNOWN_TARGETS[target].title.split(",")[0] for target in targets], rotation=25)
    axes.set_yticks(range(len(flows)), [FLOWS[flow].title for flow in flows])
    axes.tick_params(axis="x", labelsize=8)
    figure.colorbar(image, label="log Z − bound, nats")
    return png(figure, DPI)


def _colour(cell):
    if cell is None or not math.isfinite(cell.gap):
        return math.nan
    return max(cell.gap, SHOWN_FROM)


def _short(cell):
    """A gap in a few signs; below its error it says so."""
    if not math.isfinite(cell.gap):
        return "diverged"
    if cell.gap < 2.0 * cell.standard_error:
        text = f"< {2.0 * cell.standard_error:.1g}"
    else:
        text = f"{cell.gap:.3f}" if cell.gap < 1.0 else f"{cell.gap:.3g}"
    return f"{text} {cell.marks}".rstrip()
