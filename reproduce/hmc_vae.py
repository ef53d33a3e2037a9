"""HMC-refined latents (Hoffman 2017): the bias that they take from the decoder's gradient, and what that is worth.

    python reproduce/hmc_vae.py                    exact problems and digits in two minutes; no download
    python reproduce/hmc_vae.py --preset budget    MNIST: (M, L) = (1, 5) and (5, 5), with and without A, 60 epochs

Like make: what has a finished record is not done again, what was stopped goes on from its last checkpoint, and several
calls on one output folder share the runs out between them. Every model is judged by annealed importance sampling, for
nothing that is maximised here is a bound. Writes report.md with a verdict on each claim, tables as CSV, and figures.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, integers, names_of, positive  # noqa: E402
from reproduce.judged.protocol import Run  # noqa: E402
from reproduce.refinement.cells import CELLS, PRESETS  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="quick", help="protocol and cells (default: quick)")
    add("--cells", type=names_of(CELLS), metavar="A,B", help=f"some of: {', '.join(CELLS)}")
    add("--seeds", type=integers("seeds", 0), default=(0,), metavar="N,N", help="seeds of every cell (default: 0)")
    add("--epochs", type=positive, metavar="N", help="of each training (default: the preset's)")
    add("--images", type=positive, metavar="N", help="first test images that are judged (default: the preset's)")
    add("--limit", type=positive, metavar="N", help="first images of each split, for a trial; labelled as such")
    add("--data-dir", type=folder, metavar="DIR", help="where TFDS keeps its data sets (default: $TFDS_DATA_DIR)")
    add("--out", type=folder, metavar="DIR", help="output folder (default: results/hmc_vae/PRESET)")
    add("--processes", type=positive, metavar="N", help="runs side by side (default: 1 with --cores, else one a core)")
    add("--cores", type=positive, metavar="N", help="cores of each run (default: 1 side by side, else all)")
    add("--table1", type=folder, metavar="DIR", default=ROOT / "results/table1/budget", help="runs of Table 1 beside")
    add("--judge", type=folder, metavar="DIR", default=ROOT / "results/judge/standard", help="the judge's of those")
    add("--report-only", action="store_true", help="train nothing; make the report from the records")
    add("--force", action="store_true", help="do again what is asked for, from the start")
    add("--verbose", type=int, choices=(0, 1, 2), default=2, help="Keras's: 0 silent, 1 bar, 2 a line an epoch")
    args = parser.parse_args(argv)
    preset = PRESETS[args.preset]
    changes = {"max_epochs": args.epochs, "limit": args.limit and (args.limit,) * 3}
    args.settings = dataclasses.replace(
        preset,
        protocol=dataclasses.replace(preset.protocol, **{k: v for k, v in changes.items() if v is not None}),
        judge=_judge(preset.judge, args.images),
    )
    args.runs = [Run(cell, seed) for seed in args.seeds for cell in args.cells or preset.cells]
    args.out = args.out or ROOT / "results" / "hmc_vae" / args.preset
    return args


def _judge(preset, images: int | None):
    """The judge's preset with this many test images, and no more of anything else."""
    if images is None:
        return preset
    amounts = {name: min(count, images) for name, count in preset.amounts().items()}
    return dataclasses.replace(preset, **amounts | {"images": images})


def work(args) -> dict[str, str]:
    """Does what is missing; gives what went wrong, by run."""
    import tensorflow as tf

    from reproduce.judged.work import Settings, do_runs
    from reproduce.refinement.factor_analysis import Study
    from reproduce.refinement.work import count_active_units_beside, make_exact

    tf.get_logger().setLevel("ERROR")  # each model has graphs of its own, which TensorFlow takes for a mistake
    settings = Settings(args.settings, args.out, args.data_dir, verbose=args.verbose)
    say = (lambda text: print(text, flush=True)) if args.verbose else (lambda text: None)
    if args.settings.exact:
        make_exact(args.out, Study(), args.force, say)
    failures = do_runs(args.runs, settings, processes=args.processes, cores=args.cores, force=args.force)
    count_active_units_beside(settings, args.table1)
    return failures


def main(argv=None) -> int:
    """Does what is missing, then writes the report."""
    return answer(make_report, parse(argv))


def make_report(args) -> int:
    """Does what is missing, then writes the report; gives the exit status."""
    import hvae_tf
    from hvae_tf.runs import RecordError
    from reproduce.refinement.report import write_report

    failures = {}
    try:
        if not args.report_only:
            failures = work(args)
        for path in write_report(args.out, args.table1, args.judge):
            print(path)
    except (
        RecordError, hvae_tf.DataError, hvae_tf.CheckpointError, hvae_tf.DivergenceError, OSError, RuntimeError,
        ValueError,
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, failure in failures.items():
        print(f"failed: {name}: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
