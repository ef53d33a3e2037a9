"""Table 1's work: how one cell with one seed becomes a trained model, a record and some pictures.

A run trains (resuming from its last checkpoint), saves its model, is evaluated block by block (resuming there too), and
is recorded. Each stage is skipped where its result stands.
"""

import csv
import dataclasses
import sys
from pathlib import Path

import keras

import hvae_tf
from hvae_tf.data import ImageData, TrainBatches
from hvae_tf.records import RunStore, atomic_write, make_record
from reproduce.configs import TABLE1_CELLS, Evaluation, Table1Config, Table1Preset
from reproduce.mnist.evaluation import evaluate, satisfies
from reproduce.mnist.pictures import pictures

PAPER_RUNS = Path(__file__).parent.with_name("data") / "paper_table1_runs.csv"


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell trained from one seed."""

    cell: str
    seed: int

    @property
    def name(self) -> str:
        """Unique among runs; the name of its record and its model."""
        return f"{self.cell}-seed{self.seed}"


def paper_runs(cell: str) -> list[dict[str, str]]:
    """The paper's single runs of a cell, rows of its supplement's tables; none for a cell it does not have."""
    spec = TABLE1_CELLS[cell]
    if spec.model == "iwae":
        return []
    steps = str(spec.num_leapfrog_steps) if spec.model == "hvae" else ""
    key = (spec.model, steps, spec.tempering, spec.step_size)
    with PAPER_RUNS.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [row for row in rows if (row["model"], row["K"], row["tempering"], row["step_size"]) == key]


def make_runs(preset: Table1Preset, cells=None, seeds=None) -> list[Run]:
    """The runs of a table; by default each cell has as many seeds as the preset says, or as the paper has runs."""
    runs = []
    for cell in cells or preset.cells:
        count = max(1, len(paper_runs(cell))) if preset.seeds is None else preset.seeds.get(cell, 1)
        runs += [Run(cell, seed) for seed in (seeds if seeds is not None else range(count))]
    return runs


def configuration(run: Run, config: Table1Config) -> dict:
    """What a record of this run is a record of; how it was evaluated stands with its results."""
    return {"cell": run.cell, **dataclasses.asdict(TABLE1_CELLS[run.cell]), **dataclasses.asdict(config)}


def build(run: Run, config: Table1Config, data: ImageData, steps: int) -> keras.Model:
    """The compiled, untrained model; `steps` is the number of optimiser steps that a schedule spans."""
    spec = TABLE1_CELLS[run.cell]
    sizes = {
        "image_shape": data.image_shape,
        "latent_size": config.latent_size,
        "hidden_units": config.hidden_units,
        "filters": config.filters,
        "seed": run.seed,
    }
    encoder = hvae_tf.conv_encoder(**sizes)
    decoder = hvae_tf.conv_decoder(**sizes, output_bias=data.mean_logit())
    if spec.model == "hvae":
        model = hvae_tf.HVAE(
            encoder,
            decoder,
            spec.num_leapfrog_steps,
            tempering=config.fixed_tempering if spec.tempering == "fixed" else spec.tempering,
            step_size=config.step_size,
            max_step_size=config.max_step_size,
            step_size_per="step" if spec.step_size == "per_step" else "flow",
            inv_sqrt_beta_0=config.inv_sqrt_beta_0,
            alpha=config.alpha,
            seed=run.seed,
        )
    elif spec.model == "iwae":
        model = hvae_tf.IWAE(encoder, decoder, num_samples=spec.num_samples, seed=run.seed)
    else:
        model = hvae_tf.VAE(encoder, decoder, seed=run.seed)
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adamax(rate))
    return model


def train(run: Run, config: Table1Config, data: ImageData, folder: Path, **kwargs):
    """Trains a run, or goes on with it; gives the model at its best validation ELBO, and the `TrainingResult`."""
    batches = TrainBatches(data, config.batch_size, run.seed)
    model = build(run, config, data, config.max_epochs * batches.steps_per_epoch)
    result = hvae_tf.fit(
        model, batches, data.binarised("validation"), folder, max_epochs=config.max_epochs, patience=config.patience,
        configuration=configuration(run, config), **kwargs,
    )  # fmt: skip
    return model, result


# ------------------------------------------------------------------------------------------------------------- a run


def state_of(run: Run, config: Table1Config, evaluation: Evaluation, store: RunStore) -> str:
    """``"done"``, ``"trained"`` (its evaluation is less than asked for), ``"started"`` or ``"missing"``.

    Raises:
        RecordError: If there is a record of another configuration.
    """
    if store.done(run.name, configuration(run, config), run.seed):
        found = store.read(run.name)["results"]["evaluation"]
        return "done" if satisfies(found, evaluation) else "trained"
    return "started" if (store.folder / "work" / run.name).exists() else "missing"


def do_run(
    run: Run, config, evaluation, data: ImageData, store: RunStore, verbose=2, tensorboard=False, afresh=False
) -> None:
    """Trains, saves, evaluates and records a run, going on where it was; `afresh` leaves an old record out of account.

    What is finished stands until the new model is trained.
    """
    work, model_path = store.folder / "work" / run.name, store.folder / "models" / f"{run.name}.keras"
    if not afresh and store.path(run.name).exists() and model_path.exists():  # trained: only its evaluation is wanting
        record = store.read(run.name)
        history, training = record["history"], record["results"]["training"]
        model = keras.models.load_model(model_path)
    else:
        model, result = train(run, config, data, work, verbose=verbose, tensorboard=tensorboard)
        history, training = result.history, {k: v for k, v in dataclasses.asdict(result).items() if k != "history"}
        store.path(run.name).unlink(missing_ok=True)  # an old record is not of this model
        _save(model, model_path)
    say = _printer(run.name) if verbose else lambda fraction: None
    results = evaluate(model, data, evaluation, work / "evaluation.json", say)
    results["training"], results["parameters"] = training, model.count_params()
    results["posterior_correlation"], images = pictures(model, data)
    atomic_write(store.folder / "pictures" / f"{run.name}.npz", images)
    store.write(
        make_record(
            run.name,
            configuration=configuration(run, config),
            seed=run.seed,
            data_fingerprint=data.fingerprint,
            history=history,
            wall_seconds=training["wall_seconds"] + results["evaluation_seconds"],
            results=results,
        )
    )


def _save(model, path: Path) -> None:
    """Saves a model without its optimiser, which would treble its size; atomic."""
    model.compile(optimizer=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    model.save(temporary)
    temporary.replace(path)


def _printer(name):
    def say(fraction):
        end = "\n" if fraction >= 1 else ""
        print(f"\r{name}: evaluation {100 * fraction:5.1f} %", end=end, file=sys.stderr, flush=True)

    return say
