"""One line that says what is being judged, how far all of it is, and how long what is left may take."""

import sys
import time

WIDTH = 79


class Display:
    """Writes the line to the standard error, over itself on a terminal.

    Args:
        total: The evaluations of the decoder that all of the work is.
        quiet: Nothing is written.
    """

    def __init__(self, total: float, quiet: bool = False):
        self._total, self._quiet = max(total, 1.0), quiet
        self._done = self._made = self._spent = 0.0
        self._began = time.monotonic()
        self._open = False

    def advance(self, what: str, evaluations: float, seconds: float | None) -> None:
        """So many evaluations are done; in so many seconds, or None if they were kept from an earlier call."""
        self._done = min(self._done + evaluations, self._total)
        if seconds is not None:
            self._made, self._spent = self._made + evaluations, self._spent + seconds
        left = "?"
        if self._made:
            left = clock((self._total - self._done) * self._spent / self._made)
        gone = clock(time.monotonic() - self._began)
        self._write(f"{what}: {100 * self._done / self._total:3.0f} % of all, {gone} gone, {left} left")

    def _write(self, line: str) -> None:
        if self._quiet:
            return
        over = sys.stderr.isatty()
        print(f"\r{line[:WIDTH]:{WIDTH}}" if over else line, end="" if over else "\n", file=sys.stderr, flush=True)
        self._open = over

    def close(self) -> None:
        """Ends the line."""
        if self._open:
            print(file=sys.stderr, flush=True)
        self._open = False


def clock(seconds: float) -> str:
    """``4:05`` or ``1:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
