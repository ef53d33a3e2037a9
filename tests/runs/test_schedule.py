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
        progress(0.5, "half way")
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
        run_all(tasks, store, executor, on_progress=heard.append)
    fractions = [overview.fraction for overview in heard]
    assert fractions == sorted(fractions)
    half = next(told for told in heard if told.fraction == 0.25 + 0.75 * 0.5)  # b is done, a is half way
    assert (half.finished, half.total, half.doing) == (1, 2, {"a": "half way"})
    assert heard[-1] == (1.0, 2, 2, 0.0, {})


def test_tasks_without_a_cost_weigh_alike(tmp_path):
    tasks, heard = [Example("a", cost=0.0), Example("b", cost=0.0)], []
    with InlineExecutor() as executor:
        assert run_all(tasks, RunStore(tmp_path), executor, on_progress=heard.append) == {}
    assert {0.0, 0.25, 0.5, 1.0} == {told.fraction for told in heard}
    assert heard[-1] == (1.0, 2, 2, 0.0, {})


def test_progress_is_heard_of_tasks_inline_and_of_what_was_kept(tmp_path):
    class Kept(Example):
        def run(self, store, progress, force):
            progress(0.25, "what was there", kept=True)
            progress(0.5)
            progress(0.75, "more of it", kept=True)
            super().run(store, lambda fraction, doing: None, force)

    heard = []
    with InlineExecutor() as executor:
        run_all([Kept("a"), Kept("b")], RunStore(tmp_path), executor, on_progress=heard.append)
    assert ("more of it", 0.375, 0.25) in [(*told.doing.values(), told.fraction, told.kept) for told in heard]
    assert [told.fraction for told in heard] == sorted(told.fraction for told in heard)
    assert heard[-1][:4] == (1.0, 2, 2, 0.5)


def test_what_a_killed_call_left_is_not_taken_for_progress(tmp_path):
    store, heard = RunStore(tmp_path), []
    store.locks().mkdir(exist_ok=True)
    path = store.locks() / "b.progress"
    path.write_text("0.9000 0.0000 long ago")
    os.utime(path, (1.0, 1.0))
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        run_all([Example("a", seconds=0.8), Example("b")], store, executor, on_progress=heard.append)
    assert heard[1].fraction < 0.5
    assert not any("long ago" in told.doing.values() for told in heard)


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
