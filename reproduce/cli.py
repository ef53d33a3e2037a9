"""What the command lines of the experiments have in common: kinds of arguments, and the answer to Ctrl-C."""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path


def positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer of at least 1")
    return int(text)


def integers(noun: str, smallest: int) -> Callable[[str], tuple[int, ...]]:
    """The kind of argument that is a comma-separated list of distinct integers, called `noun` to the user."""

    def values(text: str) -> tuple[int, ...]:
        try:
            found = tuple(int(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of {noun} like 1,2,5") from None
        if min(found) < smallest or len(set(found)) < len(found):
            raise argparse.ArgumentTypeError(f"{text!r}: expected distinct integers of at least {smallest}")
        return found

    return values


def names_of(accepted: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """The kind of argument that is a comma-separated list of names."""

    def names(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        if unknown := [name for name in found if name not in accepted]:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; accepted: {', '.join(accepted)}")
        if len(set(found)) < len(found):
            raise argparse.ArgumentTypeError(f"{text!r} names something twice")
        return found

    return names


def folder(text: str) -> Path:
    """The path of a folder; an empty one, which would be the folder one happens to be in, is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the folder's name is empty; name one, or '.' for the one you are in")
    return Path(text)


def answer(work: Callable[[argparse.Namespace], int], args: argparse.Namespace, stopped: str | None = None) -> int:
    """Does the work and gives its exit status; an interrupt is answered in one line, whenever it comes.

    Args:
        work: Of the arguments.
        args: The command line's.
        stopped: What an interrupt leaves, for work that keeps no records.
    """
    try:
        return work(args)
    except ModuleNotFoundError as error:
        if error.name not in ("matplotlib", "scipy", "tqdm"):  # the extra `reproduce`
            raise
        print(f'error: {error.name} is not installed; pip install "hvae_tf[reproduce]"', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if stopped:
            print(f"\nstopped; {stopped}", file=sys.stderr)
            return 130
        further = "the same command goes on from there"
        if args.force:
            further = "call again without --force to go on, or with it to start again"
        print(f"\nstopped; finished records are in {args.out}; {further}", file=sys.stderr)
        return 130


@contextlib.contextmanager
def interrupt_comes_through() -> Iterator[None]:
    """Ctrl-C within the block ends it with KeyboardInterrupt, whatever became of it on its way.

    A bare ``except`` of Keras's swallows an interrupt that comes while a graph is traced; what follows is an error of
    another kind, or nothing.
    """
    heard = []

    def hear(*_):
        heard.append(True)
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Exception as error:
        if heard:
            raise KeyboardInterrupt from error
        raise
    else:
        if heard:
            raise KeyboardInterrupt
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
