"""Processes of one core each that work side by side and never outlive the call that made them."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection


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
    """Ends this process, whatever it is doing, when the other end of the pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)
