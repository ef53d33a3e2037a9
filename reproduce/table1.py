"""Table 1 of the paper: VAE, IWAE and HVAE on binarised MNIST; trains, evaluates and tabulates what is missing.

    python reproduce/table1.py --preset smoke      the whole path in minutes, on digits, without any download
    python reproduce/table1.py --preset budget     MNIST for two cores: few epochs, and the first 1000 test images
    python reproduce/table1.py                     the published protocol; months on two cores

Like make: what has a finished record is not done again, what was stopped goes on from its last checkpoint, and several
calls on one output folder share the runs out between them. One call runs as many cells side by side as there are cores,
each on a core of its own. MNIST comes from TensorFlow Datasets: set TFDS_DATA_DIR or
--data-dir to the folder that holds mnist/.
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
    counted,
    folder,
    integers,
    leave,
    make_parser,
    names_of,
    positive,
    say_written,
    shown,
    wrapped,
)  # fmt: skip
from reproduce.configs import TABLE1_CELLS, TABLE1_PRESETS  # noqa: E402

ADJOINTS = ("backprop", "checkpoint", "reversible")


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--preset", choices=TABLE1_PRESETS, default="paper", help="protocol, cells and seeds (default: paper)")
    add("--cells", type=names_of(TABLE1_CELLS), metavar="A,B", help=f"some of: {', '.join(TABLE1_CELLS)}")
    add("--seeds", type=integers("seeds", 0), metavar="N,N", help="seeds of every cell (default: the preset's)")
    add("--dataset", metavar="NAME", help="mnist, another TFDS image set, or digits (default: the preset's)")
    add("--data-dir", type=folder, metavar="DIR", help="where TFDS keeps its data sets (default: $TFDS_DATA_DIR)")
    add("--out", type=folder, metavar="DIR", help="output folder (default: results/table1/PRESET)")
    add("--eval-samples", type=positive, metavar="S", help="importance samples (default: the preset's)")
    add("--eval-images", type=positive, metavar="N", help="first test images (default: the preset's)")
    add(
        "--processes",
        type=positive,
        metavar="N",
        help="runs side by side, each in a process of its own (default: 1 if --cores is given, else one a core)",
    )
    add("--cores", type=positive, metavar="N", help="cores of each run (default: 1 side by side, else all)")
    add("--strategy", choices=("one-device", "mirrored"), default="one-device",
        help="mirrored: one training at a time, its batches split among all GPUs, or the --virtual-devices; tried on "
        "virtual devices only (default: one-device)")  # fmt: skip
    add("--virtual-devices", type=positive, metavar="N", help="with --strategy mirrored: N cores as devices")
    add("--adjoint", choices=ADJOINTS, default="backprop",
        help="how HVAE's flow is differentiated, memory against time (docs/memory.md). The gradients are equal up to "
        "rounding: a record stands whichever made it, and says which; a run that was stopped goes on with the "
        "same only. Nothing to cells without a flow (default: backprop)")  # fmt: skip
    add_cluster_options(parser)
    add("--per-image", action="store_true", help="evaluate again what has no values of single images on record")
    add(
        "--judge",
        type=folder,
        metavar="DIR",
        default=ROOT / "results" / "judge" / "standard",
        help="where judge.py's records of these runs are, for the columns of AIS (default: results/judge/standard)",
    )
    add("--longer", type=folder, metavar="DIR", default=ROOT / "results" / "training_length",
        help="training_length.py's trainings, for equal time (default: results/training_length)")  # fmt: skip
    add("--list", action="store_true", help="print the runs with their state and estimated time, and do nothing")
    add("--report-only", action="store_true", help="train nothing; make tables and figures from the records")
    add("--force", action="store_true", help="do again what is asked for, from the start")
    add("--tensorboard", action="store_true", help="write TensorBoard event files into OUT/work/RUN/tensorboard")
    add("--verbose", type=int, choices=(0, 1, 2), default=2,
        help="0 silent, 1 how far it is, 2 a line an epoch too where one run follows another (default: 2)")  # fmt: skip
    args = parser.parse_args(argv)
    preset = TABLE1_PRESETS[args.preset]
    args.config, args.evaluation = preset.config, preset.evaluation
    if args.dataset and args.dataset != args.config.dataset:
        args.config = dataclasses.replace(args.config, dataset=args.dataset)
        args.preset_folder = f"{args.preset}-{args.dataset.replace('/', '-').replace(':', '-')}"
    else:
        args.preset_folder = args.preset
    changes = {"samples": args.eval_samples, "images": args.eval_images}
    args.evaluation = dataclasses.replace(args.evaluation, **{k: v for k, v in changes.items() if v is not None})
    args.out = args.out or ROOT / "results" / "table1" / args.preset_folder
    check_cluster_options(parser, args)
    check_folders(parser, args, "judge", "longer")
    if args.virtual_devices and args.strategy != "mirrored":
        parser.error("--virtual-devices goes with --strategy mirrored")
    if args.strategy == "mirrored" and (args.scheduler or args.cores or (args.processes or 1) > 1):
        parser.error("--strategy mirrored has all devices for one training: no --scheduler, --processes or --cores")
    return args


def settings_of(args, **changes):
    """What all runs of the call have in common."""
    from reproduce.mnist.work import Settings

    names = ("config", "evaluation", "data_dir", "cores", "per_image", "tensorboard", "adjoint")
    return Settings(**{**{name: getattr(args, name) for name in names}, **changes})


def list_runs(args, runs, store) -> None:
    """Prints each run's state and how long what is left of it may take here."""
    from reproduce.mnist.estimate import Estimator
    from reproduce.mnist.work import state_of

    settings = settings_of(args)
    states = {run: state_of(run, settings, store) for run in runs}
    estimator = Estimator(args.config, args.evaluation, settings.data())
    total = 0.0
    print(f"{'run':28} {'state':8} {'training':>10} {'evaluation':>10}   (hours, estimated on this machine)")
    for run, state in states.items():
        training = 0.0 if state in ("done", "trained", "no model") else estimator.training_hours(run, store)
        evaluation = 0.0 if state in ("done", "no model") else estimator.evaluation_hours(run)
        total += training + evaluation
        print(f"{run.name:28} {state:8} {training:10.2f} {evaluation:10.2f}")
    print(f"{'total':28} {'':8} {total:21.2f}")


