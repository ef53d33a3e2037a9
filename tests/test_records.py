"""Run records: whole or not there, checked when read, and shared out between processes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hvae_tf import records
from hvae_tf.records import RecordError, RunStore, atomic_write, fingerprint, make_record, read_record, write_record

# a process that runs code on the module alone, without TensorFlow
CHILD = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("records", sys.argv[1])
records = importlib.util.module_from_spec(spec)
spec.loader.exec_module(records)
"""


def child(code, *arguments):
    path = importlib.util.find_spec("hvae_tf.records").origin
    command = [sys.executable, "-c", CHILD + code, path, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def record(name="run", **changes):
    fields = {
        "configuration": {"epochs": 3, "widths": (1, 2)},
        "seed": 4,
        "data_fingerprint": "abc",
        "history": {"loss": [2.0, 1.0]},
        "wall_seconds": 1.23456,
        "results": {"nll": 84.0},
    }
    return make_record(name, **{**fields, **changes})


# -- writing ----------------------------------------------------------------------------------------------------------


def test_a_record_comes_back(tmp_path):
    write_record(tmp_path / "deep/run.json", record())
    read = read_record(tmp_path / "deep/run.json")
    assert read == record() | {"environment": read["environment"]}
    assert read["configuration"] == {"epochs": 3, "widths": [1, 2]}
    assert read["wall_seconds"] == 1.235
    assert {"revision", "packages", "python", "machine", "cores", "written"} <= set(read["environment"])
    assert {"hvae_tf", "tensorflow", "keras", "numpy"} <= set(read["environment"]["packages"])


def test_arrays_become_lists_and_what_is_not_finite_null(tmp_path):
    results = {
        "array": np.arange(3, dtype=np.float32),
        "scalar": np.float32(1.5),
        "nan": np.array([1.0, np.nan]),
        "infinite": float("inf"),
        "flag": np.bool_(True),
        3: "key",
    }
    write_record(tmp_path / "run.json", record(results=results))
    assert read_record(tmp_path / "run.json")["results"] == {
        "array": [0.0, 1.0, 2.0],
        "scalar": 1.5,
        "nan": [1.0, None],
        "infinite": None,
        "flag": True,
        "3": "key",
    }


@pytest.mark.parametrize("interrupted", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(interrupted, tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    atomic_write(path, "old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(records.os, interrupted, interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"


def test_a_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    atomic_write(path, "old")
    code = """
import os, signal
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
records.os.fsync = die
records.atomic_write(sys.argv[2], "new")
"""
    process = child(code, path)
    assert process.wait(60) == -signal.SIGKILL
    assert path.read_text() == "old"


def test_bytes_are_written_as_they_are_and_readable(tmp_path):
    atomic_write(str(tmp_path / "a/b"), b"\x00\xff")
    assert (tmp_path / "a/b").read_bytes() == b"\x00\xff"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o644


def test_readers_never_see_half_a_file(tmp_path):
    path = tmp_path / "run.json"
    atomic_write(path, "a" * 10**6)
    code = """
for letter in "bcdefgh" * 3:
    records.atomic_write(sys.argv[2], letter * 10**6)
"""
    process = child(code, path)
    seen = set()
    while process.poll() is None:
        text = path.read_text()
        assert len(text) == 10**6
        assert text == text[0] * 10**6
        seen.add(text[0])
    assert process.returncode == 0
    assert path.read_text() == "h" * 10**6


def test_fingerprints_tell_values_shapes_and_dtypes_apart():
    base = np.arange(6, dtype=np.float32)
    variants = [base, base + 1, base.reshape(2, 3), base.astype(np.float64), base[::-1], np.arange(6, dtype=np.int32)]
    digests = [fingerprint(v) for v in variants] + [fingerprint(base, base), fingerprint()]
    assert len(set(digests)) == len(digests)
    assert fingerprint(base[::2]) == fingerprint(base[::2].copy())


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", records.FIELDS)
@pytest.mark.parametrize("value", ["missing", None, True, object])
def test_each_field_is_checked(field, value, tmp_path):
    broken = record()
    broken[field] = value
    if value == "missing":
        del broken[field]
    with pytest.raises(RecordError, match=rf"run.json: field '{field}' is missing or of the wrong type"):
        write_record(tmp_path / "run.json", broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "\x00" * 10])
def test_what_is_not_json_is_refused(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RecordError, match=r"run.json is not JSON .*delete it to have the run done again"):
        read_record(tmp_path / "run.json")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match=r"run.json is not JSON"):
        read_record(tmp_path / "run.json")


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("[1, 2]")
    with pytest.raises(RecordError, match="holds a list; expected a record"):
        read_record(tmp_path / "run.json")


def test_another_schema_version_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(record() | {"schema_version": 99}))
    with pytest.raises(RecordError, match="has schema version 99; this code reads 1: run it again"):
        read_record(tmp_path / "run.json")


# -- the store --------------------------------------------------------------------------------------------------------


def test_a_run_is_done_when_its_record_is_there(tmp_path):
    store = RunStore(tmp_path / "records")
    configuration = {"epochs": 3, "widths": (1, 2)}
    assert not store.done("run", configuration, 4)
    store.write(record())
    assert store.done("run", configuration, 4)
    assert store.read("run")["seed"] == 4
    assert not store.done("other", configuration, 4)


def test_another_configuration_is_neither_reused_nor_overwritten(tmp_path):
    store = RunStore(tmp_path)
    store.write(record())
    before = store.path("run").read_bytes()
    with pytest.raises(RecordError, match=r"another configuration \(epochs=3 there, 4 asked\); .*--force"):
        store.done("run", {"epochs": 4, "widths": [1, 2]}, 4)
    with pytest.raises(RecordError, match=r"widths=.* there, None asked"):
        store.done("run", {"epochs": 3}, 4)
    assert store.path("run").read_bytes() == before


def test_a_damaged_record_is_not_done(tmp_path):
    store = RunStore(tmp_path)
    store.path("run").write_text('{"schema_version"')
    with pytest.raises(RecordError, match="is not JSON"):
        store.done("run", {}, 4)


# -- claims -----------------------------------------------------------------------------------------------------------

HOLD = """
with records.RunStore(sys.argv[2]).claim("run") as claimed:
    print(claimed, flush=True)
    time.sleep(float(sys.argv[3]))
"""


def owner(folder, seconds=60):
    """A process that holds the claim on the run."""
    process = child(HOLD, folder, seconds)
    assert process.stdout.readline().strip() == "True"
    return process


def test_a_claim_is_one_process_own_until_it_ends(tmp_path):
    store, process = RunStore(tmp_path), owner(tmp_path)
    try:
        with store.claim("run") as claimed:
            assert not claimed
        with store.claim("another") as claimed:
            assert claimed
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_owner_holds_nothing(kill, tmp_path):
    process = owner(tmp_path)
    os.kill(process.pid, kill)
    process.wait()
    with RunStore(tmp_path).claim("run") as claimed:
        assert claimed


def test_waiting_gets_the_claim_when_the_owner_ends(tmp_path):
    process, start = owner(tmp_path, 0.7), time.monotonic()
    with RunStore(tmp_path).claim("run", wait=True) as claimed:
        assert claimed
        assert time.monotonic() - start > 0.3
    assert process.wait() == 0


def test_a_claim_is_free_again_after_an_error(tmp_path):
    store = RunStore(tmp_path)
    with pytest.raises(ZeroDivisionError), store.claim("run"):
        raise ZeroDivisionError
    process = owner(tmp_path, 0)
    assert process.wait() == 0


def test_two_processes_share_runs_out(tmp_path):
    code = """
store = records.RunStore(sys.argv[2])
for name in map(str, range(12)):
    with store.claim(name) as claimed:
        if not claimed or store.path(name).exists():
            continue
        time.sleep(0.05)
        records.atomic_write(store.path(name), "{}")
        print(name, flush=True)
"""
    processes = [child(code, tmp_path) for _ in range(2)]
    did = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sorted(did[0] + did[1], key=int) == [str(n) for n in range(12)]  # each once
    assert not set(did[0]) & set(did[1])
