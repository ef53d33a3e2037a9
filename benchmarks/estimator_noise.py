"""How noisy is the gradient that the encoder gets, by what of the bound is taken in closed form?

The paper's networks at their initial weights and at those of trained models, twelve test digits, one draw each, the
same draws for all choices of `kl`: the trace of the covariance of the encoder's gradient of the mean bound, over that
of `kl="prior-sampled"`.
"""

import itertools

import numpy as np
from harness.command import FOLDER, answer, leave, make_parser, parse, positive
from harness.report import write_report
from harness.rounds import number
from harness.workers import Worker

from reproduce.progress import Display, Stages
from reproduce.tables import markdown

KINDS = ("prior-sampled", "analytic", "sampled")
TABLE = FOLDER.parent / "results/table1/budget"
MODELS = {"VAE": "vae-seed0", "HVAE, K = 1, fixed": "k1-fixed-seed0", "HVAE, K = 5, free": "k5-free-seed0"}


class Noise:
    """A worker's object: gradients of the encoder of one model, draw by draw."""

    def __init__(self, name: str, threads: int):
        import keras

        import hvae_tf

        hvae_tf.use_cores(threads)
        self._path = TABLE / f"models/{name}.keras"
        self._model = keras.models.load_model(self._path)
        with np.load(TABLE / f"pictures/{name}.npz") as pictures:
            self._x = (pictures["originals"] > 127).astype(np.float32)

    def start_anew(self) -> None:
        """Takes the trained model back to where training starts."""
        import keras

        self._model = keras.models.clone_model(self._model)

    def measure(self, kind: str, draws: int) -> tuple[float, float]:
        """The trace of the covariance, and the standard deviation of the mean bound in nats."""
        import tensorflow as tf

        from hvae_tf.bounds.estimators import ElboEstimator

        model, x = self._model, tf.constant(self._x)
        model.estimator = ElboEstimator(kind, "standard")
        variables = [variable.value for variable in model.encoder.trainable_variables]

        @tf.function
        def one(seed):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(model._batch_terms(x, seed, training=False).bound)
            return loss, tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, variables)], axis=0)

        losses, gradients = zip(*(one(tf.constant([7, i])) for i in range(draws)), strict=True)
        return float(np.var(gradients, axis=0, ddof=1).sum()), float(np.std(losses, ddof=1))


def arguments(argv=None):
    """The command line."""
    parser = make_parser(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--draws", type=positive, metavar="N", help="draws of all digits (default: 200)")
    args = parse(parser, "estimator_noise", argv)
    args.draws = args.draws or (4 if args.quick else 200)
    return args


def work(args) -> None:
    """Measures all, and writes the table."""
    rows = []
    with Display() as display:
        stages = Stages(display, 2 * len(MODELS))
        for label, name in MODELS.items():
            with Worker("estimator_noise:Noise", name, args.threads, threads=args.threads) as worker:
                for weights in ("trained", "initial"):
                    stages.begin(f"{label}, {weights} weights")
                    if weights == "initial":
                        worker.call("start_anew")
                    for kind in KINDS:
                        variance, deviation = worker.call("measure", kind, args.draws)
                        rows.append({"model": label, "weights": weights, "kl": kind, "variance": variance,
                                     "deviation": deviation})  # fmt: skip
    found = {(row["model"], row["weights"], row["kl"]): row for row in rows}
    lines = []
    for label, weights in itertools.product(MODELS, ("initial", "trained")):
        base = found[label, weights, KINDS[0]]["variance"]
        these = [found[label, weights, kind] for kind in KINDS]
        lines.append([
            label, weights, *(number(row["variance"] / base, 2) for row in these),
            *(number(row["deviation"], 2) for row in these),
        ])  # fmt: skip
    write_report(
        args, "Noise of the bound's estimators", {"rows": rows},
        f"Variance (trace of the covariance over {args.draws} draws) of the encoder's gradient of the mean bound of "
        "twelve test digits, over that of `prior-sampled`, and the standard deviation of that mean bound, nats.",
        markdown(("model", "weights", *(f"variance, `{k}`" for k in KINDS), *(f"s.d., `{k}`" for k in KINDS)), lines),
    )  # fmt: skip


def main(argv=None) -> int:
    return answer(work, arguments(argv))


if __name__ == "__main__":
    leave(main())
