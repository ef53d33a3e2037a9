"""The estimators of the ELBO: equal in the mean, value and gradient, for every kind of flow and both kinds of q0.

Each draw has a q0 of its own, equal to the others, so that one gradient gives the gradient of every draw. In float64.
"""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import DiagonalGaussian, Flow, FullGaussian, HamiltonianFlow, IdentityFlow, LogDensityTarget
from hvae_tf.bounds import estimators
from hvae_tf.bounds.estimators import Draw, ElboEstimator
from hvae_tf.densities import standard_normal_log_prob
from tests.catalogue import CATALOGUE, make

SIZE, DRAWS = 3, 20_000
FLOWS = (
    "identity", "planar-K2", "hamiltonian-none-K1-flow", "hamiltonian-free-K2-step", "stretched", "amortised",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("hvi-network-T2-n2", "iaf", "annealed-uha-standard-T2-n2", "annealed-ldvi-score-T2-n1",
                     "riemannian-dense", "nose-hoover")
    ),
)  # fmt: skip
MEAN, SD = np.array([0.4, -0.2, 0.1]), np.array([0.8, 1.1, 0.6])
FACTOR = np.diag(SD) + np.array([[0, 0, 0], [0.5, 0, 0], [-0.3, 0.2, 0]])
DIRECTIONS = np.random.default_rng(9).normal(size=(4, SIZE))


def log_joint(z):
    """A prior N(0, I) times a likelihood that is no Gaussian."""
    return standard_normal_log_prob(z) - tf.reduce_sum(tf.math.softplus(tf.linalg.matvec(DIRECTIONS, z)), axis=-1)


TARGET = LogDensityTarget(log_joint, SIZE)


def q0_of(kind):
    scale = {"diagonal": SD, "full": FACTOR}[kind]
    parts = (tf.tile(tf.constant(part)[None], [DRAWS, *[1] * part.ndim]) for part in (MEAN, scale))
    return {"diagonal": DiagonalGaussian, "full": FullGaussian}[kind](*parts)


def draw_from(flow, q0, seed):
    noise = tf.random.stateless_normal([DRAWS, SIZE], [seed, 3], dtype=tf.float64)
    z_0 = q0.sample(noise)
    context = tf.concat([q0.mean, tf.math.log(q0.standard_deviation)], axis=-1)
    flow_noise = flow.noise((DRAWS,), tf.constant([seed, 5]))
    return Draw(q0, noise, z_0, flow.transform(TARGET, z_0, flow_noise, q0=q0, context=context))


def values_and_gradients(flow, kind, estimate, seed):
    """``[DRAWS]``, and ``[DRAWS, parameters]``, in the parameters of q0."""
    q0 = q0_of(kind)
    with tf.GradientTape() as tape:
        tape.watch(q0)
        values = estimate(draw_from(flow, q0, seed))
    gradients = [np.reshape(part, [DRAWS, -1]) for part in tape.gradient(values, tuple(q0))]
    if kind == "full":  # what stands above the diagonal is no parameter
        gradients[1] = gradients[1][:, np.tril(np.ones((SIZE, SIZE), bool)).ravel()]
    return values.numpy(), np.concatenate(gradients, axis=1)


def z_of_the_difference(a, b):
    """In standard errors, the worst entry: of independent draws ``[DRAWS, ...]``."""
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / DRAWS)
    return np.max(np.abs(a.mean(axis=0) - b.mean(axis=0)) / error)


CHOICES = [("prior-sampled", "standard"), ("analytic", "standard"), ("sampled", "standard"), ("sampled", "path")]


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("name", FLOWS)
def test_values_and_gradients_have_one_mean(name, kind, seed):
    flow = make(name, SIZE, seed)
    found = [
        values_and_gradients(flow, kind, ElboEstimator(*choice).elbo, 10 * seed + i) for i, choice in enumerate(CHOICES)
    ]
    for values, gradients in found[1:]:
        assert z_of_the_difference(found[0][0], values) < 5
        assert z_of_the_difference(found[0][1], gradients) < 5


def half_forgotten(draw):
    """A planted error: the divergence without its -l/2."""
    return estimators._analytic(None, draw) - 0.5 * SIZE


