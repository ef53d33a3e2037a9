"""hvae_tf's own models, as a peer like the others."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

import keras
import numpy as np
import tensorflow as tf
from peers.problem import BATCH, LATENT_SIZE, Problem

import hvae_tf

IMAGE = (28, 28, 1)
MAX_STEP_SIZE, STEP_SIZE, INV_SQRT_BETA_0 = 0.5, 0.05, 1.3


def build_model(num_leapfrog_steps: int, **kwargs) -> keras.Model:
    """The plain VAE for K = 0, else HVAE with fixed tempering; networks as in the paper."""
    networks = hvae_tf.conv_encoder(), hvae_tf.conv_decoder()
    if not num_leapfrog_steps:
        return hvae_tf.VAE(*networks)
    return hvae_tf.HVAE(
        *networks, num_leapfrog_steps, hvae_tf.FixedTempering(INV_SQRT_BETA_0), step_size=STEP_SIZE,
        max_step_size=MAX_STEP_SIZE, **kwargs,
    )  # fmt: skip


def make_problem(num_leapfrog_steps: int, seed: int = 0) -> Problem:
    """A batch of binary noise with an eighth of its pixels on, as sparse as the digits are."""
    random = np.random.default_rng(seed)
    model = build_model(num_leapfrog_steps)
    noise, gamma = random.standard_normal([2, BATCH, LATENT_SIZE]).astype(np.float32)
    step_size = np.full(LATENT_SIZE, STEP_SIZE / MAX_STEP_SIZE)
    return Problem(
        num_leapfrog_steps,
        (random.random([BATCH, *IMAGE]) < 0.125).astype(np.float32),
        noise,
        gamma,
        [np.asarray(w) for w in model.encoder.get_weights()],
        [np.asarray(w) for w in model.decoder.get_weights()],
        np.log(step_size / (1.0 - step_size)).astype(np.float32),
        INV_SQRT_BETA_0,
        MAX_STEP_SIZE,
    )


class Peer:
    """What is timed, see `peers.problem`."""

    def __init__(self, problem: Problem, threads: int, parts: bool = True, **kwargs):
        if parts:
            hvae_tf.use_cores(threads)
        else:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.problem = problem
        self.model = build_model(problem.num_leapfrog_steps, **kwargs)
        self.model.encoder.set_weights(problem.encoder_weights)
        self.model.decoder.set_weights(problem.decoder_weights)
        self.model.compile(keras.optimizers.Adamax(1e-3))
        self.model.optimizer.build(self.model.trainable_variables)
        self.x = tf.constant(problem.x)
        self._step = tf.function(lambda x: self.model.train_step((x,))["loss"])

    def bound(self) -> float:
        model, problem = self.model, self.problem
        q0 = model.posterior(self.x)
        result = model.flow.transform(model.target(self.x), q0.sample(problem.noise), tf.constant(problem.gamma))
        return float(tf.reduce_mean(hvae_tf.elbo_sample(result, -q0.entropy())))

    def step(self) -> None:
        self._step(self.x).numpy()
