"""How does the cost of a training step grow with K, the batch, l and the image's size?

Exponents p of time ~ size^p by least squares on logarithms, beside the same of the counted arithmetic. Along each axis
the other sizes stand at K = 5, batch 100, l = 64, 28 x 28.
"""

import sys

from harness.arithmetic import training_step_flops
from harness.command import answer, leave, make_parser, parse, positive
from harness.report import write_report
from harness.rounds import Spread, exponent, number, round_robin
from harness.workers import Worker

from reproduce.tables import markdown

BASE = {"K": 5, "batch": 100, "l": 64, "image": 28}
AXES = {"K": (1, 2, 5, 10, 20), "batch": (25, 50, 100, 200, 400), "l": (16, 64, 256), "image": (14, 28, 56)}
QUICK_AXES = {"K": (1, 2), "batch": (10, 20), "l": (8, 16), "image": (14, 28)}


class Steps:
    """A worker's object: training steps of HVAE of many sizes."""

    def __init__(self, threads: int):
        import hvae_tf

        hvae_tf.use_cores(threads)
        self._steps = {}

    def make(self, k: int, batch: int, latent_size: int, image: int) -> int:
        """Builds a step; gives its counted FLOPs."""
        import keras
        import tensorflow as tf
        from harness.arithmetic import multiply_adds
        from models import build, images

        model = build("backprop", k, image, latent_size)
        model.compile(keras.optimizers.Adamax(1e-3))
        model.optimizer.build(model.trainable_variables)
        graph = tf.function(lambda x: model.train_step((x,))["loss"])
        x = tf.constant(images(batch, image))
        self._steps[k, batch, latent_size, image] = lambda: graph(x).numpy()
        return training_step_flops(multiply_adds(model.encoder), multiply_adds(model.decoder), batch, k)

    def step(self, *sizes: int) -> None:
        self._steps[sizes]()


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each size (default: 5)")
    args = parse(parser, "scaling", argv)
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.turn_seconds = 0.05 if args.quick else 0.5
    return args


def work(args) -> None:
    """Times all sizes along an axis in turn, axis by axis, and writes the tables."""
    records = []
    for axis, values in (QUICK_AXES if args.quick else AXES).items():
        with Worker("scaling:Steps", args.threads, threads=args.threads) as worker:
            sizes = {value: tuple((BASE | {axis: value}).values()) for value in values}
            flops = {value: worker.call("make", *sizes[value]) for value in values}
            timers = {value: worker.timer("step", *sizes[value]) for value in values}
            seconds = round_robin(timers, args.rounds, args.turn_seconds)
        records.append({"axis": axis, "flops": flops, "seconds": seconds})
        print(f"{axis}: done", file=sys.stderr, flush=True)
    rows, exponents = [], []
    for record in records:
        medians = {value: Spread.of(turns).median for value, turns in record["seconds"].items()}
        for value, turns in record["seconds"].items():
            counted = record["flops"][value]
            rate = counted / medians[value] / 1e9
            rows.append((record["axis"], value, Spread.of(turns).show(unit=1e3), number(counted / 1e9), number(rate)))
        values = list(medians)
        measured = exponent(values, list(medians.values()))
        counted = exponent(values, list(record["flops"].values()))
        exponents.append((record["axis"], f"{values[0]} to {values[-1]}", f"{measured:.2f}", f"{counted:.2f}"))
    write_report(
        args, "How the cost grows", {"axes": records},
        "Exponents p of cost ~ size^p for one HVAE training step, the other sizes being K = 5, batch 100, l = 64, "
        "28 x 28. Counted: the arithmetic of the layers, in which K counts as K + 1.",
        markdown(("axis", "range", "exponent of the time", "of the counted arithmetic"), exponents),
        markdown(("axis", "size", "step, ms", "GFLOP counted", "GFLOP/s"), rows),
    )  # fmt: skip


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
