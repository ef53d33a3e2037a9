"""How long the published Table 1 would take on 1 to 512 cores: a simulation.

    python reproduce/simulate_scaling.py

From step times, sizes and counted work that are on record; writes scaling.md, scaling.csv and scaling.png. Trains
nothing.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, leave, make_parser, say_written  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--benchmarks", type=folder, default=ROOT / "benchmarks" / "results", metavar="DIR",
        help="results of the benchmarks (default: benchmarks/results)")  # fmt: skip
    add("--records", type=folder, default=ROOT / "results" / "table1" / "budget", metavar="DIR",
        help="records of Table 1 (default: results/table1/budget)")  # fmt: skip
    add("--out", type=folder, default=ROOT / "results" / "scaling", metavar="DIR",
        help="output folder (default: results/scaling)")  # fmt: skip
    parser.set_defaults(force=False)
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Simulates, and writes the page."""
    return answer(make_page, parse(argv), "nothing was written")


def make_page(args) -> int:
    """Simulates, and writes the page; gives the exit status."""
    from hvae_tf.files import atomic_write
    from hvae_tf.runs import RecordError
    from reproduce.scaling.measured import published_runs, read_measured
    from reproduce.scaling.report import figure, page, simulate, table_csv

    try:
        measured, runs = read_measured(args.benchmarks, args.records), published_runs()
        outcomes = simulate(runs, measured)
        contents = {"scaling.md": page(outcomes, runs, measured), "scaling.csv": table_csv(outcomes)}
        contents["scaling.png"] = figure(runs, measured)
        for name, data in contents.items():
            atomic_write(args.out / name, data)
    except (RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    say_written([args.out / name for name in contents])
    return 0


if __name__ == "__main__":
    leave(main())
