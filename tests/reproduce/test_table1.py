"""Table 1's script: end to end on digits, sharing runs out, side by side, damaged files, and its errors."""

import contextlib
import csv
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import hvae_tf
from reproduce import choose_schedule, configs, table1
from reproduce.configs import Evaluation, Table1Preset
from reproduce.judging.models import split_name
from reproduce.mnist.cells import Run, make_runs
from reproduce.mnist.evaluation import satisfies
from reproduce.mnist.work import Settings, do_run, state_of
from tests.reproduce.mnist_records import TINY, run_record

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def tiny(monkeypatch):
    """A preset small enough to train within a test."""
    preset = Table1Preset(TINY, Evaluation(images=None, samples=6, repeats=2), ("vae", "k1-fixed"), {})
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", preset)
    return preset


@pytest.mark.slow
def test_script_end_to_end_twice(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--preset", "tiny", "--out", str(out), "--verbose", "0", "--processes", "1"]
    assert table1.main([*arguments, "--list"]) == 0
    assert "missing" in capsys.readouterr().out
    assert not list(out.glob("*.json"))
    assert table1.main(arguments) == 0
    with (out / "table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = "cell,K,tempering,step_size,seed,epochs,neg_elbo,neg_elbo_sd,nll,nll_sd,paper_nll"
    assert list(rows[0]) == names.split(",")
    assert [row["cell"] for row in rows] == ["vae", "k1-fixed"]
    for row in rows:
        assert float(row["nll"]) < float(row["neg_elbo"]) + 1.0
        assert row["epochs"] == "2"
        assert row["paper_nll"] == ""  # the paper's numbers are MNIST's
    assert "Cheap look" in (out / "table1.md").read_text()
    for name in ("training_curves.png", "samples.png", "reconstructions.png", "posterior_correlation.png"):
        assert (out / name).stat().st_size > 1000
    model = keras.models.load_model(out / "models" / "k1-fixed-seed0.keras")
    record = hvae_tf.runs.read_record(out / "k1-fixed-seed0.json")
    assert record["results"]["parameters"] == model.count_params()

    stamps = {path: path.stat().st_mtime_ns for path in [*out.glob("*.json"), *out.glob("models/*")]}
    assert table1.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    # more samples are asked for: evaluated again, from the saved model
    before = hvae_tf.runs.read_record(out / "vae-seed0.json")["results"]
    assert table1.main([*arguments, "--cells", "vae", "--eval-samples", "8"]) == 0
    after = hvae_tf.runs.read_record(out / "vae-seed0.json")["results"]
    assert (before["evaluation"]["samples"], after["evaluation"]["samples"]) == (6, 8)
    assert after["training"] == before["training"]
    assert (out / "models" / "vae-seed0.keras").stat().st_mtime_ns == stamps[out / "models" / "vae-seed0.keras"]


def test_records_of_another_protocol_are_left_alone(tiny, tmp_path, capsys, monkeypatch):
    store = hvae_tf.runs.RunStore(tmp_path)
    store.write(run_record("vae", 0, [100.0, 100.1], TINY))
    changed = dataclasses.replace(tiny, config=dataclasses.replace(TINY, max_epochs=3))
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", changed)
    assert table1.main(["--preset", "tiny", "--out", str(tmp_path)]) == 1
    assert "max_epochs=2 there, 3 asked" in capsys.readouterr().err


def test_runs_are_shared_out(tmp_path, monkeypatch):
    """A run that another process has is left to the end, waited for, and not done twice."""
    store = hvae_tf.runs.RunStore(tmp_path)
    runs = [Run("vae", 0), Run("vae", 1), Run("k1-fixed", 0)]
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", Table1Preset(TINY, Evaluation(), ()))
    args = table1.parse(["--preset", "tiny", "--processes", "1", "--verbose", "0"])
    started, done = threading.Event(), []

    def do_run(run, *_, **__):
        done.append(run)
        started.set()
        store.write(run_record(run.cell, run.seed, [1.0, 1.0, 1.0]))

    monkeypatch.setattr("reproduce.mnist.work.do_run", do_run)
    claimed = threading.Event()

    def other_process():
        with hvae_tf.runs.RunStore(tmp_path).claim("vae-seed0") as mine:
            assert mine
            claimed.set()
            started.wait(10)
            store.write(run_record("vae", 0, [1.0, 1.0, 1.0]))

    thread = threading.Thread(target=other_process)
    thread.start()
    claimed.wait(10)
    assert table1.work(args, runs, store) == {}
    thread.join()
    assert done == runs[1:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cells", "k3-free"], "accepted: vae, k1-fixed"),
        (["--seeds", "one"], "not a list of seeds"),
        (["--preset", "huge"], "invalid choice"),
        (["--eval-samples", "0"], "at least 1"),
        (["--eval-images", "-5"], "at least 1"),
        (["--processes", "0"], "at least 1"),
        (["--out", ""], "empty"),
        (["--data-dir", " "], "empty"),
        (["--judge", "/nowhere"], "--judge: /nowhere is no folder"),
        (["--virtual-devices", "2"], "goes with --strategy mirrored"),
        (["--strategy", "mirrored", "--processes", "2"], "all devices for one training"),
    ],
)
def test_bad_arguments(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        table1.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_missing_data_is_one_clear_line(tmp_path, capsys):
    arguments = ["--preset", "budget", "--data-dir", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert table1.main(arguments) == 1
    error = capsys.readouterr().err
    assert "TFDS_DATA_DIR" in error
    assert "Traceback" not in error


def test_no_records_no_table(tmp_path, capsys):
    assert table1.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert "no records" in capsys.readouterr().err


def test_choose_schedule_answers_like_the_others(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        choose_schedule.main(["--out", ""])
    assert "empty" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.touch()
    assert choose_schedule.main(["--preset", "smoke", "--out", str(blocked)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert str(blocked) in error


def test_states(tmp_path):
    store, run, settings = hvae_tf.runs.RunStore(tmp_path), Run("vae", 0), Settings(TINY, Evaluation())
    cheap = dataclasses.replace(settings, evaluation=Evaluation(samples=10))
    assert state_of(run, settings, store) == "missing"
    (tmp_path / "work" / run.name).mkdir(parents=True)
    assert state_of(run, settings, store) == "started"
    old = run_record("vae", 0, [1.0, 1.0, 1.0], samples=10)
    del old["configuration"]["step_size_per"]  # as records were
    store.write(old)
    assert state_of(run, settings, store) == "no model"
    (tmp_path / "work" / run.name / "checkpoint.bin").touch()
    assert state_of(run, settings, store) == "trained"
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vae-seed0.keras").touch()
    assert state_of(run, settings, store) == "trained"
    assert state_of(run, cheap, store) == "done"
    assert state_of(run, dataclasses.replace(cheap, per_image=True), store) == "trained"
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "vae-seed0.npz").write_bytes(b"damaged")
    assert state_of(run, cheap, store) == "trained"
    few = {"images": 5, "samples": 10, "repeats": 3, "of": 6}
    assert not satisfies(few, Evaluation(samples=10))
    assert satisfies(few, Evaluation(images=5, samples=10))
    assert satisfies({**few, "images": 6}, Evaluation(samples=10))


def test_the_recorded_rows_stay_done():
    """The rows under results/ are of the budget preset as it is: the same call again finds them done."""
    preset = configs.TABLE1_PRESETS["budget"]
    store = hvae_tf.runs.RunStore(ROOT / "results" / "table1" / "budget")
    runs = [Run(*split_name(path.stem)) for path in store.folder.glob("*-seed*.json")]
    assert {Run("vae", 0), Run("k1-fixed", 0), Run("k5-free", 0)} <= set(runs) & set(make_runs(preset))
    for run in runs:
        assert state_of(run, Settings(preset.config, preset.evaluation), store) == "done"
        assert state_of(run, Settings(preset.config, Evaluation()), store) != "done"  # all test images


# ------------------------------------------------------------------------------------------------------ damaged files


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one finished run."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(configs.TABLE1_PRESETS, "tiny", Table1Preset(TINY, Evaluation(None, 4, 1), ("vae",), {}))
        assert table1.main(["--preset", "tiny", "--out", str(out), "--verbose", "0"]) == 0
    return out


@pytest.fixture
def vae(finished, tmp_path, monkeypatch):
    """A copy of it, and what calls the script on it."""
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", Table1Preset(TINY, Evaluation(None, 4, 1), ("vae",), {}))
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    return out, lambda *more: table1.main(["--preset", "tiny", "--out", str(out), "--verbose", "0", *more])


def test_damaged_pictures_are_made_again(vae, capsys):
    out, call = vae
    path = out / "pictures" / "vae-seed0.npz"
    before, record = path.read_bytes(), (out / "vae-seed0.json").read_bytes()
    path.write_bytes(before[:100])
    assert call("--report-only") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{path} is damaged" in error
    assert call() == 0
    with np.load(path) as found:
        assert found["samples"].shape == (36, 8, 8, 1)
    assert (out / "vae-seed0.json").read_bytes() == record


def test_a_damaged_record_is_one_line(vae, capsys):
    out, call = vae
    record = hvae_tf.runs.read_record(out / "vae-seed0.json")
    record["results"] = {"nll": 3}
    hvae_tf.runs.write_record(out / "vae-seed0.json", record)
    for more in ((), ("--report-only",), ("--list",)):
        assert call(*more) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(out / "vae-seed0.json") in error
        assert "delete the file" in error


def test_a_damaged_evaluation_file_is_made_again(vae):
    out, call = vae
    (out / "work" / "vae-seed0" / "evaluation.json").write_text("{")
    assert call("--eval-samples", "5") == 0
    assert hvae_tf.runs.read_record(out / "vae-seed0.json")["results"]["evaluation"]["samples"] == 5


def test_a_damaged_model_is_made_again_from_its_checkpoint(vae, capsys):
    out, call = vae
    path = out / "models" / "vae-seed0.keras"
    weights = keras.models.load_model(path).get_weights()
    path.write_bytes(path.read_bytes()[:1000])
    assert call("--eval-samples", "5") == 0
    assert f"{path} is damaged" in capsys.readouterr().err
    for one, other in zip(keras.models.load_model(path).get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # without it: one line
    path.write_bytes(b"x")
    shutil.rmtree(out / "work")
    assert call("--eval-samples", "6") == 1
    assert f"{path} is damaged" in (error := capsys.readouterr().err)
    assert "--force of what trained it makes it again" in error
    assert "Traceback" not in error


def test_a_record_without_its_model_stands_until_it_is_forced(vae, capsys):
    out, call = vae
    path = out / "vae-seed0.json"
    other = {**hvae_tf.runs.read_record(path), "name": "vae-seed1", "seed": 1}
    hvae_tf.runs.write_record(out / "vae-seed1.json", other)
    (out / "models" / "vae-seed0.keras").rename(out / "models" / "vae-seed1.keras")
    shutil.rmtree(out / "work")
    before = path.read_bytes()
    assert call() == 0  # what the record has is enough
    capsys.readouterr()
    assert call("--seeds", "0,1", "--processes", "1", "--eval-samples", "5") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("failed: vae-seed0: RecordError: ")
    assert f"its model is not in {out / 'models'}; --force trains it again" in error
    assert path.read_bytes() == before
    assert not (out / "work" / "vae-seed0").exists()
    # the other run went on
    assert hvae_tf.runs.read_record(out / "vae-seed1.json")["results"]["evaluation"]["samples"] == 5
    assert call("--force", "--eval-samples", "5") == 0
    assert hvae_tf.runs.read_record(path)["results"]["evaluation"]["samples"] == 5


def test_values_of_single_images_are_added_on_demand(vae):
    out, call = vae
    record = hvae_tf.runs.read_record(out / "vae-seed0.json")
    kept = record["results"].pop("per_image")
    trained_by = record["environment"] | {"revision": "of long ago"}
    evaluated_by, record["environment"] = record["environment"], trained_by
    hvae_tf.runs.write_record(out / "vae-seed0.json", record)
    assert call() == 0
    assert "per_image" not in hvae_tf.runs.read_record(out / "vae-seed0.json")["results"]
    assert call("--per-image") == 0
    again = hvae_tf.runs.read_record(out / "vae-seed0.json")
    found = again["results"]
    assert found["per_image"] == kept
    assert found["training"] == record["results"]["training"]
    assert again["environment"] == trained_by
    assert found["evaluation_environment"] | {"written": evaluated_by["written"]} == evaluated_by


# ------------------------------------------------------------------------------------------------------- side by side


def workers_of(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("processes", [1, 2])
def test_the_longest_run_comes_first_only_where_others_are_beside_it(tmp_path, monkeypatch, processes):
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", Table1Preset(TINY, Evaluation(), ()))
    monkeypatch.setattr("reproduce.workers.worker_pool", lambda *_: contextlib.nullcontext("a pool"))
    given = []
    monkeypatch.setattr("reproduce.workers.run_with_display", lambda *args, **_: given.append(args) or {})
    args = table1.parse(["--preset", "tiny", "--processes", str(processes), "--verbose", "0"])
    runs = [Run(cell, seed) for cell in ("vae", "k1-fixed", "k5-free") for seed in (0, 1)]
    assert table1.work(args, runs, hvae_tf.runs.RunStore(tmp_path)) == {}
    ((tasks, _, executor),) = given
    assert (executor is None) == (processes == 1)
    ordered = runs if processes == 1 else [runs[i] for i in (4, 5, 2, 3, 0, 1)]  # seeds in their order
    assert [task.of for task in tasks] == ordered


@pytest.mark.slow
def test_runs_side_by_side(tiny, tmp_path, capfd):
    out = tmp_path / "out"
    arguments = ["--preset", "tiny", "--cells", "vae", "--seeds", "0,1", "--out", str(out), "--processes", "2"]
    assert table1.main(arguments) == 0
    printed = capfd.readouterr()
    assert "2 runs to do, 2 at once" in printed.out
    assert "2/2 runs" in printed.err
    for name in ("vae-seed0", "vae-seed1"):
        record = hvae_tf.runs.read_record(out / f"{name}.json")
        assert record["results"]["training"]["cores"] == 1
        assert len(record["history"]["val_loss"]) == 2
    left = [Path(f"/proc/{pid}/cmdline").read_text() for pid in workers_of(os.getpid())]
    assert not any("spawn_main" in command for command in left)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, how):
    command = [sys.executable, "reproduce/table1.py", "--preset", "smoke", "--cells", "k5-free", "--seeds", "0,1"]
    process = subprocess.Popen(
        [*command, "--processes", "2", "--out", str(tmp_path)], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("work/*/history.csv")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        workers = workers_of(process.pid)
        assert len(workers) >= 2
        process.send_signal(how)
        _, error = process.communicate(timeout=30)
        deadline = time.monotonic() + 5
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(alive, workers))
    finally:
        process.kill()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in error
        assert error.splitlines()[-1].startswith("stopped; records are in")


@pytest.mark.parametrize(
    ("cell", "asked"), [("k1-fixed", "checkpoint"), ("k1-fixed", "backprop"), ("vae", "checkpoint")]
)
def test_an_adjoint_reaches_the_flow_and_is_no_part_of_what_a_record_is_of(cell, asked, tmp_path, monkeypatch):
    assert tuple(hvae_tf.dynamics.adjoint.ADJOINTS) == table1.ADJOINTS
    args = table1.parse(["--preset", "smoke", "--adjoint", asked])
    settings = dataclasses.replace(table1.settings_of(args), config=TINY)
    fitted, run, store = {}, Run(cell, 0), hvae_tf.runs.RunStore(tmp_path)
    result = hvae_tf.training.TrainingResult("max_epochs", 2, 2, 90.0, {"val_loss": [91.0, 90.0]}, 1.0, 0.5)

    def fit(model, *_, configuration, **__):
        fitted.update(model=model, configuration=configuration)
        return result

    monkeypatch.setattr("hvae_tf.fit", fit)
    judged = {name: run_record(cell, 0, [1.0])["results"][name] for name in ("nll", "neg_elbo", "nll_image_sd")}
    judged |= {"neg_elbo_image_sd": 1.0, "evaluation_seconds": 1.0}
    judged["evaluation"] = {"images": 30, "samples": 50, "repeats": 3, "of": 30}
    monkeypatch.setattr("reproduce.mnist.work.evaluate", lambda *_: dict(judged))
    monkeypatch.setattr("reproduce.mnist.work.take_pictures", lambda *_: (0.0, b"pictures"))
    do_run(run, settings, settings.data(), store, lambda *_, **__: None)
    record = store.read(run.name)
    flow = cell != "vae"
    if flow:
        assert isinstance(fitted["model"].flow.adjoint, hvae_tf.dynamics.adjoint.ADJOINTS[asked])
    assert record["results"]["training"].get("adjoint") == (asked if flow else None)
    assert fitted["configuration"].get("adjoint") == ("checkpoint" if flow and asked == "checkpoint" else None)
    assert "adjoint" not in record["configuration"]
    (tmp_path / "pictures" / f"{run.name}.npz").unlink()
    for other in table1.ADJOINTS:
        assert state_of(run, dataclasses.replace(settings, adjoint=other), store) == "done"


MIRRORED = """
import dataclasses, sys
from hvae_tf.runs import read_record
from reproduce import configs, table1
from reproduce.configs import Evaluation, Table1Preset
from tests.reproduce.mnist_records import TINY

config = dataclasses.replace(TINY, limit=(100, 60, 30))
configs.TABLE1_PRESETS["tiny"] = Table1Preset(config, Evaluation(None, 4, 1), ("k1-fixed",), {})
sys.exit(table1.main(["--preset", "tiny", "--out", sys.argv[1], "--verbose", "0", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_one_training_on_several_devices(tmp_path):
    """Two virtual devices; the model is judged like any other, and the run is not continued on another number."""

    def call(out, *more):
        command = [sys.executable, "-c", MIRRORED, str(out), "--strategy", "mirrored", *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)

    done = call(tmp_path, "--virtual-devices", "2", "--adjoint", "checkpoint")
    assert done.returncode == 0, done.stderr[-2000:]
    record = hvae_tf.runs.read_record(tmp_path / "k1-fixed-seed0.json")
    assert len(record["results"]["training"]["devices"]) == 2
    assert record["results"]["training"]["adjoint"] == "checkpoint"
    assert len(record["history"]["val_loss"]) == 2
    model = keras.models.load_model(tmp_path / "models" / "k1-fixed-seed0.keras")
    assert record["results"]["weights"] == hvae_tf.files.fingerprint(*model.get_weights())
    for path in (tmp_path / "k1-fixed-seed0.json", tmp_path / "models" / "k1-fixed-seed0.keras"):
        path.unlink()
    other = call(tmp_path, "--virtual-devices", "1", "--adjoint", "checkpoint")
    assert other.returncode == 1
    assert "replicas: 2 there, None asked" in other.stderr
