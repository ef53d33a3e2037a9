"""The tables of the documents that are made of benchmarks/results."""

import json
from pathlib import Path

import numpy as np

from reproduce.tables import markdown

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "results"


def figures(name: str) -> dict:
    """The raw figures of a benchmark."""
    return json.loads((BENCHMARKS / f"{name}.json").read_text())


def median_ratio(ours, theirs) -> float:
    """Of figures that were taken in turns, the middle of their ratios."""
    return float(np.median([a / b for a, b in zip(ours, theirs, strict=False)]))


def speed() -> str:
    """Training steps over the peers'."""
    measured = figures("step_time")["seconds_per_step"]
    peers = {
        "torch-2k": "PyTorch, 2K gradients",
        "torch": "PyTorch, K + 1 gradients",
        "pythae": "pythae 0.1.2 (which does a third less work)",
        "jax": "JAX, jit",
    }
    rows = []
    for label, k in (("VAE", "0"), ("HVAE, K = 1", "1"), ("HVAE, K = 5", "5"), ("HVAE, K = 20", "20")):
        ours = measured[k]["hvae_tf"]
        ratios = (median_ratio(ours, measured[k][peer]) if peer in measured[k] else None for peer in peers)
        rows.append([label, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    return markdown(["", *peers.values()], rows)


def epochs() -> str:
    """Seconds of an epoch."""
    seconds = figures("step_time")["seconds_per_step_all_k_in_turn"]
    columns = {"0": "VAE", "1": "K = 1", "5": "K = 5", "10": "K = 10", "20": "K = 20"}
    return markdown(list(columns.values()), [[f"{500 * np.median(seconds[k]):.0f} s" for k in columns]])


def memory() -> str:
    """What a training step holds."""
    rows = [row for row in figures("memory")["rows"] if row["batch"] == 500]
    kinds = {
        "planar": "planar flow",
        "backprop": "HVAE, `backprop`",
        "checkpoint": "HVAE, `checkpoint`",
        "reversible": "HVAE, `reversible`",
    }
    steps = (1, 5, 20, 50)
    found = {(row["kind"], row["K"]): row for row in rows}
    gib = {key: f"{row['above'] / 2**30:.2f} GiB" for key, row in found.items()}
    lines = [["VAE", gib["vae", 0], "", "", "", ""]]
    seconds = figures("adjoints")["seconds_per_step"]["50"]
    for kind, label in kinds.items():
        ratio = f"{median_ratio(seconds[kind], seconds['backprop']):.2f}" if kind in seconds else ""
        lines.append([label, *(gib[kind, k] for k in steps), ratio])
    columns = ["batch 500", *(f"K = {k}" for k in steps), "time over `backprop`, K = 50, batch 100"]
    return markdown(columns, lines)
