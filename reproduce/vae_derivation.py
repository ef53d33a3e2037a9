"""The derivation of the VAE step by step, both sides of every equation as numbers, and the noise of its estimators.

    python reproduce/vae_derivation.py      about a minute, on the bundled digits, without any download

Trains small VAEs and writes ``report.md``, ``vae_derivation.png``, ``steps.csv`` and ``variances.csv``.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, leave, make_parser, positive, say_written, section  # noqa: E402

EVENTS, GRADIENT_EVENTS, GAP_EVENTS = 20, 30, 40
LATENT_SIZE = 8
CHECKPOINTS = (0, 1, 3, 10, 30)


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--epochs", type=positive, default=80, metavar="N", help="of each training (default: 80)")
    add("--draws", type=positive, default=2000, metavar="S", help="for each event, in the steps (default: 2000)")
    add("--gradient-draws", type=positive, default=100, metavar="S", help="of each gradient's noise (default: 100)")
    add("--seeds", type=positive, default=3, metavar="N", help="to compare two gradients with (default: 3)")
    add("--seed", type=int, default=0, metavar="N", help="the first: networks, training, draws (default: 0)")
    add("--out", type=folder, metavar="DIR", default=ROOT / "results" / "vae_derivation", help="output folder")
    args = parser.parse_args(argv)
    for name in ("draws", "gradient_draws"):
        if getattr(args, name) < 2:
            parser.error(f"argument --{name.replace('_', '-')}: expected at least 2, a standard error being wanted")
    return args


def main(argv=None) -> int:
    """Does all of it."""
    return answer(derive, parse(argv), stopped="nothing was written; the same command starts again")


def derive(args) -> int:
    """Trains, measures and writes; gives the exit status."""
    import hvae_tf
    from hvae_tf.files import update
    from reproduce.progress import Display

    try:
        args.out.mkdir(parents=True, exist_ok=True)
        with Display() as display:
            contents = results(args, display)
        for name, data in contents.items():
            update(args.out / name, data)
    except (hvae_tf.DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(section(args.out / "report.md", "The steps").split("\n|")[0])
    say_written([args.out / name for name in contents])
    return 0


def results(args, display) -> dict[str, str | bytes]:
    """The files, by name; the display shows how far they are."""
    import numpy as np

    import hvae_tf
    from reproduce.derivation import figures, report, training
    from reproduce.derivation.steps import steps
    from reproduce.derivation.variances import measure
    from reproduce.progress import Stages

    data = hvae_tf.load("digits")
    x = data.binarised("test")

    stages = Stages(display, 3.0 + 4.0 + 2.0 * (args.seeds - 1) + 1.0)

    def trained(label, latent_size, seed=args.seed, **choices):
        tell = stages.begin(f"{label}, l = {latent_size}, seed {seed}")
        model = training.make(data, latent_size, seed, **choices)
        training.train(model, data, 0, args.epochs, seed, tell)
        return model

    plane_models = {
        "diagonal covariance": trained("diagonal covariance", 2),
        "full covariance": trained("full covariance", 2, covariance="full"),
    }
    stages.begin("the steps")
    rows = steps(plane_models["diagonal covariance"], x[:EVENTS], args.draws, args.seed)

    tell = stages.begin("standard gradient, its noise", 3.0)
    standard, noises, reached = training.make(data, LATENT_SIZE, args.seed), [], 0
    for epochs in sorted({*(epochs for epochs in CHECKPOINTS if epochs < args.epochs), args.epochs}):
        training.train(standard, data, reached, epochs, args.seed)
        reached = epochs
        noises += measure(standard, x[:GRADIENT_EVENTS], epochs, args.gradient_draws, args.seed)
        tell(epochs / args.epochs)
    others = {"standard gradient": standard, "path gradient": trained("path gradient", LATENT_SIZE, gradient="path")}
    pairs = [tuple(others.values())]
    for seed in range(args.seed + 1, args.seed + args.seeds):
        pairs.append(tuple(trained(f"{g} gradient", LATENT_SIZE, seed, gradient=g) for g in ("standard", "path")))
    differences = [float(np.mean(one.elbo(x, 50) - other.elbo(x, 50))) for one, other in pairs]

    stages.begin("gaps and pictures")
    posteriors, gaps = on_the_plane(plane_models, x[:GAP_EVENTS])
    models = [
        report.Trained(label, model.latent_size, -model.elbo(x, 50), rate_of(model, x), gaps.get(label))
        for label, model in (plane_models | others).items()
    ]
    plane = hvae_tf.plots.prior_plane(plane_models["diagonal covariance"], figures.PLANE)
    settings = report.Settings(
        args.epochs, EVENTS, args.draws, GRADIENT_EVENTS, args.gradient_draws, GAP_EVENTS, args.seed, args.seeds
    )
    return {
        "report.md": report.report(rows, noises, models, differences, settings),
        "steps.csv": report.steps_csv(rows),
        "variances.csv": report.variances_csv(noises),
        "vae_derivation.png": figures.picture(posteriors, plane, noises),
    }


def on_the_plane(models, x):
    """What the picture shows of the posterior of the digit with the largest gap, and the gaps of all, by model."""
    import numpy as np
    import tensorflow as tf

    from reproduce.derivation.steps import Integrals

    posteriors, gaps, shown = [], {}, None
    for label, model in models.items():
        integrals, q0 = Integrals.of(model, x), model.posterior(tf.constant(x))
        gaps[label] = integrals.divergence(q0)
        shown = int(np.argmax(gaps[label])) if shown is None else shown  # one digit for all
        factor = q0.scale_tril[shown] if "full" in label else tf.linalg.diag(q0.standard_deviation[shown])
        density = np.exp(integrals.log_posterior()[:, shown])
        title = f"p(z|x) and q, {label}: gap {gaps[label][shown]:.2f}"
        posteriors.append((title, density, q0.mean[shown].numpy(), factor.numpy()))
    return posteriors, gaps


def rate_of(model, x):
    """KL(q(z|x) || p(z)) of each event, ``[n]``."""
    return model.posterior(x).kl_to_standard_normal().numpy()


if __name__ == "__main__":
    leave(main())
