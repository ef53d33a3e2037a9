"""Figure 1 of the paper: parameter estimation in the Gaussian offset model, by HVAE, planar flows and VB.

    python reproduce/figure1_gaussian.py --preset quick     under a minute
    python reproduce/figure1_gaussian.py                    the paper's full protocol
    python reproduce/figure1_gaussian.py --preset small-d   more data sets at its smallest sizes

What has a finished record is not done again, so a run that was stopped goes on where it was, and several calls at once
share the work. Tables, figures and report.md are made from the records found.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import (  # noqa: E402
    add_cluster_options,
    answer,
    check_cluster_options,
    counted,
    folder,
    integers,
    leave,
    make_parser,
    names_of,
    opening,
    positive,
    say_written,
    shown,
    wrapped,
)  # fmt: skip
from reproduce.gaussian.configs import LINES, MORE, PRESETS, VARIANTS  # noqa: E402

FOLDERS = {"paper": "figure1", "quick": "figure1-quick", MORE: f"figure1/{MORE}"}  # under results/


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="paper", help="protocol to start from (default: paper)")
    add("--variant", choices=(*VARIANTS, "both"), default="corrected",
        help="corrected: each data set a fresh training, the right bounds; as-released: the authors' code, which warm-"
        "starts each data set from the last and has a faulty likelihood in its planar flow (default: corrected)",
    )  # fmt: skip
    add("--methods", type=names_of(LINES), metavar="A,B", help=f"some of: {', '.join(LINES)} (default: the preset's)")
    add("--dims", type=integers("integers", 1), metavar="D,D", help="sizes d of the problem (default: the preset's)")
    add("--datasets", type=positive, metavar="N", help="number of data sets (default: the preset's)")
    add("--iterations", type=positive, metavar="N", help="RMSProp iterations of each training (default: the preset's)")
    add("--seed", type=int, default=0, help="seed of data and noise (default: 0)")
    folders = ", ".join(f"results/{name} for {preset}" for preset, name in FOLDERS.items())
    add("--out", type=folder, metavar="DIR", help=f"output folder (default: {folders})")
    add("--processes", type=positive, metavar="N",
        help="jobs trained at once, about 0.5 GiB each (default: one a core)")  # fmt: skip
    add_cluster_options(parser)
    add("--force", action="store_true", help="do again what is asked for even where it has a finished record")
    add("--report-only", action="store_true", help="train nothing; make tables, figures and report from the records")
    add("--report-to", type=folder, metavar="DIR", help="folder of tables, figures and report (default: that of --out)")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error("--seed: expected an integer of at least 0")
    changes = {k: getattr(args, k) for k in ("dims", "datasets", "iterations") if getattr(args, k) is not None}
    preset = PRESETS[args.preset]
    args.config = dataclasses.replace(preset.config, **changes)
    args.methods = args.methods or preset.methods
    args.variants = VARIANTS if args.variant == "both" else (args.variant,)
    args.out = args.out or ROOT / "results" / FOLDERS[args.preset]
    check_cluster_options(parser, args)
    return args


def main(argv=None) -> int:
    """Trains what is missing, then makes the figure."""
    return answer(make_figure, parse(argv))


def make_figure(args) -> int:
    """Trains what is missing, then writes tables, figures and report; gives the exit status."""
    from hvae_tf.runs import RecordError, RunStore
    from reproduce.gaussian.jobs import make_jobs
    from reproduce.gaussian.report import write_report
    from reproduce.workers import executor_for, run_with_display

    failures = {}
    try:
        store = RunStore(args.out)
        jobs = [] if args.report_only else make_jobs(args.config, args.methods, args.variants, args.seed)
        if not args.force:
            jobs = [job for job in jobs if not job.done(store)]
        if jobs:
            print(wrapped(f"{counted(len(jobs), 'job')} to do; records go to {shown(args.out)}"), flush=True)
            with executor_for(args, store, len(jobs)) as executor:
                failures = run_with_display(jobs, store, executor, force=args.force, noun="jobs")
            for name, failure in failures.items():
                print(f"failed: {name}: {failure}", file=sys.stderr)
        written = write_report(args.out, args.report_to)
        if not written:
            raise RecordError(f"{args.out} has no records to report")
    except (RecordError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(wrapped(opening(args.report_to or args.out)))
    say_written(written)
    return 1 if failures else 0


if __name__ == "__main__":
    leave(main())
