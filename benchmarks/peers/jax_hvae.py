"""VAE and HVAE of the paper in JAX: one compiled function a step, K + 1 gradients, `jax.lax`'s own convolutions."""

import functools

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp
from peers.problem import LATENT_SIZE, Problem

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def convolution(x, kernel):
    """The SAME convolution by 2."""
    return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS)


def transposed_convolution(x, kernel, size):
    """The transpose of the SAME convolution by 2 of size x size images; kernel ``[k, k, out, in]``."""
    k, small = kernel.shape[0], x.shape[1]
    before = k - 1 - max((small - 1) * 2 + k - size, 0) // 2
    padding = (before, size - 2 * small + k - before)
    kernel = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [padding, padding], lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS
    )


def encode(weights, x):
    """x ``[B, 28, 28, 1]`` -> mean and standard deviation ``[B, l]``."""
    for i in (0, 2, 4):
        x = jax.nn.softplus(convolution(x, weights[i]) + weights[i + 1])
    h = jax.nn.softplus(x.reshape(len(x), -1) @ weights[6] + weights[7])
    return h @ weights[8] + weights[9], jax.nn.softplus(h @ weights[10] + weights[11]) + 1e-6


def decode(weights, z):
    """z ``[B, l]`` -> logits ``[B, 28, 28, 1]``."""
    h = jax.nn.softplus(z @ weights[0] + weights[1])
    h = jax.nn.softplus(h @ weights[2] + weights[3]).reshape(len(z), 4, 4, 32)
    for i, size in ((4, 7), (6, 14)):
        h = jax.nn.softplus(transposed_convolution(h, weights[i], size) + weights[i + 1])
    return transposed_convolution(h, weights[8], 28) + weights[9]


def log_joint(decoder, x, z):
    logits = decode(decoder, z)
    log_p_x = jnp.sum(x * logits - jax.nn.softplus(logits), axis=(1, 2, 3))
    return log_p_x - 0.5 * jnp.sum(z**2, axis=1)


def bound(parameters, x, noise, gamma, num_leapfrog_steps, max_step_size):
    """The mean bound over the batch: the Rao-Blackwellised ELBO, equation (12)."""
    mean, standard_deviation = encode(parameters["encoder"], x)
    z = mean + standard_deviation * noise
    entropy = jnp.sum(jnp.log(standard_deviation), axis=1) + 0.5 * LATENT_SIZE
    target = functools.partial(log_joint, parameters["decoder"], x)
    if not num_leapfrog_steps:
        return jnp.mean(target(z) + entropy)

    def value_and_gradient(z):
        def total(z):
            values = target(z)
            return jnp.sum(values), values

        (_, values), gradient = jax.value_and_grad(total, has_aux=True)(z)
        return values, gradient

    eps = max_step_size * jax.nn.sigmoid(parameters["logit_step_size"])
    start = 1.0 + jnp.exp(parameters["log_excess"])
    betas = [(1.0 - start) * (k / num_leapfrog_steps) ** 2 + start for k in range(num_leapfrog_steps + 1)]
    rho = gamma * betas[0]
    value, gradient = value_and_gradient(z)
    for k in range(num_leapfrog_steps):
        rho = rho + 0.5 * eps * gradient
        z = z + eps * rho
        value, gradient = value_and_gradient(z)
        rho = (rho + 0.5 * eps * gradient) * betas[k + 1] / betas[k]
    return jnp.mean(value - 0.5 * jnp.sum(rho**2, axis=1) + entropy + 0.5 * LATENT_SIZE)


class Peer:
    """What is timed, see `peers.problem`; the worker's cores are those that XLA finds, `threads` of them."""

    def __init__(self, problem: Problem, threads: int):
        self.problem = problem
        self.parameters = {
            "encoder": [jnp.asarray(w) for w in problem.encoder_weights],
            "decoder": [jnp.asarray(w) for w in problem.decoder_weights],
        }
        if problem.num_leapfrog_steps:
            self.parameters["logit_step_size"] = jnp.asarray(problem.logit_step_size)
            self.parameters["log_excess"] = jnp.log(jnp.float32(problem.inv_sqrt_beta_0 - 1.0))
        optimizer = optax.adamax(1e-3)
        self.state = optimizer.init(self.parameters)
        self.x, self.key = jnp.asarray(problem.x), jax.random.key(0)
        self._bound = functools.partial(
            bound, num_leapfrog_steps=problem.num_leapfrog_steps, max_step_size=problem.max_step_size
        )

        @jax.jit
        def step(parameters, state, key, x):
            key, draw = jax.random.split(key)
            noise, gamma = jax.random.normal(draw, (2, len(x), LATENT_SIZE))
            loss, gradients = jax.value_and_grad(lambda p: -self._bound(p, x, noise, gamma))(parameters)
            updates, state = optimizer.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state, key, loss

        self._step = step

    def bound(self) -> float:
        return float(self._bound(self.parameters, self.x, self.problem.noise, self.problem.gamma))

    def step(self) -> None:
        self.parameters, self.state, self.key, loss = self._step(self.parameters, self.state, self.key, self.x)
        np.asarray(loss)
