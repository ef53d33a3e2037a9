"""How a run becomes a trained model, and what is asked of the model besides its likelihood."""

import io

import keras
import numpy as np

import hvae_tf
from hvae_tf.data import ImageData, TrainBatches
from reproduce.refinement.cells import CELLS, Protocol, Run, configuration

ACTIVE_VARIANCE = 0.01
PICTURES = 36


def build(run: Run, protocol: Protocol, data: ImageData, steps: int) -> keras.Model:
    """The compiled, untrained model; `steps` is the number of optimiser steps that the schedule spans."""
    cell, sizes = CELLS[run.cell], {"latent_size": protocol.latent_size, "seed": run.seed}
    if protocol.filters:
        sizes |= {
            "image_shape": data.image_shape, "hidden_units": protocol.hidden_units, "filters": protocol.filters,
        }  # fmt: skip
        networks = hvae_tf.conv_encoder(**sizes), hvae_tf.conv_decoder(**sizes, output_bias=data.mean_logit())
    else:
        sizes |= {"event_shape": data.image_shape, "hidden_units": protocol.hidden_units}
        networks = hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes, output_bias=data.mean_logit())
    if cell.num_moves:
        model = hvae_tf.HMCVAE(
            *networks, cell.num_moves, cell.num_leapfrog_steps, shear=cell.shear, step_size=protocol.step_size,
            target_acceptance=protocol.target_acceptance, warm_up_steps=protocol.warm_up_steps, seed=run.seed,
        )  # fmt: skip
    elif cell.num_leapfrog_steps:
        model = hvae_tf.HVAE(
            *networks, cell.num_leapfrog_steps, tempering="free", step_size=protocol.hvae_step_size,
            step_size_per="step", seed=run.seed,
        )  # fmt: skip
    else:
        model = hvae_tf.VAE(*networks, seed=run.seed)
    model.compile(keras.optimizers.Adamax(keras.optimizers.schedules.CosineDecay(protocol.learning_rate, steps)))
    return model


def train(run: Run, protocol: Protocol, data: ImageData, folder, **kwargs):
    """Trains a run, or goes on with it; gives the model of the last epoch, and the `TrainingResult`."""
    batches = TrainBatches(data, protocol.batch_size, run.seed)
    model = build(run, protocol, data, protocol.max_epochs * batches.steps_per_epoch)
    result = hvae_tf.fit(
        model, batches, data.binarised("validation"), folder, max_epochs=protocol.max_epochs, restore_best=False,
        configuration=configuration(run, protocol), **kwargs,
    )  # fmt: skip
    return model, result


def active_units(model, x: np.ndarray, batch_size: int = 500) -> int:
    """How many latents tell images apart: the variance over images of the encoder's mean is above 0.01."""
    means = [np.asarray(model.posterior(x[i : i + batch_size]).mean) for i in range(0, len(x), batch_size)]
    return int(np.sum(np.var(np.concatenate(means), axis=0) > ACTIVE_VARIANCE))


def take_pictures(model) -> bytes:
    """An npz of samples from the prior, pixel probabilities in 0..255: ``samples``."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=np.round(255 * model.sample(PICTURES, seed=0)).astype(np.uint8))
    return buffer.getvalue()
