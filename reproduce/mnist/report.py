"""Table 1's table and figures: functions of the records, and of the pictures kept beside them, alone."""

import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hvae_tf.records import RecordError, RunStore, atomic_write, read_record
from reproduce.configs import TABLE1_CELLS, Cell, Evaluation
from reproduce.mnist.cells import paper_runs as runs_of_the_paper
from reproduce.mnist.pictures import load_pictures, posterior_correlation_figure, reconstructions, samples
from reproduce.tables import fixed, markdown, mean_half_up, png, t_half_width

COLUMNS = (
    "cell", "K", "tempering", "step_size", "seed", "epochs", "neg_elbo", "neg_elbo_sd", "nll", "nll_sd", "paper_nll",
)  # fmt: skip


def write_report(folder: Path) -> list[Path]:
    """Writes ``table1.csv``, ``table1.md`` and the figures; gives their paths. Nothing where there is no record."""
    paths = sorted(RunStore(folder).folder.glob("*.json"))
    records = sorted((read_record(path) for path in paths), key=_order)
    if not records:
        return []
    protocols = {json.dumps(_protocol(record), sort_keys=True): record["name"] for record in records}
    if len(protocols) > 1:
        one, other = list(protocols.values())[:2]
        raise RecordError(f"{folder}: {one} and {other} are of unlike protocols; keep them in folders of their own")
    contents = {
        "table1.csv": table_csv(records),
        "table1.md": table_markdown(records),
        "training_curves.png": training_curves(records),
    }
    shown = load_pictures(folder, _by_cell(records))
    if shown:
        contents |= {
            "samples.png": samples(shown),
            "reconstructions.png": reconstructions(shown),
            "posterior_correlation.png": posterior_correlation_figure(shown),
        }
    for name, data in contents.items():
        atomic_write(folder / name, data)
    return [folder / name for name in contents]


def _protocol(record) -> dict:
    """What is common to all cells of one table."""
    cell_fields = {"cell", *(field.name for field in dataclasses.fields(Cell))}
    # a cell's initial step size goes by the name of the cell's kind of step size, so it is not compared
    return {name: value for name, value in record["configuration"].items() if name not in cell_fields}


def _order(record):
    return list(TABLE1_CELLS).index(record["configuration"]["cell"]), record["seed"]


def _by_cell(records) -> dict[str, list]:
    cells: dict[str, list] = {}
    for record in records:
        cells.setdefault(record["configuration"]["cell"], []).append(record)
    return cells


def _mean_and_sd(values) -> tuple[float, float]:
    """Mean, and standard deviation over repeats; NaN for a single one."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _paper(record) -> list[dict[str, str]]:
    """The paper's runs of the same cell; none where the data are not the paper's."""
    configuration = record["configuration"]
    return runs_of_the_paper(configuration["cell"]) if configuration["dataset"] == "mnist" else []


def _paper_mean(record, name: str) -> str:
    """The mean over the paper's runs as the paper prints it; nothing where it has none."""
    return mean_half_up([run[name] for run in _paper(record)])


