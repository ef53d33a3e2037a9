"""hvae_tf's models as the benchmarks of memory and arithmetic take them, one training step at a time."""

import keras
import numpy as np
import tensorflow as tf
from harness.resident import peak_resident, resident

import hvae_tf


def build(kind: str, num_steps: int, image_size: int = 28, latent_size: int = 64) -> keras.Model:
    """``"vae"``, ``"planar"``, or HVAE by the name of its adjoint; networks as in the paper."""
    sizes = {"image_shape": (image_size, image_size, 1), "latent_size": latent_size}
    networks = hvae_tf.conv_encoder(**sizes), hvae_tf.conv_decoder(**sizes)
    if kind == "vae":
        return hvae_tf.VAE(*networks)
    if kind == "planar":
        return hvae_tf.FlowVAE(*networks, hvae_tf.PlanarFlow(latent_size, num_steps))
    return hvae_tf.HVAE(*networks, num_steps, hvae_tf.FixedTempering(5.0), step_size=0.05, adjoint=kind)


def images(batch: int, size: int = 28) -> np.ndarray:
    """Binary noise with an eighth of its pixels on."""
    return (np.random.default_rng(0).random([batch, size, size, 1]) < 0.125).astype(np.float32)


class TrainingStep:
    """A worker's object: one training step, traced when it is made.

    Args:
        kind: See `build`.
        num_steps: K.
        batch: Images.
        threads: Of TensorFlow, one part of the batch for each.
    """

    def __init__(self, kind: str, num_steps: int, batch: int, threads: int):
        hvae_tf.use_cores(threads)
        self.model = build(kind, num_steps)
        self.model.compile(keras.optimizers.Adamax(1e-3))
        self.model.optimizer.build(self.model.trainable_variables)
        self.x = tf.constant(images(batch))
        step = tf.function(lambda x: self.model.train_step((x,))["loss"])
        self._step = step.get_concrete_function(self.x)
        self.held = resident()

    def step(self) -> None:
        self._step(self.x).numpy()

    def memory(self) -> tuple[int, int]:
        """What was held before the first step, and the most that was ever held; bytes."""
        return self.held, peak_resident()
