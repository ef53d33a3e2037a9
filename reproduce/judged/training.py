"""How a run becomes a trained model, and what is asked of the model besides its likelihood."""

import io

import keras
import numpy as np

import hvae_tf
from hvae_tf.data import ImageData, TrainBatches
from reproduce.judged.protocol import Preset, Protocol, Run

ACTIVE_VARIANCE = 0.01
PICTURES = 36


def networks(protocol: Protocol, data: ImageData, seed: int) -> tuple[keras.Model, keras.Model]:
    """Encoder and decoder, untrained."""
    sizes = {"latent_size": protocol.latent_size, "hidden_units": protocol.hidden_units, "seed": seed}
    if protocol.filters:
        sizes |= {"image_shape": data.image_shape, "filters": protocol.filters}
        return hvae_tf.conv_encoder(**sizes), hvae_tf.conv_decoder(**sizes, output_bias=data.mean_logit())
    sizes |= {"event_shape": data.image_shape}
    return hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes, output_bias=data.mean_logit())


def build(run: Run, preset: Preset, data: ImageData, steps: int) -> keras.Model:
    """The compiled, untrained model; `steps` is the number of optimiser steps that the schedule spans."""
    protocol = preset.protocol
    model = preset.cells[run.cell].make(*networks(protocol, data, run.seed), protocol, run.seed)
    model.compile(keras.optimizers.Adamax(keras.optimizers.schedules.CosineDecay(protocol.learning_rate, steps)))
    return model


def train(run: Run, preset: Preset, data: ImageData, folder, **kwargs):
    """Trains a run, or goes on with it; gives the model of the last epoch, and the `TrainingResult`."""
    protocol = preset.protocol
    batches = TrainBatches(data, protocol.batch_size, run.seed)
    model = build(run, preset, data, protocol.max_epochs * batches.steps_per_epoch)
    result = hvae_tf.fit(
        model, batches, data.binarised("validation"), folder, max_epochs=protocol.max_epochs, restore_best=False,
        configuration=preset.configuration(run), **kwargs,
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
