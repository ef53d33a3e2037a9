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
from scipy import stats

from hvae_tf.records import RecordError, RunStore, atomic_write, read_record
from reproduce.configs import TABLE1_CELLS, Cell, Evaluation
from reproduce.table1_cells import paper_runs as runs_of_the_paper

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
    shown = _pictures(folder, records)
    if shown:
        contents |= {
            "samples.png": samples(shown),
            "reconstructions.png": reconstructions(shown),
            "posterior_correlation.png": posterior_correlation(shown),
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


def _paper_mean(record, name: str) -> float:
    runs = _paper(record)
    return float(np.mean([float(run[name]) for run in runs])) if runs else math.nan


def _number(value: float, digits: int = 2) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


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
            results["training"]["epochs"], *(_number(v, 4) for v in (*neg_elbo, *nll)),
            _number(_paper_mean(record, "nll")),
        ])  # fmt: skip
    return buffer.getvalue()


def _over_seeds(means: list[float]) -> str:
    """Mean over seeds, with the half width of its 95 % t-interval where there are several."""
    mean = float(np.mean(means))
    if len(means) < 2:
        return f"{mean:.2f}"
    half = stats.t.ppf(0.975, len(means) - 1) * np.std(means, ddof=1) / math.sqrt(len(means))
    return f"{mean:.2f} ± {half:.2f}"


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
            _number(float(np.std(means["nll"], ddof=1)) if len(group) > 1 else math.nan),
            _number(float(np.nanmax(noise)) if not np.all(np.isnan(noise)) else math.nan, 3), _number(max(image)),
            _number(_paper_mean(group[0], "neg_elbo")), _number(_paper_mean(group[0], "nll")),
            "/".join(run["epochs"] for run in _paper(group[0])),
            f"{np.mean([r['results']['posterior_correlation'] for r in group]):.4f}",
        ])  # fmt: skip
    head = [
        "cell", "seeds", "epochs", "images × samples × times", "−ELBO", "NLL", "sd over seeds",
        "sd over evaluations (largest)",
        "s.e. over images",
        "paper −ELBO", "paper NLL", "paper epochs", "posterior correlation",
    ]  # fmt: skip
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]]
    early = "no early stopping" if config["patience"] is None else f"early stopping after {config['patience']}"
    label = f" **Cheap look: not the protocol's {full.samples} samples on all test images.**" if cheap else ""
    return "\n".join([
        f"# Table 1 on {config['dataset']}\n",
        "Generated by `reproduce/table1.py` from the records in this folder; nothing here is typed.\n",
        f"Nats per image, lower is better. Every cell: Adamax, {config['schedule']} learning rate "
        f"{config['learning_rate']:g}, batches of {config['batch_size']}, at most {config['max_epochs']} epochs, "
        f"{early}. Each model is judged on the first so many test images, binarised once, with so many importance "
        f"samples, so many times, as its row says.{label}\n",
        *lines,
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


def _png(fig) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=110, metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()


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
    return _png(fig)


def _pictures(folder: Path, records) -> list[tuple[str, float, dict]]:
    """(cell, posterior correlation, arrays) of the first run of each cell that has pictures."""
    shown = []
    for cell, group in _by_cell(records).items():
        path = folder / "pictures" / f"{group[0]['name']}.npz"
        if path.exists():
            with np.load(path) as arrays:
                shown.append((cell, group[0]["results"]["posterior_correlation"], dict(arrays)))
    return shown


def _grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images ``[n, H, W, C]`` side by side, white lines between."""
    rows = [
        np.concatenate(
            [np.pad(i, ((1, 1), (1, 1), (0, 0)), constant_values=128) for i in images[k : k + columns]], axis=1
        )
        for k in range(0, len(images), columns)
    ]
    return np.concatenate(rows)


def _show(axis, image, title=None):
    axis.imshow(image.squeeze(), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    if title:
        axis.set_title(title, fontsize=9)


def samples(shown) -> bytes:
    """Samples from the prior (pixel probabilities), a panel a cell."""
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.0 * columns, 3.2 * rows), squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for axis, (cell, _, arrays) in zip(axes.ravel(), shown, strict=False):
        axis.axis("on")
        _show(axis, _grid(arrays["samples"], 6), cell)
    fig.tight_layout()
    return _png(fig)


def reconstructions(shown) -> bytes:
    """Binarised test images, and each cell's reconstruction of them below."""
    strips = [("test images", shown[0][2]["originals"]), *((cell, a["reconstructions"]) for cell, _, a in shown)]
    fig, axes = plt.subplots(len(strips), 1, figsize=(8.0, 0.85 * len(strips)), squeeze=False)
    for axis, (name, images) in zip(axes[:, 0], strips, strict=True):
        _show(axis, _grid(images, len(images)))
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    fig.tight_layout()
    return _png(fig)


def posterior_correlation(shown) -> bytes:
    """Correlations between latents given the first test image, a panel a cell, with the number over images."""
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    size = (3.0 * columns + 0.8, 3.3 * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.ravel():
        axis.axis("off")
    for axis, (cell, correlation, arrays) in zip(axes.ravel(), shown, strict=False):
        axis.axis("on")
        matrix = arrays["correlation"].astype(float)
        np.fill_diagonal(matrix, 0.0)
        drawn = axis.imshow(matrix, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
        axis.set_title(f"{cell}: r.m.s. {correlation:.3f}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    fig.colorbar(drawn, ax=axes, shrink=0.8, label="correlation given the image")
    return _png(fig)
