"""Doing what is missing: tasks that leave records, on any executor, shared out between all calls on one folder.

    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        failures = run_all(tasks, RunStore("results"), executor)

The executor may be any of `concurrent.futures`, or one that keeps its interface on other machines with the same folder.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from hvae_tf.runs.store import RunStore

POLL_SECONDS = 0.5


class Task(Protocol):
    """A piece of work that leaves one record or several in a store. Executors of other processes pickle it."""

    @property
    def name(self) -> str:
        """Unique among tasks, and a file name."""

    @property
    def cost(self) -> float:
        """How long it takes beside other tasks, in any unit."""

    def done(self, store: RunStore) -> bool:
        """Whether all its records stand.

        Raises:
            RecordError: If a record of another configuration stands in the place of one.
        """

    def run(self, store: RunStore, progress: Callable[[float], None], force: bool) -> None:
        """Does what is missing, going on from where it was stopped; with `force` all of it from the start.

        `progress` is to be told the fraction done from time to time.
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
    on_progress: Callable[[float, int, int], None] | None = None,
) -> dict[str, str]:
    """Does every task that is not done.

    A task that another call on the same folder is at is left to it; this call comes back to it at its end, waits, and
    does it only if it still is not done. A task that fails does not stop the others.

    Args:
        tasks: What is to be done, in the order of their turn.
        store: Where the records go.
        executor: What runs the tasks. Whoever made it ends it.
        force: Whether to do again what is done.
        on_progress: Told the fraction done, of all tasks by their cost, how many are done, and how many there are.

    Returns:
        What went wrong, by the names of the tasks that failed: one line each.

    Raises:
        RecordError: If a record of another configuration stands in the place of a task's; nothing is run then.
        RuntimeError: If a process of the executor died, or the executor itself was lost.
    """
    todo = [task for task in tasks if force or not task.done(store)]
    fractions, failures = dict.fromkeys((task.name for task in todo), 0.0), {}
    total = sum(task.cost for task in todo)

    def tell():
        if on_progress and todo:
            finished = len(todo) - len(open_tasks)
            on_progress(sum(fractions[task.name] * task.cost for task in todo) / total, finished, len(todo))

    open_tasks: dict[concurrent.futures.Future, Task] = {}
    try:
        for task in todo:
            open_tasks[executor.submit(_attempt, task, store, force, False)] = task
        tell()
        while open_tasks:
            finished, _ = concurrent.futures.wait(open_tasks, POLL_SECONDS, concurrent.futures.FIRST_COMPLETED)
            for future in finished:
                task = open_tasks.pop(future)
                mine, failure = _outcome(future)
                if not mine:  # another call has it: its turn comes again at the end, and then this call waits
                    open_tasks[executor.submit(_attempt, task, store, force, True)] = task
                    continue
                fractions[task.name] = 1.0
                if failure is not None:
                    failures[task.name] = failure
            for task in open_tasks.values():
                fractions[task.name] = _heard(store, task, fractions[task.name])
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


def _attempt(task: Task, store: RunStore, force: bool, wait: bool) -> tuple[bool, str | None]:
    """Where the task runs: whether the claim was had, and what went wrong.

    Errors travel as text: not every exception can be pickled, and one that cannot would break the executor.
    """
    try:
        with store.claim(task.name, wait=wait) as mine:
            if not mine:
                return False, None
            path = _progress_path(store, task)
            try:
                if force or not task.done(store):
                    task.run(store, lambda fraction: _tell(path, fraction), force)
            finally:
                path.unlink(missing_ok=True)
    except Exception as error:
        return True, _one_line(error)
    return True, None


# Progress goes through small files, for no executor has a channel for it, and so that a call sees another call's too.


def _progress_path(store: RunStore, task: Task) -> Path:
    return store.locks() / f"{task.name}.progress"


def _tell(path: Path, fraction: float) -> None:
    with contextlib.suppress(OSError):
        path.write_text(f"{fraction:.4f}")


def _heard(store: RunStore, task: Task, before: float) -> float:
    """The last fraction that the task told, or `before`: a file that is just being written is empty."""
    try:
        return float(_progress_path(store, task).read_text())
    except (OSError, ValueError):
        return before
