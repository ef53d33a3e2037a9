"""How many importance samples a second does `log_likelihood` take, and does its memory depend on their number?

VAE, HVAE with K = 1 and 5, the paper's networks. A sample is one (image, draw) pair; chunk_size * batch_size of them
are held at once. Counted arithmetic (see harness/arithmetic.py) over the time, and that over the peak of matrix
products of the same run, say how near this is to what the machine can do. Then what other forms of softplus would
give: element-wise operations are what the counted arithmetic leaves out.
"""

import contextlib
from functools import partial

from harness.arithmetic import importance_sample_flops
from harness.command import answer, integers, leave, make_parser, parse, positive
from harness.machine import PEAK, PRODUCT_FLOPS, matrix_products, of_the_peak
from harness.report import write_report
from harness.rounds import Spread, number, paired_ratios, round_robin
from harness.workers import Worker
from softplus_forms import AS_IT_IS, FORMS

from reproduce.tables import markdown

SIZES = ((10, 10), (10, 100), (50, 100), (100, 100), (1000, 10))  # (chunk_size, batch_size)
FORMS_K, FORMS_SIZE = 5, (10, 100)
MEMORY_IMAGES, MEMORY_CHUNK = 10, 100
MIB = 2**20


class Evaluation:
    """A worker's object: likelihood evaluations of one model."""

    def __init__(self, k: int, threads: int, form: str = AS_IT_IS):
        from models import build, images
        from softplus_forms import install

        import hvae_tf

        install(form)
        hvae_tf.use_cores(threads)
        self._model, self._images = build("backprop" if k else "vae", k), images(100)

    def decoder(self) -> int:
        """The decoder's multiply-adds."""
        from harness.arithmetic import multiply_adds

        return multiply_adds(self._model.decoder)

    def evaluate(self, num_images: int, num_samples: int, chunk_size: int) -> None:
        self._model.log_likelihood(self._images[:num_images], num_samples, chunk_size=chunk_size, batch_size=num_images)

    def peak_after(self, num_samples: int) -> int:
        """The most bytes ever held, after an evaluation with so many samples for each image."""
        from harness.resident import peak_resident

        self.evaluate(MEMORY_IMAGES, num_samples, MEMORY_CHUNK)
        return peak_resident()


class Training:
    """A worker's object: training steps of HVAE with a form of softplus."""

    def __init__(self, form: str, threads: int):
        from models import TrainingStep
        from softplus_forms import install

        install(form)
        self._training = TrainingStep("backprop", FORMS_K, FORMS_SIZE[1], threads)

    def step(self) -> None:
        self._training.step()


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--steps", type=integers("numbers of leapfrog steps", 0), metavar="K,K", default=(0, 1, 5),
        help="numbers of leapfrog steps, 0 for the VAE (default: 0,1,5)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each size (default: 5)")
    args = parse(parser, "nll_throughput", argv)
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.turn_seconds = 0.1 if args.quick else 1.0
    args.samples = (100, 200) if args.quick else (100, 1000, 4000)
    return args


