"""The script: end to end, twice, and killed."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reproduce import figure1_gaussian
from reproduce.gaussian.configs import PRESETS

SCRIPT = figure1_gaussian.__file__
WORK = (
    "--preset", "quick", "--dims", "1,2", "--datasets", "3", "--iterations", "20", "--methods", "hvae-k1,vb",
    "--variant", "both",
)  # fmt: skip
PATIENCE = 10.0  # seconds that workers have to end in; they take a few


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of an undisturbed call."""
    out = tmp_path_factory.mktemp("finished")
    assert figure1_gaussian.main([*WORK, "--out", str(out), "--processes", "2"]) == 0
    return out


@pytest.mark.slow
def test_end_to_end_twice(finished, capsys, tmp_path):
    arguments = [*WORK, "--out", str(finished)]
    with (finished / "figure1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["variant", "method", "d", "dataset", "delta_error", "sigma_error", "theta_error"]
    assert len(rows) == 2 * 2 * 2 * 3
    for row in rows:
        parts = float(row["delta_error"]) + float(row["sigma_error"])
        assert float(row["theta_error"]) == pytest.approx(parts, rel=1e-4)
    assert not (finished / "figure1b.png").exists()  # nothing without tempering was asked for
    for name in ("figure1a.png", "figure1_parts.png", "learning_curves.png", "report.md"):
        assert (finished / name).stat().st_size > 1000
    records = {path: path.stat().st_mtime_ns for path in finished.glob("*.json")}
    assert len(records) == 8
    assert figure1_gaussian.main(arguments) == 0
    assert "jobs to do" not in capsys.readouterr().out
    assert figure1_gaussian.main([*arguments, "--seed", "1"]) == 1
    assert "seed=0 there, 1 asked" in capsys.readouterr().err
    # records of another configuration are neither reused nor overwritten
    assert figure1_gaussian.main([*arguments, "--iterations", "11"]) == 1
    assert "iterations=20 there, 11 asked" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*.json")} == records
    assert figure1_gaussian.main(["--report-only", "--out", str(tmp_path / "empty")]) == 1
    assert "no records" in capsys.readouterr().err


def children(pid) -> list[int]:
    """The processes that the process started, and those that they started."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *children(int(child))]
    return found


def alive(pid) -> bool:
    """Whether the process is there, and no zombie that only waits to be counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop_once_there_is(pattern, out, arguments, how) -> int:
    """Calls the script, stops it when a file is written, and gives its exit status; no process of it is left."""
    began = time.time()
    process = subprocess.Popen([sys.executable, SCRIPT, *arguments])
    try:
        while not any(path.stat().st_mtime > began for path in out.glob(pattern)):
            assert process.poll() is None
            time.sleep(0.01)
        workers = children(process.pid)
        assert workers
        process.send_signal(how)
        status = process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid in workers if alive(pid)]:
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"{len(left)} processes outlived the script")
        time.sleep(0.05)
    return status


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_killed_twice_it_leaves_no_process_and_ends_bit_for_bit_where_it_would_have(tmp_path, finished):
    out = tmp_path / "out"
    out.mkdir()
    one_job = [*WORK, "--methods", "hvae-k1", "--variant", "as-released", "--out", str(out)]
    assert stop_once_there_is(".locks/*.progress", out, one_job, signal.SIGTERM) == -signal.SIGTERM
    assert stop_once_there_is("work/*.npz", out, one_job, signal.SIGKILL) == -signal.SIGKILL  # after one data set
    assert not list(out.glob("*.json"))
    assert figure1_gaussian.main(one_job) == 0
    names = ["as-released-hvae-k1-d1.json", "as-released-hvae-k1-d2.json"]
    assert sorted(path.name for path in out.glob("*.json")) == names
    for name in names:
        disturbed, undisturbed = (json.loads((folder / name).read_text()) for folder in (out, finished))
        for part in ("configuration", "seed", "data_fingerprint", "history", "results"):
            assert disturbed[part] == undisturbed[part]


@pytest.mark.slow
def test_a_diverged_training_is_told_in_one_line(tmp_path, capfd, monkeypatch):
    quick = PRESETS["quick"]
    wild = dataclasses.replace(quick.config, datasets=1, iterations=4, dims=(1,), learning_rate=1e30)
    monkeypatch.setitem(PRESETS, "quick", dataclasses.replace(quick, config=wild))
    arguments = ["--preset", "quick", "--methods", "vb", "--out", str(tmp_path), "--processes", "1"]
    assert figure1_gaussian.main(arguments) == 1
    *_, failed, error = capfd.readouterr().err.strip().splitlines()
    assert failed.startswith("failed: corrected-vb-d1: Diverged: VB: the ELBO is not finite after 2 iterations (d=1 d")
    assert error == f"error: {tmp_path} has no records to report"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "hmc"], "accepted: hvae-k1"),
        (["--dims", "0"], "at least 1"),
        (["--dims", "two"], "not a list of integers"),
        (["--iterations", "-1"], "at least 1"),
        (["--variant", "wrong"], "invalid choice"),
        (["--seed", "-1"], "at least 0"),
        (["--out", ""], "the folder's name is empty"),
        (["--report-to", " "], "the folder's name is empty"),
    ],
)
def test_bad_arguments(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        figure1_gaussian.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
