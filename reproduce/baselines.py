"""The family at equal numbers of evaluations of the decoder: VAE, IWAE, HVAE, HVI, UHA, L-MCVAE and HMC-VAE.

    python reproduce/baselines.py                    digits, three seeds, all cells; no download
    python reproduce/baselines.py --preset budget    MNIST, by the protocol of Table 1's budget preset

Like make: what has a finished record is not done again, what was stopped goes on from its last checkpoint, and several
calls on one output folder share the runs out between them. Every decoder is judged by annealed importance sampling.
Writes report.md, which tells better inference from a better decoder, a table as CSV, and a figure.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, leave, make_parser  # noqa: E402
from reproduce.family.cells import PRESETS  # noqa: E402
from reproduce.judged.command import add_arguments, add_table1_arguments, report_after, settle, train_missing  # noqa: E402

RESULTS = ROOT / "results" / "baselines"


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="quick", help="protocol and cells (default: quick)")
    add_arguments(parser, PRESETS["quick"].cells, RESULTS)
    add_table1_arguments(parser)
    args = parser.parse_args(argv)
    settle(args, PRESETS[args.preset], RESULTS)
    return args


def work(args) -> dict[str, str]:
    """Does what is missing; gives what went wrong, by run."""
    from reproduce.family.bounds import make_bounds
    from reproduce.judged.work import Settings

    failures = train_missing(args)
    make_bounds(Settings(args.settings, args.out, args.data_dir))
    return failures


def make_report(args) -> int:
    """Does what is missing, then writes the report; gives the exit status."""
    from reproduce.family.report import write_report

    return report_after(
        args, work, lambda: write_report(args.out, args.settings, args.table1, args.judge, "baselines.py")
    )


def main(argv=None) -> int:
    """Does what is missing, then writes the report."""
    return answer(make_report, parse(argv))


if __name__ == "__main__":
    leave(main())
