"""How a run becomes a trained model: built as its cell says, trained by `hvae_tf.fit`, kept as a `.keras` file."""

from pathlib import Path

import keras
import tensorflow as tf

import hvae_tf
from hvae_tf.data import ImageData, TrainBatches
from hvae_tf.runs import RecordError
from reproduce.configs import TABLE1_CELLS, Cell, Table1Config
from reproduce.mnist.cells import Run, training_configuration


def build(run: Run, config: Table1Config, data: ImageData, steps: int, adjoint: str = "backprop") -> keras.Model:
    """The compiled, untrained model.

    Args:
        run: Which.
        config: The protocol.
        data: The images.
        steps: Optimiser steps that a schedule spans.
        adjoint: How a flow is differentiated, see `hvae_tf.dynamics.adjoint`; without a flow there is nothing to say.
    """
    spec = TABLE1_CELLS[run.cell]
    encoder, decoder = networks(run.seed, config, data)
    if spec.kind == "hvae":
        model = hvae_tf.HVAE(
            encoder,
            decoder,
            spec.num_leapfrog_steps,
            tempering=_tempering(spec, config),
            step_size=config.step_size,
            max_step_size=config.max_step_size,
            step_size_per="step" if spec.step_size == "per_step" else "flow",
            kl=spec.kl,
            seed=run.seed,
            adjoint=adjoint,
        )
    elif spec.kind == "iwae":
        model = hvae_tf.IWAE(encoder, decoder, num_samples=spec.num_samples, seed=run.seed)
    else:
        model = hvae_tf.VAE(encoder, decoder, kl=spec.kl, seed=run.seed)
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adamax(rate))
    return model


def has_flow(run: Run) -> bool:
    """Whether there is something for an adjoint to differentiate."""
    return TABLE1_CELLS[run.cell].kind == "hvae"


def networks(seed: int, config: Table1Config, data: ImageData) -> tuple[keras.Model, keras.Model]:
    """Encoder and decoder, untrained: the paper's convolutional ones, or dense ones of one hidden layer."""
    bias = data.mean_logit()
    if config.filters:
        sizes = {
            "image_shape": data.image_shape, "latent_size": config.latent_size, "hidden_units": config.hidden_units,
            "filters": config.filters, "seed": seed,
        }  # fmt: skip
        return hvae_tf.conv_encoder(**sizes), hvae_tf.conv_decoder(**sizes, output_bias=bias)
    sizes = {
        "event_shape": data.event_shape, "latent_size": config.latent_size, "hidden_units": (config.hidden_units,),
        "seed": seed,
    }  # fmt: skip
    return hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes, output_bias=bias)


def _tempering(spec: Cell, config: Table1Config) -> hvae_tf.Tempering:
    """The scheme of a cell, started where the protocol says."""
    schemes = {
        "none": hvae_tf.NoTempering,
        "fixed": lambda: hvae_tf.FixedTempering(config.inv_sqrt_beta_0),
        "fixed-released": lambda: hvae_tf.ReleasedFixedTempering(config.inv_sqrt_beta_0),
        "free": lambda: hvae_tf.FreeTempering(config.alpha),
    }
    return schemes[config.fixed_tempering if spec.tempering == "fixed" else spec.tempering]()


def train(
    run: Run, config: Table1Config, data: ImageData, folder: Path, *, strategy: tf.distribute.Strategy | None = None,
    adjoint: str = "backprop", **kwargs,
):  # fmt: skip
    """Trains a run, or goes on with it; gives the model at its best validation ELBO, and the `TrainingResult`.

    Args:
        run: Which.
        config: The protocol.
        data: The images.
        folder: Of its checkpoint.
        strategy: What splits batches among devices; the noise depends on how many, so a run is continued with as many.
        adjoint: See `build`; gradients are equal up to rounding, so a run is continued with the same.
        **kwargs: Of `hvae_tf.fit`.
    """
    batches = TrainBatches(data, config.batch_size, run.seed)
    described = training_configuration(run, config)
    strategy = strategy or tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync > 1:
        described["replicas"] = strategy.num_replicas_in_sync
    if has_flow(run) and adjoint != "backprop":
        described["adjoint"] = adjoint
    with strategy.scope():
        model = build(run, config, data, config.max_epochs * batches.steps_per_epoch, adjoint)
    result = hvae_tf.fit(
        model, batches, data.binarised("validation"), folder, max_epochs=config.max_epochs, patience=config.patience,
        configuration=described, **kwargs,
    )  # fmt: skip
    return model, result


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a model without its optimiser, which would treble its size; atomic."""
    model.compile(optimizer=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    model.save(temporary)
    temporary.replace(path)


def load_model(path: Path) -> keras.Model:
    """A saved model.

    Raises:
        RecordError: If the file is damaged.
    """
    try:
        return keras.models.load_model(path)
    except Exception as error:  # a damaged archive fails in whatever part of Keras, zipfile or h5py meets it first
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise RecordError(f"{path} is damaged ({reason}); --force of what trained it makes it again") from error
