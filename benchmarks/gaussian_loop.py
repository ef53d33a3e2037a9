"""How many iterations a second does Figure 1's training loop make, against d?

Ten data sets side by side, as reproduce/figure1_gaussian.py trains them, and one core, which is what it gives a job.
"""

from harness.command import answer, integers, leave, make_parser, names_of, parse, positive
from harness.report import write_report
from harness.rounds import Spread, round_robin
from harness.workers import Worker

from reproduce.gaussian.configs import LINES
from reproduce.tables import markdown

METHODS = ("hvae-k1", "hvae-k10", "nf-k1", "nf-k30", "vb")
CALL = 50  # iterations in a call of the graph


class Loops:
    """A worker's object: trainings by (method, d)."""

    def __init__(self, threads: int):
        import tensorflow as tf

        from reproduce.gaussian.configs import GaussianConfig

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self._config, self._trainers = GaussianConfig(), {}

    def make(self, method: str, d: int) -> None:
        """Starts a training."""
        from reproduce.gaussian.problem import make_group
        from reproduce.gaussian.trainer import Trainer

        config = self._config
        group = make_group([(d, i) for i in range(config.datasets)], config, seed=0)
        self._trainers[method, d] = Trainer(method, group, config, seed=0)

    def train(self, method: str, d: int) -> None:
        """`CALL` iterations."""
        self._trainers[method, d].train(CALL)


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--dims", type=integers("sizes", 1), metavar="D,D", help="d (default: 1,51,301)")
    parser.add_argument(
        "--methods", type=names_of(METHODS), default=METHODS, metavar="A,B", help=f"some of: {', '.join(METHODS)}"
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each (default: 7)")
    args = parse(parser, "gaussian_loop", argv)
    args.dims = args.dims or ((1, 5) if args.quick else (1, 51, 301))
    args.rounds = args.rounds or (1 if args.quick else 7)
    args.turn_seconds = (0.05 if args.quick else 0.5) / CALL  # the rounds count iterations, a turn makes calls
    return args


def work(args) -> None:
    """Times all methods at all sizes in turn, and writes the table."""
    with Worker("gaussian_loop:Loops", args.threads, threads=args.threads) as worker:
        keys = [(method, d) for method in args.methods for d in args.dims]
        for key in keys:
            worker.call("make", *key)
        seconds = round_robin({key: timer(worker, key) for key in keys}, args.rounds, args.turn_seconds)
    rates = {key: [1.0 / turn for turn in turns] for key, turns in seconds.items()}
    rows = [(LINES[method].label, *(Spread.of(rates[method, d]).show() for d in args.dims)) for method in args.methods]
    records = [{"method": m, "d": d, "iterations_per_second": found} for (m, d), found in rates.items()]
    write_report(
        args, "Figure 1's training loop", {"rows": records},
        "Iterations a second, median over rounds with quartiles in brackets; ten data sets of size d side by side, ten "
        "samples for each estimate of the ELBO.",
        markdown(("method", *(f"d = {d}" for d in args.dims)), rows),
    )  # fmt: skip


def timer(worker, key):
    """Makes so many calls of the loop, and gives the seconds that an iteration took."""
    return lambda calls: worker.seconds("train", *key, times=calls) / CALL


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
