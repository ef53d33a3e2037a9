"""How much memory does a training step take, against K and the batch?

VAE, a planar flow of K layers, and HVAE with each way of differentiating. Every configuration has a fresh process, for
a peak cannot be taken back. Two figures: the peak of the process's resident memory (ru_maxrss) after the steps, with
TensorFlow itself in it, and how far that is above what the process held just before its first step, when everything was
imported, built and traced: activations, gradients, the optimiser's temporaries, and the executable graph.
"""

import numpy as np
from adjoints import ADJOINTS
from harness.command import answer, integers, leave, make_parser, parse
from harness.report import write_report
from harness.workers import Worker

from reproduce.progress import Display, Stages, say
from reproduce.tables import markdown, png

KINDS = {
    "vae": "VAE",
    "planar": "planar flow",
    "backprop": "HVAE, backprop",
    "checkpoint": "HVAE, checkpoint",
    "reversible": "HVAE, reversible",
}
LARGE_BATCH, LARGE_K, LIMIT_GIB = 1000, 50, 4.0
GIB = 2**30


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--steps", type=integers("numbers of steps", 1), metavar="K,K", help="K (default: 1,5,10,20,50)"
    )
    parser.add_argument(
        "--batches", type=integers("batch sizes", 1), metavar="B,B", help="images a step (default: 100,500)"
    )
    args = parse(parser, "memory", argv)
    args.steps = args.steps or ((1, 3) if args.quick else (1, 5, 10, 20, 50))
    args.batches = args.batches or ((20,) if args.quick else (100, 500))
    if len(args.steps) * len(args.batches) < 2:
        parser.error("one K and one batch size: a line through the peaks needs another of either")
    args.large = (40, 4) if args.quick else (LARGE_BATCH, LARGE_K)
    args.taken_steps = 2 if args.quick else 4
    return args


def cost(configuration) -> float:
    """How long one takes beside others: a process's start, and its steps."""
    _, k, batch = configuration
    return 1.0 + 0.001 * batch * (k + 1)


def measure(args, kind: str, k: int, batch: int, stages: Stages) -> dict:
    """One configuration in a process of its own."""
    stages.begin(f"{kind}, K = {k}, batch {batch}", cost((kind, k, batch)))
    with Worker("models:TrainingStep", kind, k, batch, args.threads, threads=args.threads) as worker:
        for _ in range(args.taken_steps):
            worker.call("step")
        held, peak = worker.call("memory")
    row = {"kind": kind, "K": k, "batch": batch, "peak": peak, "above": peak - held}
    say(f"{KINDS[kind]}, K = {k}, batch {batch}: {peak / GIB:.2f} GiB")
    return row


def fit_backprop(rows) -> tuple[float, float]:
    """Bytes at least, and bytes for each image and evaluation of the decoder, of which there are K + 1."""
    rows = [row for row in rows if row["kind"] == "backprop"]
    evaluations = np.array([(row["K"] + 1) * row["batch"] for row in rows])
    slope, start = np.polyfit(evaluations, [row["peak"] for row in rows], 1)
    return float(start), float(slope)


def work(args) -> None:
    """Measures everything, then writes tables and the figure."""
    asked = [
        (kind, k, batch)
        for batch in args.batches
        for kind in KINDS
        for k in (args.steps if kind != "vae" else (0,))
    ]  # fmt: skip
    batch, k = args.large
    with Display() as display:
        stages = Stages(display, sum(map(cost, asked)) + len(ADJOINTS) * cost(("", k, batch)))
        rows = [measure(args, *what, stages) for what in asked]
        large = [measure(args, kind, k, batch, stages) for kind in ADJOINTS]
    start, slope = fit_backprop(rows)
    predicted = start + slope * batch * (k + 1)
    figures = {
        "rows": rows,
        "backprop_fit": {"bytes": start, "bytes_per_image_and_evaluation": slope},
        "large": large,
        "large_backprop_predicted": predicted,
    }
    plot(rows, args)
    write_report(args, "Memory of a training step", figures, *page(args, rows, large, predicted, slope))


def cells(row):
    return KINDS[row["kind"]], row["K"] or "", row["batch"], gib(row["peak"]), gib(row["above"])


def gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def page(args, rows, large, predicted, slope):
    """The tables and what they mean."""
    yield (
        "GiB of resident memory: the peak of the process (ru_maxrss), TensorFlow itself included, and how far that is "
        "above what it held when everything was imported, built and traced, just before the first step. A fresh "
        "process for every row; the paper's networks."
    )
    columns = ("model", "K", "batch", "peak, GiB", "above start, GiB")
    yield markdown(columns, map(cells, rows))
    yield f"![memory]({args.json.stem}.png)"
    yield (
        f"`backprop` keeps {slope / 2**10:.0f} KiB for each image and each of its K + 1 evaluations of the decoder, by "
        f"a line through its peaks. For a batch of {large[0]['batch']} and K = {large[0]['K']} that makes "
        f"{gib(predicted)} GiB; measured:"
    )
    kept = [(*cells(row), "yes" if row["peak"] < LIMIT_GIB * GIB else "no") for row in large]
    yield markdown((*columns, f"within {LIMIT_GIB:.0f} GiB"), kept)


def plot(rows, args) -> None:
    """Peaks above the start, against K at the largest batch and against the batch at the largest K."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    batch, k = max(args.batches), max(args.steps)
    for kind, label in KINDS.items():
        mine = [row for row in rows if row["kind"] == kind]
        by_k = [row for row in mine if row["batch"] == batch]
        if kind == "vae":
            left.axhline(by_k[0]["above"] / GIB, color="grey", linestyle=":", label=label)
        else:
            left.plot([r["K"] for r in by_k], [r["above"] / GIB for r in by_k], "o-", label=label)
        by_batch = [row for row in mine if row["K"] in (0, k)]
        style = {"color": "grey", "linestyle": ":"} if kind == "vae" else {}
        right.plot([r["batch"] for r in by_batch], [r["above"] / GIB for r in by_batch], marker="o", **style)
    left.set(xlabel="K", ylabel="peak above start, GiB", title=f"batch {batch}", yscale="log")
    right.set(xlabel="batch", title=f"K = {k}")
    figure.legend(loc="outside right center")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.with_suffix(".png").write_bytes(png(figure, dpi=120))


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
