"""The beta-binomial posterior against sums of logs, and its evidence by quadrature."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.targets.beta_binomial import AT_RISK, DEATHS, BetaBinomialTarget, log_rising_factorial
from reproduce.auxiliary.beta_binomial import log_evidence


def reference(theta) -> float:
    """Every Gamma(x + n) / Gamma(x) as a product."""
    m, total = 1.0 / (1.0 + np.exp(-theta[0])), np.exp(theta[1])

    def rising(x, n):
        return np.sum(np.log(x + np.arange(n)))

    value = theta[1] - 2.0 * np.log1p(total)
    for y, n in zip(DEATHS, AT_RISK, strict=True):
        value += rising(m * total, y) + rising((1.0 - m) * total, n - y) - rising(total, n)
    return value


@pytest.mark.parametrize("theta", [(-6.8, 7.9), (-3.0, 0.0), (-9.0, 14.0), (0.5, -2.0), (-6.8, 25.0)])
def test_it_is_the_sum_of_logs(theta):
    found = BetaBinomialTarget().log_joint(tf.constant(theta, tf.float64))
    np.testing.assert_allclose(found, reference(theta), rtol=1e-11, atol=1e-8)


def test_rising_factorials_keep_their_digits():
    """Where log Gamma(x + n) - log Gamma(x) has lost them."""
    x, n = tf.constant([1e11], tf.float64), tf.constant([3.0], tf.float64)
    exact = np.sum(np.log(1e11 + np.arange(3)))
    np.testing.assert_allclose(log_rising_factorial(x, n), [exact], rtol=1e-13)
    assert abs(float(tf.math.lgamma(x + n)[0] - tf.math.lgamma(x)[0]) - exact) > 1e-6


def test_gradient_is_that_of_finite_differences():
    target, theta = BetaBinomialTarget(), np.array([[-6.8, 7.9], [-6.0, 6.0]])
    value, gradient = target.value_and_grad(tf.constant(theta))
    np.testing.assert_allclose(value, [reference(row) for row in theta], rtol=1e-11)
    for i in range(2):
        step = 1e-5 * np.eye(2)[i]
        slope = [(reference(row + step) - reference(row - step)) / 2e-5 for row in theta]
        np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-5, atol=1e-5)


def test_evidence():
    assert log_evidence(BetaBinomialTarget()) == pytest.approx(-570.7086, abs=1e-4)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (([1, 2], [3]), r"successes have shape \(2,\), trials \(1,\)"),
        (([1.5], [3]), "no integers"),
        (([4], [3]), "0 <= successes <= trials"),
        (([-1], [3]), "0 <= successes <= trials"),
    ],
)
def test_bad_counts_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        BetaBinomialTarget(*counts)


def test_float32_is_refused():
    with pytest.raises(ValueError, match="theta is float32; expected float64"):
        BetaBinomialTarget().log_joint(tf.zeros([2]))
