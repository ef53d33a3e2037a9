"""Table 1's table and figures: functions of the records, the judge's, and the pictures kept beside them, alone."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from hvae_tf.files import atomic_write
from hvae_tf.runs import RecordError, RunStore, read_record
from reproduce.configs import TABLE1_CELLS, Evaluation
from reproduce.mnist.baseline import read_baseline
from reproduce.mnist.cells import label, paper_runs
from reproduce.mnist.comparison import (
    MEASURES,
    Table,
    check_judged,
    protocol,
    same_model,
)
from reproduce.mnist.curves import equal_time, training_curves
from reproduce.mnist.evaluation import read_run_record
from reproduce.mnist.inference import how_near
from reproduce.mnist.lengths import longer_than
from reproduce.mnist.paper import evidence
from reproduce.mnist.pictures import load_pictures, posterior_correlation_figure, reconstructions, samples
from reproduce.mnist.summary import NO_LATENT, against_baseline, over_seeds, samples_head
from reproduce.mnist.times import recorded_seconds
from reproduce.mnist.verdicts import at_equal_time, claims_judged, differences
from reproduce.tables import fixed, markdown, mean_half_up

COLUMNS = (
    "cell", "K", "tempering", "step_size", "seed", "epochs", "neg_elbo", "neg_elbo_sd", "nll", "nll_sd", "paper_nll",
)  # fmt: skip


def write_report(folder: Path, judge: Path | None = None, longer: Path | None = None) -> list[Path]:
    """Writes ``table1.csv``, ``table1.md`` and the figures; gives their paths. Nothing where there is no record.

    Args:
        folder: Where the records are.
        judge: Where the judge's records are, by the names of the runs; None, or a folder that is not there: no AIS.
        longer: Where `training_length.py` has its trainings, for the comparison at equal time.

    Raises:
        RecordError: If a record or a picture is damaged, or the records are not of one protocol.
    """
    table = load_table(folder, judge, longer)
    return write_table(folder, table) if table.records else []


def write_table(folder: Path, table: Table) -> list[Path]:
    """What `write_report` writes, of a table that is loaded already."""
    contents = {
        "table1.csv": table_csv(table),
        "table1.md": table_markdown(table),
        "training_curves.png": training_curves(table),
        "equal_time.png": equal_time(table),
    }
    shown = load_pictures(folder, table.cells)
    if shown:
        contents |= {
            "samples.png": samples(shown),
            "reconstructions.png": reconstructions(shown),
            "posterior_correlation.png": posterior_correlation_figure(shown),
        }
    contents = {name: data for name, data in contents.items() if data is not None}
    for name, data in contents.items():
        atomic_write(folder / name, data)
    return [folder / name for name in contents]


def load_table(folder: Path, judge: Path | None = None, longer: Path | None = None) -> Table:
    """The records of a folder in the table's order, with those of the judge that are of the same trained models."""
    records = sorted(map(read_run_record, sorted(RunStore(folder).folder.glob("*.json"))), key=_order)
    protocols = {protocol(record): record["name"] for record in records}
    if len(protocols) > 1:
        one, other = list(protocols.values())[:2]
        raise RecordError(f"{folder}: {one} and {other} are of unlike protocols; keep them in folders of their own")
    judged = {}
    for record in records:
        path = None if judge is None else judge / f"{record['name']}.json"
        if path is not None and path.exists():
            found = read_record(path)
            check_judged(found, str(path))
            if same_model(record, found):
                judged[record["name"]] = found
    baseline = read_baseline(folder)
    if baseline is not None and records and baseline["data_fingerprint"] != records[0]["data_fingerprint"]:
        baseline = None
    return Table(records, judged, baseline, longer_than(records, longer))


def _order(record):
    return list(TABLE1_CELLS).index(record["configuration"]["cell"]), record["seed"]


