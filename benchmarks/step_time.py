"""How long is a training step, beside PyTorch, pythae and JAX, and how does it grow with K?

Batches of 100 images of 28 x 28, the paper's networks, Adamax. Before anything is timed, every contestant's bound at
equal weights, images and noise is compared with hvae_tf's (pythae computes another quantity and does less, see
peers/pythae_hvae.py). Contestants take turns; ratios are hvae_tf / peer, round by round: below 1 hvae_tf is quicker.
"""

import contextlib
import sys

from harness.arithmetic import training_step_flops
from harness.command import BenchmarkError, answer, integers, leave, make_parser, names_of, parse, positive
from harness.machine import PEAK, PRODUCT_FLOPS, matrix_products, of_the_peak
from harness.report import write_report
from harness.rounds import Spread, number, paired_ratios, round_robin
from harness.workers import Worker, missing
from peers.problem import BATCH

from reproduce.tables import markdown

OURS = "hvae_tf"
CONTESTANTS = {  # name -> module, options, packages, whether it is one at K = 0 too, and what it is
    OURS: ("tf_hvae", {"parts": True}, (), True, "with `use_cores`: the batch in one part for each core"),
    "hvae_tf-unsplit": ("tf_hvae", {"parts": False}, (), True, "TensorFlow shares out each operation"),
    "torch": ("torch_hvae", {"gradients": "K+1"}, ("torch",), True, "autograd, K + 1 gradients"),
    "torch-2k": ("torch_hvae", {"gradients": "2K"}, ("torch",), False, "autograd, two gradients for each step"),
    "pythae": ("pythae_hvae", {}, ("torch", "pythae"), False, "as its package has it; less work"),
    "jax": ("jax_hvae", {}, ("jax", "optax"), True, "jit, K + 1 gradients"),
}
TOLERANCE = 1e-4


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--steps", type=integers("numbers of leapfrog steps", 0), metavar="K,K",
        help="numbers of leapfrog steps, 0 for the VAE (default: 0,1,5,10,15,20)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each contestant (default: 10)")
    parser.add_argument(
        "--contestants", type=names_of(CONTESTANTS), default=tuple(CONTESTANTS), metavar="A,B",
        help=f"some of: {', '.join(CONTESTANTS)}; {OURS} is always one (default: all)",
    )  # fmt: skip
    args = parse(parser, "step_time", argv)
    args.steps = args.steps or ((0, 1) if args.quick else (0, 1, 5, 10, 15, 20))
    args.rounds = args.rounds or (2 if args.quick else 10)
    args.turn_seconds = 0.1 if args.quick else 0.4
    args.contestants = (OURS, *(name for name in args.contestants if name != OURS))
    return args


def work(args) -> None:
    """Times everything, and writes the tables."""
    contestants, notes = [], []
    for name in args.contestants:
        if absent := missing(*CONTESTANTS[name][2]):
            notes.append(f"{name} was left out: {', '.join(absent)} is not installed.")
        else:
            contestants.append(name)
    with contextlib.ExitStack() as stack:
        networks = stack.enter_context(Worker("contestant:Networks", threads=args.threads))
        encoder, decoder = networks.call("multiply_adds")
        problems = {k: networks.call("problem", k) for k in args.steps}
        networks.close()
        workers = {
            name: stack.enter_context(
                Worker("contestant:Contestant", module, args.threads, threads=args.threads, **options)
            )
            for name, (module, options, *_) in CONTESTANTS.items()
            if name in contestants
        }
        product = stack.enter_context(matrix_products(args.threads))
        seconds, products, bounds = {}, {}, {}
        for k, problem in problems.items():
            taking_part = {name: w for name, w in workers.items() if k or CONTESTANTS[name][3]}
            bounds[k] = enter(problem, taking_part)
            print(f"K = {k}: bounds agree; timing {', '.join(taking_part)}", file=sys.stderr, flush=True)
            timers = {name: worker.timer("step", k) for name, worker in taking_part.items()} | {PEAK: product}
            seconds[k] = round_robin(timers, args.rounds, args.turn_seconds)
            products[k] = seconds[k].pop(PEAK)
        print(f"{OURS}: all K in turn", file=sys.stderr, flush=True)
        growth = round_robin({k: workers[OURS].timer("step", k) for k in args.steps}, args.rounds, args.turn_seconds)
    flops = {k: training_step_flops(encoder, decoder, BATCH, k) for k in args.steps}
    figures = {
        "multiply_adds": {"encoder": encoder, "decoder": decoder},
        "seconds_per_matrix_product": products,
        "of_the_peak": {k: of_the_peak(flops[k], seconds[k][OURS], products[k]) for k in seconds},
        "step_flops": flops,
        "bounds": bounds,
        "seconds_per_step": seconds,
        "seconds_per_step_all_k_in_turn": growth,
        "notes": notes,
    }
    write_report(args, "Time of a training step", figures, *page(seconds, growth, flops, products, notes))


def enter(problem, workers) -> dict[str, float | None]:
    """Gives every contestant the problem, and compares what they make of it."""
    for worker in workers.values():  # side by side: nothing is timed yet
        worker.start("enter", problem)
    bounds = {name: worker.finish()[0] for name, worker in workers.items()}
    for name, bound in bounds.items():
        if bound is not None and not abs(bound / bounds[OURS] - 1.0) <= TOLERANCE:
            raise BenchmarkError(
                f"K = {problem.num_leapfrog_steps}: {name} has a bound of {bound:.6f}, {OURS} {bounds[OURS]:.6f} at "
                "equal weights and noise; nothing is timed"
            )
    return bounds


def page(seconds, growth, flops, products, notes):
    """The tables and what they mean."""
    rows = []
    for k, found in seconds.items():
        for name, turns in found.items():
            ratio = "1" if name == OURS else Spread.of(paired_ratios(found[OURS], turns)).show()
            counted = f"{flops[k] / 1e9:.2f}" if name.startswith(OURS) else ""
            share = Spread.of(of_the_peak(flops[k], turns, products[k])).show(2) if name.startswith(OURS) else ""
            rows.append((k, name, Spread.of(turns).show(unit=1e3), ratio, counted, share, len(turns)))
    yield (
        "Median over rounds, with quartiles in brackets. Batches of 100, the paper's networks, Adamax; K = 0 is the "
        "plain VAE. Bounds at equal weights and noise agree to 1e-4, except pythae's, which is another quantity."
    )
    columns = ("K", "contestant", "step, ms", "hvae_tf / it", "GFLOP counted", "of the peak", "rounds")
    yield markdown(columns, rows)
    shown = {name for found in seconds.values() for name in found}
    yield "\n".join(f"- {name}: {what}" for name, (*_, what) in CONTESTANTS.items() if name in shown)
    yield (
        "The peak is that of float32 matrix products of 2048^3 on the same cores in the same round, "
        f"{Spread.of([PRODUCT_FLOPS / 1e9 / turn for turns in products.values() for turn in turns]).show()} GFLOP/s."
    )
    first = next(iter(growth))
    reference = 5 if 5 in growth else first
    rows = [
        (k, Spread.of(turns).show(unit=1e3), Spread.of(paired_ratios(turns, growth[reference])).show(),
         number(flops[k] / flops[reference]))
        for k, turns in growth.items()
    ]  # fmt: skip
    yield f"{OURS} alone, all K in turn:"
    yield markdown(("K", "step, ms", f"over K = {reference}", "counted arithmetic"), rows)
    if notes:
        yield " ".join(notes)


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
