"""The derivation's steps as pairs of numbers, on a trained VAE with two latent dimensions.

With l = 2 every integral over z is a sum over a grid, exact to many digits: log p(x) of real data under a real network
is known. So each equation has its left side by one way and its right side by another.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian, Gaussian, standard_normal_log_prob

HALF_WIDTH, POINTS = 6.0, 401  # a spacing of 0.03


EVIDENCE = r"\log p_\theta(x) = \log \int p_\theta(x \mid z)\, p(z)\, dz"
BOUND = r"F_\theta(q) = E_{q(z \mid x)} \log \frac{p_\theta(x, z)}{q(z \mid x)}"
JENSEN = r"\log p_\theta(x) - F_\theta(q) = D_{KL}(q(z \mid x) \Vert p_\theta(z \mid x)) \ge 0"
SPLIT = r"F_\theta(q) = E_q \log p_\theta(x \mid z) - D_{KL}(q(z \mid x) \Vert p(z))"
CLOSED = r"D_{KL}(q \Vert p(z)) = \frac12 \sum_i (\mu_i^2 + \sigma_i^2 - 1 - \log \sigma_i^2)"
LOTUS = r"E_{p_\psi(v)} f(v) = E_{p(\epsilon)} f(g_\psi(\epsilon)),\ f = \log p_\theta(x \mid \cdot)"
TITLES = {
    EVIDENCE: "The evidence, an integral over z",
    BOUND: "The bound",
    JENSEN: "What Jensen's inequality loses",
    SPLIT: "The bound, split in two",
    CLOSED: "The divergence in closed form",
    LOTUS: "Reparameterisation and LOTUS",
}


class Step(NamedTuple):
    """One equation.

    Attributes:
        title: In words.
        equation: As LaTeX.
        left: The left side, nats.
        left_by: How it was computed.
        right: The right side, nats.
        right_by: How it was computed.
        standard_error: Of the difference, by the draws; 0 where both sides are integrals.
    """

    title: str
    equation: str
    left: float
    left_by: str
    right: float
    right_by: str
    standard_error: float = 0.0

    @property
    def z(self) -> float:
        """How many standard errors the sides lie apart; NaN where there is none."""
        return abs(self.left - self.right) / self.standard_error if self.standard_error else float("nan")


class Integrals(NamedTuple):
    """Integrals over z on a grid, for n events, in float64.

    Attributes:
        grid: ``[G, 2]``.
        log_cell: Log of the area of a cell.
        log_likelihood: ``[G, n]``, log p(x|z).
        log_prior: ``[G, 1]``.
    """

    grid: np.ndarray
    log_cell: float
    log_likelihood: np.ndarray
    log_prior: np.ndarray

    @classmethod
    def of(cls, model, x) -> "Integrals":
        """Of the events ``[n, H, W, C]``, binary ones, under the model's decoder."""
        axis = np.linspace(-HALF_WIDTH, HALF_WIDTH, POINTS)
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        logits = np.reshape(model.decoder.predict(grid.astype(np.float32), 10_000, verbose=0), [len(grid), -1])
        logits, flat = logits.astype(np.float64), np.reshape(x, [len(x), -1]).astype(np.float64)
        log_likelihood = logits @ flat.T - np.sum(np.logaddexp(0.0, logits), axis=1, keepdims=True)
        log_prior = standard_normal_log_prob(tf.constant(grid)).numpy()[:, None]
        return cls(grid, 2.0 * np.log(axis[1] - axis[0]), log_likelihood, log_prior)

    def log_evidence(self) -> np.ndarray:
        """Log p(x), ``[n]``."""
        return tf.reduce_logsumexp(self.log_likelihood + self.log_prior, axis=0).numpy() + self.log_cell

    def log_posterior(self) -> np.ndarray:
        """Log p(z|x), ``[G, n]``."""
        return self.log_likelihood + self.log_prior - self.log_evidence()

    def log_density(self, q0: Gaussian) -> tf.Tensor:
        """Log q(z|x), ``[G, n]``."""
        return q0.log_prob(tf.constant(self.grid[:, None]))

    def expectation(self, log_q, values) -> tf.Tensor:
        """E_q of values ``[G, n]``, ``[n]``."""
        return tf.reduce_sum(tf.exp(log_q + self.log_cell) * values, axis=0)

    def divergence(self, q0: Gaussian) -> np.ndarray:
        """KL(q(z|x) || p(z|x)), ``[n]``."""
        log_q = self.log_density(double(q0))
        return self.expectation(log_q, log_q - self.log_posterior()).numpy()


def double(q0: Gaussian) -> Gaussian:
    """The same in float64."""
    return tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float64), q0)


