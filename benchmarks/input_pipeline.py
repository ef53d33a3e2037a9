"""How much of training is spent waiting for data?

Real training steps on `TrainBatches` of 50 000 images of 28 x 28, batches of 100, across the end of an epoch. Waiting
is the time inside `next(iterator)`; beside it stands the time of the same step on one batch that is always there,
which shows what making batches in the background takes from the step itself. Fails if waiting is 3 % or more.
"""

import time

import numpy as np
from harness.command import BenchmarkError, answer, integers, leave, make_parser, parse, positive
from harness.report import write_report
from harness.rounds import Spread, number
from harness.workers import Worker

from reproduce.progress import Display, Stages
from reproduce.tables import markdown

LIMIT = 0.03
BATCH = 100
UNCOUNTED = 5  # steps at the beginning of a turn, for which batches are ready from before


class Training:
    """A worker's object: training steps on data that is made on the way, or is always there."""

    def __init__(self, k: int, num_images: int, threads: int):
        import keras
        import tensorflow as tf
        from models import build, images

        import hvae_tf

        hvae_tf.use_cores(threads)
        model = build("backprop" if k else "vae", k)
        model.compile(keras.optimizers.Adamax(1e-3))
        model.optimizer.build(model.trainable_variables)
        self._step = tf.function(lambda x: model.train_step((x,))["loss"])
        pixels = np.random.default_rng(0).integers(0, 256, [num_images * 6 // 5, 28, 28, 1], np.uint8)
        data = hvae_tf.data.from_arrays("noise", pixels, pixels[:BATCH], max_value=255)
        self._batches = hvae_tf.TrainBatches(data, BATCH, seed=0)
        self._always = tf.constant(images(BATCH))
        self._iterator = None

    def begin(self, steps_before_end: int) -> None:
        """Opens the data, so many steps before an epoch ends."""
        start = self._batches.steps_per_epoch - steps_before_end
        self._iterator = iter(self._batches.dataset(start, start + 1_000_000))

    def made(self, steps: int) -> tuple[float, float]:
        """Seconds waited and seconds in all, of steps on made batches."""
        waited, first = 0.0, time.perf_counter()
        for i in range(-UNCOUNTED, steps):
            if i == 0:
                waited, first = 0.0, time.perf_counter()
            start = time.perf_counter()
            x = next(self._iterator)
            waited += time.perf_counter() - start
            self._step(x).numpy()
        return waited, time.perf_counter() - first

    def always(self) -> None:
        """A step on the batch that is always there."""
        self._step(self._always).numpy()


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--steps", type=integers("numbers of leapfrog steps", 0), metavar="K,K", default=(0, 5),
        help="numbers of leapfrog steps, 0 for the VAE (default: 0,5)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each (default: 8)")
    args = parse(parser, "input_pipeline", argv)
    args.rounds = args.rounds or (2 if args.quick else 8)
    args.training_steps = 10 if args.quick else 50
    return args


def work(args) -> None:
    """Times steps with and without the making of batches in turn, and writes the table."""
    with Display() as display:
        found = measure(args, Stages(display, sum(k + 1.0 for k in args.steps)))
    write(args, found)


def measure(args, stages) -> dict:
    """The turns, by K."""
    found = {}
    for k in args.steps:
        tell = stages.begin(f"K = {k}", k + 1.0)
        with Worker("input_pipeline:Training", k, 50_000, args.threads, threads=args.threads) as worker:
            worker.call("begin", args.rounds * args.training_steps // 2)
            worker.call("made", 1)
            turns = []
            for r in range(args.rounds):
                tell(r / args.rounds)
                waited, total = worker.call("made", args.training_steps)
                always = worker.seconds("always", times=args.training_steps)
                turns.append({"waited": waited, "total": total, "always_there": always * args.training_steps})
        found[k] = turns
    return found


def write(args, found) -> None:
    """Writes the table; too long a wait is an error."""
    rows, shares = [], {}
    for k, turns in found.items():
        shares[k] = sum(t["waited"] for t in turns) / sum(t["total"] for t in turns)
        step = Spread.of([t["total"] / args.training_steps for t in turns])
        always = Spread.of([t["always_there"] / args.training_steps for t in turns])
        slower = Spread.of([t["total"] / t["always_there"] for t in turns])
        verdict = "yes" if shares[k] < LIMIT else "no"
        rows.append(
            (k, step.show(unit=1e3), f"{number(100 * shares[k], 2)} %", verdict, always.show(unit=1e3), slower.show())
        )
    write_report(
        args, "Waiting for data", {"turns": found, "shares": shares},
        f"Training steps on batches of {BATCH} out of 50 000 images, binarised afresh, over the end of an epoch; K = 0 "
        "is the plain VAE. Median over rounds with quartiles in brackets; the share is of all the time.",
        markdown(
            ("K", "step, ms", "of it waiting", f"under {LIMIT:.0%}", "step on a batch that is there, ms", "ratio"), rows
        ),
    )  # fmt: skip
    if not args.quick and max(shares.values()) >= LIMIT:
        raise BenchmarkError(f"waiting for data takes {max(shares.values()):.1%} of training, {LIMIT:.0%} or more")


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
