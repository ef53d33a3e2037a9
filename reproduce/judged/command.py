"""The command line that tables of judged models have in common."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from reproduce.cli import folder, integers, names_of, opening, positive, say_written
from reproduce.judged.protocol import Cell, Preset, Run

ROOT = Path(__file__).resolve().parent.parent.parent


def add_arguments(parser: argparse.ArgumentParser, cells: Mapping[str, Cell], results: Path) -> None:
    """What all have but ``--preset``; `results` is where the presets' folders go."""
    add = parser.add_argument
    add("--cells", type=names_of(cells), metavar="A,B", help=f"some of: {', '.join(cells)}")
    add("--seeds", type=integers("seeds", 0), metavar="N,N", help="seeds of every cell (default: the preset's)")
    add("--epochs", type=positive, metavar="N", help="of each training (default: the preset's)")
    add("--images", type=positive, metavar="N", help="first test images that are judged (default: the preset's)")
    add("--limit", type=positive, metavar="N", help="first images of each split, for a trial; labelled as such")
    add("--data-dir", type=folder, metavar="DIR", help="where TFDS keeps its data sets (default: $TFDS_DATA_DIR)")
    add("--out", type=folder, metavar="DIR", help=f"output folder (default: results/{results.name}/PRESET)")
    add("--processes", type=positive, metavar="N", help="runs side by side (default: 1 with --cores, else one a core)")
    add("--cores", type=positive, metavar="N", help="cores of each run (default: 1 side by side, else all)")
    add("--time", action="store_true",
        help="train nothing; time a training step of each cell beside the VAE's, and write the report")  # fmt: skip
    add("--report-only", action="store_true", help="train nothing; make the report from the records")
    add("--force", action="store_true", help="do again what is asked for, from the start")
    add("--verbose", type=int, choices=(0, 1, 2), default=2,
        help="0 silent, 1 how far it is, 2 a line an epoch too where one run follows another (default: 2)")  # fmt: skip


def add_table1_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the runs of Table 1 are that stand beside."""
    add = parser.add_argument
    add("--table1", type=folder, metavar="DIR", default=ROOT / "results/table1/budget", help="runs of Table 1 beside")
    add("--judge", type=folder, metavar="DIR", default=ROOT / "results/judge/standard", help="the judge's of those")


def settle(args: argparse.Namespace, preset: Preset, results: Path) -> None:
    """Puts the table asked for into ``args.settings``, its runs into ``args.runs``, and fills in ``args.out``."""
    changes = {"max_epochs": args.epochs, "limit": args.limit and (args.limit,) * 3}
    args.settings = dataclasses.replace(
        preset,
        protocol=dataclasses.replace(preset.protocol, **{k: v for k, v in changes.items() if v is not None}),
        judge=_judge(preset.judge, args.images),
    )
    args.runs = [Run(cell, seed) for seed in args.seeds or preset.seeds for cell in args.cells or preset.names]
    args.out = args.out or results / args.preset


def _judge(preset, images: int | None):
    """The judge's preset with this many test images, and no more of anything else."""
    if images is None:
        return preset
    amounts = {name: min(count, images) for name, count in preset.amounts().items()}
    return dataclasses.replace(preset, **amounts | {"images": images})


def time_cells(args: argparse.Namespace) -> None:
    """Times a training step of the cells asked for, on one core unless TensorFlow has started already with more."""
    from reproduce.judged.timing import make_times
    from reproduce.judged.work import Settings
    from reproduce.table1 import take_cores

    with contextlib.suppress(RuntimeError):
        take_cores(1)
    say = (lambda text: print(text, flush=True)) if args.verbose else (lambda text: None)
    settings = Settings(args.settings, args.out, args.data_dir)
    make_times(args.settings, [run.cell for run in args.runs], settings.data(), args.out, say)


def train_missing(args: argparse.Namespace) -> dict[str, str]:
    """Does the runs that are missing, or with ``--time`` times their steps; gives what went wrong, by run."""
    from reproduce.judged.work import Settings, do_runs

    if args.time:
        time_cells(args)
        return {}
    return do_runs(args, Settings(args.settings, args.out, args.data_dir))


def report_after(
    args: argparse.Namespace, work: Callable[[argparse.Namespace], dict[str, str]], write: Callable[[], list[Path]]
) -> int:
    """Does the work, unless it is ``--report-only``, then writes the report and shows how it opens; the exit status."""
    import hvae_tf
    from hvae_tf.runs import RecordError

    failures = {}
    try:
        if not args.report_only:
            failures = work(args)
        written = write()
    except (
        RecordError, hvae_tf.DataError, hvae_tf.CheckpointError, hvae_tf.DivergenceError, OSError, RuntimeError,
        ValueError,
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.verbose:
        print(opening(args.out))
    say_written(written)
    for name, failure in failures.items():
        print(f"failed: {name}: {failure}", file=sys.stderr)
    return 1 if failures else 0
