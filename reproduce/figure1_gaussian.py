"""Figure 1 of the paper: parameter estimation in the Gaussian offset model, by HVAE, planar flows and VB.

    python reproduce/figure1_gaussian.py --preset quick     under a minute
    python reproduce/figure1_gaussian.py                    the paper's full protocol

What has a finished record is not done again, so a run that was stopped goes on where it was, and several calls at once
share the work. Tables, figures and report.md are made from the records found.
"""

import argparse
import dataclasses
import multiprocessing
import os
import queue
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.command import answer, integers, names_of, positive  # noqa: E402
from reproduce.configs import GAUSSIAN_METHODS, GAUSSIAN_PRESETS, VARIANTS  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", choices=GAUSSIAN_PRESETS, default="paper", help="protocol to start from (default: paper)")
    add("--variant", choices=(*VARIANTS, "both"), default="corrected",
        help="corrected: each data set a fresh training, the right bounds; as-released: the authors' code, which warm-"
        "starts each data set from the last and has a faulty likelihood in its planar flow (default: corrected)",
    )  # fmt: skip
    add(
        "--methods",
        type=names_of(GAUSSIAN_METHODS),
        metavar="A,B",
        help=f"some of: {', '.join(GAUSSIAN_METHODS)} (default: all)",
    )
    add("--dims", type=integers("integers", 1), metavar="D,D", help="sizes d of the problem (default: the preset's)")
    add("--datasets", type=positive, metavar="N", help="number of data sets (default: the preset's)")
    add("--iterations", type=positive, metavar="N", help="RMSProp iterations of each training (default: the preset's)")
    add("--seed", type=int, default=0, help="seed of data and noise (default: 0)")
    add("--out", type=Path, help="output folder (default: results/figure1, or results/figure1-PRESET)")
    add("--processes", type=positive, default=os.cpu_count(), metavar="N",
        help="jobs trained at once, about 0.5 GiB each (default: one a core)")  # fmt: skip
    add("--force", action="store_true", help="do again what is asked for even where it has a finished record")
    add("--report-only", action="store_true", help="train nothing; make tables, figures and report from the records")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error("--seed: expected an integer of at least 0")
    changes = {k: getattr(args, k) for k in ("dims", "datasets", "iterations") if getattr(args, k) is not None}
    args.config = dataclasses.replace(GAUSSIAN_PRESETS[args.preset], **changes)
    args.methods = args.methods or tuple(GAUSSIAN_METHODS)
    args.variants = VARIANTS if args.variant == "both" else (args.variant,)
    suffix = "" if args.preset == "paper" else f"-{args.preset}"
    args.out = args.out or ROOT / "results" / f"figure1{suffix}"
    return args


def work(tasks, messages, config, seed, out, force) -> None:
    """A worker process: takes jobs until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends us
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    while (task := tasks.get()) is not None:
        do_job(*task, config, seed, out, force, messages.put)


def do_job(job, wait, config, seed, out, force, say) -> None:
    """One job under its lock; says (kind, job, detail): progress, then done, busy or failed."""
    from hvae_tf.records import RunStore
    from reproduce.figure1_jobs import Diverged, missing_dims, run_job

    store = RunStore(out)
    with store.claim(job.name, wait=wait) as mine:
        if not mine:
            return say(("busy", job, None))
        try:
            if dims := job.dims if force else missing_dims(job, config, seed, store):
                run_job(
                    dataclasses.replace(job, dims=dims), config, seed, store,
                    lambda fraction: say(("progress", job, fraction)), afresh=force,
                )  # fmt: skip
        except Diverged as error:
            return say(("failed", job, str(error)))
        except Exception as error:  # a worker must answer for every job, or the parent would wait for ever
            return say(("failed", job, f"{type(error).__name__}: {error}"))
    return say(("done", job, None))


def train(args, jobs) -> list[str]:
    """Runs the jobs in parallel with a progress bar; gives the failures."""
    from tqdm import tqdm

    context = multiprocessing.get_context("spawn")
    tasks, messages = context.Queue(), context.Queue()
    settings = (tasks, messages, args.config, args.seed, args.out, args.force)
    workers = [context.Process(target=work, args=settings) for _ in range(min(args.processes, len(jobs)))]
    for job in jobs:
        tasks.put((job, False))
    for worker in workers:
        worker.start()
    fractions, failures, open_jobs = {}, [], len(jobs)
    total = sum(job.cost(args.config) for job in jobs)
    layout = "{percentage:3.0f} %|{bar:30}| {elapsed} gone, {remaining} left {postfix}"
    try:
        with tqdm(total=100.0, bar_format=layout, mininterval=1.0) as bar:
            while open_jobs:
                try:
                    kind, job, detail = messages.get(timeout=5)
                except queue.Empty:
                    if not all(worker.is_alive() for worker in workers):
                        raise RuntimeError(
                            "a worker process died (out of memory?); what was finished is kept"
                        ) from None
                    continue
                if kind == "busy":  # another call has it: come back to it at the end, and wait
                    tasks.put((job, True))
                    continue
                fractions[job] = 1.0 if kind != "progress" else detail
                if kind == "failed":
                    failures.append(f"{job.name}: {detail}")
                open_jobs -= kind != "progress"
                bar.update(100.0 * sum(f * j.cost(args.config) for j, f in fractions.items()) / total - bar.n)
                bar.set_postfix_str(f"({len(jobs) - open_jobs} of {len(jobs)} jobs done)", refresh=False)
        for _ in workers:
            tasks.put(None)
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            worker.terminate()
    return failures


def main(argv=None) -> int:
    """Trains what is missing, then makes the figure."""
    return answer(make_figure, parse(argv))


def make_figure(args) -> int:
    """Trains what is missing, then writes tables, figures and report; gives the exit status."""
    from hvae_tf.records import RecordError, RunStore
    from reproduce.figure1_jobs import make_jobs, missing_dims
    from reproduce.figure1_report import write_report

    failures = []
    try:
        store = RunStore(args.out)
        jobs = [] if args.report_only else make_jobs(args.config, args.methods, args.variants)
        if not args.force:
            jobs = [job for job in jobs if missing_dims(job, args.config, args.seed, store)]
        if jobs:
            print(f"{len(jobs)} jobs to do; records go to {args.out}", flush=True)
            failures = train(args, jobs)
        written = write_report(args.out)
        if not written:
            raise RecordError(f"{args.out} has no records to report")
    except (RecordError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
