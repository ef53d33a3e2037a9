"""Ctrl-C that waits for the end of a batch, so that what was done can be kept."""

import signal
import threading


class InterruptAtBatchEnd:
    """A context in which the first SIGINT is only noted once batches run; a second one interrupts at once.

    Outside the main thread, or where the program has a handler of its own, nothing is changed.

    Attributes:
        armed: Whether a SIGINT is noted; False, as at the start, lets it through.
        pending: Whether one was noted.
    """

    def __init__(self):
        self.armed = False
        self.pending = False
        self._installed = False

    def __enter__(self):
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(self, kind, error, traceback):
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pending and kind is None:
            raise KeyboardInterrupt

    def _note(self, number, frame):
        if self.pending or not self.armed:
            raise KeyboardInterrupt
        self.pending = True
