"""Factor analysis: its closed forms against one another, against autodiff, and against what is nearly right."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian
from hvae_tf.targets.factor_analysis import FactorAnalysisTarget

B, D, L = 4, 5, 3


def problem(seed):
    """A target, and the parameters as variables."""
    random = np.random.default_rng(seed)
    parameters = [
        tf.Variable(value, dtype=tf.float64) for value in (random.normal(size=(D, L)), random.normal(size=D), -0.4)
    ]

    def make():
        weights, bias, log_scale = parameters
        return FactorAnalysisTarget(x, weights, bias, tf.exp(log_scale))

    x = tf.constant(random.normal(size=(B, D)))
    return make, parameters


def test_posterior_times_evidence_is_the_joint(seed):
    target = problem(seed)[0]()
    z = tf.random.stateless_normal([7, B, L], [seed, 1], dtype=tf.float64)
    joint = target.posterior().log_prob(z) + target.log_evidence()
    np.testing.assert_allclose(target.log_joint(z), joint, rtol=1e-10)


def test_gradient_in_z(seed):
    target = problem(seed)[0]()
    z = tf.random.stateless_normal([7, B, L], [seed, 2], dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = tf.reduce_sum(target.log_joint(z))
    found = target.value_and_grad(z)
    np.testing.assert_allclose(found.grad, tape.gradient(value, z), rtol=1e-10)
    np.testing.assert_allclose(found.log_joint, target.log_joint(z), rtol=1e-12)


def test_fishers_identity(seed):
    make, parameters = problem(seed)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(make().log_evidence())
    for found, expected in zip(make().evidence_gradient(), tape.gradient(value, parameters), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_gradient_under_a_gaussian_is_that_of_its_elbo(seed):
    make, parameters = problem(seed)
    q0 = make().best_mean_field()
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(make().elbo(q0))
    found = make().gradient_under(q0)
    for a, b in zip(found, tape.gradient(value, parameters), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    # it is biased, in W and s, though its means are the posterior's
    exact = make().evidence_gradient()
    np.testing.assert_allclose(found.bias, exact.bias, rtol=1e-9)
    assert np.max(np.abs(found.weights - exact.weights)) > 0.1


def test_the_elbo_falls_short_by_the_divergence(seed):
    target = problem(seed)[0]()
    posterior = target.posterior()
    np.testing.assert_allclose(target.elbo(posterior), target.log_evidence(), rtol=1e-10)
    best = target.best_mean_field()
    gap = target.log_evidence() - target.elbo(best)
    precision = target.precision().numpy()
    expected = 0.5 * (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1])
    np.testing.assert_allclose(gap, expected, rtol=1e-8)
    for number in range(5):
        mean, scale = (0.1 * np.random.default_rng([seed, number, i]).normal(size=(B, L)) for i in range(2))
        other = DiagonalGaussian(best.mean + mean, best.standard_deviation * np.exp(scale))
        assert np.all(target.elbo(other) < target.elbo(best))


def test_a_rotation_keeps_the_evidence_but_not_the_mean_field_bound(seed):
    """Why latents are sheared: among decoders of one p(x), a mean-field posterior is exact for some."""
    make, (weights, _, _) = problem(seed)
    evidence, gap = make().log_evidence(), make().log_evidence() - make().elbo(make().best_mean_field())
    rotation = np.linalg.eigh(weights.numpy().T @ weights.numpy())[1]
    weights.assign(weights @ rotation)
    rotated = make()
    np.testing.assert_allclose(rotated.log_evidence(), evidence, rtol=1e-10)
    np.testing.assert_allclose(rotated.elbo(rotated.best_mean_field()), evidence, rtol=1e-10)
    assert np.min(gap) > 0.05


@pytest.mark.parametrize("shape", [(B, L), (2, B, L)])
def test_gradients_of_moments_take_leading_axes(shape, seed):
    target = problem(seed)[0]()
    mean = tf.random.stateless_normal(shape, [seed, 3], dtype=tf.float64)
    second = mean[..., None] * mean[..., None, :]  # of single draws
    found = target.gradient(mean, second)
    assert [tuple(part.shape) for part in found] == [(*shape[:-2], *s) for s in ((D, L), (D,), ())]