def work(args, runs, store) -> dict[str, str]:
    """Does the runs that are not done, side by side where there are several; gives what went wrong, by run.

    What another call has is waited for at the end.
    """
    from reproduce.mnist.devices import mirrored_strategy
    from reproduce.mnist.work import TableTask
    from reproduce.progress import Display
    from reproduce.workers import at_once, executor_for, run_with_display

    if not args.force:
        runs = [run for run in runs if not TableTask(run, settings_of(args)).done(store)]
    if not runs:
        return {}
    mirrored = args.strategy == "mirrored"
    processes = 1 if mirrored else at_once(args, len(runs))
    side_by_side = args.scheduler or processes > 1
    if side_by_side:
        settings = settings_of(args, cores=args.cores or 1)
    elif mirrored:
        strategy = mirrored_strategy(args.virtual_devices)
        settings = settings_of(args, cores=args.virtual_devices, epoch_lines=args.verbose == 2, strategy=strategy)
    else:
        settings = settings_of(args, cores=take_cores(args.cores), epoch_lines=args.verbose == 2)
    settings.data()  # what is wrong with it is said once, before anything is started
    tasks = [TableTask(run, settings) for run in runs]
    if side_by_side:
        tasks.sort(key=lambda task: -task.cost)  # the longest first, so that no core is left waiting for the last
    if args.verbose:
        where = f" on {args.scheduler}" if args.scheduler else f", {processes} at once" if side_by_side else ""
        print(wrapped(f"{counted(len(tasks), 'run')} to do{where}; records go to {shown(args.out)}"), flush=True)
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Display(quiet=not args.verbose))
        executor = None
        if side_by_side:
            executor = stack.enter_context(executor_for(args, store, len(tasks), settings.cores))
        return run_with_display(tasks, store, executor, force=args.force, display=display)


def take_cores(asked: int | None) -> int | None:
    """Gives TensorFlow the cores asked for, or all; None where it has started already, and keeps what it has."""
    import hvae_tf
    from reproduce.workers import available_cores

    try:
        hvae_tf.use_cores(asked or available_cores())
    except RuntimeError:
        if asked:
            raise
        return None
    return asked or available_cores()


def main(argv=None) -> int:
    """Does what is missing, then writes the table."""
    return answer(make_table, parse(argv))


def make_table(args) -> int:
    """Does what is missing, then writes table and figures; gives the exit status."""
    import hvae_tf
    from reproduce.mnist.baseline import keep_baseline
    from reproduce.mnist.cells import make_runs
    from reproduce.mnist.report import load_table, write_table
    from reproduce.mnist.summary import summary

    failures = {}
    try:
        store = hvae_tf.runs.RunStore(args.out)
        runs = make_runs(TABLE1_PRESETS[args.preset], args.cells, args.seeds)
        if args.list:
            list_runs(args, runs, store)
            return 0
        if not args.report_only:
            failures = work(args, runs, store)
            with contextlib.suppress(hvae_tf.DataError):  # finished records are tabulated where the data are not
                keep_baseline(args.out, settings_of(args).data())
        table = load_table(args.out, args.judge, args.longer)
        if table.records:
            written = write_table(args.out, table)
            print(summary(table))
            say_written(written)
        elif not failures:
            raise hvae_tf.runs.RecordError(f"{args.out} has no records to report")
    except (
        hvae_tf.runs.RecordError, hvae_tf.DataError, hvae_tf.CheckpointError, hvae_tf.DivergenceError, OSError,
        RuntimeError, ValueError,
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, failure in failures.items():
        print(f"failed: {name}: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    leave(main())
