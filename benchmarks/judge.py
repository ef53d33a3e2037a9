"""How near does annealed importance sampling come to the speed of its decoder, and does its memory depend on T?

And how long does it take until the gap of BDMC is below 0.2 nats, beside TensorFlow Probability's kernels?

AIS of the paper's VAE, from the encoder's q0, with L = 5. An evaluation is the decoder's value and gradient in z for
one image and one chain; C * B of them are held at once. Beside AIS, which does C * B ((T - 1) L + 1) of them, stands
the same number of bare evaluations of the same batch, one call of a graph for each C * B. Fails if AIS reaches less
than 0.85 of the bare speed at the size that the judge uses.

The gap is that of a trained model, on images that it simulates, with the fewest of several temperatures at which it is
small enough; see bidirectional.py.
"""

import contextlib
from pathlib import Path

from bidirectional import CHAINS, ENGINES, TEMPERATURES
from harness.command import FOLDER, BenchmarkError, answer, leave, make_parser, parse, positive
from harness.report import write_report
from harness.rounds import Spread, number, paired_ratios, round_robin
from harness.workers import Worker

from reproduce.tables import markdown

SIZES = ((8, 100), (8, 20), (16, 50), (1, 100))  # (chains, images); the first is the judge's
LIMIT = 0.85
LEAPFROG_STEPS = 5
GAP = 0.2  # nats
MODEL = FOLDER.parent / "results/table1/budget/models/vae-seed0.keras"
MIB = 2**20


class Judge:
    """A worker's object: annealed chains of one model, and bare evaluations of its decoder."""

    def __init__(self, threads: int):
        import tensorflow as tf
        from models import build, images

        import hvae_tf
        from hvae_tf.bounds.annealer import Annealer
        from hvae_tf.targets.sharded import ShardedTarget

        hvae_tf.use_cores(threads)
        model, self._images = build("vae", 0), tf.constant(images(max(size for _, size in SIZES)))

        specification = tf.TensorSpec([None, *model.event_shape], tf.float32)
        self._annealer = Annealer(model.target, [specification], model.latent_size)
        self._q0 = model.posterior(self._images)
        self._normal = tf.random.stateless_normal

        @tf.function(
            input_signature=[specification, tf.TensorSpec([None, None, model.latent_size], tf.float32)], autograph=False
        )
        def bare(x, z):
            return ShardedTarget(model.target, [x], model.latent_size).value_and_grad(z)

        self._bare = bare

    def bare(self, chains: int, size: int, times: int) -> None:
        z = self._q0.sample(self._normal([chains, *self._q0.mean.shape], [0, 1]))[:, :size]
        for _ in range(times):
            self._bare(self._images[:size], z).grad.numpy()

    def anneal(self, chains: int, size: int, temperatures: int) -> None:
        q0 = self._q0._replace(mean=self._q0.mean[:size], standard_deviation=self._q0.standard_deviation[:size])
        settings = {"temperatures": temperatures, "num_chains": chains, "num_leapfrog_steps": LEAPFROG_STEPS}
        step_sizes = self._normal([temperatures - 1, size], [0, 2]) * 0.0 + 0.1
        self._annealer.forward([self._images[:size]], q0, 0, step_sizes=step_sizes, **settings).log_weights.numpy()

    def peak_after(self, temperatures: int) -> int:
        """The most bytes ever held, after AIS of 20 images with so many temperatures."""
        from harness.resident import peak_resident

        self.anneal(8, 20, temperatures)
        return peak_resident()


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each size (default: 7)")
    parser.add_argument(
        "--model", type=Path, default=MODEL, metavar="FILE",
        help="whose gap is measured; with --quick, one that was not trained (default: the VAE of Table 1)",
    )  # fmt: skip
    args = parse(parser, "judge", argv)
    args.rounds = args.rounds or (1 if args.quick else 7)
    args.turn_seconds = 0.2 if args.quick else 3.0
    args.temperatures = (3, 6) if args.quick else (10, 30, 100)
    args.simulated = 8 if args.quick else 100
    if args.quick:
        args.model = None
    elif not args.model.is_file():
        parser.error(f"argument --model: {str(args.model)!r}: no such file")
    return args


