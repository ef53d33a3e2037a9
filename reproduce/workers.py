"""Processes of one core each that work side by side and never outlive the call that made them."""

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from reproduce.progress import Display
from reproduce.quiet import import_quietly

if TYPE_CHECKING:  # a worker begins here: nothing that takes long may come before its watch over the parent
    from hvae_tf.runs import RunStore, Task
    from reproduce.cluster import ClusterExecutor


def run_with_display(
    tasks: "Sequence[Task]",
    store: "RunStore",
    executor: concurrent.futures.Executor | None = None,
    *,
    force: bool = False,
    noun: str = "runs",
    display: Display | None = None,
) -> dict[str, str]:
    """`run_all` with one display of how far it is and how long the rest may take.

    Args:
        tasks: What is to be done.
        store: Where the records go.
        executor: What runs them, see `executor_for`; None: one after the other, in this process.
        force: Whether to do again what is done.
        noun: What the user calls the tasks.
        display: Where to show it; the caller closes it. By default there is one for this call.

    Returns:
        What went wrong, by the names of the tasks that failed.
    """
    from hvae_tf.runs import InlineExecutor, run_all

    with contextlib.ExitStack() as stack:
        shown = display or stack.enter_context(Display())
        if executor is None:
            executor = stack.enter_context(InlineExecutor())

        def show(overview):
            now = next(reversed(overview.doing.values()), "")
            more = f" +{len(overview.doing) - 1}" if len(overview.doing) > 1 else ""
            count = f"{overview.finished}/{overview.total} {noun}" if overview.total > 1 else ""
            doing = "; ".join(filter(None, [count, now + more])) or "starting"
            begun = bool(overview.doing) or overview.finished > 0
            shown.show(overview.fraction, doing, overview.kept, begun=begun)

        return run_all(tasks, store, executor, force=force, on_progress=show)


@contextlib.contextmanager
def executor_for(
    args: argparse.Namespace, store: "RunStore", count: int | None, cores: int = 1
) -> "Iterator[_Pool | ClusterExecutor]":
    """What runs so many tasks side by side, as a command line asks for it: here, or on a scheduler's workers.

    Args:
        args: With `scheduler`, `resources` and `processes`, see `reproduce.cli.add_cluster_options`.
        store: Where the records go.
        count: Of tasks, if it is known already.
        cores: That each has.

    Yields:
        The executor; its `num_workers` says how many tasks it runs at once just now.
    """
    if args.scheduler:
        from reproduce.cluster import cluster

        with cluster(args.scheduler, store.folder, cores=cores, resources=args.resources) as executor:
            yield executor
    else:
        processes = args.processes or available_cores()
        with worker_pool(processes if count is None else min(processes, count), cores) as executor:
            yield executor


def at_once(args: argparse.Namespace, count: int | None = None) -> int:
    """How many of so many tasks are worked on at once on this machine: one a core, or one if its cores were given.

    Args:
        args: With `processes` and `cores`, None where they were not given.
        count: Of tasks; None where they can be cut into as many as there are cores.
    """
    processes = args.processes or (1 if args.cores else available_cores())
    return processes if count is None else min(processes, count)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _DeafProcess(multiprocessing.context.SpawnProcess):
    """A process that never hears Ctrl-C, not even while it starts: the one that called it hears it, and ends it."""

    def start(self):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(multiprocessing.context.SpawnContext):
    Process = _DeafProcess


class _Pool(concurrent.futures.ProcessPoolExecutor):
    def __init__(self, processes: int, **kwargs):
        super().__init__(processes, **kwargs)
        self.num_workers = processes


@contextlib.contextmanager
def worker_pool(processes: int, cores: int = 1) -> Iterator[_Pool]:
    """An executor of so many processes, each with so many cores for TensorFlow.

    Every worker waits on a pipe whose other end is here alone: when this process ends, however it ends, or the block
    is left, the operating system closes it and the workers end at once: take results within the block.
    """
    context = _Context()
    theirs, ours = context.Pipe(duplex=False)
    executor = _Pool(processes, mp_context=context, initializer=_begin, initargs=(theirs, cores))
    try:
        yield executor
    finally:
        ours.close()  # they end at once; what they did is on disk
        executor.shutdown(cancel_futures=True)
        theirs.close()


def _begin(lifeline: Connection, cores: int) -> None:
    """A worker's first deed."""
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    import_quietly()
    import hvae_tf

    hvae_tf.use_cores(cores)


def _end_with(lifeline: Connection) -> None:
    """Ends this process, whatever it is doing, when the parent lets go of its end of the pipe, or is dead."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel, lifeline])
    os._exit(1)
