"""Hamiltonian variational inference where the answers are known: exact lines, and bounds of trained flows.

    python reproduce/hvi.py                      about three minutes on two cores; no data, no network
    python reproduce/hvi.py --iterations 300     a first look

Writes report.md with a verdict on each claim, tables as CSV, and figures, all at the end; each call does all of it.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, leave, make_parser, positive, say_written, section  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--iterations", type=positive, metavar="N", help="steps of each training (default: 1500)")
    add("--draws", type=positive, metavar="N", help="draws for each trained bound (default: 100000)")
    add("--seed", type=int, default=0, help="seed of networks and noise (default: 0)")
    add("--out", type=folder, default=ROOT / "results" / "hvi", metavar="DIR", help="folder (default: results/hvi)")
    add("--quiet", action="store_true", help="say nothing of how far it is")
    args = parser.parse_args(argv)
    if not 0 <= args.seed < 2**31:
        parser.error("--seed: expected an integer from 0 to 2147483647")
    return args


def main(argv=None) -> int:
    """Makes everything, then writes it; gives the exit status."""
    args = parse(argv)
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # what is wrong with it is said before the work
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return answer(make_report, args, stopped="nothing was written")


def make_report(args) -> int:
    """Makes everything, then writes it; gives the exit status."""
    try:
        from reproduce.auxiliary.beta_binomial import Training
        from reproduce.auxiliary.report import write_report
        from reproduce.auxiliary.results import make_results
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
