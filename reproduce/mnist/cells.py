"""Table 1's runs: which there are, their names, what their records say they are, and what the paper has of them."""

import csv
import dataclasses
from pathlib import Path

from reproduce.configs import TABLE1_CELLS, Table1Config, Table1Preset

PAPER_RUNS = Path(__file__).parent.with_name("data") / "paper_table1_runs.csv"


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell trained from one seed."""

    cell: str
    seed: int

    @property
    def name(self) -> str:
        """Unique among runs; the name of its record and its model."""
        return f"{self.cell}-seed{self.seed}"


def label(cell: str, short: bool = False) -> str:
    """What a reader calls a cell: ``k5-free`` is "HVAE, K = 5, free tempering, a step size for each step".

    Args:
        cell: Its name in `TABLE1_CELLS`.
        short: For figures: two short lines at most.
    """
    spec = TABLE1_CELLS[cell]
    closed = [] if spec.kl == "prior-sampled" else ["KL in closed form"]
    if spec.kind != "hvae":
        return ", ".join(["VAE" if spec.kind == "vae" else f"IWAE, L = {spec.num_samples}", *closed])
    parts = [f"HVAE, K = {spec.num_leapfrog_steps}", f"{spec.tempering.replace('none', 'no')} tempering"]
    if short:
        kind = "" if spec.num_leapfrog_steps == 1 else ", one ε" if spec.step_size == "shared" else ", ε per step"
        return ", ".join([f"{parts[0]}\n{parts[1]}{kind}", *closed])
    if spec.num_leapfrog_steps > 1:
        parts.append("one step size for all steps" if spec.step_size == "shared" else "a step size for each step")
    return ", ".join([*parts, *closed])


def paper_runs(cell: str) -> list[dict[str, str]]:
    """The paper's single runs of a cell, rows of its supplement's tables; none for a cell it does not have."""
    spec = TABLE1_CELLS[cell]
    if spec.kind == "iwae":
        return []
    steps = str(spec.num_leapfrog_steps) if spec.model == "hvae" else ""
    key = (spec.model, steps, spec.tempering, spec.step_size)
    with PAPER_RUNS.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [row for row in rows if (row["model"], row["K"], row["tempering"], row["step_size"]) == key]


def make_runs(preset: Table1Preset, cells=None, seeds=None) -> list[Run]:
    """The runs of a table; by default each cell has as many seeds as the preset says, or as the paper has runs."""
    runs = []
    for cell in cells or preset.cells:
        count = max(1, len(paper_runs(cell))) if preset.seeds is None else preset.seeds.get(cell, 1)
        runs += [Run(cell, seed) for seed in (seeds if seeds is not None else range(count))]
    return runs


def training_configuration(run: Run, config: Table1Config) -> dict:
    """What a training depends on, as checkpoints have it; the cell's kind of step size goes with the cell's name."""
    return {"cell": run.cell, **dataclasses.asdict(TABLE1_CELLS[run.cell]), **dataclasses.asdict(config)}


def configuration(run: Run, config: Table1Config) -> dict:
    """What a record of this run is a record of; how it was evaluated stands with its results.

    ``step_size`` is the initial eps; the cell's field of that name stands as ``step_size_per``.
    """
    return {**training_configuration(run, config), "step_size_per": TABLE1_CELLS[run.cell].step_size}


def comparable(wanted: dict, found: dict) -> dict:
    """The configuration `wanted`, as a record with the configuration `found` would have it.

    Records used to lack ``step_size_per``: the cell's name says it, so such a record stands.
    """
    return wanted if "step_size_per" in found else {k: v for k, v in wanted.items() if k != "step_size_per"}