class Sampler:
    """Monte Carlo over q(z|x) of a model, draw by draw."""

    def __init__(self, model, x, draws: int, seed: int):
        self.model, self.x, self.draws, self.seed = model, tf.constant(x), draws, seed
        self.q0 = model.posterior(self.x)
        self._stream = 0

    def noise(self) -> tf.Tensor:
        """``[draws, n, 2]``, fresh each time."""
        self._stream += 1
        shape = [self.draws, len(self.x), self.model.latent_size]
        return tf.random.stateless_normal(shape, [self.seed, self._stream])

    def mean(self, function) -> tuple[float, float]:
        """The mean of function(z, log q(z)) ``[draws, n]`` over draws and events, with its standard error."""
        noise = self.noise()
        values = np.asarray(function(self.q0.sample(noise), self.q0.log_prob_of_noise(noise)), np.float64).mean(axis=1)
        return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def steps(model, x, draws: int, seed: int) -> list[Step]:
    """The derivation on binary events ``[n, H, W, C]``; every number is a mean over the events."""
    integrals, sampler = Integrals.of(model, x), Sampler(model, x, draws, seed)
    target, q0 = model.target(sampler.x), sampler.q0
    log_q = integrals.log_density(double(q0))
    log_p = float(integrals.log_evidence().mean())
    gap = float(integrals.divergence(q0).mean())
    log_joint = integrals.log_likelihood + integrals.log_prior

    def exactly(values):
        return float(tf.reduce_mean(integrals.expectation(log_q, values)))

    closed = float(tf.reduce_mean(q0.kl_to_standard_normal()))
    estimate = model.log_likelihood(x, draws, seed=seed, chunk_size=100)
    evidence_error = float(np.sqrt(np.sum(np.square(estimate.standard_error))) / len(x))
    bound, bound_error = sampler.mean(lambda z, log_q: target.log_joint(z) - log_q)
    term, term_error = sampler.mean(lambda z, log_q: target.log_likelihood(z))
    kl, kl_error = sampler.mean(lambda z, log_q: log_q - standard_normal_log_prob(z))
    f, f_error = sampler.mean(lambda z, log_q: target.log_likelihood(z))
    both_errors = float(np.hypot(bound_error, term_error))
    integral, draw = "integral over z", f"{draws} draws an event"
    sides: list[tuple[str, float, str, float, str, float]] = [
        (EVIDENCE, float(estimate.value.mean()), f"importance sampling, {draw}", log_p, integral, evidence_error),
        (BOUND, bound, draw, exactly(log_joint - log_q), integral, bound_error),
        (JENSEN, log_p - bound, f"integral less {draw}", gap, integral, bound_error),
        (SPLIT, bound, draw, term - closed, "other draws of the first term, closed KL", both_errors),
        (CLOSED, kl, draw, closed, "closed form", kl_error),
        (LOTUS, exactly(integrals.log_likelihood), integral, f, f"mean over epsilon, {draw}", f_error),
    ]
    return [Step(TITLES[equation], equation, *rest) for equation, *rest in sides] + gradients(model, integrals, sampler)


def gradients(model, integrals: Integrals, sampler: Sampler) -> list[Step]:
    """The gradient in psi = (mu, log sigma) of the first term: of the integral, of g, and by the score function."""
    mean, log_sd = (tf.Variable(tensor) for tensor in (sampler.q0.mean, tf.math.log(sampler.q0.standard_deviation)))
    psi = mean, log_sd
    count = len(sampler.x)

    def q0():
        return DiagonalGaussian(tf.identity(mean), tf.exp(log_sd))

    with tf.GradientTape() as tape:
        log_q = integrals.log_density(double(q0()))
        first = tf.reduce_mean(integrals.expectation(log_q, integrals.log_likelihood))
    exact = np.stack(tape.gradient(first, psi)).sum(axis=1)  # [2, l], all events moved together

    target = model.target(sampler.x)

    @tf.function
    def one(noise):
        """Both estimates of one draw, ``[2, l]`` each."""
        with tf.GradientTape(persistent=True) as tape:
            q = q0()
            z = q.sample(noise)
            path = tf.reduce_sum(target.log_likelihood(z)) / count
            held = tf.stop_gradient(z)
            score = tf.reduce_sum(target.log_likelihood(held) * q.log_prob(held)) / count
        return [tf.stack([tf.reduce_sum(g, 0) for g in tape.gradient(value, psi)]) for value in (path, score)]

    found = [[g.numpy() for g in one(noise)] for noise in sampler.noise()]
    names = [rf"\partial / \partial {symbol}_{i + 1}" for symbol in (r"\mu", r"\log\sigma") for i in range(2)]
    rows = []
    for which, how in enumerate(("reparameterised", "by the score function")):
        draws = np.array([pair[which] for pair in found], np.float64).reshape(len(found), -1)
        means, errors = draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
        for name, left, right, error in zip(names, exact.ravel(), means, errors, strict=True):
            equation = rf"{name}\ E_{{p_\psi(v)}} f(v)"
            sides = float(left), "gradient of the integral", float(right), f"mean of {len(draws)} gradients"
            rows.append(Step(f"The gradient, {how}", equation, *sides, float(error)))
    return rows
