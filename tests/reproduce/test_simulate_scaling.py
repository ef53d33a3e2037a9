"""The simulation of many cores: dealing out, what several cores give, and the page made from the records."""

import csv
import math

import pytest

from reproduce import simulate_scaling
from reproduce.scaling.machines import H200, amdahl, cores_for, deal, gpu_seconds, on_cores, one_core_seconds
from reproduce.scaling.measured import PublishedRun, published_runs, read_measured


@pytest.fixture(scope="module")
def measured():
    args = simulate_scaling.parse([])
    return read_measured(args.benchmarks, args.records)


def test_runs_are_dealt_out_the_longest_first():
    assert deal([2.0, 3.0, 4.0], 1) == 9.0
    assert deal([2.0, 3.0, 4.0], 2) == 5.0
    assert deal([1.0, 1.0, 1.0, 3.0], 2) == 3.0  # in the given order it would be 4
    assert deal([2.0, 3.0], 5) == 3.0


def test_several_cores_shorten_what_they_can():
    assert amdahl(0.1, 1) == 1.0
    assert cores_for(10.0, 10.0, 0.1, 8) == 1
    assert cores_for(10.0, 10.0 * amdahl(0.1, 4), 0.1, 8) == 4
    assert cores_for(10.0, 10.0 * amdahl(0.1, 9), 0.1, 8) == math.inf
    assert cores_for(10.0, 0.9, 0.1, 8) == math.inf  # below what no number of cores shortens


def test_more_cores_are_never_slower_and_never_beat_their_number(measured):
    runs = published_runs()
    one = on_cores(runs, measured, 1)
    assert len(runs) == 57
    assert one.seconds == pytest.approx(sum(one_core_seconds(run, measured) for run in runs))
    before = one.seconds
    for cores in (2, 8, 57, 58, 64, 512):
        found = on_cores(runs, measured, cores)
        assert found.seconds <= before * (1 + 1e-9)
        assert found.seconds >= one.seconds / cores
        assert found.busy <= cores * found.seconds * (1 + 1e-9)
        assert 1 <= found.cores_a_run <= measured.most_cores
        before = found.seconds


def test_launches_only_add(measured):
    for steps in (0, 1, 20):
        run = PublishedRun(steps, 1000)
        assert gpu_seconds(run, measured, H200, False) <= gpu_seconds(run, measured, H200, True)


def test_the_page_says_what_was_not_measured(tmp_path, capsys):
    assert simulate_scaling.main(["--out", str(tmp_path)]) == 0
    text = (tmp_path / "scaling.md").read_text()
    for phrase in ("**No GPU was measured.**", "more than two cores", "**assumed**"):
        assert phrase in text
    with (tmp_path / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["basis"].startswith("roofline") for row in rows] == ["H200" in row["machine"] for row in rows]
    assert (tmp_path / "scaling.png").stat().st_size > 5000
    assert simulate_scaling.main(["--out", str(tmp_path), "--benchmarks", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
