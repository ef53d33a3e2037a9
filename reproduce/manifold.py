"""Riemannian dynamics: HMC against RMHMC on known targets, and the bound of flows in three metrics on digits.

    python reproduce/manifold.py                     an hour on two cores; no download
    python reproduce/manifold.py --preset quick      some minutes, a first look, in results/manifold-quick

Like make: what has a record is not done again, what was stopped goes on. Writes report.md and figures from the records.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, positive  # noqa: E402
from reproduce.riemann.settings import PRESETS  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="standard", help="how much is done (default: standard)")
    add("--out", type=folder, metavar="DIR", help="folder (default: results/manifold, or results/manifold-quick)")
    add("--cores", type=positive, metavar="N", help="cores of this call (default: TensorFlow's)")
    add("--report-only", action="store_true", help="run nothing; make the report from the records")
    parser.set_defaults(force=False)
    args = parser.parse_args(argv)
    if args.out is None:
        args.out = ROOT / "results" / ("manifold" if args.preset == "standard" else f"manifold-{args.preset}")
    return args


def main(argv=None) -> int:
    """Runs what is missing, then writes the report."""
    return answer(work, parse(argv))


def work(args) -> int:
    """Runs what is missing, then writes the report; gives the exit status."""
    import tensorflow as tf

    import hvae_tf
    from hvae_tf.files import update
    from hvae_tf.runs import RecordError, RunStore
    from reproduce.riemann.report import report

    tf.get_logger().setLevel("ERROR")
    preset = PRESETS[args.preset]
    try:
        if args.cores:
            hvae_tf.use_cores(args.cores)
        store = RunStore(args.out)
        if not args.report_only:
            make_records(store, preset)
        for name, content in report({record["name"]: record for record in store.read_all()}, preset).items():
            update(args.out / name, content)
            print(args.out / name)
    except (RecordError, hvae_tf.DataError, hvae_tf.DivergenceError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make_records(store, preset) -> None:
    """Every record that is not there yet."""
    import keras

    import hvae_tf
    from reproduce.riemann import digits, samplers
    from reproduce.riemann.settings import TARGETS, cell_name, cells

    def done(name, configuration, seed, make):
        with store.claim(name, wait=True):
            if not store.done(name, configuration, seed):
                print(f"== {name}", flush=True)
                store.write(make())

    for target in TARGETS:
        sampling = preset.sampling
        done(
            f"samplers-{target}", samplers.configuration(target, sampling), sampling.seed,
            lambda target=target: samplers.compare(target, preset.sampling, print),
        )  # fmt: skip
    data = hvae_tf.load("digits")
    for seed in range(preset.digits.seeds):
        for method, steps in cells(preset.digits):
            done(
                cell_name(method, steps, seed), digits.configuration(method, steps, preset.digits), seed,
                lambda cell=(method, steps, seed): digits.train(*cell, data, preset.digits),
            )  # fmt: skip
            keras.backend.clear_session()


if __name__ == "__main__":
    sys.exit(main())
