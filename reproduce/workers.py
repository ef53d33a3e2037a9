"""Processes of one core each that work side by side and never outlive the call that made them."""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a worker begins here: nothing that takes long may come before its watch over the parent
    from hvae_tf.runs import RunStore, Task


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_side_by_side(
    tasks: "Sequence[Task]",
    store: "RunStore",
    processes: int,
    *,
    cores: int = 1,
    force: bool = False,
    noun: str = "runs",
    quiet: bool = False,
) -> dict[str, str]:
    """`run_all` in so many processes, with one display of how far all of it is and how long what is left may take.

    Args:
        tasks: What is to be done.
        store: Where the records go.
        processes: How many tasks at once.
        cores: That each has.
        force: Whether to do again what is done.
        noun: What the user calls the tasks.
        quiet: No display.

    Returns:
        What went wrong, by the names of the tasks that failed.
    """
    with worker_pool(min(processes, len(tasks)), cores) as executor:
        return run_shown(tasks, store, executor, force=force, noun=noun, quiet=quiet)


def run_shown(
    tasks: "Sequence[Task]",
    store: "RunStore",
    executor: concurrent.futures.Executor,
    *,
    force: bool = False,
    noun: str = "runs",
    quiet: bool = False,
) -> dict[str, str]:
    """`run_all` on any executor, shown as by `run_side_by_side`."""
    from tqdm import tqdm

    from hvae_tf.runs import run_all

    layout = "{percentage:3.0f} %|{bar:30}| {elapsed} gone, {remaining} left {postfix}"
    with tqdm(total=100.0, bar_format=layout, mininterval=1.0, disable=quiet) as bar:

        def show(fraction, finished, count):
            bar.set_postfix_str(f"({finished} of {count} {noun} done)", refresh=False)
            bar.update(100.0 * fraction - bar.n)

        return run_all(tasks, store, executor, force=force, on_progress=show)


@contextlib.contextmanager
def worker_pool(processes: int, cores: int = 1) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """An executor of so many processes, each with so many cores for TensorFlow.

    Every worker waits on a pipe whose other end is here alone: when this process ends, however it ends, or the block
    is left by an error or an interrupt, the operating system closes it and the workers end at once.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    executor = concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(theirs, cores)
    )
    try:
        yield executor
        executor.shutdown()
    except BaseException:
        ours.close()
        executor.shutdown(cancel_futures=True)
        raise
    finally:
        ours.close()
        theirs.close()


def _begin(lifeline: Connection, cores: int) -> None:
    """A worker's first deed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the calling process hears Ctrl-C, and ends us
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    import hvae_tf

    hvae_tf.use_cores(cores)


def _end_with(lifeline: Connection) -> None:
    """Ends this process, whatever it is doing, when the parent lets go of its end of the pipe, or is dead."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel, lifeline])
    os._exit(1)
