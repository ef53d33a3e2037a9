"""The command line that every benchmark has, and its answers to errors and to Ctrl-C."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(FOLDER.parent))  # for `reproduce` and, where it is not installed, `hvae_tf`

from reproduce import cli  # noqa: E402
from reproduce.cli import integers, leave, names_of, positive  # noqa: E402, F401

CORES = len(os.sched_getaffinity(0))


class BenchmarkError(RuntimeError):
    """Why a benchmark cannot go on, in one line."""


def cores(text: str) -> int:
    """A number of cores that there are."""
    count = positive(text)
    if count > CORES:
        raise argparse.ArgumentTypeError(f"{count}: there are {CORES} cores")
    return count


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all have."""
    parser = cli.make_parser(description)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs; no figures to keep")
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="where the raw figures go, with the table beside them as .md (default: results/NAME.json; with --quick "
        "results/quick/NAME.json)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=cores, default=CORES, metavar="N", help=f"cores to use (default: all, {CORES})"
    )
    return parser


def parse(parser: argparse.ArgumentParser, name: str, argv=None) -> argparse.Namespace:
    """The arguments, with `json` filled in; `name` is the benchmark's."""
    args = parser.parse_args(argv)
    if args.json is None:
        args.json = FOLDER / "results" / ("quick" if args.quick else "") / f"{name}.json"
    elif args.json.suffix != ".json":
        parser.error(f"argument --json: {str(args.json)!r}: expected a file called something.json")
    return args


def answer(work: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Does the work and gives the exit status; errors that are foreseen and interrupts take one line."""
    try:
        return work(args) or 0
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return cli.say_stopped("nothing was written")
