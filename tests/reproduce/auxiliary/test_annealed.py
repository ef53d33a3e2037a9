"""Annealed flows where the answers are known: the page, and the script."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from reproduce import annealed as script
from reproduce.auxiliary import training
from reproduce.auxiliary.annealed import CENTRES, KEPT, Results
from reproduce.auxiliary.annealed_report import fits_csv, gaps_csv, page
from reproduce.auxiliary.annealing import BestAnnealing, best_annealing
from reproduce.auxiliary.beta_binomial import References
from reproduce.auxiliary.exact import tied_tempering_gap
from reproduce.auxiliary.training import Trained, Training

LAM = 1e4


def test_without_refreshment_annealing_gains_nothing_over_one_tempered_step():
    """Linear maps of (z, rho) that keep volume, whatever the temperatures."""
    assert best_annealing(LAM, 0.0, 2, kept=1.0).gap == pytest.approx(tied_tempering_gap(LAM), abs=1e-4)


@pytest.mark.slow
def test_the_langevin_row_is_never_ahead_of_the_best_eta():
    best, langevin = (best_annealing(LAM, 1.0, 2, kept) for kept in (None, 0.0))
    assert best.gap < langevin.gap
    assert best.kept > 0.0


def make_results():
    def fit(bound):
        return Trained(bound, 0.001, np.zeros([1, 2]), np.zeros(1), None, 3.0)

    best = BestAnnealing(2.5, np.ones(2), np.array([0.1, 0.5]), 0.25)
    names = ("HVAE, free tempering", "HVI", "UHA", "L-MCVAE (UHA, η = 0)", "LDVI", "LDVI, η = 0", "A-MCVAE")
    fits = {("mean field", 0): fit(-571.0)} | {(name, 4): fit(-570.9 + 0.01 * i) for i, name in enumerate(names)}
    lines = References(-570.7, -570.92, -570.84, np.zeros(2), np.ones(2))
    return Results({(m, kept, T): best for m in CENTRES for kept in KEPT for T in (1, 2)}, lines, fits, Training())


def test_the_page_holds_what_was_found():
    text = page(make_results())
    assert "| 2 | 2.50 | 2.50 | 2.50 | 0.250 |" in text
    assert "| 1 | 2.50 | 2.50 | 2.50 | – |" in text  # one transition refreshes nothing
    assert "| HVI | 0.1900 ± 0.0020 |" in text
    assert "*The score network helps* (LDVI less UHA): T = 4: +0.0200 ± 0.0028 (yes)." in text
    assert "(HVI less UHA): T = 4: -0.0100 ± 0.0028 (no)." in text


def test_the_tables():
    assert gaps_csv(make_results()).splitlines()[1:3] == [
        "0,best,1,2.500000,,0.1 0.5",
        "0,best,2,2.500000,0.2500,0.1 0.5",
    ]
    rows = list(csv.reader(fits_csv(make_results()).splitlines()))
    assert rows[1][:3] == ["mean field", "0", "-571.00000"]
    assert rows[3][:2] == ["HVI", "5"]


@pytest.fixture
def eager_training(monkeypatch):
    """Two steps of seven flows take a fraction of what it takes to trace them; test_hvi.py trains in graphs."""

    def train(*arguments):
        tf.config.run_functions_eagerly(True)
        try:
            return training.train(*arguments)
        finally:
            tf.config.run_functions_eagerly(False)

    monkeypatch.setattr("reproduce.auxiliary.annealed.train", train)


@pytest.mark.slow
def test_end_to_end(tmp_path, capsys, eager_training):
    assert script.main(["--iterations", "2", "--draws", "2000", "--longest", "4", "--out", str(tmp_path)]) == 0
    assert str(tmp_path / "report.md") in capsys.readouterr().out
    assert "| 4 | 8.67 | 8.67 | 94.39 |" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "annealed.png").stat().st_size > 5000


def test_bad_arguments_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        script.main(["--longest", "2"])
    assert "expected at least 4" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert script.main(["--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
