"""Every tempering scheme brings beta_0 to one, by the rule that it is named for."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.dynamics.tempering import TEMPERINGS, FreeTempering, get_tempering

FIXED = ("fixed", "fixed-released")


def scheme(name, num_steps, seed=None, batch_shape=(), **kwargs):
    """A float64 scheme; with a seed, its variables are random and wide."""
    tempering = TEMPERINGS[name](**kwargs)
    tempering.build(num_steps, batch_shape, tf.float64)
    if seed is not None:
        for index, variable in enumerate(tempering.trainable_variables):
            variable.assign(2.0 * tf.random.stateless_normal(variable.shape, [seed, index], dtype=tf.float64))
    return tempering


@pytest.mark.parametrize("batch_shape", [(), (4,)])
@pytest.mark.parametrize("num_steps", [1, 2, 10])
@pytest.mark.parametrize("name", TEMPERINGS)
def test_alphas_multiply_to_sqrt_beta_0(name, num_steps, batch_shape, seed):
    schedule = scheme(name, num_steps, seed, batch_shape=batch_shape)()
    assert len(schedule.alphas) == num_steps
    assert all(alpha.shape == batch_shape for alpha in schedule.alphas)
    assert schedule.inv_sqrt_beta_0.shape == batch_shape
    np.testing.assert_allclose(np.prod(schedule.alphas, axis=0), tf.sqrt(schedule.beta_0), rtol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 10])
@pytest.mark.parametrize("name", sorted(set(TEMPERINGS) - {"none"}))
def test_values_keep_to_their_ranges(name, num_steps, seed):
    schedule = scheme(name, num_steps, seed, batch_shape=(50,))()
    alphas = np.stack(schedule.alphas)
    assert np.all((alphas > 0.0) & (alphas < 1.0))
    assert np.all(schedule.inv_sqrt_beta_0.numpy() > 1.0)
    assert np.all((schedule.beta_0.numpy() > 0.0) & (schedule.beta_0.numpy() < 1.0))


def test_no_tempering_has_ones_and_no_variables():
    tempering = scheme("none", 3)
    schedule = tempering()
    assert tempering.trainable_variables == ()
    assert float(schedule.beta_0) == 1.0
    assert [float(alpha) for alpha in schedule.alphas] == [1.0] * 3


def alphas_of_betas(betas):
    """alpha_k = sqrt(beta_{k-1} / beta_k)."""
    return np.sqrt(betas[:-1] / betas[1:])


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_fixed_is_quadratic_in_inverse_sqrt_beta(num_steps):
    b_0 = 5.0
    k = np.arange(num_steps + 1)
    betas = ((1.0 - b_0) * k**2 / num_steps**2 + b_0) ** -2.0
    schedule = scheme("fixed", num_steps, inv_sqrt_beta_0=b_0)()
    np.testing.assert_allclose(schedule.alphas, alphas_of_betas(betas), rtol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_fixed_released_is_quadratic_in_inverse_beta(num_steps):
    beta_0 = 0.04
    k = np.arange(num_steps + 1)
    betas = 1.0 / ((1.0 - 1.0 / beta_0) * k**2 / num_steps**2 + 1.0 / beta_0)
    schedule = scheme("fixed-released", num_steps, inv_sqrt_beta_0=5.0)()
    np.testing.assert_allclose(schedule.alphas, alphas_of_betas(betas), rtol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_the_two_fixed_rules_agree_at_one_step_only(num_steps):
    paper, released = (np.array(scheme(name, num_steps, inv_sqrt_beta_0=2.0)().alphas) for name in FIXED)
    assert np.allclose(paper, released, rtol=1e-6) == (num_steps == 1)


@pytest.mark.parametrize("value", [1.001, 1.5, 5.0])
@pytest.mark.parametrize("name", FIXED)
def test_initial_inv_sqrt_beta_0_lands_where_asked(name, value):
    schedule = scheme(name, 3, inv_sqrt_beta_0=value, batch_shape=(2,))()
    np.testing.assert_allclose(schedule.inv_sqrt_beta_0, [value] * 2, rtol=1e-12)
    np.testing.assert_allclose(schedule.beta_0, [value**-2.0] * 2, rtol=1e-12)


@pytest.mark.parametrize("value", [0.01, 0.5, 0.9, 0.999])
def test_initial_alpha_lands_where_asked(value):
    schedule = scheme("free", 3, alpha=value, batch_shape=(2,))()
    np.testing.assert_allclose(schedule.alphas, np.full([3, 2], value), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(TEMPERINGS) - {"none"}))
def test_gradients_reach_every_variable(name, seed):
    tempering = scheme(name, 3, seed, batch_shape=(2,))
    with tf.GradientTape() as tape:
        schedule = tempering()
        # weights, for the product of all alphas with 1/sqrt(beta_0) is constant
        total = tf.reduce_sum(schedule.inv_sqrt_beta_0) + tf.add_n([k * a for k, a in enumerate(schedule.alphas)])
    for gradient in tape.gradient(total, tempering.trainable_variables):
        assert np.all(np.isfinite(gradient))
        assert np.all(np.not_equal(gradient, 0.0))


@pytest.mark.parametrize("name", TEMPERINGS)
def test_dtype_is_the_one_asked_for(name):
    tempering = get_tempering(name)
    tempering.build(2, dtype=tf.float32)
    schedule = tempering()
    assert {schedule.inv_sqrt_beta_0.dtype, *(alpha.dtype for alpha in schedule.alphas)} == {tf.float32}


@pytest.mark.parametrize("unknown", ["quadratic", None, FreeTempering])
def test_what_is_no_tempering_is_refused_with_a_list_of_those_accepted(unknown):
    with pytest.raises(ValueError, match=r"(quadratic|None|Free).*none, fixed, fixed-released, free, or a Tempering"):
        get_tempering(unknown)


def test_an_object_is_taken_as_it_is():
    tempering = FreeTempering(0.7)
    assert get_tempering(tempering) is tempering


def test_names_start_where_the_paper_does():
    assert get_tempering("fixed").inv_sqrt_beta_0 == get_tempering("fixed-released").inv_sqrt_beta_0 == math.sqrt(1.5)
    assert get_tempering("free").alpha == 0.9


@pytest.mark.parametrize("name", TEMPERINGS)
def test_built_twice_is_refused(name):
    tempering = scheme(name, 3)
    with pytest.raises(ValueError, match="is built already, for K = 3; make one for each flow"):
        tempering.build(3)


@pytest.mark.parametrize("name", TEMPERINGS)
def test_not_built_is_refused(name):
    with pytest.raises(ValueError, match="is not built"):
        get_tempering(name)()


@pytest.mark.parametrize("name", TEMPERINGS)
def test_comes_back_from_its_configuration(name):
    arguments = {"none": {}, "free": {"alpha": 0.6}}.get(name, {"inv_sqrt_beta_0": 3.0})
    built = scheme(name, 2, **arguments)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(built)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is TEMPERINGS[name]
    assert again.get_config() == arguments
    again.build(2, dtype=tf.float64)
    np.testing.assert_allclose(again().alphas, built().alphas, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_alpha_outside_the_unit_interval_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha is"):
        FreeTempering(alpha)


@pytest.mark.parametrize("value", [1.0, 0.5, -2.0, float("inf"), float("nan")])
@pytest.mark.parametrize("name", FIXED)
def test_inv_sqrt_beta_0_of_one_or_less_is_refused(name, value):
    with pytest.raises(ValueError, match="inv_sqrt_beta_0 is"):
        TEMPERINGS[name](value)


@pytest.mark.parametrize("num_steps", [0, -1, 2.7])
def test_number_of_steps_is_an_integer_of_at_least_one(num_steps):
    for name in TEMPERINGS:
        with pytest.raises(ValueError, match=r"num_steps is .*; expected an integer of at least 1"):
            get_tempering(name).build(num_steps)
