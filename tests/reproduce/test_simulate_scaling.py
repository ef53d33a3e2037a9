"""The simulation of many cores: dealing out, what several cores give, and the page made from the records."""

import csv
import json
import math
import statistics

import pytest

from hvae_tf.runs import RecordError
from reproduce import simulate_scaling
from reproduce.configs import TABLE1_CELLS
from reproduce.scaling import report
from reproduce.scaling.machines import (
    CHECKPOINT_SECONDS,
    FOLDER_BANDWIDTH,
    START_SECONDS,
    Gpu,
    amdahl,
    cores_for,
    deal,
    gpu_seconds,
    on_cores,
    one_core_seconds,
    writing_seconds,
)
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
    enough = report.most_useful_cores(runs, measured)
    assert on_cores(runs, measured, enough).seconds == pytest.approx(one.longest)
    assert on_cores(runs, measured, enough - 1).seconds > 1.001 * one.longest


def test_checkpoints_cost_their_bytes_over_the_bandwidth(measured):
    run = PublishedRun(20, 1000)
    epoch, each = measured.epoch_seconds(20), measured.checkpoint_bytes / FOLDER_BANDWIDTH
    assert epoch > CHECKPOINT_SECONDS  # one a minute
    assert writing_seconds(run, measured) == pytest.approx(1000 * epoch / CHECKPOINT_SECONDS * each)
    quick = measured._replace(one_core=dict.fromkeys(measured.one_core, 0.001))
    assert writing_seconds(run, quick) == pytest.approx(1000 * each)  # one an epoch
    assert one_core_seconds(run, measured) == pytest.approx(
        1000 * epoch + measured.evaluation_seconds(20) + writing_seconds(run, measured) + START_SECONDS
    )


def test_no_number_of_cores_shortens_checkpoints(measured):
    runs = [PublishedRun(20, 1000)]
    found = on_cores(runs, measured, measured.most_cores)
    shortened = amdahl(max(measured.shares_not_shortened), found.cores_a_run)
    wait = writing_seconds(runs[0], measured) + START_SECONDS
    assert found.seconds == pytest.approx((one_core_seconds(runs[0], measured) - wait) * shortened + wait)


def test_the_roofline_is_work_or_bytes_whichever_takes_longer(measured):
    run, points = PublishedRun(20, 1000), 10_000 * 1000 * 3
    steps = 1000 * 500 * measured.step_flops[20] / 1e12
    samples = points * 2 * measured.decoder_multiply_adds * 2 * 21 / 1e12
    assert gpu_seconds(run, measured, Gpu("of work", 1e12, math.inf)) == pytest.approx(steps + samples)
    of_bytes = gpu_seconds(run, measured, Gpu("of bytes", math.inf, 1e12))
    assert of_bytes > points * 2 * 21 * measured.activation_bytes / 1e12
    assert gpu_seconds(run, measured, Gpu("both", 1e12, 1e12)) >= max(steps + samples, of_bytes)


def test_the_vae_is_off_the_line_of_leapfrog_steps(measured):
    on_a_line = measured._replace(
        one_core={0: 99.0, 1: 3.0, 5: 7.0, 20: 22.0}, of_samples={0: 99.0, 1: 3.0, 5: 7.0}, recorded=()
    )
    of_one = on_a_line.evaluation_seconds(1) / 3.0
    assert on_a_line.evaluation_seconds(20) == pytest.approx(22.0 * of_one)
    assert on_a_line.epoch_seconds(10) == pytest.approx(on_a_line.epoch_seconds(20) * 12.0 / 22.0)


def plant(folder, name, cell="k1-fixed", factor=1.3, **changed):
    """A record of `cell` whose epochs take `factor` times their steps, comparable but for what is `changed`."""
    args = simulate_scaling.parse([])
    cores = json.loads((args.benchmarks / "mirrored.json").read_text())
    step = statistics.median(cores["seconds_per_step"][str(TABLE1_CELLS[cell].num_leapfrog_steps)]["one core"])
    record = json.loads((args.records / "k1-fixed-seed0.json").read_text())
    record["name"], record["configuration"]["cell"] = name, cell
    record["results"]["training"] |= {"cores": changed.pop("cores", 1), "seconds_per_epoch": 500 * step * factor}
    record["environment"] |= {
        "device": f"CPU: {cores['machine']['processor']}", "packages": cores["machine"]["packages"],
        "written": f"{cores['machine']['date']}T00:00:00+00:00",
    }  # fmt: skip
    record["environment"] |= changed.pop("environment", {})
    record["configuration"] |= changed
    (folder / f"{name}.json").write_text(json.dumps(record))


