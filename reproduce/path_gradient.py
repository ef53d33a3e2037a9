"""Does a VAE train better along the path gradient? Two trainings of Table 1's VAE, alike but for that.

    TFDS_DATA_DIR=... python reproduce/path_gradient.py      20 epochs of MNIST each, about 12 minutes on one core

"Sticking the landing" (Roeder, Wu & Duvenaud 2017): log q0's own parameters are held, see `hvae_tf.bounds.estimators`.
Same seed, networks, batches and schedule as the preset `budget` of `table1.py`, but for the number of epochs. Like
make: what has a record is not done again, what was stopped goes on. Writes ``report.md`` and ``curves.png``.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import answer, folder, leave, make_parser, positive, say_written  # noqa: E402

GRADIENTS = ("standard", "path")
ELBO_SAMPLES, IMPORTANCE_SAMPLES = 100, 1000


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--epochs", type=positive, default=20, metavar="N", help="of each training (default: 20)")
    add("--images", type=positive, default=1000, metavar="N", help="first test images judged (default: 1000)")
    add("--dataset", default="mnist", metavar="NAME", help="mnist, another TFDS image set, or digits (default: mnist)")
    add("--data-dir", type=folder, metavar="DIR", help="where TFDS keeps its data sets (default: $TFDS_DATA_DIR)")
    add("--out", type=folder, default=ROOT / "results" / "path_gradient", metavar="DIR", help="output folder")
    add("--cores", type=positive, metavar="N", help="cores of this call (default: TensorFlow's)")
    add("--report-only", action="store_true", help="train nothing; make the report from the records")
    parser.set_defaults(force=False)
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Trains what is missing, then writes the report."""
    return answer(compare, parse(argv))


def compare(args) -> int:
    """Trains what is missing, then writes the report; gives the exit status."""
    import hvae_tf
    from hvae_tf.files import update
    from hvae_tf.runs import RecordError, RunStore
    from reproduce.progress import Display, Stages

    try:
        if args.cores:
            hvae_tf.use_cores(args.cores)
        store = RunStore(args.out)
        if not args.report_only:
            data = hvae_tf.load(args.dataset, args.data_dir, limit=protocol(args).limit)
            for gradient in GRADIENTS:
                store.done(gradient, configuration(gradient, args), 0)  # what is wrong is said before the work
            with Display() as display:
                stages = Stages(display, len(GRADIENTS))
                for gradient in GRADIENTS:
                    report_to = stages.begin(f"{gradient} gradient")
                    with store.claim(gradient, wait=True):
                        if store.done(gradient, configuration(gradient, args), 0):
                            report_to(1.0, kept=True)
                        else:
                            work = store.folder / "work" / gradient
                            store.write(train(gradient, args, data, work, report_to))
        records = {record["configuration"]["gradient"]: record for record in store.read_all()}
        if set(records) != set(GRADIENTS):
            raise RecordError(f"{args.out} has not both records; run without --report-only")
        contents = report(records)
        for name, content in contents.items():
            update(args.out / name, content)
        print("\n".join(f"{name:38} {elbo:>18} {nll:>18}" for name, elbo, nll in table(records)))
        say_written([args.out / name for name in contents])
    except (
        RecordError, hvae_tf.DataError, hvae_tf.CheckpointError, hvae_tf.DivergenceError, OSError, ValueError,
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def configuration(gradient: str, args) -> dict:
    """What a record is a record of."""
    return {"gradient": gradient, "images": args.images, **dataclasses.asdict(protocol(args))}


def protocol(args):
    """Table 1's budget protocol, with this many epochs of this data set."""
    from reproduce.configs import TABLE1_PRESETS

    config = TABLE1_PRESETS["budget"].config
    return dataclasses.replace(config, max_epochs=args.epochs, dataset=args.dataset)


def train(gradient: str, args, data, work: Path, report_to) -> dict:
    """The record of one training; `report_to`, a `hvae_tf.runs.Report`, hears how far it is."""
    import keras

    import hvae_tf
    from hvae_tf.runs import make_record
    from reproduce.epochs import EpochProgress

    config = protocol(args)
    sizes = {
        "image_shape": data.image_shape,
        "latent_size": config.latent_size,
        "hidden_units": config.hidden_units,
        "filters": config.filters,
        "seed": 0,
    }
    encoder = hvae_tf.conv_encoder(**sizes)
    decoder = hvae_tf.conv_decoder(**sizes, output_bias=data.mean_logit())
    model = hvae_tf.VAE(encoder, decoder, gradient=gradient, seed=0)
    batches = hvae_tf.TrainBatches(data, config.batch_size, 0)
    steps = config.max_epochs * batches.steps_per_epoch
    model.compile(keras.optimizers.Adamax(keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)))
    result = hvae_tf.fit(
        model, batches, data.binarised("validation"), work, max_epochs=config.max_epochs, patience=None,
        configuration=configuration(gradient, args), restore_best=False, verbose=0,
        callbacks=[EpochProgress(report_to, f"{gradient} gradient", config.max_epochs, share=0.9, lines=True)],
    )  # fmt: skip
    report_to(0.9, f"{gradient} gradient, evaluation")
    x = data.binarised("test")[: args.images]
    elbo = model.elbo(x, ELBO_SAMPLES, seed=1)
    nll = model.log_likelihood(x, IMPORTANCE_SAMPLES, seed=1)
    return make_record(
        gradient,
        configuration=configuration(gradient, args),
        seed=0,
        data_fingerprint=data.fingerprint,
        history=result.history,
        wall_seconds=result.wall_seconds,
        results={"per_image": {"neg_elbo": (-elbo).round(4), "nll": (-nll.value).round(4)}, "images": len(x)},
    )


