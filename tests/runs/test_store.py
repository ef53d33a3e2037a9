"""A folder of records: what is done, whose turn it is, and folders that cannot be written."""

import os
import signal
import time

import pytest

from hvae_tf.runs import RecordError, RunStore
from tests.runs.example_record import record
from tests.unprivileged import unprivileged
from tests.without_tensorflow import child


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


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "../run", "a/b", "/run", "a\\b", "a\0b"])
def test_a_name_stays_in_the_folder(name, tmp_path):
    store = RunStore(tmp_path / "store")
    for use in (store.path, store.read, lambda n: store.done(n, {}, 0), lambda n: store.write(record(n))):
        with pytest.raises(RecordError, match="cannot be a run's name"):
            use(name)
    with pytest.raises(RecordError, match="cannot be a run's name"), store.claim(name):
        pass
    assert {path.name for path in tmp_path.rglob("*")} <= {"store", ".locks"}


@pytest.mark.parametrize("folder", ["", " "])
def test_a_folder_has_a_name(folder):
    with pytest.raises(RecordError, match="empty name"):
        RunStore(folder)


def test_a_record_under_another_name_is_refused(tmp_path):
    store = RunStore(tmp_path)
    store.write(record("one"))
    store.path("one").rename(store.path("two"))
    for use in (lambda: store.read("two"), store.read_all, lambda: store.done("two", {}, 4)):
        with pytest.raises(RecordError, match=r"two.json is the record of 'one'"):
            use()


def test_all_records_come_in_order_and_nothing_else(tmp_path):
    store = RunStore(tmp_path)
    for name in ("b", "a", "c-d10"):
        store.write(record(name))
    (tmp_path / ".a.json.123.tmp").write_text("{")
    (tmp_path / "figure.png").write_text("")
    assert [found["name"] for found in store.read_all()] == ["a", "b", "c-d10"]


def test_what_is_finished_can_be_read_where_nothing_can_be_written(tmp_path):
    store = RunStore(tmp_path / "store")
    store.write(record())
    before = sorted(tmp_path.rglob("*"))
    with unprivileged(tmp_path / "store", tmp_path):
        with pytest.raises(PermissionError):
            store.write(record("other"))  # the folder is as meant
        again = RunStore(tmp_path / "store")
        assert again.done("run", {"epochs": 3, "widths": [1, 2]}, 4)
        assert again.read_all() == [again.read("run")]
    assert sorted(tmp_path.rglob("*")) == before


# -- claims -----------------------------------------------------------------------------------------------------------

HOLD = """
with runs.RunStore(sys.argv[2]).claim("run") as claimed:
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
store = runs.RunStore(sys.argv[2])
for name in map(str, range(12)):
    with store.claim(name) as claimed:
        if not claimed or store.path(name).exists():
            continue
        time.sleep(0.05)
        files.atomic_write(store.path(name), "{}")
        print(name, flush=True)
"""
    processes = [child(code, tmp_path) for _ in range(2)]
    did = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sorted(did[0] + did[1], key=int) == [str(n) for n in range(12)]  # each once
    assert not set(did[0]) & set(did[1])
