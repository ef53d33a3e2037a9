"""The script that runs every flow on targets of known evidence."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import LogDensityTarget
from hvae_tf.runs import InlineExecutor, RunStore, make_record, run_all
from hvae_tf.targets.known import KNOWN_TARGETS
from reproduce import targets
from reproduce.auxiliary.beta_binomial import best_gaussian
from reproduce.auxiliary.training import Training, train
from reproduce.evidence.flows import FLOWS
from reproduce.evidence.optimum import smallest_gap
from reproduce.evidence.report import cells, report
from reproduce.evidence.work import Fit

TRAINING = Training(iterations=100, draws=4000, learning_rate=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of two flows on one target."""
    folder = tmp_path_factory.mktemp("targets")
    fits = [Fit("logistic", flow, TRAINING) for flow in ("mean-field", "hvae-free")]
    assert run_all(fits, RunStore(folder), InlineExecutor()) == {}
    return folder


def test_gaps_are_small_and_no_bound_is_above_the_evidence(folder):
    table = cells(RunStore(folder).read_all())
    assert set(table) == {("mean-field", "logistic"), ("hvae-free", "logistic")}
    for cell in table.values():
        assert -3 * cell.standard_error < cell.gap < 0.1


def test_what_is_on_record_is_not_done_again(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert targets.main(["--targets", "logistic", "--flows", "mean-field,hvae-free", "--seeds", "0", "--iterations",
                         "100", "--draws", "4000", "--out", str(folder), "--report-only"]) == 0  # fmt: skip
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    page = (folder / "report.md").read_text()
    assert all(title in page for title in ("HVAE, K = 4, free tempering", KNOWN_TARGETS["logistic"].title))
    assert (folder / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_a_diverged_training_is_called_so(folder):
    records = RunStore(folder).read_all()
    for value in records[0]["results"], records[0]["configuration"]:
        assert json.dumps(value)
    records[0]["results"]["gap"] = None
    assert "| diverged |" in report(records)["report.md"]


def test_how_a_training_ended_is_told(folder):
    record = RunStore(folder).read_all()[0]
    results = {**record["results"], "gap": None, "bound": None, "standard_error": None}
    for more, words in (({"steps": 7, "lost_draws": 0}, "diverged at step 7"),
                        ({"steps": 100, "lost_draws": 3}, "no bound: 3 draws lost")):  # fmt: skip
        text = report([{**record, "results": {**results, **more}}])["report.md"]
        assert f"| {words} |" in text


def test_a_training_that_diverges_ends_there():
    """On a target that is NaN beyond a line which draws cross."""
    target = LogDensityTarget(lambda z: tf.reduce_sum(tf.math.log(z + 3.0), axis=-1), 1)
    found = train(target, None, (np.zeros(1), np.ones(1)), dataclasses.replace(TRAINING, batch_size=400, seed=1))
    assert np.isnan(found.bound)
    assert len(found.history) < TRAINING.iterations
    assert np.isfinite(found.history[:-1]).all()


def made_up(flow, target, gap, error=0.001, rise=0.0, seed=0):
    """A record of a training."""
    training = dataclasses.asdict(Training())
    bounds = np.full(30, -1.0)
    bounds[-3:] += rise
    return make_record(
        f"{target}-{flow}-seed{seed}", configuration={"flow": flow, "target": target, **training}, seed=seed,
        data_fingerprint="0", history={"bound": bounds}, wall_seconds=1.0,
        results={"bound": -gap, "standard_error": error, "log_evidence": 0.0, "gap": gap},
    )  # fmt: skip


def test_what_has_not_arrived_is_marked():
    best = smallest_gap("beta-binomial", False)
    table = cells([
        made_up("mean-field", "beta-binomial", best + 0.002),
        made_up("planar-8", "beta-binomial", best + 0.004),  # beyond three standard errors
        made_up("hvae-free", "beta-binomial", best - 0.05),
        made_up("gaussian", "beta-binomial", best - 0.05),  # less than diagonal, and still not the best of Gaussians
        made_up("iaf-2", "beta-binomial", 0.05, rise=0.1),
        made_up("maf-2", "beta-binomial", 0.05, rise=0.001),
    ])  # fmt: skip
    marks = {flow: cell.marks for (flow, _), cell in table.items()}
    assert marks == {"mean-field": "", "planar-8": "▲", "hvae-free": "", "gaussian": "▲", "iaf-2": "↗", "maf-2": ""}


def test_those_not_told_apart_are_nearest_together():
    records = [
        made_up("iaf-2", "banana", 0.030, 0.004), made_up("hvi-network", "banana", 0.038, 0.004),
        made_up("uha-4", "banana", 0.045, 0.004), made_up("fisher-z", "banana", 0.2, 0.004),
        made_up("iaf-2", "modes", 0.05), made_up("planar-8", "modes", 0.04, seed=1),
        made_up("planar-8", "modes", 0.10, seed=2),
    ]  # fmt: skip
    text = report(records)["report.md"]
    line = next(line for line in text.splitlines() if line.startswith("| banana, l = 2 | inverse"))
    assert [cell.strip() for cell in line.split(" | ")[1:]] == [
        "inverse autoregressive, 2 layers 0.0300 ± 0.0040; HVI, n = 4, reverse network 0.0380 ± 0.0040",
        "UHA, T = 4",
        "0.0450 ± 0.0040 |",
    ]
    line = next(line for line in text.splitlines() if line.startswith("| two unit Gaussians"))
    assert "planar, 8 layers 0.0700" in line.split(" | ")[1]  # its trainings differ by more than its draws
    fisher = next(line for line in text.splitlines() if line.startswith("| Riemannian, K = 4, Fisher at z"))
    assert fisher.endswith("| 0.2000 ± 0.0040 | – |")  # banana has a Fisher information, the modes say of none


def test_the_best_gaussians():
    """Exact where Gaussians are, and by quadrature what a long descent finds."""
    precision = np.linalg.inv(0.9 ** np.abs(np.subtract.outer(np.arange(10), np.arange(10))))
    expected = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert smallest_gap("gaussian", False) == pytest.approx(expected, abs=1e-9)
    assert smallest_gap("gaussian", True) == 0.0
    quadrature = -best_gaussian(KNOWN_TARGETS["funnel"].make(), True, 60, (np.zeros(2), np.ones(2)))[0]
    assert smallest_gap("funnel", True) == pytest.approx(quadrature, abs=1e-6)
    for name in KNOWN_TARGETS:
        assert smallest_gap(name, True) <= smallest_gap(name, False) + 1e-9
    # a planted error: too few nodes for two modes
    few = -best_gaussian(KNOWN_TARGETS["modes"].make(), False, 12, (np.zeros(2), np.ones(2)))[0]
    assert abs(few - smallest_gap("modes", False)) > 0.01


def test_unknown_names_are_refused(capsys, tmp_path):
    assert targets.main(["--targets", "moon", "--out", str(tmp_path)]) == 2
    assert "accepted: " in capsys.readouterr().err


def test_every_flow_can_be_made():
    for row in FLOWS.values():
        assert row.make(2, np.array([1.0, 0.5]), 0).event_size == 2