def work(args) -> None:
    """Times and weighs every model, and writes the tables."""
    memory = {}
    for k in args.steps:  # a peak cannot be taken back: fresh processes, from few samples to many
        with Worker("nll_throughput:Evaluation", k, args.threads, threads=args.threads) as worker:
            memory[k] = {samples: worker.call("peak_after", samples) for samples in args.samples}
    with contextlib.ExitStack() as stack:
        workers = {
            k: stack.enter_context(
                Worker("nll_throughput:Evaluation", k, args.threads, threads=args.threads)
            )
            for k in args.steps
        }  # fmt: skip
        decoder = next(iter(workers.values())).call("decoder")
        timers = {PEAK: stack.enter_context(matrix_products(args.threads))}
        timers |= {
            (k, chunk, batch): timer(worker, chunk, batch)
            for k, worker in workers.items()
            for chunk, batch in (SIZES[:2] if args.quick else SIZES)
        }
        seconds = round_robin(timers, args.rounds, args.turn_seconds)
    products = seconds.pop(PEAK)
    forms = seconds_of_forms(args)
    rows, records = [], []
    for (k, chunk, batch), turns in seconds.items():
        rate = Spread.of([chunk * batch / turn for turn in turns])
        flops = importance_sample_flops(decoder, k)
        shares = of_the_peak(chunk * batch * flops, turns, products)
        counted = number(rate.median * flops / 1e9)
        rows.append((k, chunk, batch, chunk * batch, rate.show(), counted, Spread.of(shares).show(2)))
        records.append(
            {
                "K": k,
                "chunk_size": chunk,
                "batch_size": batch,
                "seconds_per_chunk": turns,
                "of_the_peak": shares,
            }
        )
    grown = [
        (k, *(f"{p / MIB:.0f}" for p in peaks.values()), f"{(max(peaks.values()) - min(peaks.values())) / MIB:.0f}")
        for k, peaks in memory.items()
    ]
    figures = {
        "decoder_multiply_adds": decoder,
        "seconds_per_matrix_product": products,
        "throughput": records,
        "softplus_seconds": forms,
        "peak_bytes": memory,
    }
    write_report(
        args, "Likelihood evaluation", figures,
        "Samples (image x draw) a second, median over rounds with quartiles in brackets; K = 0 is the plain VAE. The "
        "peak is that of float32 matrix products in the same round, "
        f"{Spread.of([PRODUCT_FLOPS / 1e9 / turn for turn in products]).show()} GFLOP/s.",
        markdown(
            ("K", "chunk_size", "batch_size", "held at once", "samples/s", "GFLOP/s counted", "of the peak"), rows
        ),
        f"Other forms of softplus, K = {FORMS_K}: importance samples (chunk_size {FORMS_SIZE[0]}, batch_size "
        f"{FORMS_SIZE[1]}) and training steps (batches of {FORMS_SIZE[1]}) a second over those of the form that is "
        "used, round by round. More than 1 is quicker.",
        markdown(("softplus(v)", "samples/s over as it is", "training steps/s over as it is"), rows_of_forms(forms)),
        f"Peak resident memory in MiB after evaluations with more and more samples for each of {MEMORY_IMAGES} images, "
        f"chunk_size {MEMORY_CHUNK}:",
        markdown(("K", *(f"{samples} samples" for samples in args.samples), "growth"), grown),
    )  # fmt: skip


def seconds_of_forms(args) -> dict[str, dict[str, list[float]]]:
    """Seconds a chunk of importance samples and a training step take, in turns, with every form of softplus."""
    chunk, batch = FORMS_SIZE
    with contextlib.ExitStack() as stack:
        timers = {}
        for form in FORMS:
            start = partial(Worker, threads=args.threads)
            samples = stack.enter_context(start("nll_throughput:Evaluation", FORMS_K, args.threads, form))
            training = stack.enter_context(start("nll_throughput:Training", form, args.threads))
            timers[form, "samples"] = timer(samples, chunk, batch)
            timers[form, "training"] = training.timer("step")
        seconds = round_robin(timers, 2 * args.rounds, args.turn_seconds)
    return {what: {form: seconds[form, what] for form in FORMS} for what in ("samples", "training")}


def rows_of_forms(seconds) -> list[tuple[str, str, str]]:
    """A row a form: how much quicker than the form that is used."""
    return [
        (
            form,
            *(
                Spread.of([1.0 / r for r in paired_ratios(turns[form], turns[AS_IT_IS])]).show()
                for turns in (seconds["samples"], seconds["training"])
            ),
        )
        for form in FORMS
    ]


def timer(worker, chunk, batch):
    """Evaluates so many chunks, and gives the seconds that one took."""

    def take(chunks):
        return worker.seconds("evaluate", batch, chunks * chunk, chunk) / chunks

    return take


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
