"""The models of the quick preset: dense networks, trained on digits in seconds."""

from collections.abc import Callable
from pathlib import Path

import keras

import hvae_tf
from hvae_tf.data import ImageData, TrainBatches
from hvae_tf.runs import RunStore
from reproduce.epochs import FitProgress
from reproduce.judging.models import JudgedModel
from reproduce.mnist.training import save_model
from reproduce.progress import Display, Stages

LATENT_SIZE, HIDDEN_UNITS = 8, (128,)
EPOCHS, BATCH_SIZE, LEARNING_RATE = 40, 50, 5e-3
STEPS = {"vae": 0, "hvae-k3": 3}  # K by the models' names; 0 without a flow


def make_digits_models(
    folder: Path, data: ImageData, *, epochs: int = EPOCHS, force: bool = False, quiet: bool = False
) -> list[JudgedModel]:
    """A VAE and an HVAE with K = 3 in ``models/``, trained if they are not there."""
    store, found = RunStore(folder), []
    for name, steps in STEPS.items():
        path = folder / "models" / f"{name}-seed0.keras"
        found.append(JudgedModel(path))
        if path.exists() and not force:
            continue
        with store.claim(f"training-{name}", wait=True):
            if path.exists() and not force:  # by another call, since
                continue
            with Display(quiet) as display:
                tell = Stages(display, 1.0).begin(f"training {name} on {data.name}")
                save_model(_train(steps, data, epochs, tell), path)
    return found


def _train(steps: int, data: ImageData, epochs: int, tell: Callable[[float], None]) -> keras.Model:
    """The trained model of K steps, a function of what comes before `tell`, which hears the fraction done."""
    networks = (
        hvae_tf.dense_encoder(data.image_shape, LATENT_SIZE, HIDDEN_UNITS),
        hvae_tf.dense_decoder(data.image_shape, LATENT_SIZE, HIDDEN_UNITS, output_bias=data.mean_logit()),
    )
    model = hvae_tf.HVAE(*networks, steps, seed=0) if steps else hvae_tf.VAE(*networks, seed=0)
    batches = TrainBatches(data, BATCH_SIZE, 0)
    count = epochs * batches.steps_per_epoch
    model.compile(keras.optimizers.Adamax(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, count)))
    model.fit(batches.dataset(0, count), shuffle=False, verbose=0, callbacks=[FitProgress(tell)])
    return model
