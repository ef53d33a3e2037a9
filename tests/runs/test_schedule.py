"""Tasks on executors: each done once, what is done left alone, failures told, progress heard."""

import concurrent.futures
import dataclasses
import os
import threading
import time
from pathlib import Path

import pytest

from hvae_tf.runs import InlineExecutor, RecordError, RunStore, run_all
from tests.runs.example_record import record
from tests.without_tensorflow import child

CONFIGURATION = {"epochs": 3, "widths": [1, 2]}


@dataclasses.dataclass(frozen=True)
class Example:
    """A task that leaves a record, tells its progress, and may fail or die."""

    name: str
    cost: float = 1.0
    seconds: float = 0.0
    ends: str = "well"

    def done(self, store):
        return store.done(self.name, CONFIGURATION, 4)

    def run(self, store, progress, force):
        progress(0.5)
        time.sleep(self.seconds)
        if self.ends == "badly":
            raise ArithmeticError("lost\nits way")
        if self.ends == "dead":
            os._exit(1)
        with (store.folder / "log").open("a") as log:
            log.write(f"{self.name}{'!' if force else ''} ")
        store.write(record(self.name))


def log(store):
    return (store.folder / "log").read_text().split()


@pytest.fixture(params=["inline", "threads"])
def executor(request):
    with InlineExecutor() if request.param == "inline" else concurrent.futures.ThreadPoolExecutor(2) as executor:
        yield executor


def test_what_is_missing_is_done_and_the_rest_left_alone(tmp_path, executor):
    store = RunStore(tmp_path)
    store.write(record("b"))
    tasks = [Example(name) for name in "abc"]
    assert run_all(tasks, store, executor) == {}
    assert sorted(log(store)) == ["a", "c"]
    assert run_all(tasks, store, executor) == {}
    assert sorted(log(store)) == ["a", "c"]
    assert run_all(tasks, store, executor, force=True) == {}
    assert sorted(log(store)[2:]) == ["a!", "b!", "c!"]
    assert {path.name for path in store.locks().iterdir()} <= {f"{name}.lock" for name in "abc"}


def test_a_failure_is_told_in_one_line_and_stops_nothing(tmp_path, executor):
    store = RunStore(tmp_path)
    tasks = [Example("a"), Example("b", ends="badly"), Example("c")]
    assert run_all(tasks, store, executor) == {"b": "ArithmeticError: lost its way"}
    assert sorted(log(store)) == ["a", "c"]


def test_another_configuration_stops_all_before_anything_is_run(tmp_path, executor):
    store = RunStore(tmp_path)
    store.write(record("b", seed=5))
    with pytest.raises(RecordError, match="another configuration"):
        run_all([Example("a"), Example("b")], store, executor)
    assert not (tmp_path / "log").exists()


def test_progress_is_weighed_by_cost_and_heard_while_a_task_runs(tmp_path):
    store, heard = RunStore(tmp_path), []
    tasks = [Example("a", cost=3.0, seconds=1.2), Example("b")]
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        run_all(tasks, store, executor, on_progress=lambda *told: heard.append(told))
    fractions = [fraction for fraction, _, _ in heard]
    assert fractions == sorted(fractions)
    assert (0.25 + 0.75 * 0.5, 1, 2) in heard  # b is done, a is half way
    assert heard[-1] == (1.0, 2, 2)


def test_a_task_that_another_call_has_is_waited_for_and_not_done_again(tmp_path):
    store = RunStore(tmp_path)
    hold = """
with runs.RunStore(sys.argv[2]).claim("a") as claimed:
    print(claimed, flush=True)
    sys.stdin.readline()
"""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        other = child(hold, tmp_path, stdin=-1)
        assert other.stdout.readline().strip() == "True"

        def finish():
            while not (tmp_path / "b.json").exists():
                time.sleep(0.02)
            store.write(record("a"))
            other.communicate("\n", timeout=30)

        finisher = threading.Thread(target=finish)
        finisher.start()
        assert run_all([Example("a"), Example("b")], store, executor) == {}
        finisher.join()
    assert log(store) == ["b"]


def test_a_task_that_another_call_gave_up_is_taken_over(tmp_path):
    store = RunStore(tmp_path)
    other = child("""
with runs.RunStore(sys.argv[2]).claim("a") as claimed:
    print(claimed, flush=True)
    time.sleep(60)
""", tmp_path)  # fmt: skip
    assert other.stdout.readline().strip() == "True"
    threading.Timer(0.5, other.kill).start()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert run_all([Example("a"), Example("b")], store, executor) == {}
    other.wait()
    assert log(store) == ["b", "a"]


def test_an_interrupt_leaves_at_once(tmp_path):
    class Interrupted(Example):
        def run(self, store, progress, force):
            raise KeyboardInterrupt

    store = RunStore(tmp_path)
    with pytest.raises(KeyboardInterrupt), InlineExecutor() as executor:
        run_all([Example("a"), Interrupted("b"), Example("c")], store, executor)
    assert log(store) == ["a"]
    with store.claim("b") as claimed:
        assert claimed


def test_a_dead_worker_process_is_an_error_of_one_line(tmp_path):
    code = """
import concurrent.futures, multiprocessing
sys.path += sys.argv[3:]
from tests.runs.test_schedule import Example
if __name__ == "__main__":
    store = runs.RunStore(sys.argv[2])
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        try:
            runs.run_all([Example("a"), Example("b", ends="dead")], store, executor)
        except RuntimeError as error:
            print(error)
"""
    process = child(code, tmp_path, Path(__file__).parents[2])
    assert "a worker process died" in process.communicate(timeout=60)[0]
    assert log(RunStore(tmp_path)) == ["a"]