def work(args) -> int:
    """Times and weighs, writes the tables; 1 if the aim was missed."""
    with Worker("judge:Judge", args.threads, threads=args.threads) as worker:
        peaks = {t: worker.call("peak_after", t) for t in args.temperatures}
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(Worker("judge:Judge", args.threads, threads=args.threads))
        sizes = SIZES[1:2] if args.quick else SIZES
        timers = {(kind, *size): timer(worker, kind, *size) for size in sizes for kind in ("bare", "anneal")}
        seconds = round_robin(timers, args.rounds, args.turn_seconds)
    rows, records = [], []
    for chains, size in sizes:
        bare, annealed = (seconds[kind, chains, size] for kind in ("bare", "anneal"))
        share = Spread.of(paired_ratios(bare, annealed))
        rates = [Spread.of([chains * size / turn for turn in turns]).show() for turns in (bare, annealed)]
        rows.append((chains, size, chains * size, *rates, share.show(2)))
        records.append({"chains": chains, "images": size, "bare": bare, "annealed": annealed, "share": share.median})
    gaps, gap_records = measure_gaps(args)
    judged = "an untrained VAE"
    if args.model:
        judged = "the VAE of Table 1 (seed 0)" if args.model == MODEL else args.model.stem
        args.model = args.model.name  # a record has no folders of this machine
    grown = (max(peaks.values()) - min(peaks.values())) / MIB
    write_report(
        args, "Annealed importance sampling", {"evaluations": records, "peak_bytes": peaks, "gaps": gap_records},
        "Evaluations (image x chain) a second, median over rounds with quartiles in brackets, and the share that AIS "
        "reaches, taken round by round.",
        markdown(("chains", "images", "held at once", "bare decoder", "AIS", "share"), rows),
        "Peak resident memory in MiB after AIS of 20 images with more and more temperatures, 8 chains:",
        markdown(
            (*(f"T = {t}" for t in peaks), "growth"), [(*(f"{p / MIB:.0f}" for p in peaks.values()), number(grown))]
        ),
        f"To a mean gap below {GAP} nats between both bounds of BDMC, on {args.simulated} images that {judged} "
        f"simulates, {CHAINS} chains an image and L = {LEAPFROG_STEPS}: the fewest temperatures T, the gap with its "
        "standard error over images, and seconds, both directions together, each engine in its turn. Step sizes are "
        "the same, tuned by hvae_tf; what that took is in the total of all. TFP's kernel is made anew at each "
        "temperature; TFP's own annealed importance sampling is biased.",
        markdown(("engine", "T", "gap", "pilot, s", "chains, s", "total over hvae_tf's"), gaps),
    )  # fmt: skip
    if not args.quick and records[0]["share"] < LIMIT:
        raise BenchmarkError(f"AIS reaches {records[0]['share']:.2f} of the bare decoder's speed; aimed at {LIMIT}")
    return 0


def measure_gaps(args) -> tuple[list, list]:
    """Rows and records: for each engine the fewest temperatures at which the gap is small enough, and its time."""
    with contextlib.ExitStack() as stack:
        workers = {}
        for engine in ENGINES:
            made = Worker("bidirectional:Bidirectional", engine, args.model, args.simulated, args.threads,
                          threads=args.threads)  # fmt: skip
            workers[engine] = stack.enter_context(made)
        ladder = (2, 3) if args.quick else TEMPERATURES
        found = {}
        for engine, worker in workers.items():  # what was too few for hvae_tf is not tried again
            found[engine] = fewest_temperatures(worker, ladder)
            ladder = ladder[ladder.index(found[engine][0]) :]
        seconds = {engine: [] for engine in ENGINES}
        pilots = []
        for _ in range(1 if args.quick else 3):
            pilots.append(workers["hvae_tf"].seconds("pilot", found["hvae_tf"][0]))
            for engine, worker in workers.items():
                seconds[engine].append(worker.seconds("bounds", found[engine][0]))
    rows, records = [], []
    for engine, (temperatures, gap, error) in found.items():
        scaled = [pilot * temperatures / found["hvae_tf"][0] for pilot in pilots]
        totals = [a + b for a, b in zip(scaled, seconds[engine], strict=True)]
        if engine == "hvae_tf":
            ours = totals
        ratio = Spread.of(paired_ratios(totals, ours))
        shown = (Spread.of(scaled).show(), Spread.of(seconds[engine]).show(), ratio.show(2))
        rows.append((ENGINES[engine], temperatures, f"{gap:.3f} ± {error:.3f}", *shown))
        records.append({"engine": engine, "temperatures": temperatures, "gap": gap, "standard_error": error,
                        "pilot_seconds": scaled, "seconds": seconds[engine]})  # fmt: skip
    return rows, records


def fewest_temperatures(worker, ladder) -> tuple[int, float, float]:
    """T, the gap in nats and its standard error; the gap of the most temperatures if none is small enough."""
    for temperatures in ladder:
        lower, upper, error = worker.call("bounds", temperatures)
        if upper - lower < GAP:
            break
    return temperatures, upper - lower, error


def timer(worker, kind, chains, size):
    """Does so many evaluations of the whole batch, at least, and gives the seconds that one took."""

    def take(evaluations):
        if kind == "bare":
            return worker.seconds("bare", chains, size, evaluations) / evaluations
        moves = max(1, round(evaluations / LEAPFROG_STEPS))
        return worker.seconds("anneal", chains, size, moves + 1) / (moves * LEAPFROG_STEPS + 1)

    return take


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