def _mean_and_sd(values) -> tuple[float, float]:
    """Mean, and standard deviation over repeats; NaN for a single one."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _paper(record) -> list[dict[str, str]]:
    """The paper's runs of the same cell; none where the data are not the paper's."""
    configuration = record["configuration"]
    return paper_runs(configuration["cell"]) if configuration["dataset"] == "mnist" else []


def _paper_mean(record, name: str) -> str:
    """The mean over the paper's runs as the paper prints it; nothing where it has none."""
    return mean_half_up([run[name] for run in _paper(record)])


def table_csv(table: Table) -> str:
    """One row a run; the standard deviations are those of its repeated evaluations."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    judged = ["ais", "ais_gap"] if table.judged else []
    writer.writerow([*COLUMNS, *judged])
    for record in table.records:
        cell, results = record["configuration"]["cell"], record["results"]
        spec = TABLE1_CELLS[cell]
        neg_elbo, nll = (_mean_and_sd(results[name]) for name in ("neg_elbo", "nll"))
        ais = table.score(record, "ais")
        extra = [fixed(ais.mean if ais else None, 4), fixed(table.gap(record), 4)]
        writer.writerow([
            cell, spec.num_leapfrog_steps or "", spec.tempering, spec.step_size, record["seed"],
            results["training"]["epochs"], *(fixed(v, 4) for v in (*neg_elbo, *nll)),
            _paper_mean(record, "nll"), *(extra if judged else []),
        ])  # fmt: skip
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------------ the page


def table_markdown(table: Table) -> str:
    """The table by cells, what is ours beside what is the paper's, the differences, the claims, and how to read it."""
    config, full = table.records[0]["configuration"], Evaluation()
    early = "no early stopping" if config["patience"] is None else f"early stopping after {config['patience']}"
    cheap = f" **Cheap look: not the protocol's {full.samples} samples on all test images.**" if _cheap(table) else ""
    parts = [
        f"# Table 1 on {config['dataset']}",
        "Generated by `reproduce/table1.py` from the records in this folder; nothing here is typed.",
        f"Nats per image, lower is better. Every cell: Adamax, {config['schedule']} learning rate "
        f"{config['learning_rate']:g}, batches of {config['batch_size']}, at most {config['max_epochs']} epochs, "
        f"{early}. Each model is judged on the first so many test images, binarised once, with so many importance "
        f"samples, so many times, as the second table says.{cheap}",
        _main_table(table),
        *against_baseline(table),
        "± is half a 95 % t-interval over seeds, absent with one; one spread over seeds is taken for all cells. "
        "IS is the negative log-likelihood by importance sampling from the model's own approximate posterior, an "
        "upper bound in expectation"
        + _on_ais(table) +
        " Seconds an epoch are those that passed, on the cores that each run had and beside whatever else ran: "
        "they do not compare cells (the benchmarks do). The paper's values are means of its supplement's single "
        "runs, trained for the epochs shown: **compare cells of one table with each other; compare with the paper"
        " only where the epochs agree.** *Posterior correlation* is the root mean square correlation between two "
        "latents given the image, less what independent latents would show in as many samples (negative means "
        "less than that): a mean-field posterior has none.",
        "## What was judged, and the spreads",
        _spread_table(table),
        "The spreads are apart: over seeds (trainings), over evaluations of one model (importance sampling's noise), "
        "and the standard error that comes of having so many test images and no more, which is common to cells judged "
        "on the same images: it drops out of their differences.",
        _hours(table),
        *differences(table),
        *claims_judged(table),
        *how_near(table),
        *(evidence() if config["dataset"] == "mnist" else []),
        *at_equal_time(table),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _hours(table: Table) -> str:
    """What all of it took, by kind of work."""
    results = [record["results"] for record in table.records]
    hours = {
        "training": sum(value for r in table.records if not math.isnan(value := recorded_seconds(r))) / 3600.0,
        "IS": sum(r.get("evaluation_seconds") or 0.0 for r in results) / 3600.0,
        "AIS and BDMC": sum(j["results"].get("seconds") or 0.0 for j in table.judged.values()) / 3600.0,
    }
    said = ", ".join(f"{_hours_of(value)} of {name}" for name, value in hours.items() if value)
    return (
        f"The hours that these {len(table.records)} runs took by the clock, each on the cores that it had: {said} "
        "(where parts were done side by side, each counts)."
    )


def _hours_of(value: float) -> str:
    return f"{value:.0f}" if value >= 10.0 else f"{value:.2g}"


def _on_ais(table: Table) -> str:
    if not table.judged:
        return "."
    return (
        "; what it misses may differ by model. AIS is the same by annealed importance sampling, on the "
        f"first {table.ais_images} test images, with BDMC's gap beside it, the mean over seeds: **where "
        "models are compared, the AIS column compares.**"
    )


def _main_table(table: Table) -> str:
    ais = ["AIS", "gap"] if table.judged else []
    head = [
        "model", "`--cells`", "seeds", "epochs", "−ELBO", samples_head(table), *ais, "seconds an epoch", "paper −ELBO",
        "paper NLL", "paper epochs", "posterior correlation",
    ]  # fmt: skip
    rows = []
    if table.baseline("nll") is not None:
        values = [fixed(table.baseline(n)) for n in MEASURES]
        rows.append([NO_LATENT, "", "", "", *values[:2], *([values[2], ""] if ais else []), *[""] * 5])
    for cell, group in table.cells.items():
        means = {n: over_seeds(table, cell, n) for n in MEASURES}
        gaps = [gap for record in group if not math.isnan(gap := table.gap(record))]
        gap = float(np.mean(gaps)) if gaps else None
        seconds = [s for r in group if (s := r["results"]["training"].get("seconds_per_epoch")) is not None]
        rows.append([
            label(cell), cell, len(group), "/".join(str(r["results"]["training"]["epochs"]) for r in group),
            means["neg_elbo"], means["nll"], *([means["ais"], fixed(gap)] if ais else []),
            "/".join(f"{s:.3g}" for s in seconds),
            _paper_mean(group[0], "neg_elbo"), _paper_mean(group[0], "nll"),
            "/".join(run["epochs"] for run in _paper(group[0])),
            f"{np.mean([r['results']['posterior_correlation'] for r in group]):.4f}",
        ])  # fmt: skip
    return markdown(head, rows)


def _spread_table(table: Table) -> str:
    measures = [m for m in MEASURES if m != "ais" or table.judged]
    head = [
        "model", "images × samples × times", *(f"sd over seeds, {MEASURES[m]}" for m in measures),
        "sd over evaluations (largest)", "s.e. over images",
    ]  # fmt: skip
    rows = []
    for cell, group in table.cells.items():
        sds = [_mean_and_sd([s.mean for s in table.scores(cell, m)] or [math.nan])[1] for m in measures]
        noise = [_mean_and_sd(r["results"]["nll"])[1] for r in group]
        image = [_image_error(r["results"]) for r in group]
        rows.append([
            label(cell), "/".join(sorted({_judged_on(r) for r in group})), *map(fixed, sds),
            fixed(float(np.nanmax(noise)) if not np.all(np.isnan(noise)) else math.nan, 3), fixed(max(image)),
        ])  # fmt: skip
    return markdown(head, rows)


def _image_error(results) -> float:
    sd = results["nll_image_sd"]
    return math.nan if sd is None else sd / math.sqrt(results["evaluation"]["images"])


def _judged_on(record) -> str:
    evaluation = record["results"]["evaluation"]
    return f"{evaluation['images']} × {evaluation['samples']} × {evaluation['repeats']}"


def _cheap(table: Table) -> bool:
    """Whether any record was judged on less than the published protocol."""
    full = Evaluation()
    evaluations = [r["results"]["evaluation"] for r in table.records]
    return any(e["samples"] < full.samples or e["images"] < e["of"] for e in evaluations)
