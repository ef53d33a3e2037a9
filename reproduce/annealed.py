"""UHA, L-MCVAE, LDVI and A-MCVAE where the answers are known: exact gaps, and bounds of trained flows.

    python reproduce/annealed.py                             about ten minutes on two cores; no data
    python reproduce/annealed.py --iterations 50 --longest 4  a first look

Writes report.md with a verdict on each claim, tables as CSV, and a figure, all at the end; each call does all of it.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, leave, make_parser, positive  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--iterations", type=positive, metavar="N", help="steps of each training (default: 1500)")
    add("--draws", type=positive, metavar="N", help="draws for each trained bound (default: 100000)")
    add("--longest", type=positive, default=16, metavar="T", help="largest number of temperatures (default: 16)")
    add("--out", type=folder, default=ROOT / "results" / "annealed", metavar="DIR", help="default: results/annealed")
    add("--quiet", action="store_true", help="say nothing of how far it is")
    args = parser.parse_args(argv)
    if args.longest < 4:
        parser.error("--longest: expected at least 4, the flows that are trained")
    return args


def work(args) -> int:
    """Makes everything, then writes it."""
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # what is wrong with it is said before the work
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    import tensorflow as tf

    from reproduce.auxiliary.annealed import make_results
    from reproduce.auxiliary.annealed_report import write_report
    from reproduce.auxiliary.training import Training

    tf.get_logger().setLevel("ERROR")
    changes = {"iterations": args.iterations, "draws": args.draws}
    training = dataclasses.replace(
        Training(sampled=True), **{key: value for key, value in changes.items() if value is not None}
    )
    say = (lambda text: None) if args.quiet else (lambda text: print(text, flush=True))
    for path in write_report(make_results(training, say, args.longest), args.out):
        print(path)
    return 0


def main(argv=None) -> int:
    """The command; gives its exit status."""
    return answer(work, parse(argv), "nothing was written")


if __name__ == "__main__":
    leave(main())
