"""Table 1 of the paper: VAE, IWAE and HVAE on binarised MNIST; trains, evaluates and tabulates what is missing.

    python reproduce/table1.py --preset smoke      the whole path in minutes, on digits, without any download
    python reproduce/table1.py --preset budget     MNIST for two cores: few epochs, the same for every cell
    python reproduce/table1.py                     the published protocol; months on two cores

Like make: what has a finished record is not done again, what was stopped goes on from its last checkpoint, and several
calls on one output folder share the runs out between them. MNIST comes from TensorFlow Datasets: set TFDS_DATA_DIR or
--data-dir to the folder that holds mnist/.
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
from reproduce.configs import TABLE1_CELLS, TABLE1_PRESETS  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", choices=TABLE1_PRESETS, default="paper", help="protocol, cells and seeds (default: paper)")
    add("--cells", type=names_of(TABLE1_CELLS), metavar="A,B", help=f"some of: {', '.join(TABLE1_CELLS)}")
    add("--seeds", type=integers("seeds", 0), metavar="N,N", help="seeds of every cell (default: the preset's)")
    add("--dataset", metavar="NAME", help="mnist, another TFDS image set, or digits (default: the preset's)")
    add("--data-dir", type=Path, metavar="DIR", help="where TFDS keeps its data sets (default: $TFDS_DATA_DIR)")
    add("--out", type=folder, metavar="DIR", help="output folder (default: results/table1/PRESET)")
    add("--eval-samples", type=positive, metavar="S", help="importance samples, for a cheap look; labelled as such")
    add("--eval-images", type=positive, metavar="N", help="first test images only, for a cheap look; labelled as such")
    add("--cores", type=positive, metavar="N", help="cores of this call; 1 for one call a core (default: TensorFlow's)")
    add("--list", action="store_true", help="print the runs with their state and estimated time, and do nothing")
    add("--report-only", action="store_true", help="train nothing; make tables and figures from the records")
    add("--force", action="store_true", help="do again what is asked for, from the start")
    add("--tensorboard", action="store_true", help="write TensorBoard event files into OUT/work/RUN/tensorboard")
    add("--verbose", type=int, choices=(0, 1, 2), default=2, help="Keras's: 0 silent, 1 bar, 2 a line an epoch")
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
    return args


def load_data(args):
    """The images that the configuration asks for, whole and checked."""
    from hvae_tf.data import load

    return load(args.config.dataset, args.data_dir, limit=args.config.limit)


def list_runs(args, runs, store) -> None:
    """Prints each run's state and how long what is left of it may take here."""
    from reproduce.table1_cells import state_of
    from reproduce.table1_estimate import Estimator

    states = {run: state_of(run, args.config, args.evaluation, store) for run in runs}
    estimator = Estimator(args.config, args.evaluation, load_data(args))
    total = 0.0
    print(f"{'run':28} {'state':8} {'training':>10} {'evaluation':>10}   (hours, estimated on this machine)")
    for run, state in states.items():
        training = 0.0 if state in ("done", "trained") else estimator.training_hours(run, store)
        evaluation = 0.0 if state == "done" else estimator.evaluation_hours(run)
        total += training + evaluation
        print(f"{run.name:28} {state:8} {training:10.2f} {evaluation:10.2f}")
    print(f"{'total':28} {'':8} {total:21.2f}")


def work(args, runs, store) -> None:
    """Does the runs, none of them done; those that another call has are waited for at the end."""
    import shutil

    from reproduce.table1_cells import do_run, state_of

    data = load_data(args)

    pending = list(runs)
    for wait in (False, True):
        for run in list(pending):
            with store.claim(run.name, wait=wait) as mine:
                if not mine:
                    continue
                pending.remove(run)
                if args.force:  # its old record stands until the new one is finished
                    shutil.rmtree(store.folder / "work" / run.name, ignore_errors=True)
                elif state_of(run, args.config, args.evaluation, store) == "done":  # by another call, since
                    continue
                print(f"== {run.name}", flush=True)
                do_run(
                    run, args.config, args.evaluation, data, store,
                    verbose=args.verbose, tensorboard=args.tensorboard, afresh=args.force,
                )  # fmt: skip


def main(argv=None) -> int:
    """Does what is missing, then writes the table."""
    return answer(make_table, parse(argv))


def make_table(args) -> int:
    """Does what is missing, then writes table and figures; gives the exit status."""
    import hvae_tf
    from reproduce.table1_cells import make_runs, state_of
    from reproduce.table1_report import write_report

    if args.cores:
        hvae_tf.use_cores(args.cores)
    try:
        store = hvae_tf.RunStore(args.out)
        runs = make_runs(TABLE1_PRESETS[args.preset], args.cells, args.seeds)
        if args.list:
            list_runs(args, runs, store)
            return 0
        if not args.report_only:
            if not args.force:
                runs = [run for run in runs if state_of(run, args.config, args.evaluation, store) != "done"]
            if runs:
                work(args, runs, store)
        written = write_report(args.out)
        if not written:
            raise hvae_tf.RecordError(f"{args.out} has no records to report")
        for path in written:
            print(path)
    except (
        hvae_tf.RecordError, hvae_tf.DataError, hvae_tf.CheckpointError, hvae_tf.DivergenceError, OSError, ValueError,
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
