"""Worker processes that do not outlive their parent, however it ends: one thread each, TensorFlow's too."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor


@contextlib.contextmanager
def worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """An executor of so many processes, which end with the block, or with this process if that is killed.

    An exception, Ctrl-C too, ends them at once, whatever they are at.
    """
    context = multiprocessing.get_context("spawn")
    stop, leash = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(processes, context, _start, (stop,))
    try:
        yield executor
    except BaseException:
        leash.close()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        leash.close()
        stop.close()


def _start(stop) -> None:
    """The beginning of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with_parent(stop) -> None:
    """Ends this process when the parent lets go of the leash, or is dead and with it its end of every pipe."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel, stop])
    os._exit(1)
