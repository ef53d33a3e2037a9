"""How long is long enough: the NLL of one cell of Table 1 against the epochs of its schedule, on MNIST.

    python reproduce/training_length.py --epochs 15,240,300        trains and judges what is missing
    python reproduce/training_length.py --report-only              makes page and figure from the records

Each length is a training of its own under the budget preset's protocol, and is judged by AIS. The preset's 60 epochs
are taken from Table 1's records. Several trainings go side by side with a core each, one alone has all cores; with
--cores N they follow each other, unless --processes says otherwise. Like make: what has a finished record is not done
again, what was stopped goes on. MNIST comes from TensorFlow Datasets: set TFDS_DATA_DIR or --data-dir to the folder
that holds mnist/.
"""

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import (  # noqa: E402
    add_cluster_options,
    answer,
    check_cluster_options,
    check_folders,
    folder,
    integers,
    leave,
    make_parser,
    positive,
    say_written,
)  # fmt: skip
from reproduce.configs import TABLE1_CELLS, TABLE1_PRESETS  # noqa: E402

EPOCHS, RESULTS = (15, 240), ROOT / "results"


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--preset", choices=TABLE1_PRESETS, default="budget", help="protocol but for its epochs (default: budget)")
    add("--cell", choices=TABLE1_CELLS, default="vae", metavar="CELL", help="of Table 1 (default: vae)")
    add("--epochs", type=integers("epochs", 1), default=EPOCHS, metavar="N,N", help="lengths (default: 15,240)")
    add("--seeds", type=integers("seeds", 0), default=(0,), metavar="N,N", help="of every length (default: 0)")
    add("--images", type=positive, default=1000, metavar="N", help="test images judged by AIS (default: 1000)")
    add("--eval-images", type=positive, default=1000, metavar="N", help="test images judged by IS (default: 1000)")
    add("--data-dir", type=folder, metavar="DIR", help="where TFDS keeps its data sets (default: $TFDS_DATA_DIR)")
    add("--out", type=folder, metavar="DIR",
        help="output folder (default: results/training_length, or results/training_length-PRESET)")  # fmt: skip
    add("--table", type=folder, metavar="DIR", help="Table 1's records to be shown too (default: those of the preset)")
    add("--judge", type=folder, metavar="DIR", default=RESULTS / "judge" / "standard",
        help="the judge's records of those (default: results/judge/standard)")  # fmt: skip
    add("--processes", type=positive, metavar="N",
        help="trainings side by side (default: 1 if --cores is given, else one a core)")  # fmt: skip
    add("--cores", type=positive, metavar="N", help="cores of each training (default: 1 side by side, else all)")
    add_cluster_options(parser)
    add("--report-only", action="store_true", help="train nothing; make page and figure from the records")
    add("--force", action="store_true", help="do again what is asked for, from the start")
    add("--quiet", action="store_true", help="say nothing of how far it is")
    args = parser.parse_args(argv)
    check_folders(parser, args, "judge", "table")
    suffix = "" if args.preset == "budget" else f"-{args.preset}"
    args.out = args.out or RESULTS / f"training_length{suffix}"
    args.table = args.table or RESULTS / "table1" / args.preset
    check_cluster_options(parser, args)
    return args


def work(args, store) -> dict[str, str]:
    """Trains and judges what is missing, side by side where there are several; gives what went wrong, by training."""
    from reproduce.judging.presets import JUDGE_PRESETS
    from reproduce.mnist.cells import Run
    from reproduce.mnist.lengths import LengthTask
    from reproduce.mnist.work import Settings
    from reproduce.progress import Display
    from reproduce.table1 import take_cores
    from reproduce.workers import at_once, executor_for, run_with_display

    preset = TABLE1_PRESETS[args.preset]
    evaluation = dataclasses.replace(preset.evaluation, images=args.eval_images)
    judge = dataclasses.replace(JUDGE_PRESETS["standard"], images=args.images, dataset=preset.config.dataset)
    tasks = []
    for epochs in args.epochs:
        settings = Settings(dataclasses.replace(preset.config, max_epochs=epochs), evaluation, args.data_dir)
        tasks += [LengthTask(Run(args.cell, seed), settings, judge) for seed in args.seeds]
    tasks = [task for task in sorted(tasks, key=lambda task: -task.cost) if args.force or not task.done(store)]
    if not tasks:
        return {}
    side_by_side = args.scheduler or at_once(args, len(tasks)) > 1
    cores = (args.cores or 1) if side_by_side else take_cores(args.cores)
    tasks = [dataclasses.replace(task, settings=dataclasses.replace(task.settings, cores=cores)) for task in tasks]
    tasks[0].settings.data()  # what is wrong with it is said once, before anything is started
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Display(args.quiet))
        executor = stack.enter_context(executor_for(args, store, len(tasks), cores)) if side_by_side else None
        return run_with_display(tasks, store, executor, force=args.force, noun="trainings", display=display)


def main(argv=None) -> int:
    """Does what is missing, then writes page and figure."""
    return answer(make_page, parse(argv))


def make_page(args) -> int:
    """Does what is missing, then writes page and figure; gives the exit status."""
    import hvae_tf
    from hvae_tf.files import atomic_write
    from hvae_tf.runs import RecordError, RunStore
    from reproduce.mnist.lengths import figure, page, read_lengths, table_csv

    failures = {}
    try:
        if not args.report_only:
            failures = work(args, RunStore(args.out))
        trained = read_lengths(args.out, args.cell, [(args.table, args.judge)])
        if trained:
            contents = {
                "training_length.md": page(trained, args.cell), "training_length.csv": table_csv(trained),
                "training_length.png": figure(trained, args.cell),
            }  # fmt: skip
            for name, data in contents.items():
                atomic_write(args.out / name, data)
            say_written([args.out / name for name in contents])
        elif not failures:
            raise RecordError(f"{args.out} and {args.table} have no judged records of {args.cell}")
    except (RecordError, hvae_tf.DataError, OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, failure in failures.items():
        print(f"failed: {name}: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    leave(main())