def read(folder):
    return read_measured(simulate_scaling.parse([]).benchmarks, folder)


def test_an_epoch_is_of_its_parts_and_records_only_judge_it(tmp_path):
    plant(tmp_path, "slow", factor=5.0, cores=2)
    counted = read(tmp_path)
    assert counted.epoch_seconds(1) == pytest.approx(500 * counted.one_core[1] * counted.epoch_factor)
    assert 1.0 + counted.validation_share < counted.epoch_factor < 1.2
    plant(tmp_path, "one", factor=1.3)
    plant(tmp_path, "five", "k5-free", factor=1.5)
    found = read(tmp_path)
    assert found.epoch_seconds(20) == counted.epoch_seconds(20)
    assert found.evaluation_seconds(5) == counted.evaluation_seconds(5)
    ratios = [f"{factor / found.epoch_factor:.2f}" for factor in (1.3, 1.5)]
    assert simulate_scaling.main(["--records", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "scaling.md").read_text()
    assert f"A recorded epoch took {ratios[0]} to {ratios[1]} times the simulated one: where cores are busy" in text
    assert "Others are left out of this page: slow." in text


@pytest.mark.parametrize(
    "changed",
    [
        {"cores": None}, {"cores": 2}, {"environment": {"written": "2026-11-20T13:10:51+00:00"}},
        {"environment": {"packages": {"hvae_tf": "0.1.0", "tensorflow": "2.21.0", "keras": "3.15.1"}}},
        {"environment": {"device": "CPU: another"}}, {"environment": {"device": "GPU: one"}},
        {"dataset": "digits"}, {"batch_size": 50}, {"limit": [1000, 100, 100]},
    ],
    ids=str,
)  # fmt: skip
def test_what_was_trained_otherwise_is_not_comparable(tmp_path, changed):
    plant(tmp_path, "as-timed")
    plant(tmp_path, "otherwise", **changed)
    assert [run.name for run in read(tmp_path).recorded if run.comparable] == ["as-timed"]


def test_iwae_is_neither_the_vae_nor_an_hvae(tmp_path):
    plant(tmp_path, "vae", "vae", factor=1.2)
    plant(tmp_path, "iwae", "iwae5", factor=9.0)
    assert [run.name for run in read(tmp_path).recorded] == ["vae"]
    (tmp_path / "vae.json").unlink()
    with pytest.raises(RecordError, match="no record of a VAE or an HVAE"):
        read(tmp_path)


def test_the_page_says_what_was_not_measured(tmp_path, capsys):
    assert simulate_scaling.main(["--out", str(tmp_path)]) == 0
    text = (tmp_path / "scaling.md").read_text()
    for phrase in ("**No GPU was measured**", "more than two cores", "**assumed**"):
        assert phrase in text
    with (tmp_path / "scaling.csv").open() as file:
        assert [row["cores"] for row in csv.DictReader(file)] == ["1", "8", "64", "512"]
    assert (tmp_path / "scaling.png").stat().st_size > 5000
    assert simulate_scaling.main(["--out", str(tmp_path), "--benchmarks", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_figure_has_the_simulated_machines_alone(measured, monkeypatch):
    drawn = {}
    monkeypatch.setattr(report, "png", lambda fig, dpi: drawn.setdefault("axes", fig.axes[0]))
    report.figure(published_runs(), measured)
    labels = drawn["axes"].get_legend_handles_labels()[1]
    assert [label.split(" ")[0] for label in labels] == ["simulated:", "all", "the"]
    assert drawn["axes"].get_xlabel() == "cores"
    report.plt.close(drawn["axes"].figure)