def entropy_with_the_path(draw):
    """A planted error: the entropy's gradient taken twice, in closed form and along the path."""
    kept = ElboEstimator("sampled", "path").elbo(draw)
    return kept + draw.q0.entropy() - tf.stop_gradient(draw.q0.entropy())


def z_held(draw):
    """A planted error: log q0 held along the path instead of in its parameters."""
    z = tf.stop_gradient(draw.z_0)
    return draw.result.log_joint - draw.q0.log_prob(z)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_planted_errors_are_seen(kind, seed):
    flow = IdentityFlow(SIZE, dtype=tf.float64)
    right = values_and_gradients(flow, kind, ElboEstimator("sampled", "standard").elbo, seed)
    assert z_of_the_difference(right[0], values_and_gradients(flow, kind, half_forgotten, seed + 1)[0]) > 5
    for planted in (entropy_with_the_path, z_held):
        values, gradients = values_and_gradients(flow, kind, planted, seed + 1)
        assert z_of_the_difference(right[0], values) < 5  # the value alone would not tell
        assert z_of_the_difference(right[1], gradients) > 5


def test_the_prior_at_the_start_is_what_the_divergence_is_of(seed):
    """A planted error: the prior where the flow ends has another mean, which the closed divergence does not know."""

    def at_the_end(draw):
        return ElboEstimator("analytic", "standard").elbo(draw._replace(z_0=draw.result.z))

    flow = make("hamiltonian-free-K2-step", SIZE, seed)
    right = values_and_gradients(flow, "diagonal", ElboEstimator("prior-sampled", "standard").elbo, seed)
    assert z_of_the_difference(right[0], values_and_gradients(flow, "diagonal", at_the_end, seed + 1)[0]) > 5


def test_a_flow_that_moves_z_little_is_quieter_with_the_closed_divergence(seed):
    """The prior at z_0 is a control variate of that at z_K; without a flow it is all of it."""
    for flow in (
        IdentityFlow(SIZE, dtype=tf.float64),
        HamiltonianFlow(SIZE, 1, "none", step_size=0.1, dtype=tf.float64),
    ):
        noisy, quiet = (
            values_and_gradients(flow, "diagonal", ElboEstimator(kl, "standard").elbo, seed)[1].var(axis=0).sum()
            for kl in ("prior-sampled", "analytic")
        )
        assert quiet < 0.8 * noisy


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("name", FLOWS)
def test_the_path_gradient_leaves_out_the_score_and_nothing_else(name, kind, seed):
    """Draw by draw: standard = path + the gradient of -log q0 in its parameters at a z that is held; equal values."""
    flow = make(name, SIZE, seed)

    def score(draw):
        return -draw.q0.log_prob(tf.stop_gradient(draw.z_0))

    standard, path = (
        values_and_gradients(flow, kind, ElboEstimator("sampled", gradient).elbo, seed)
        for gradient in ("standard", "path")
    )
    np.testing.assert_array_equal(standard[0], path[0])
    np.testing.assert_allclose(standard[1], path[1] + values_and_gradients(flow, kind, score, seed)[1], atol=1e-9)
    assert not np.allclose(standard[1], path[1])


@pytest.mark.parametrize(
    ("kl", "gradient", "message"),
    [
        ("exact", "standard", "unknown kl 'exact'; accepted: analytic, prior-sampled, sampled"),
        (None, "stl", "unknown gradient 'stl'; accepted: standard, path"),
        ("analytic", "path", "needs log q0 at the draws, which kl='analytic' leaves out; take kl='sampled'"),
        ("prior-sampled", "path", "which kl='prior-sampled' leaves out"),
    ],
)
def test_what_does_not_go_together_is_named(kl, gradient, message):
    with pytest.raises(ValueError, match=message):
        ElboEstimator(kl, gradient)


def test_what_moves_z_is_known():
    class Shifted(IdentityFlow):
        def transform(self, target, z, noise=(), q0=None, context=None):
            return super().transform(target, z + 1.0)

    assert not IdentityFlow(2).moves_z
    assert Shifted(2).moves_z
    assert all(row.make(2, dtype=tf.float64).moves_z for name, row in CATALOGUE.items() if name != "identity")
    assert isinstance(Flow.moves_z, property)


def test_defaults():
    assert ElboEstimator(None, "standard").kl == "prior-sampled"
    assert ElboEstimator(None, "path").kl == "sampled"