def table_csv(records) -> str:
    """One row a run; the standard deviations are those of its repeated evaluations."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        cell, results = record["configuration"]["cell"], record["results"]
        spec = TABLE1_CELLS[cell]
        neg_elbo, nll = (_mean_and_sd(results[name]) for name in ("neg_elbo", "nll"))
        writer.writerow([
            cell, spec.num_leapfrog_steps or "", spec.tempering, spec.step_size, record["seed"],
            results["training"]["epochs"], *(fixed(v, 4) for v in (*neg_elbo, *nll)),
            _paper_mean(record, "nll"),
        ])  # fmt: skip
    return buffer.getvalue()


def _over_seeds(means: list[float]) -> str:
    """Mean over seeds, with the half width of its 95 % t-interval where there are several."""
    mean = f"{float(np.mean(means)):.2f}"
    return mean if len(means) < 2 else f"{mean} ± {t_half_width(means):.2f}"


def table_markdown(records) -> str:
    """The table by cells, what is ours beside what is the paper's, and how to read it."""
    config, full = records[0]["configuration"], Evaluation()
    cheap = _is_cheap(records)
    rows = []
    for cell, group in _by_cell(records).items():
        means = {n: [float(np.mean(r["results"][n])) for r in group] for n in ("neg_elbo", "nll")}
        noise = [_mean_and_sd(r["results"]["nll"])[1] for r in group]
        image = [r["results"]["nll_image_sd"] / math.sqrt(r["results"]["evaluation"]["images"]) for r in group]
        rows.append([
            cell, len(group), "/".join(str(r["results"]["training"]["epochs"]) for r in group),
            "/".join(sorted({_judged(r) for r in group})),
            _over_seeds(means["neg_elbo"]), _over_seeds(means["nll"]),
            fixed(float(np.std(means["nll"], ddof=1)) if len(group) > 1 else math.nan),
            fixed(float(np.nanmax(noise)) if not np.all(np.isnan(noise)) else math.nan, 3), fixed(max(image)),
            _paper_mean(group[0], "neg_elbo"), _paper_mean(group[0], "nll"),
            "/".join(run["epochs"] for run in _paper(group[0])),
            f"{np.mean([r['results']['posterior_correlation'] for r in group]):.4f}",
        ])  # fmt: skip
    head = [
        "cell", "seeds", "epochs", "images × samples × times", "−ELBO", "NLL", "sd over seeds",
        "sd over evaluations (largest)",
        "s.e. over images",
        "paper −ELBO", "paper NLL", "paper epochs", "posterior correlation",
    ]  # fmt: skip
    early = "no early stopping" if config["patience"] is None else f"early stopping after {config['patience']}"
    label = f" **Cheap look: not the protocol's {full.samples} samples on all test images.**" if cheap else ""
    return "\n".join([
        f"# Table 1 on {config['dataset']}\n",
        "Generated by `reproduce/table1.py` from the records in this folder; nothing here is typed.\n",
        f"Nats per image, lower is better. Every cell: Adamax, {config['schedule']} learning rate "
        f"{config['learning_rate']:g}, batches of {config['batch_size']}, at most {config['max_epochs']} epochs, "
        f"{early}. Each model is judged on the first so many test images, binarised once, with so many importance "
        f"samples, so many times, as its row says.{label}\n",
        markdown(head, rows),
        "",
        "± is the half width of a 95 % t-interval over seeds (absent with one seed). The spreads are apart: over "
        "seeds (trainings), over evaluations of one model (importance sampling's noise), and the standard error that "
        "comes of having so many test images and no more, which is common to cells judged on the same images. "
        "NLL is an upper bound in "
        "expectation. The paper's values are means of its supplement's single runs, trained for the epochs shown: "
        "**compare cells of one table with each other; compare with the paper only where the epochs agree.**\n",
        "*Posterior correlation* is the root mean square correlation between two latents given the image, less what "
        "independent latents would show in as many samples (a negative sign means less than that): a mean-field "
        "posterior has none.\n",
    ])  # fmt: skip


def _judged(record) -> str:
    evaluation = record["results"]["evaluation"]
    return f"{evaluation['images']} × {evaluation['samples']} × {evaluation['repeats']}"


def _is_cheap(records) -> bool:
    """Whether any record was judged on less than the published protocol."""
    full = Evaluation()
    evaluations = [r["results"]["evaluation"] for r in records]
    return any(e["samples"] < full.samples or e["images"] < e["of"] for e in evaluations)


# ---------------------------------------------------------------------------------------------------------- figures


def training_curves(records) -> bytes:
    """Validation -ELBO against epochs, a line a run, a colour a cell."""
    fig, axis = plt.subplots(figsize=(7.5, 4.6))
    for number, (cell, group) in enumerate(_by_cell(records).items()):
        for i, record in enumerate(group):
            loss = record["history"]["val_loss"]
            axis.plot(range(1, len(loss) + 1), loss, color=f"C{number}", lw=1.2, label=cell if i == 0 else None)
    axis.set(xlabel="epoch", ylabel="−ELBO on validation images, nats", title="Training")
    final = [record["history"]["val_loss"][-1] for record in records]
    if len(records[0]["history"]["val_loss"]) > 5:
        axis.set_ylim(min(final) - 1.0, max(final) + 12.0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    fig.tight_layout()
    return png(fig, 110)
