"""What does each way of differentiating HVAE cost in time?

`backprop` keeps every evaluation of the decoder, `checkpoint` and `reversible` make them again on the way back. They
take turns at one training step; memory.py has what each of them keeps.
"""

import contextlib

from harness.command import answer, integers, leave, make_parser, parse, positive
from harness.report import write_report
from harness.rounds import Spread, paired_ratios, round_robin
from harness.workers import Worker

from reproduce.tables import markdown

ADJOINTS = ("backprop", "checkpoint", "reversible")


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--steps", type=integers("numbers of leapfrog steps", 1), metavar="K,K", help="K (default: 1,5,20,50)"
    )
    parser.add_argument("--batch", type=positive, default=100, metavar="N", help="images a step (default: 100)")
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each (default: 8)")
    args = parse(parser, "adjoints", argv)
    args.steps = args.steps or ((1, 3) if args.quick else (1, 5, 20, 50))
    args.rounds = args.rounds or (1 if args.quick else 8)
    args.turn_seconds = 0.1 if args.quick else 1.0
    return args


def work(args) -> None:
    """Times all of them, K by K, and writes the table."""
    seconds = {}
    for k in args.steps:
        with contextlib.ExitStack() as stack:
            workers = {
                adjoint: stack.enter_context(
                    Worker("models:TrainingStep", adjoint, k, args.batch, args.threads, threads=args.threads)
                )
                for adjoint in ADJOINTS
            }
            timers = {adjoint: worker.timer("step") for adjoint, worker in workers.items()}
            seconds[k] = round_robin(timers, args.rounds, args.turn_seconds)
    rows = [
        (k, adjoint, Spread.of(turns).show(unit=1e3), Spread.of(paired_ratios(turns, found["backprop"])).show())
        for k, found in seconds.items()
        for adjoint, turns in found.items()
    ]
    write_report(
        args, "Time of a training step, by how it is differentiated", {"seconds_per_step": seconds},
        f"HVAE, the paper's networks, batches of {args.batch}; median over rounds with quartiles in brackets.",
        markdown(("K", "adjoint", "step, ms", "over backprop"), rows),
    )  # fmt: skip


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
