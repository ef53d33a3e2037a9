"""The judge: log p(x) of trained models by annealed importance sampling (AIS), and its error by both bounds (BDMC).

    python reproduce/judge.py --preset quick       the whole path in two minutes, on digits, without any download
    python reproduce/judge.py                      the models of Table 1's budget preset, on 1000 images of MNIST
    python reproduce/judge.py --models A.keras B/  others: files, or folders of them

Like make: what has a finished record is not done again, what was stopped goes on from its last block of images, more
images go on from where fewer ended, and several calls on one output folder share the models out between them. MNIST
comes from TensorFlow Datasets: set TFDS_DATA_DIR or --data-dir to the folder that holds mnist/.
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
    folder,
    leave,
    make_parser,
    positive,
    say_written,
)  # fmt: skip
from reproduce.judging.presets import JUDGE_PRESETS  # noqa: E402

MODELS = ROOT / "results" / "table1" / "budget" / "models"


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--preset", choices=JUDGE_PRESETS, default="standard", help="how much, of which data (default: standard)")
    add(
        "--models", type=folder, nargs="+", metavar="PATH",
        help=".keras files or folders of them, judged in this order (default: those of Table 1's budget preset; quick "
        "trains two of its own)",
    )  # fmt: skip
    add("--images", type=positive, metavar="N", help="first test images that are judged (default: the preset's)")
    add("--simulated", type=positive, metavar="N", help="images that each model simulates, for BDMC")
    add(
        "--importance", type=positive, metavar="N",
        help="make -ELBO and the importance NLL here for each of the first N images, whatever Table 1 has",
    )  # fmt: skip
    add("--dataset", metavar="NAME", help="mnist, another TFDS image set, or digits (default: the preset's)")
    add("--data-dir", type=folder, metavar="DIR", help="where TFDS keeps its data sets (default: $TFDS_DATA_DIR)")
    add("--out", type=folder, metavar="DIR", help="output folder (default: results/judge/PRESET)")
    add(
        "--processes", type=positive, metavar="N",
        help="parts of the work side by side, each in a process of its own (default: 1 if --cores is given, else one a "
        "core)",
    )  # fmt: skip
    add("--cores", type=positive, metavar="N", help="cores of each process (default: 1 side by side, else all)")
    add_cluster_options(parser)
    add("--no-curve", action="store_true", help="leave out the first model's bounds against T")
    add("--report-only", action="store_true", help="judge nothing; make report and figures from the records")
    add("--force", action="store_true", help="do again what is asked for, from the start")
    add("--quiet", action="store_true", help="say nothing of how far it is")
    args = parser.parse_args(argv)
    preset = JUDGE_PRESETS[args.preset]
    changes = {
        "images": args.images, "simulated": args.simulated, "importance_images": args.importance,
        "dataset": args.dataset,
    }  # fmt: skip
    args.settings = dataclasses.replace(preset, **{k: v for k, v in changes.items() if v is not None})
    args.out = args.out or ROOT / "results" / "judge" / args.preset
    check_cluster_options(parser, args)
    return args


def judge_models(args) -> dict[str, str]:
    """Judges what is not judged, then draws the first model's curve; gives what went wrong, by model."""
    from hvae_tf.runs import RunStore
    from reproduce.judging.digits import make_digits_models
    from reproduce.judging.models import find_models
    from reproduce.judging.work import CurveTask, JudgeTask, load_images
    from reproduce.progress import Display
    from reproduce.table1 import take_cores
    from reproduce.workers import at_once, run_with_display

    store = RunStore(args.out)
    if args.models or args.preset != "quick":
        models = find_models(args.models or [MODELS])
        take_cores(args.cores)
    else:
        take_cores(args.cores)
        data = load_images(args.settings.dataset, args.data_dir)
        models = make_digits_models(args.out, data, force=args.force, quiet=args.quiet)
    tasks = [JudgeTask(model, args.settings, args.data_dir, args.importance is not None) for model in models]
    tasks += [] if args.no_curve else [CurveTask(models[0], args.settings)]
    tasks = [task for task in tasks if args.force or not task.done(store)]
    if not tasks:
        return {}
    load_images(args.settings.dataset, args.data_dir)  # what is wrong with it is said before anything is started
    with Display(args.quiet) as display:
        if args.scheduler or at_once(args) > 1:
            return judge_side_by_side(args, tasks, store, display)
        return run_with_display(tasks, store, force=args.force, noun="models", display=display)


def judge_side_by_side(args, tasks, store, display) -> dict[str, str]:
    """The tasks in parts, each in a process here or on a scheduler's worker, then their records; gives the failures."""
    from reproduce.judging.work import RecordTask, parts_of
    from reproduce.workers import executor_for, run_with_display

    if args.force:
        for task in tasks:
            task.clear(store)
    with executor_for(args, store, None, args.cores or 1) as executor:
        parts = parts_of(tasks, executor.num_workers, args.force)
        found = run_with_display(parts, store, executor, noun="parts", display=display)
        failures = {part.of.name: found[part.name] for part in parts if part.name in found}
        records = [RecordTask(task, args.force) for task in tasks if task.name not in failures]
        return failures | run_with_display(records, store, executor, noun="records", display=display)


def main(argv=None) -> int:
    """Judges what is missing, then writes the report."""
    return answer(make_report, parse(argv))


def make_report(args) -> int:
    """Judges what is missing, then writes report and figures; gives the exit status."""
    import hvae_tf
    from hvae_tf.runs import RecordError
    from reproduce.judging.report import summary, write_report

    failures = {}
    try:
        if not args.report_only:
            failures = judge_models(args)
        written = write_report(args.out)
        if not written and not failures:
            raise RecordError(f"{args.out} has no records to report")
        if written:
            print(summary(args.out))
            say_written(written)
    except (RecordError, hvae_tf.DataError, OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, failure in failures.items():
        print(f"failed: {name}: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    leave(main())
