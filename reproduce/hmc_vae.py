"""HMC-refined latents (Hoffman 2017): the bias that they take from the decoder's gradient, and what that is worth.

    python reproduce/hmc_vae.py                    exact problems and digits in two minutes; no download
    python reproduce/hmc_vae.py --preset budget    MNIST: (M, L) = (1, 5) and (5, 5), with and without A, 60 epochs

Like make: what has a finished record is not done again, what was stopped goes on from its last checkpoint, and several
calls on one output folder share the runs out between them. Every model is judged by annealed importance sampling, for
nothing that is maximised here is a bound. Writes report.md with a verdict on each claim, tables as CSV, and figures.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, check_folders, leave, make_parser  # noqa: E402
from reproduce.judged.command import (  # noqa: E402
    add_arguments,
    add_table1_arguments,
    report_after,
    settle,
    time_cells,
)
from reproduce.refinement.cells import CELLS, PRESETS  # noqa: E402

RESULTS = ROOT / "results" / "hmc_vae"


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="quick", help="protocol and cells (default: quick)")
    add_arguments(parser, CELLS, RESULTS)
    add_table1_arguments(parser)
    args = parser.parse_args(argv)
    check_folders(parser, args, "table1", "judge")
    settle(args, PRESETS[args.preset], RESULTS)
    return args


def work(args) -> dict[str, str]:
    """Does what is missing; gives what went wrong, by run."""
    from reproduce.judged.work import Settings, do_runs
    from reproduce.refinement.factor_analysis import Study
    from reproduce.refinement.work import count_active_units_beside, make_exact

    if args.time:
        time_cells(args)
        return {}
    settings = Settings(args.settings, args.out, args.data_dir)
    say = (lambda text: print(text, flush=True)) if args.verbose else (lambda text: None)
    if args.settings.exact:
        make_exact(args.out, Study(), args.force, say)
    failures = do_runs(args, settings)
    count_active_units_beside(settings, args.table1)
    return failures


def main(argv=None) -> int:
    """Does what is missing, then writes the report."""
    return answer(make_report, parse(argv))


def make_report(args) -> int:
    """Does what is missing, then writes the report; gives the exit status."""
    from reproduce.refinement.report import write_report

    beside = args.settings.beside
    return report_after(args, work, lambda: write_report(args.out, args.table1, args.judge, beside))


if __name__ == "__main__":
    leave(main())
