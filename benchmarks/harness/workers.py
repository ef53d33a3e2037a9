"""Processes that wait while others are timed.

Every contestant lives in a process of its own, which sleeps until it is called: thread pools of one framework never
disturb another's. The calling process interleaves the contestants, so that what disturbs the machine for a while
disturbs them all, and ratios are taken round by round.
"""

import contextlib
import importlib
import importlib.metadata
import logging
import multiprocessing
import os
import signal
import time
from typing import Any

from harness.command import BenchmarkError
from reproduce.quiet import stderr_dropped


class Worker:
    """An object in another process.

    Args:
        factory: ``"module:class"``, imported there and nowhere else.
        *args: Of the class.
        threads: The cores that the process may use.
        **kwargs: Of the class.

    Raises:
        BenchmarkError: If the object cannot be made, or later if a call fails.
    """

    def __init__(self, factory: str, *args, threads: int, **kwargs):
        self.name = factory
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, factory, threads, args, kwargs), daemon=True)
        with _interrupts_held_back():  # inherited: only the calling process answers Ctrl-C
            self._process.start()
        theirs.close()

    def start(self, method: str, *args, times: int = 1) -> None:
        """Calls a method so many times, without waiting."""
        try:
            self._pipe.send((method, args, times))
        except BrokenPipeError:
            raise self._dead() from None

    def finish(self) -> tuple[Any, float]:
        """Waits for what was started: the last call's result, and the seconds that one call took."""
        try:
            error, result, seconds = self._pipe.recv()
        except EOFError:
            raise self._dead() from None
        if error:
            raise BenchmarkError(f"{self.name}: {error}")
        return result, seconds

    def call(self, method: str, *args) -> Any:
        """The method's result."""
        self.start(method, *args)
        return self.finish()[0]

    def seconds(self, method: str, *args, times: int = 1) -> float:
        """How long a call takes, the mean of so many."""
        self.start(method, *args, times=times)
        return self.finish()[1]

    def timer(self, method: str, *args):
        """What `round_robin` takes: a function that calls the method so many times and gives the seconds of one."""
        return lambda times: self.seconds(method, *args, times=times)

    def _dead(self) -> BenchmarkError:
        self._process.join(10)
        return BenchmarkError(f"{self.name}: its process ended (exit code {self._process.exitcode})")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.close()


@contextlib.contextmanager
def _interrupts_held_back():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe, factory, threads, args, kwargs) -> None:
    """What a worker does: makes the object, then answers calls until nobody asks any more."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it counts our many graphs as one that is traced again
    served, failure = None, None
    try:
        module, name = factory.split(":")
        with stderr_dropped():
            served = getattr(importlib.import_module(module), name)(*args, **kwargs)
    except Exception as error:
        failure = _line(error)
    while True:
        try:
            method, args, times = pipe.recv()
        except EOFError:
            return
        result, seconds = None, 0.0
        if served is not None:
            failure = None
            try:
                start = time.perf_counter()
                for _ in range(times):
                    result = getattr(served, method)(*args)
                seconds = (time.perf_counter() - start) / times
            except Exception as error:
                failure = _line(error)
        try:
            pipe.send((failure, result, seconds))
        except BrokenPipeError:
            return


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def missing(*packages: str) -> list[str]:
    """Those of the packages that are not installed."""

    def installed(package):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return bool(importlib.metadata.version(package))
        return False

    return [package for package in packages if not installed(package)]
