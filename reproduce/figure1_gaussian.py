"""Figure 1 of the paper: parameter estimation in the Gaussian offset model, by HVAE, planar flows and VB.

    python reproduce/figure1_gaussian.py --preset quick     under a minute
    python reproduce/figure1_gaussian.py                    the paper's full protocol

What has a finished record is not done again, so a run that was stopped goes on where it was, and several calls at once
share the work. Tables, figures and report.md are made from the records found.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import add_cluster_options, answer, check_cluster_options, folder, integers, names_of, positive  # noqa: E402
from reproduce.gaussian.configs import LINES, PRESETS, VARIANTS  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="paper", help="protocol to start from (default: paper)")
    add("--variant", choices=(*VARIANTS, "both"), default="corrected",
        help="corrected: each data set a fresh training, the right bounds; as-released: the authors' code, which warm-"
        "starts each data set from the last and has a faulty likelihood in its planar flow (default: corrected)",
    )  # fmt: skip
    add("--methods", type=names_of(LINES), metavar="A,B", help=f"some of: {', '.join(LINES)} (default: all)")
    add("--dims", type=integers("integers", 1), metavar="D,D", help="sizes d of the problem (default: the preset's)")
    add("--datasets", type=positive, metavar="N", help="number of data sets (default: the preset's)")
    add("--iterations", type=positive, metavar="N", help="RMSProp iterations of each training (default: the preset's)")
    add("--seed", type=int, default=0, help="seed of data and noise (default: 0)")
    add("--out", type=folder, metavar="DIR", help="output folder (default: results/figure1, or results/figure1-PRESET)")
    add("--processes", type=positive, metavar="N",
        help="jobs trained at once, about 0.5 GiB each (default: one a core)")  # fmt: skip
    add_cluster_options(parser)
    add("--force", action="store_true", help="do again what is asked for even where it has a finished record")
    add("--report-only", action="store_true", help="train nothing; make tables, figures and report from the records")
    add("--report-to", type=folder, metavar="DIR", help="folder of tables, figures and report (default: that of --out)")
    args = parser.parse_args(argv)
    check_cluster_options(parser, args)
    if args.seed < 0:
        parser.error("--seed: expected an integer of at least 0")
    changes = {k: getattr(args, k) for k in ("dims", "datasets", "iterations") if getattr(args, k) is not None}
    args.config = dataclasses.replace(PRESETS[args.preset], **changes)
    args.methods = args.methods or tuple(LINES)
    args.variants = VARIANTS if args.variant == "both" else (args.variant,)
    suffix = "" if args.preset == "paper" else f"-{args.preset}"
    args.out = args.out or ROOT / "results" / f"figure1{suffix}"
    return args


def main(argv=None) -> int:
    """Trains what is missing, then makes the figure."""
    return answer(make_figure, parse(argv))


def make_figure(args) -> int:
    """Trains what is missing, then writes tables, figures and report; gives the exit status."""
    from hvae_tf.runs import RecordError, RunStore
    from reproduce.cluster import cluster
    from reproduce.gaussian.jobs import make_jobs
    from reproduce.gaussian.report import write_report
    from reproduce.workers import available_cores, run_shown, run_side_by_side

    failures = {}
    try:
        store = RunStore(args.out)
        jobs = [] if args.report_only else make_jobs(args.config, args.methods, args.variants, args.seed)
        if not args.force:
            jobs = [job for job in jobs if not job.done(store)]
        if jobs:
            print(f"{len(jobs)} jobs to do; records go to {args.out}", flush=True)
            if args.scheduler:
                store = RunStore(args.out.resolve())
                with cluster(args.scheduler, store.folder, resources=args.resources) as executor:
                    failures = run_shown(jobs, store, executor, force=args.force, noun="jobs")
            else:
                processes = args.processes or available_cores()
                failures = run_side_by_side(jobs, store, processes, force=args.force, noun="jobs")
            for name, failure in failures.items():
                print(f"failed: {name}: {failure}", file=sys.stderr)
        written = write_report(args.out, args.report_to)
        if not written:
            raise RecordError(f"{args.out} has no records to report")
    except (RecordError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
