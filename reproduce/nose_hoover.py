"""The Nosé-Hoover flow beside HVAE of equal K: gaps on the Gaussian model, bounds on digits.

    python reproduce/nose_hoover.py                     half an hour on two cores; no download
    python reproduce/nose_hoover.py --preset quick      some minutes, a first look, in results/nose_hoover-quick

Like make: what has a record is not done again, what was stopped goes on. Writes report.md and a figure from them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reproduce import making
from reproduce.cli import answer, leave
from reproduce.thermostat.settings import METHODS, PRESETS, digits_name


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    return making.parse(__doc__, "nose_hoover", PRESETS, argv)


def main(argv=None) -> int:
    """Runs what is missing, then writes the report."""
    return answer(work, parse(argv))


def work(args) -> int:
    """Runs what is missing, then writes the report; gives the exit status."""
    from reproduce.thermostat.report import report

    return making.make(args, PRESETS[args.preset], make_records, report)


def make_records(done, preset) -> None:
    """Every record that is not there yet."""
    import hvae_tf
    from reproduce.thermostat import digits, gaussian

    settings = preset.gaussian
    done("gaussian", gaussian.configuration(settings), settings.seed, lambda: gaussian.compare(settings, print))
    done(
        "gaussian-least", gaussian.configuration(settings, "gaussian-least"), settings.seed,
        lambda: gaussian.least_of_all(settings, print),
    )  # fmt: skip
    done(
        "gaussian-hvae", gaussian.configuration(settings, "gaussian-hvae"), settings.seed,
        lambda: gaussian.train_hamiltonian(settings, print),
    )  # fmt: skip
    data = hvae_tf.load("digits")
    for seed in range(preset.digits.seeds):
        for method in METHODS:
            done(
                digits_name(method, seed), digits.configuration(method, preset.digits), seed,
                lambda cell=(method, seed): digits.train(*cell, data, preset.digits),
            )  # fmt: skip


if __name__ == "__main__":
    leave(main())
