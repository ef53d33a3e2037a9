"""The score network in the place of a reverse model: LDVI against densities that the code does not take."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian, standard_normal_log_prob
from hvae_tf.flows.score import ScoreReverse
from tests.flows.test_annealed import Q0, SIZE, TARGET, annealed, assert_same, start


def test_a_score_of_zero_is_uha(seed):
    """LDVI as it starts."""
    ldvi, uha = (annealed(3, refreshment="learned", reverse=reverse) for reverse in ("score", "standard"))
    z, noise = start(uha, seed)
    context = tf.ones([1, 2 * SIZE], tf.float64)
    assert_same(ldvi.transform(TARGET, z, noise, q0=Q0, context=context), uha.transform(TARGET, z, noise, q0=Q0))


@pytest.mark.parametrize("kept", [0.0, 0.6, 0.99])
def test_the_score_network_shifts_the_reverse_of_the_refreshment(kept, seed):
    """N(v_t | eta v' + 2 (1 - eta) s, (1 - eta^2) I), with densities that the code does not take."""
    reverse = ScoreReverse((4,), sees=("z", "momentum"), seed=1)
    flow = annealed(3, refreshment=kept, reverse=reverse)
    reverse.factor.assign(0.5)
    z, noise = start(flow, seed)
    scores, score = [], reverse.score
    reverse.score = lambda t, inputs: scores.append(score(t, inputs)) or scores[-1]
    way = flow.transitions(TARGET, z, noise, q0=Q0)
    ratio = DiagonalGaussian(2.0 * scores[-1], tf.ones_like(z)).log_prob(way[-1].end.rho)
    ratio -= standard_normal_log_prob(noise[0])
    scale = tf.ones_like(z) * np.sqrt(1.0 - kept**2)
    for s, before, after in zip(scores, way, way[1:], strict=False):
        v, new = before.end.rho, after.start.rho
        ratio += DiagonalGaussian(kept * new + 2.0 * (1.0 - kept) * s, scale).log_prob(v)
        ratio -= DiagonalGaussian(kept * v, scale).log_prob(new)
    assert np.ptp(scores[0].numpy()) > 0.01
    np.testing.assert_allclose(flow.transform(TARGET, z, noise, q0=Q0).log_ratio, ratio, rtol=0, atol=1e-9)


def test_the_score_network_knows_the_time(seed):
    reverse = ScoreReverse((4,), sees="z", seed=1)
    flow = annealed(2, refreshment=0.0, reverse=reverse)
    reverse.factor.assign(1.0)
    z, noise = start(flow, seed)
    inputs = [step.reverse.mean for step in flow.transitions(TARGET, z, noise, q0=Q0)]
    assert np.all(np.abs(inputs[0] - inputs[1]) > 1e-3)


def test_it_comes_back_from_its_configuration():
    part = ScoreReverse((4, 2), activation="relu", embedding_units=3, sees="z", seed=7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(part))
    assert again.get_config() == part.get_config()
    assert again.num_transitions is None
