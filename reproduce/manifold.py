"""Riemannian dynamics: HMC against RMHMC on known targets, and the bound of flows in three metrics on digits.

    python reproduce/manifold.py                     half an hour on two cores; no download
    python reproduce/manifold.py --preset quick      some minutes, a first look, in results/manifold-quick

Like make: what has a record is not done again, what was stopped goes on. Writes report.md and figures from the records.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reproduce import making
from reproduce.cli import answer, leave
from reproduce.riemann.settings import PRESETS, TARGETS, cell_name, cells


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    return making.parse(__doc__, "manifold", PRESETS, argv)


def main(argv=None) -> int:
    """Runs what is missing, then writes the report."""
    return answer(work, parse(argv))


def work(args) -> int:
    """Runs what is missing, then writes the report; gives the exit status."""
    from reproduce.riemann.report import report

    return making.make(args, PRESETS[args.preset], make_records, report)


def make_records(done, preset) -> None:
    """Every record that is not there yet."""
    import hvae_tf
    from reproduce.riemann import digits, samplers

    sampling = preset.sampling
    for target in TARGETS:
        done(
            f"samplers-{target}", samplers.configuration(target, sampling), sampling.seed,
            lambda target=target: samplers.compare(target, sampling, print),
        )  # fmt: skip
    data = hvae_tf.load("digits")
    for seed in range(preset.digits.seeds):
        for method, steps in cells(preset.digits):
            done(
                cell_name(method, steps, seed), digits.configuration(method, steps, preset.digits), seed,
                lambda cell=(method, steps, seed): digits.train(*cell, data, preset.digits),
            )  # fmt: skip


if __name__ == "__main__":
    leave(main())
