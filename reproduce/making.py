"""Scripts that work like make: what has a record is not done again, and the report follows from the records."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from reproduce.cli import folder, make_parser, opening, positive, say_written

ROOT = Path(__file__).resolve().parent.parent


def parse(description: str, name: str, presets: Mapping, argv=None) -> argparse.Namespace:
    """The command line of such a script, whose results are in ``results/<name>``; of presets the first is standard."""
    standard = next(iter(presets))
    parser = make_parser(description)
    add = parser.add_argument
    add("--preset", choices=presets, default=standard, help=f"how much is done (default: {standard})")
    add("--out", type=folder, metavar="DIR", help=f"folder (default: results/{name}, or results/{name}-<preset>)")
    add("--cores", type=positive, metavar="N", help="cores of this call (default: TensorFlow's)")
    add("--report-only", action="store_true", help="run nothing; make the report from the records")
    parser.set_defaults(force=False)
    args = parser.parse_args(argv)
    if args.out is None:
        args.out = ROOT / "results" / (name if args.preset == standard else f"{name}-{args.preset}")
    return args


def make(args, preset, make_records: Callable, report: Callable) -> int:
    """Runs what is missing, then writes the report; gives the exit status.

    Args:
        args: Of `parse`.
        preset: What is asked for.
        make_records: ``(done, preset)``: calls ``done(name, configuration, seed, make)`` for each record wanted, `make`
            giving the record that is not there.
        report: ``(records by name, preset) -> contents by file name``.
    """
    import hvae_tf
    from hvae_tf.files import update
    from hvae_tf.runs import RecordError, RunStore

    try:
        if args.cores:
            hvae_tf.use_cores(args.cores)
        store = RunStore(args.out)

        def done(name, configuration, seed, make):
            with store.claim(name, wait=True):
                if not store.done(name, configuration, seed):
                    print(f"== {name}", flush=True)
                    store.write(make())

        if not args.report_only:
            make_records(done, preset)
        contents = report({record["name"]: record for record in store.read_all()}, preset)
        for name, content in contents.items():
            update(args.out / name, content)
    except (RecordError, hvae_tf.DataError, hvae_tf.DivergenceError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(opening(args.out))
    say_written([args.out / name for name in contents])
    return 0
