"""The paper's own runs as evidence, against the supplement's numbers taken another way."""

import csv
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from reproduce.differences import difference
from reproduce.mnist.cells import PAPER_RUNS
from reproduce.mnist.paper import epochs_and_nll, evidence, paper_scores, paper_spread


@pytest.fixture
def cells():
    """(epochs, NLL) of the supplement's runs by what tells cells apart."""
    found = defaultdict(list)
    with PAPER_RUNS.open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            key = row["model"], row["K"], row["tempering"], row["step_size"]
            found[key].append((float(row["epochs"]), float(row["nll"])))
    return {key: np.array(runs) for key, runs in found.items()}


def test_the_spread_is_that_within_cells(cells):
    squares = sum(((runs[:, 1] - runs[:, 1].mean()) ** 2).sum() for runs in cells.values())
    free = sum(len(runs) - 1 for runs in cells.values())
    deviation, found_free = paper_spread(paper_scores())
    assert found_free == free == 30
    assert deviation == pytest.approx(np.sqrt(squares / free))
    everything = np.concatenate(list(cells.values()))[:, 1]
    assert everything.std(ddof=1) > 1.5 * deviation  # what it would be across cells


def test_a_difference_is_that_of_means_with_one_spread(cells):
    scores = paper_scores()
    spread = paper_spread(scores)
    ours, theirs = (cells[key][:, 1] for key in (("hvae", "10", "free", "per_step"), ("vae", "", "", "")))
    found = difference(scores["k10-free"], scores["vae"], spread)
    assert found.value == pytest.approx(ours.mean() - theirs.mean())
    error = spread.deviation * np.sqrt(1 / len(ours) + 1 / len(theirs))
    assert found.half == pytest.approx(stats.t.ppf(0.975, 30) * error, rel=1e-6)


def test_longer_runs_of_a_cell_have_the_lower_nll(cells):
    within = np.concatenate([runs - runs.mean(axis=0) for runs in cells.values() if len(runs) > 1])
    assert epochs_and_nll() == pytest.approx(np.corrcoef(within.T)[0, 1])
    assert epochs_and_nll() < -0.8
    text = "\n".join(evidence())
    assert "57 single runs" in text
    assert "| HVAE beats the VAE | 26 | 16 | 6 | 3 | 2 | 1 |" in text
