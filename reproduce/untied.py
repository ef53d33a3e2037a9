"""What ties HVAE's momentum to its tempering costs: section 4.1's model with a momentum scale of its own.

    python reproduce/untied.py                   some minutes on two cores
    python reproduce/untied.py --iterations 300  a first look

Reads the records of Figure 1 for the lines of the paper, and trains the others on the same data by the same protocol.
Writes report.md, a table as CSV and a figure, all at the end; each call does all of it.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, integers, leave, make_parser, positive  # noqa: E402
from reproduce.gaussian.configs import PRESETS  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--dims", type=integers("sizes d", 1), metavar="D,D,...", help="sizes of the problem (default: 1,3,11,51)")
    add("--iterations", type=positive, metavar="N", help="of each training (default: the paper's, 30000)")
    add("--figure1", type=folder, default=ROOT / "results" / "figure1", metavar="DIR", help="records of Figure 1")
    add(
        "--out",
        type=folder,
        default=ROOT / "results" / "untied",
        metavar="DIR",
        help="folder (default: results/untied)",
    )
    add("--quiet", action="store_true", help="say nothing of how far it is")
    return parser.parse_args(argv)


def work(args) -> int:
    """Makes everything, then writes it."""
    from hvae_tf.runs import RecordError

    try:
        return make_report(args)
    except (OSError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def make_report(args) -> int:
    """Makes everything, then writes it; may raise."""
    args.out.mkdir(parents=True, exist_ok=True)  # what is wrong with it is said before the work

    import tensorflow as tf

    from reproduce.gaussian.untied import DIMS, make_results
    from reproduce.gaussian.untied_report import write_report

    tf.get_logger().setLevel("ERROR")
    config = PRESETS["paper"].config
    if args.iterations:
        config = dataclasses.replace(config, iterations=args.iterations)
    say = (lambda text: None) if args.quiet else (lambda text: print(text, flush=True))
    for path in write_report(make_results(config, args.dims or DIMS, 0, args.figure1, say), args.out):
        print(path)
    return 0


def main(argv=None) -> int:
    """The command; gives its exit status."""
    return answer(work, parse(argv), "nothing was written")


if __name__ == "__main__":
    leave(main())