def difference(records: dict, measure: str) -> tuple[float, float]:
    """Mean and standard error over images of the path gradient's nats less the standard one's."""
    import numpy as np

    path, standard = (np.array(records[g]["results"]["per_image"][measure]) for g in ("path", "standard"))
    less = path - standard
    return float(less.mean()), float(less.std(ddof=1) / np.sqrt(len(less)))


def table(records: dict) -> list[tuple[str, str, str]]:
    """Head and rows of what was found."""
    measures = ("neg_elbo", "nll")
    means = {g: [sum(v := records[g]["results"]["per_image"][m]) / len(v) for m in measures] for g in GRADIENTS}
    rows = [(f"{g} gradient", *(f"{mean:.3f}" for mean in means[g])) for g in GRADIENTS]
    less = ("{:+.3f} ± {:.3f}".format(*difference(records, m)) for m in measures)
    return [("training", "−ELBO", "NLL"), *rows, ("path less standard, image by image", *less)]


def report(records: dict) -> dict[str, str | bytes]:
    """The report's files, by name, from the records alone."""
    import matplotlib

    from reproduce.tables import markdown, png

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    head, *rows = table(records)
    less, error = difference(records, "neg_elbo")
    told = abs(less) > 1.96 * error
    verdict = ("better" if less < 0 else "worse") if told else "not told apart"
    settings = records["path"]["configuration"]
    text = f"""# The path gradient beside the standard one

Generated by `reproduce/path_gradient.py` from the records in this folder; nothing here is typed.

The VAE of Table 1 on {settings["dataset"]}, {settings["max_epochs"]} epochs, one training each from the same seed with
the same batches and schedule (Adamax, cosine from {settings["learning_rate"]:g}); weights of the last epoch. −ELBO from
{ELBO_SAMPLES} samples, NLL from {IMPORTANCE_SAMPLES} importance samples, nats per image, the first
{records["path"]["results"]["images"]} test images.

{markdown(head, rows)}

The bound along the path gradient: **{verdict}** (errors are standard errors over images, for these two trainings; other
seeds would differ too, and one was run).

![validation bound by epoch](curves.png)
"""
    figure, axes = plt.subplots(figsize=(6, 4))
    for gradient in GRADIENTS:
        curve = records[gradient]["history"]["val_loss"]
        axes.plot(range(1, len(curve) + 1), curve, label=f"{gradient} gradient")
    last = [records[g]["history"]["val_loss"][-1] for g in GRADIENTS]
    axes.set(xlabel="epochs", ylabel="−ELBO on validation images, nats", ylim=(min(last) - 1, max(last) + 25))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"VAE on {settings['dataset']}")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    return {"report.md": text, "curves.png": png(figure, 120)}


if __name__ == "__main__":
    leave(main())
