"""The one display of long work: what is being done, how far all of it is, and how long what is left may take.

    with Display() as display:
        display.show(0.25, "vae-seed0: epoch 10/40")

On a terminal it is one line that never wraps, and a clock that goes on while nothing is told; elsewhere, a plain line
now and then. Imports no framework.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable

WIDEST = 80  # columns, where the terminal is wider
FEWEST = 40  # columns that are assumed at least
PLAIN_SECONDS = 30.0  # between two lines where the standard error is no terminal
TICK_SECONDS = 1.0
_MARGIN = 3  # columns left free, for the ^C that a terminal puts behind the line
_FIXED = 20  # columns of the percentage and a short bar
TOLD_FROM = 0.01  # of the work made, before which nothing is said of the time left


class Display:
    """A line on the standard error, written over itself on a terminal.

    Args:
        quiet: Nothing is written but what is given to `line`.
    """

    current: "Display | None" = None  # the one that is open

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._began = self._start = time.monotonic()
        self._fraction = self._kept = 0.0
        self._doing, self._ends, self._told = "", None, None
        self._bar, self._lock, self._closed = None, threading.RLock(), threading.Event()

    def show(self, fraction: float, doing: str, kept: float = 0.0, *, begun: bool = True) -> None:
        """Tells how far all of it is.

        Args:
            fraction: Of all the work that is done, from 0 to 1.
            doing: What is being done.
            kept: The part of `fraction` that was found done and took no time.
            begun: False while what does the work only starts, which is not counted in the time left.
        """
        now = time.monotonic()
        if not begun:
            self._start = now
        with self._lock:
            made = fraction - kept
            if made >= TOLD_FROM and (fraction, kept) != (self._fraction, self._kept):
                self._ends = now + (1.0 - fraction) * (now - self._start) / made
            self._fraction, self._kept, self._doing = min(max(fraction, 0.0), 1.0), kept, doing
            if not self._quiet:
                self._write()

    def line(self, text: str) -> None:
        """A line of its own on the standard output, above the display; stays."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            print(text, flush=True)
            if self._bar is not None:
                self._bar.refresh()

    def close(self) -> None:
        """Ends the display; its last line stays."""
        self._closed.set()
        if Display.current is self:
            Display.current = None
        with self._lock:
            if self._bar is not None:
                print("\r" + " " * (self._bar.ncols + _MARGIN - 1), end="", file=sys.stderr)  # a ^C may stand there
                self._draw()
                self._bar.close()
            elif self._told is not None and self._told[1] != self._fraction:
                self._plain()
            self._bar = self._told = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None and Display.current is self:
            self.show(1.0, self._doing, self._kept)
        self.close()

    def _write(self) -> None:
        if self._closed.is_set():
            return
        Display.current = self
        if self._terminal:
            if self._bar is None:
                from tqdm import tqdm

                columns, layout = self._layout()
                self._bar = tqdm(
                    total=1.0, file=sys.stderr, miniters=0, mininterval=0, ncols=columns, nrows=24, bar_format=layout
                )
                threading.Thread(target=self._tick, daemon=True).start()
            self._draw()
        elif self._told is None or time.monotonic() - self._told[0] >= PLAIN_SECONDS:
            self._plain()

    def _tick(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            with self._lock:
                if self._bar is not None:
                    self._draw()

    def _layout(self) -> tuple[int, str]:
        """The columns to be used, and the line as tqdm takes it."""
        columns = max(min(shutil.get_terminal_size().columns, WIDEST), FEWEST) - _MARGIN
        times = self._times()
        doing = shortened(self._doing, columns - len(times) - _FIXED).replace("{", "{{").replace("}", "}}")
        return columns, f"{doing} {{percentage:3.0f}} %|{{bar}}| {times}"

    def _draw(self) -> None:
        self._bar.n = self._fraction
        self._bar.ncols, self._bar.bar_format = self._layout()
        self._bar.refresh()

    def _plain(self) -> None:
        times = self._times()
        doing = shortened(self._doing, WIDEST - len(times) - _FIXED)
        print(f"{doing}: {100 * self._fraction:.0f} %, {times}", file=sys.stderr, flush=True)
        self._told = time.monotonic(), self._fraction

    def _times(self) -> str:
        now = time.monotonic()
        left = "?" if self._ends is None else clock(max(self._ends - now, 0.0))
        return f"{clock(now - self._began)} gone, {left} left"


class Stages:
    """Pieces of work that follow each other on one display.

    Args:
        display: Where they are shown.
        total: Of the costs of all of them.
    """

    def __init__(self, display: Display, total: float):
        self._display, self._total = display, total
        self._done = self._next = self._told = self._kept = 0.0

    def begin(self, doing: str, cost: float = 1.0) -> Callable[..., None]:
        """The next piece, the one before it being done; gives its `hvae_tf.runs.Report`."""
        self._done, self._next = self._done + self._next, cost

        def report(fraction: float, now: str = "", *, kept: bool = False) -> None:
            whole = (self._done + fraction * cost) / self._total
            if kept:
                self._kept += max(whole - self._told, 0.0)
            self._told = whole
            self._display.show(whole, now or doing, self._kept)

        report(0.0)
        return report


def say(text: str) -> None:
    """A line on the standard output, above the display if one is open."""
    if Display.current is not None:
        Display.current.line(text)
    else:
        print(text, flush=True)


def shortened(text: str, length: int) -> str:
    """The text, or as much of its start as there is room for, with an ellipsis."""
    return text if len(text) <= length else f"{text[: max(length - 1, 0)]}…"


def clock(seconds: float) -> str:
    """``4:05`` or ``1:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
