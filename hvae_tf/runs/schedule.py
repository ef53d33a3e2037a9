"""Doing what is missing: tasks that leave records, on any executor, shared out between all calls on one folder.

    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        failures = run_all(tasks, RunStore("results"), executor)

The executor may be any of `concurrent.futures`, or one that keeps its interface on other machines with the same folder.
"""

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from hvae_tf.runs.store import RunStore

POLL_SECONDS = 0.5


class Report(Protocol):
    """What a task tells its progress to."""

    def __call__(self, fraction: float, doing: str = "", *, kept: bool = False) -> None:
        """Takes the fraction done, what is being done, and whether this piece was found done and took no time."""


class Overview(NamedTuple):
    """How far all tasks are.

    Attributes:
        fraction: Done, of all of them by their cost.
        finished: How many are done.
        total: How many there are.
        kept: The part of `fraction` that was found done and took no time: what has been made is the rest.
        doing: What the tasks under way are doing, by their names, in the order of their turn.
    """

    fraction: float
    finished: int
    total: int
    kept: float
    doing: dict[str, str]


class Task(Protocol):
    """A piece of work that leaves one record or several in a store. Executors of other processes pickle it."""

    @property
    def name(self) -> str:
        """Unique among tasks, and a file name."""

    @property
    def cost(self) -> float:
        """How long it takes beside other tasks, in any unit; where all are 0 they weigh alike."""

    def done(self, store: RunStore) -> bool:
        """Whether all its records stand.

        Raises:
            RecordError: If a record of another configuration stands in the place of one.
        """

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        """Does what is missing, going on from where it was stopped; with `force` all of it from the start.

        `progress` is to be told the fraction done from time to time, and what is being done.
        """


class InlineExecutor(concurrent.futures.Executor):
    """Runs each call when it is submitted, in the thread that submits it: one after the other, and Ctrl-C is heard."""

    def submit(self, fn, /, *args, **kwargs):
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run_all(
    tasks: Iterable[Task],
    store: RunStore,
    executor: concurrent.futures.Executor,
    *,
    force: bool = False,
    on_progress: Callable[[Overview], None] | None = None,
) -> dict[str, str]:
    """Does every task that is not done.

    A task that another call on the same folder is at is left to it; this call comes back to it at its end, waits, and
    does it only if it still is not done. A task that fails does not stop the others.

    Args:
        tasks: What is to be done, in the order of their turn.
        store: Where the records go.
        executor: What runs the tasks. Whoever made it ends it.
        force: Whether to do again what is done.
        on_progress: Told how far it is, again and again.

    Returns:
        What went wrong, by the names of the tasks that failed: one line each.

    Raises:
        RecordError: If a record of another configuration stands in the place of a task's; nothing is run then.
        RuntimeError: If a process of the executor died, or the executor itself was lost.
    """
    todo = [task for task in tasks if force or not task.done(store)]
    told, failures, began = {task.name: _Told() for task in todo}, {}, time.time()
    costs = [task.cost for task in todo]
    if not any(costs):  # nothing is known of them
        costs = [1.0] * len(todo)

    def tell():
        if on_progress and todo:
            parts = [(task, told[task.name]) for task in todo]
            weighed = [(cost, told[task.name]) for cost, task in zip(costs, todo, strict=True)]
            fraction, kept = (sum(getattr(t, n) * c for c, t in weighed) / sum(costs) for n in ("fraction", "kept"))
            doing = {task.name: t.doing or task.name for task, t in parts if t.fraction < 1.0 and t.begun}
            on_progress(Overview(fraction, sum(t.fraction == 1.0 for _, t in parts), len(todo), kept, doing))

    def hear(name: str, found: _Told):
        told[name] = found
        tell()

    inline = hear if isinstance(executor, InlineExecutor) else None  # nobody polls while it works
    open_tasks: dict[concurrent.futures.Future, Task] = {}
    try:
        for task in todo:
            open_tasks[executor.submit(_attempt, task, store, force, False, inline)] = task
        tell()
        while open_tasks:
            finished, _ = concurrent.futures.wait(open_tasks, POLL_SECONDS, concurrent.futures.FIRST_COMPLETED)
            for future in finished:
                task = open_tasks.pop(future)
                mine, failure = _outcome(future)
                if not mine:  # another call has it: its turn comes again at the end, and then this call waits
                    open_tasks[executor.submit(_attempt, task, store, force, True, inline)] = task
                    continue
                told[task.name] = told[task.name]._replace(fraction=1.0)
                if failure is not None:
                    failures[task.name] = failure
            for task in open_tasks.values():
                told[task.name] = _heard(store, task, told[task.name], began)
            tell()
    except concurrent.futures.BrokenExecutor as error:
        raise RuntimeError("a worker process died (out of memory?); what was finished is kept") from error
    except concurrent.futures.CancelledError as error:
        raise RuntimeError("what runs the tasks was lost; what was finished is kept") from error
    finally:
        for future in open_tasks:
            future.cancel()
    return failures


def _outcome(future: concurrent.futures.Future) -> tuple[bool, str | None]:
    """What `_attempt` gave; a task that the executor could not bring to it, or lost with each worker, has failed.

    Raises:
        BrokenExecutor, CancelledError: If nothing more can be run.
    """
    try:
        return future.result()
    except (concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError):
        raise
    except Exception as error:
        return True, _one_line(error)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _attempt(
    task: Task, store: RunStore, force: bool, wait: bool, hear: "Callable[[str, _Told], None] | None"
) -> tuple[bool, str | None]:
    """Where the task runs: whether the claim was had, and what went wrong.

    Errors travel as text: not every exception can be pickled, and one that cannot would break the executor.
    """
    try:
        with store.claim(task.name, wait=wait) as mine:
            if not mine:
                return False, None
            reporter = _Reporter(task.name, _progress_path(store, task), hear)
            try:
                if force or not task.done(store):
                    reporter(0.0)
                    task.run(store, reporter, force)
            finally:
                reporter.path.unlink(missing_ok=True)
    except Exception as error:
        return True, _one_line(error)
    return True, None


# Progress goes through small files, for no executor has a channel for it, and so that a call sees another call's too.


class _Told(NamedTuple):
    """What a task told last."""

    fraction: float = 0.0
    kept: float = 0.0
    doing: str = ""
    begun: bool = False


class _Reporter:
    """A task's `Report`: writes the file, and tells `hear` where the task runs in the caller's own thread."""

    def __init__(self, name: str, path: Path, hear: Callable[[str, _Told], None] | None):
        self.path = path
        self._name, self._hear, self._told = name, hear, _Told()

    def __call__(self, fraction: float, doing: str = "", *, kept: bool = False) -> None:
        before = self._told
        found = min(fraction, 0.9999)  # it is done when its record stands
        spared = before.kept + (max(found - before.fraction, 0.0) if kept else 0.0)
        self._told = _Told(found, spared, " ".join(doing.split()) or before.doing, True)
        with contextlib.suppress(OSError):
            self.path.write_text(f"{found:.4f} {spared:.4f} {self._told.doing}")
        if self._hear is not None:
            self._hear(self._name, self._told)


def _progress_path(store: RunStore, task: Task) -> Path:
    return store.locks() / f"{task.name}.progress"


def _heard(store: RunStore, task: Task, before: _Told, began: float) -> _Told:
    """What the task told last, or `before`: a file being written is empty, and one of a killed call is old."""
    path = _progress_path(store, task)
    try:
        if path.stat().st_mtime < began:
            return before
        fraction, kept, doing = path.read_text().split(" ", 2)
        return _Told(float(fraction), float(kept), doing, True)
    except (OSError, ValueError):
        return before
