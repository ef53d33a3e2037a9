"""Hamiltonian variational inference where the answers are known: exact lines, and bounds of trained flows.

    python reproduce/hvi.py                      about three minutes on two cores; no data, no network
    python reproduce/hvi.py --iterations 300     a first look

Writes report.md with a verdict on each claim, tables as CSV, and figures, all at the end; each call does all of it.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import folder, positive  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        return make_report(args)
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def make_report(args) -> int:
    """Makes everything, then writes it."""
    args.out.mkdir(parents=True, exist_ok=True)  # what is wrong with it is said before the work

    import tensorflow as tf

    from reproduce.auxiliary.report import write_report
    from reproduce.auxiliary.results import make_results
    from reproduce.auxiliary.training import Training

    tf.get_logger().setLevel("ERROR")
    changes = {"iterations": args.iterations, "draws": args.draws, "seed": args.seed}
    training = dataclasses.replace(Training(), **{key: value for key, value in changes.items() if value is not None})
    say = (lambda text: None) if args.quiet else (lambda text: print(text, flush=True))
    for path in write_report(make_results(training, say), args.out):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
