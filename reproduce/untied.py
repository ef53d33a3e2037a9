"""What ties HVAE's momentum to its tempering costs: a momentum scale of its own, on section 4.1's model and on MNIST.

    python reproduce/untied.py                   section 4.1's model, some minutes on two cores
    python reproduce/untied.py --iterations 300  a first look
    python reproduce/untied.py --preset budget   MNIST: K = 1 and 5, by the protocol of Table 1's budget preset

Without a preset it reads the records of Figure 1 for the lines of the paper, and trains the others on the same data by
the same protocol; it writes report.md, a table as CSV and a figure, all at the end, and each call does all of it. The
preset works like make: what has a record is not done again, what was stopped goes on.
"""

import argparse
import dataclasses
import functools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, check_folders, folder, integers, leave, make_parser, positive  # noqa: E402
from reproduce.family.cells import UNTIED_PRESET  # noqa: E402
from reproduce.family.command import make_table, refuse_of_other_preset  # noqa: E402
from reproduce.gaussian.configs import PRESETS  # noqa: E402
from reproduce.judged.command import add_arguments, add_table1_arguments, settle  # noqa: E402

RESULTS = ROOT / "results" / "untied"
GAUSSIAN_OPTIONS = ("dims", "iterations", "figure1", "quiet")


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--preset", choices=("gaussian", "budget"), default="gaussian", help="what is done (default: gaussian)")
    gaussian = parser.add_argument_group("gaussian")
    add = gaussian.add_argument
    add("--dims", type=integers("sizes d", 1), metavar="D,D,...", help="sizes of the problem (default: 1,3,11,51)")
    add("--iterations", type=positive, metavar="N", help="of each training (default: the paper's, 30000)")
    add("--figure1", type=folder, default=ROOT / "results" / "figure1", metavar="DIR", help="records of Figure 1")
    add("--quiet", action="store_true", default=None, help="say nothing of how far it is")
    add_arguments(parser.add_argument_group("budget"), UNTIED_PRESET.cells, RESULTS)
    add_table1_arguments(parser)
    args = parser.parse_args(argv)
    refuse_of_other_preset(parser, args, GAUSSIAN_OPTIONS, "the Gaussian model")
    check_folders(parser, args, "table1", "judge")
    if args.preset == "gaussian":
        args.out = args.out or RESULTS
    settle(args, UNTIED_PRESET, RESULTS)
    return args


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
    args = parse(argv)
    if args.preset == "budget":
        return answer(functools.partial(make_table, script="untied.py"), args)
    return answer(work, args, "nothing was written")


if __name__ == "__main__":
    leave(main())
