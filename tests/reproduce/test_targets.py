"""The script that runs every flow on targets of known evidence."""

import json

import numpy as np
import pytest

from hvae_tf.runs import InlineExecutor, RunStore, run_all
from hvae_tf.targets.known import KNOWN_TARGETS
from reproduce import targets
from reproduce.auxiliary.training import Training
from reproduce.evidence.flows import FLOWS
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


def test_unknown_names_are_refused(capsys, tmp_path):
    assert targets.main(["--targets", "moon", "--out", str(tmp_path)]) == 2
    assert "accepted: " in capsys.readouterr().err


def test_every_flow_can_be_made():
    for row in FLOWS.values():
        assert row.make(2, np.array([1.0, 0.5]), 0).event_size == 2
