"""What does splitting a training step among devices cost, and gain? On virtual CPU devices only.

One HVAE training step of a batch of 100 on one core; on two, by parts of the batch (`use_cores`); and on two virtual
devices by `tf.distribute.MirroredStrategy`, which has a copy of the weights on each and adds up their gradients.
"""

import os
import sys

from harness.command import answer, make_parser, parse, positive
from harness.report import write_report
from harness.rounds import Spread, round_robin
from harness.workers import Worker

from reproduce.tables import markdown

BATCH = 100
CONTESTANTS = {"one core": 1, "two cores, parts of the batch": 2, "two cores, MirroredStrategy": 2}


class Mirrored:
    """A worker's object: training steps under MirroredStrategy on virtual devices."""

    def __init__(self, num_steps: int, batch: int, devices: int):
        import keras
        import tensorflow as tf
        from models import build, images

        from reproduce.mnist.devices import mirrored_strategy

        strategy = mirrored_strategy(devices)
        with strategy.scope():
            model = build("backprop" if num_steps else "vae", num_steps)
            model.compile(keras.optimizers.Adamax(1e-3))
            model.optimizer.build(model.trainable_variables)
        data = tf.data.Dataset.from_tensors(images(batch)).repeat()
        self._batches = iter(strategy.experimental_distribute_dataset(data))
        self._graph = tf.function(
            lambda x: strategy.reduce("MEAN", strategy.run(lambda y: model.train_step((y,))["loss"], args=(x,)), None)
        )

    def step(self) -> None:
        self._graph(next(self._batches)).numpy()


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each contestant (default: 10)")
    args = parse(parser, "mirrored", argv)
    args.rounds = args.rounds or (1 if args.quick else 10)
    args.turn_seconds = 0.05 if args.quick else 0.5
    args.steps = (1,) if args.quick else (0, 1, 5, 10, 20)
    return args


def work(args) -> None:
    """Times every contestant in turn, for each K, and writes the table."""
    batch, figures, rows = 10 if args.quick else BATCH, {}, []
    for k in args.steps:
        kind = "backprop" if k else "vae"
        workers = [
            Worker("models:TrainingStep", kind, k, batch, 1, threads=1),
            Worker("models:TrainingStep", kind, k, batch, 2, threads=2),
            Worker("mirrored:Mirrored", k, batch, 2, threads=2),
        ]
        try:
            timers = {name: worker.timer("step") for name, worker in zip(CONTESTANTS, workers, strict=True)}
            seconds = round_robin(timers, args.rounds, args.turn_seconds)
        finally:
            for worker in workers:
                worker.close()
        figures[k] = seconds
        first = next(iter(seconds.values()))
        for name, turns in seconds.items():
            ratios = Spread.of([one / other for one, other in zip(first, turns, strict=False)])
            rows.append((k, name, Spread.of(turns).show(unit=1e3), ratios.show()))
        print(f"K = {k}: done", file=sys.stderr, flush=True)
    write_report(
        args, "One training step split among devices", {"seconds_per_step": figures},
        f"Batches of {batch}, the paper's networks, Adamax; K = 0 is the plain VAE. **Virtual CPU devices on one "
        "machine: nothing here was measured on GPUs or between machines.** Ratios are taken round by round. The load "
        f"average when this ended was {os.getloadavg()[0]:.1f}; where it is above the number of cores, what waits for "
        "two cores at once loses most.",
        markdown(("K", "contestant", "step, ms", "one core's time / its"), rows),
    )  # fmt: skip


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
