"""Hamiltonian variational inference: exact lines and trained bounds where the answers are known, and MNIST.

    python reproduce/hvi.py                      about three minutes on two cores; no data, no network
    python reproduce/hvi.py --iterations 300     a first look
    python reproduce/hvi.py --preset budget      MNIST: n = 1, 4 and 8, and HVAE at as many evaluations of the decoder

Without a preset it writes report.md with a verdict on each claim, tables as CSV, and figures, all at the end; each call
does all of it. The preset, by the protocol of Table 1's, works like make: what has a record is not done again, what was
stopped goes on.
"""

import argparse
import dataclasses
import functools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, check_folders, leave, make_parser, positive, say_written, section  # noqa: E402
from reproduce.family.cells import HVI_PRESET  # noqa: E402
from reproduce.family.command import make_table, refuse_of_other_preset  # noqa: E402
from reproduce.judged.command import add_arguments, add_table1_arguments, settle  # noqa: E402

RESULTS = ROOT / "results" / "hvi"
TOY_OPTIONS = ("iterations", "draws", "seed", "quiet")


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--preset", choices=("toys", "budget"), default="toys", help="what is done (default: toys)")
    toys = parser.add_argument_group("toys")
    toys.add_argument("--iterations", type=positive, metavar="N", help="steps of each training (default: 1500)")
    toys.add_argument("--draws", type=positive, metavar="N", help="draws for each trained bound (default: 100000)")
    toys.add_argument("--seed", type=int, metavar="N", help="seed of networks and noise (default: 0)")
    toys.add_argument("--quiet", action="store_true", default=None, help="say nothing of how far it is")
    add_arguments(parser.add_argument_group("budget"), HVI_PRESET.cells, RESULTS)
    add_table1_arguments(parser)
    args = parser.parse_args(argv)
    if args.seed is not None and not 0 <= args.seed < 2**31:
        parser.error("--seed: expected an integer from 0 to 2147483647")
    refuse_of_other_preset(parser, args, TOY_OPTIONS, "the toys")
    check_folders(parser, args, "table1", "judge")
    if args.preset == "toys":
        args.out = args.out or RESULTS
    settle(args, HVI_PRESET, RESULTS)
    return args


def main(argv=None) -> int:
    """Makes everything, then writes it; gives the exit status."""
    args = parse(argv)
    if args.preset == "budget":
        return answer(functools.partial(make_table, script="hvi.py"), args)
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # what is wrong with it is said before the work
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return answer(make_report, args, stopped="nothing was written")


def make_report(args) -> int:
    """Makes everything, then writes it; gives the exit status."""
    try:
        from reproduce.auxiliary.report import write_report
        from reproduce.auxiliary.results import make_results
        from reproduce.auxiliary.training import Training
        from reproduce.progress import Display

        changes = {"iterations": args.iterations, "draws": args.draws, "seed": args.seed}
        training = dataclasses.replace(Training(), **{k: value for k, value in changes.items() if value is not None})
        with Display(args.quiet) as display:
            results = make_results(training, display)
        written = write_report(results, args.out)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not args.quiet:
        print(section(args.out / "report.md", "Verdicts"))
    say_written(written)
    return 0


if __name__ == "__main__":
    leave(main())
