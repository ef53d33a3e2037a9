"""How exact are float32 gradients when a flow walks back instead of remembering?

Gradients of the bound with respect to all weights, batches of 100, at equal weights, images and noise, against
`backprop` in float64: the norm of the difference over the norm. The paper's networks at their initial weights and at
those of a trained HVAE, a step size of 0.2, fixed tempering from 1/sqrt(beta_0) = 1.22, where section 4.2 starts it,
and from 5.
"""

import itertools

import numpy as np
from harness.command import FOLDER, answer, integers, leave, make_parser, parse
from harness.report import write_report
from harness.rounds import number
from harness.workers import Worker

from reproduce.progress import Display, Stages
from reproduce.tables import markdown

ADJOINTS = ("backprop", "checkpoint", "reversible")
INV_SQRT_BETAS_0 = (1.22, 5.0)
TRAINED = FOLDER.parent / "results/table1/budget/models/k1-fixed-seed0.keras"


class Gradients:
    """A worker's object: gradients of the bound at one point, computed in many ways."""

    def __init__(self, batch: int, threads: int):
        import hvae_tf

        hvae_tf.use_cores(threads)
        self._batch = batch
        import keras

        trained = keras.models.load_model(TRAINED)
        networks = {
            "initial": (hvae_tf.conv_encoder(), hvae_tf.conv_decoder()),
            "trained": (trained.encoder, trained.decoder),
        }
        self._weights = {name: [network.get_weights() for network in pair] for name, pair in networks.items()}

    def gradient(self, weights: str, adjoint: str, dtype: str, k: int, inv_sqrt_beta_0: float):
        """All gradients in a row, in float64; None where the walk back lost its way and says so."""
        import tensorflow as tf

        import hvae_tf

        networks = hvae_tf.conv_encoder(dtype=dtype), hvae_tf.conv_decoder(dtype=dtype)
        for network, values in zip(networks, self._weights[weights], strict=True):
            network.set_weights(values)
        model = hvae_tf.HVAE(
            *networks, k, hvae_tf.FixedTempering(inv_sqrt_beta_0), step_size=0.2, adjoint=adjoint, dtype=dtype,
        )  # fmt: skip
        random = np.random.default_rng(0)
        x = tf.constant(random.random([self._batch, 28, 28, 1]) < 0.125)
        noise, gamma = tf.unstack(tf.cast(random.standard_normal([2, self._batch, 64]).astype(np.float32), dtype))

        @tf.function
        def gradients():
            with tf.GradientTape() as tape:
                images = tf.cast(x, dtype)
                q0 = model.posterior(images)
                result = model.flow.transform(model.target(images), q0.sample(noise), gamma)
                bound = tf.reduce_mean(hvae_tf.elbo_sample(result, -q0.entropy()))
            return tape.gradient(bound, [v.value for v in model.trainable_variables])

        try:
            return np.concatenate([np.ravel(g).astype(np.float64) for g in gradients()])
        except tf.errors.InvalidArgumentError as error:
            if "lost to rounding" not in str(error):
                raise
            return None


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=integers("numbers of steps", 1), metavar="K,K", help="K (default: 5,20,50)")
    args = parse(parser, "drift", argv)
    args.steps = args.steps or ((2,) if args.quick else (5, 20, 50))
    return args


def work(args) -> None:
    """Computes all gradients, and writes the table."""
    rows = []
    batch = 10 if args.quick else 100
    with Display() as display, Worker("drift:Gradients", batch, args.threads, threads=args.threads) as worker:
        combinations = list(itertools.product(("initial", "trained"), INV_SQRT_BETAS_0, args.steps))
        stages = Stages(display, len(combinations))
        for weights, start, k in combinations:
            stages.begin(f"{weights} weights, K = {k}")
            exact = worker.call("gradient", weights, "backprop", "float64", k, start)
            errors = {}
            for kind in ADJOINTS:
                found = worker.call("gradient", weights, kind, "float32", k, start)
                far = None if found is None else float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
                errors[kind] = far
            rows.append({"weights": weights, "inv_sqrt_beta_0": start, "K": k, "relative_error": errors})
    lines = [
        (
            r["weights"],
            r["inv_sqrt_beta_0"],
            r["K"],
            *("refused" if e is None else number(e, 2) for e in r["relative_error"].values()),
        )
        for r in rows
    ]
    write_report(
        args, "Rounding of the gradients", {"rows": rows},
        f"Relative error, in norm over all weights, of float32 gradients of the bound against `backprop` in float64; "
        f"batch {batch}, the paper's networks, step size 0.2. `refused`: the walk back ended "
        "too far from where it should, and raised an error.",
        markdown(("weights", "1/sqrt(beta_0)", "K", *ADJOINTS), lines),
    )  # fmt: skip


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
