"""Every flow on targets whose evidence is known: what its bound lacks of log Z after so many steps of training.

    python reproduce/targets.py                              all of it; no data, no network
    python reproduce/targets.py --targets funnel --seeds 0   some of it

Like make: what has a record is not done again. Writes report.md, gaps.csv and a heat map.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, counted, folder, integers, leave, make_parser, opening, positive, say_written, shown  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--targets", metavar="A,B", help="some of the targets (default: all)")
    add("--flows", metavar="A,B", help="some of the flows (default: all)")
    add("--seeds", type=integers("seeds", 0), default=(0, 1, 2), metavar="N,N", help="default: 0,1,2")
    add("--iterations", type=positive, metavar="N", help="steps of each training (default: 1500)")
    add("--draws", type=positive, metavar="N", help="draws for each bound (default: 100000)")
    add("--out", type=folder, default=ROOT / "results" / "targets", metavar="DIR", help="default: results/targets")
    add(
        "--processes",
        type=positive,
        metavar="N",
        help="trainings at once (default: a core each)",
    )
    add("--force", action="store_true", help="do again what has a record")
    add("--report-only", action="store_true", help="train nothing; make the report from the records")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Trains what is missing, then writes the report."""
    return answer(make_report, parse(argv))


def make_report(args) -> int:
    """Trains what is missing, then writes the report; gives the exit status."""
    from hvae_tf.files import update
    from hvae_tf.runs import RecordError, RunStore
    from hvae_tf.targets.known import KNOWN_TARGETS
    from reproduce.auxiliary.training import Training
    from reproduce.cli import names_of
    from reproduce.evidence.flows import FLOWS
    from reproduce.evidence.report import report
    from reproduce.evidence.work import Fit
    from reproduce.workers import available_cores, run_with_display, worker_pool

    failures = {}
    try:
        targets = names_of(KNOWN_TARGETS)(args.targets) if args.targets else tuple(KNOWN_TARGETS)
        flows = names_of(FLOWS)(args.flows) if args.flows else tuple(FLOWS)
        changes = {"iterations": args.iterations, "draws": args.draws}
        training = dataclasses.replace(Training(), **{key: value for key, value in changes.items() if value})
        store = RunStore(args.out)
        if not args.report_only:
            fits = [
                Fit(target, flow, dataclasses.replace(training, seed=seed))
                for seed in args.seeds for target in targets for flow in flows
                if FLOWS[flow].applies(KNOWN_TARGETS[target])
            ]  # fmt: skip
            fits = [fit for fit in fits if args.force or not fit.done(store)]
            if fits:
                print(f"{counted(len(fits), 'training')} to do; records go to {shown(args.out)}", flush=True)
                with worker_pool(min(args.processes or available_cores(), len(fits))) as executor:
                    failures = run_with_display(fits, store, executor, force=args.force, noun="trainings")
                for name, failure in failures.items():
                    print(f"failed: {name}: {failure}", file=sys.stderr)
        records = store.read_all()
        if not records:
            raise RecordError(f"{args.out} has no records to report")
        contents = report(records)
        for name, content in contents.items():
            update(args.out / name, content)
    except argparse.ArgumentTypeError as error:
        print(f"targets.py: error: {error}", file=sys.stderr)
        return 2
    except (RecordError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(opening(args.out))
    say_written([args.out / name for name in contents])
    return 1 if failures else 0


if __name__ == "__main__":
    leave(main())
