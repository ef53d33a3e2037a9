"""A flow and the Gaussian that it starts from, trained on one target: what it comes to, and its bound."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.densities import DiagonalGaussian
from hvae_tf.flows.flow import Flow, IdentityFlow
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.targets.target import Target

CHUNK = 2000  # draws evaluated at once


@dataclasses.dataclass(frozen=True)
class Training:
    """How an approximation is trained.

    Attributes:
        iterations: Steps of Adam.
        batch_size: Draws of each step.
        learning_rate: At the start; it falls to a hundredth along a cosine.
        hidden_units: Of the reverse network.
        draws: For the bound that is reported.
        seed: Of networks and noise.
        sampled: Whether the bound is of log weights, all of whose terms are sampled: quiet where there is little gap.
    """

    iterations: int = 1500
    batch_size: int = 64
    learning_rate: float = 0.01
    hidden_units: tuple[int, ...] = (32, 32)
    draws: int = 100_000
    seed: int = 0
    sampled: bool = False


class Trained(NamedTuple):
    """An approximation after its training.

    Attributes:
        bound: The mean of the ELBO's samples, in nats, on fresh noise; NaN where the training diverged, or draws did.
        standard_error: Of the bound.
        samples: ``[draws, l]``, z_T; none where the training diverged.
        history: ``[iterations]``, the bound of each step's batch, as far as it got.
        flow: The flow.
        seconds: Of the training.
        lost: Draws of the bound that are not finite.
    """

    bound: float
    standard_error: float
    samples: np.ndarray
    history: np.ndarray
    flow: Flow
    seconds: float
    lost: int = 0


def train(
    target: Target, flow: Flow | None, start, training: Training, tell: Callable[[float], None] | None = None
) -> Trained:
    """Trains a flow and the diagonal Gaussian that it starts from.

    Args:
        target: In float64, ``[..., l]``.
        flow: Of float64; None for no flow.
        start: (mean, standard deviation), ``[l]`` each, where q0 starts.
        training: How.
        tell: Hears the fraction done.
    """
    flow = IdentityFlow(target.event_size, dtype=tf.float64) if flow is None else flow
    mean, standard_deviation = start
    mean = keras.Variable(mean, dtype="float64", name="mean")
    log_scale = keras.Variable(np.log(standard_deviation), dtype="float64", name="log_scale")
    variables = [mean, log_scale, *FlowLayer(flow, dtype="float64").trainable_weights]
    rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, training.iterations, alpha=0.01)
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(variables)

    def draw(count, seed):
        q0 = DiagonalGaussian(mean.value, tf.exp(log_scale.value))
        seeds = tf.random.experimental.stateless_split(seed, 2)
        noise = tf.random.stateless_normal([count, target.event_size], seeds[0], dtype=tf.float64)
        result = flow.transform(target, q0.sample(noise), flow.noise((count,), seeds[1]), q0=q0)
        if training.sampled:
            return result.z, log_weight(result, q0.log_prob_of_noise(noise))
        return result.z, elbo_sample(result, -q0.entropy())

    @tf.function
    def step(seed):
        with tf.GradientTape() as tape:
            bound = tf.reduce_mean(draw(training.batch_size, seed)[1])
            loss = -bound
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return bound

    evaluate = tf.function(lambda seed: draw(CHUNK, seed))
    began, history = time.perf_counter(), []
    for i in range(training.iterations):
        history.append(float(step(tf.constant([training.seed, i]))))
        if not np.isfinite(history[-1]):
            break
        if tell and i % 10 == 0:
            tell(i / training.iterations)
    seconds = time.perf_counter() - began
    if not np.isfinite(history[-1]):
        nothing = np.zeros([0, target.event_size])
        return Trained(math.nan, math.nan, nothing, np.array(history), flow, seconds)
    # seeds that no step of training had
    chunks = [evaluate(tf.constant([training.seed, -1 - i])) for i in range(-(-training.draws // CHUNK))]
    samples, elbos = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    error = elbos.std(ddof=1) / np.sqrt(len(elbos))
    lost = int(np.sum(~np.isfinite(elbos)))
    return Trained(float(elbos.mean()), float(error), samples, np.array(history), flow, seconds, lost)
