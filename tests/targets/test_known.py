"""The known evidences, made anew: by quadrature in two dimensions, by exact draws in more."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.targets.known import KNOWN_TARGETS

# what holds all but 1e-7 of the mass, in both dimensions, and so many points
GRIDS = {
    "logistic": ((-9, 9), (-9, 9), 301),
    "banana": ((-12, 12), (-12, 80), 1201),
    "modes": ((-9, 9), (-7, 7), 301),
    "beta-binomial": ((-10, -2), (0, 34), 500),
}


def quadrature(target, first, second, points):
    axes = [np.linspace(*ends, points) for ends in (first, second)]
    evaluate = tf.function(target.log_joint)
    values = np.stack([evaluate(np.stack(np.broadcast_arrays(x, axes[1]), axis=-1)).numpy() for x in axes[0]])
    top = values.max()
    return top + np.log(np.exp(values - top).sum() * np.prod([axis[1] - axis[0] for axis in axes]))


@pytest.mark.parametrize("name", GRIDS)
def test_evidence_by_quadrature(name):
    known = KNOWN_TARGETS[name]
    assert quadrature(known.make(), *GRIDS[name]) == pytest.approx(known.log_evidence, abs=2e-6)


@pytest.mark.parametrize("name", ["funnel", "neal"])
def test_funnels_are_normalised(name):
    """log p(v) p(x|v) with v ~ N(0, s^2), x|v ~ N(0, e^v I), by numpy."""
    target = KNOWN_TARGETS[name].make()
    z = np.random.default_rng(0).normal(size=[50, target.event_size])
    v, x = z[:, :1], z[:, 1:]
    log_p = -0.5 * (v[:, 0] / target.scale) ** 2 - np.log(target.scale * np.sqrt(2 * np.pi))
    log_p += np.sum(-0.5 * x**2 * np.exp(-v) - 0.5 * v - 0.5 * np.log(2 * np.pi), axis=1)
    np.testing.assert_allclose(target.log_joint(z), log_p, rtol=1e-12)


def test_gaussian_is_normalised():
    """The density at the mode is that of an AR(1) law: (2 pi)^(-l/2) (1 - phi^2)^(-(l - 1)/2)."""
    target = KNOWN_TARGETS["gaussian"].make()
    expected = -5.0 * np.log(2 * np.pi) - 4.5 * np.log(1 - 0.9**2)
    assert float(target.log_joint(np.zeros(10))) == pytest.approx(expected, abs=1e-12)


def drawn_gaussian(target, noise):
    """z_1 = e_1, z_i = 0.9 z_(i-1) + sqrt(1 - 0.9^2) e_i; and the log of its determinant."""
    columns = [noise[:, 0]]
    for e in noise.T[1:]:
        columns.append(0.9 * columns[-1] + np.sqrt(1.0 - 0.9**2) * e)
    return np.stack(columns, axis=1), 4.5 * np.log(1.0 - 0.9**2)


def drawn_funnel(target, noise):
    """v = s e_1, x = exp(v/2) e; and the log of its determinant."""
    v = target.scale * noise[:, :1]
    log_det = np.log(target.scale) + 0.5 * (target.event_size - 1) * v[:, 0]
    return np.concatenate([v, np.exp(0.5 * v) * noise[:, 1:]], axis=1), log_det


DRAWS = {"gaussian": drawn_gaussian, "neal": drawn_funnel, "funnel": drawn_funnel}
NARROWER = 0.8


@pytest.mark.parametrize("planted", ["nothing", "evidence", "draws"])
@pytest.mark.parametrize("name", DRAWS)
def test_evidence_by_exact_draws(name, planted, seed):
    """For draws z of p(x, z)/Z, and any normalised q, the mean of q(z)/p(x, z) is 1/Z.

    z = T(e), e ~ N(0, I), and q is the density of T(0.8 e): narrower, so that the ratio is bounded.
    """
    target, count = KNOWN_TARGETS[name].make(), 20_000
    noise = np.random.default_rng([seed, 3]).normal(size=(count, target.event_size))
    z, log_det = DRAWS[name](target, noise)
    if planted == "draws":
        z[:, 1:] *= 1.1
    log_p = target.log_joint(z).numpy() + 0.05 * (planted == "evidence")
    log_q = np.sum(-0.5 * (noise / NARROWER) ** 2 - np.log(NARROWER) - 0.5 * np.log(2.0 * np.pi), axis=1) - log_det
    ratio = np.exp(log_q - log_p)
    deviation = abs(ratio.mean() - np.exp(-KNOWN_TARGETS[name].log_evidence)) / (ratio.std(ddof=1) / np.sqrt(count))
    assert (deviation < 5.0) == (planted == "nothing")


@pytest.mark.parametrize("name", KNOWN_TARGETS)
def test_rows_agree_with_their_targets(name):
    known = KNOWN_TARGETS[name]
    size = known.make().event_size
    assert len(known.mean) == len(known.standard_deviation) == size
    assert np.isfinite(known.make().log_joint(np.array(known.mean)))
