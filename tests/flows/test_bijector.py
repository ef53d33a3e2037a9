"""Flows of bijectors: masks that training cannot fill, caches that cannot mislead, models, files, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf import VAE, BijectorFlow, FlowVAE, LogDensityTarget, dense_decoder, dense_encoder
from hvae_tf.models.flow_layer import _Adopted

tfb = tfp.bijectors
L = 4
TARGET = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(tf.square(z - 1.0), axis=-1), L)


def jacobian(flow, z):
    with tf.GradientTape() as tape:
        tape.watch(z)
        end = flow.transform(TARGET, z).z
    return tape.batch_jacobian(end, z).numpy()


@pytest.mark.parametrize("name", ["iaf", pytest.param("maf", marks=pytest.mark.slow)])
def test_it_stays_autoregressive_when_it_is_trained(name, seed):
    flow = BijectorFlow(L, name, num_layers=1, hidden_units=(7, 6), seed=seed, dtype=tf.float64)
    z = tf.random.stateless_normal([32, L], [seed, 0], dtype=tf.float64)
    before = float(tf.reduce_mean(flow.transform(TARGET, z).log_joint))
    for _ in range(10):
        with tf.GradientTape() as tape:
            result = flow.transform(TARGET, z)
            loss = -tf.reduce_mean(result.log_joint + result.log_ratio)
        variables = flow.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.1 * gradient)
    result = flow.transform(TARGET, z)
    assert float(tf.reduce_mean(result.log_joint)) > before + 0.5
    found = jacobian(flow, z)
    assert np.all(found[:, ~np.tri(L, dtype=bool)] == 0.0)
    assert np.abs(found[:, np.tri(L, k=-1, dtype=bool)]).max() > 1e-3
    np.testing.assert_allclose(result.log_ratio, np.linalg.slogdet(found)[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("ours", [True, False])
def test_an_optimiser_of_keras_fills_masks_that_are_constraints(ours):
    """Those of the network that TFP has for it are, of tf_keras."""
    flow = BijectorFlow(L, num_layers=1, hidden_units=(8,))
    variables = flow.trainable_variables
    if not ours:
        network = tfb.AutoregressiveNetwork(params=2, event_shape=[L], hidden_units=[8])
        network.build([None, L])
        variables = network.trainable_variables
        shift_and_log_scale = lambda z: tf.unstack(network(z), axis=-1)  # noqa: E731
        flow.bijectors = [tfb.Invert(tfb.MaskedAutoregressiveFlow(shift_and_log_scale))]
    weights = [_Adopted(variable) for variable in variables]
    z = tf.random.stateless_normal([32, L], [0, 0])
    assert np.abs(jacobian(flow, z)[:, ~np.tri(L, dtype=bool)]).max() == 0.0
    with tf.GradientTape() as tape:
        result = flow.transform(TARGET, z)
        loss = -tf.reduce_mean(result.log_joint + result.log_ratio)
    keras.optimizers.Adam(0.1).apply(tape.gradient(loss, variables), weights)
    assert (np.abs(jacobian(flow, z)[:, ~np.tri(L, dtype=bool)]).max() == 0.0) == ours


def test_layers_take_turns_in_their_order(seed):
    flow = BijectorFlow(L, "iaf", num_layers=2, hidden_units=(8,), seed=seed)
    found = jacobian(flow, tf.random.stateless_normal([8, L], [seed, 1]))
    assert np.all(np.abs(found).max(axis=0) > 0.0)  # every dimension sees every other


def test_a_tensor_that_it_has_seen_is_not_remembered(seed):
    """A bijector keeps what it made of a tensor: wrong once its variables have moved."""
    flow = BijectorFlow(L, "iaf", hidden_units=(4,), seed=seed)
    z = tf.ones([3, L])
    first = flow.transform(TARGET, z)
    for variable in flow.trainable_variables:
        variable.assign_add(0.5 * tf.ones_like(variable))
    again = flow.transform(TARGET, z)
    assert np.all(np.not_equal(first.z, again.z))
    assert np.all(np.not_equal(first.log_ratio, again.log_ratio))
    bijector = flow.bijectors[0]  # which does
    before = bijector.forward(z)
    flow.trainable_variables[0].assign_add(tf.ones_like(flow.trainable_variables[0]))
    assert bijector.forward(z) is before


@keras.saving.register_keras_serializable("tests")
def stretched(event_size, *, context_size, dtype, factor=2.0):
    scale = tf.Variable(tf.fill([event_size], tf.cast(factor, dtype)), name="factor")
    return [tfb.Scale(scale), tfb.SoftClip(tf.cast(-9.0, dtype), tf.cast(9.0, dtype))]


@pytest.mark.parametrize(
    ("bijectors", "options"),
    [
        pytest.param("iaf", {"amortised": True, "hidden_units": [5]}, marks=pytest.mark.slow),
        pytest.param(stretched, {"factor": 1.5}, marks=pytest.mark.slow),
    ],
)
def test_a_model_trains_and_saves_it(bijectors, options, seed, tmp_path):
    x = (np.random.default_rng(seed).uniform(size=(20, 5)) < 0.4).astype(np.float32)
    flow = BijectorFlow(3, bijectors, **options)
    model = FlowVAE(dense_encoder(5, 3, (6,)), dense_decoder(5, 3, (6,)), flow)
    model.compile(keras.optimizers.Adam(0.05))
    before = [variable.numpy() for variable in flow.trainable_variables]
    model.fit(x, batch_size=10, verbose=0)
    assert all(np.any(v != b) for v, b in zip(flow.trainable_variables, before, strict=True))
    plain = VAE(model.encoder, model.decoder)
    assert model.count_params() == plain.count_params() + sum(int(tf.size(v)) for v in flow.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.elbo(x), model.elbo(x))


def test_what_cannot_be_is_named(tmp_path):
    with pytest.raises(ValueError, match="unknown bijectors 'affine'; accepted: iaf, maf, or a function"):
        BijectorFlow(3, "affine")
    with pytest.raises(ValueError, match="the bijectors hold 3; expected tensorflow_probability's bijectors"):
        BijectorFlow(3, lambda size, **_: [size])
    with pytest.raises(ValueError, match="num_layers is 0"):
        BijectorFlow(3, num_layers=0)
    with pytest.raises(ValueError, match=r"hidden_units\[1\] is 0"):
        BijectorFlow(3, hidden_units=(4, 0))
    with pytest.raises(ValueError, match=r"the bijectors were given no context; pass context \[..., 8\] to transform"):
        BijectorFlow(L, amortised=True).transform(TARGET, tf.zeros([2, L]))
    with pytest.raises(ValueError, match="is not registered, so no file can name it"):
        BijectorFlow(3, lambda size, **_: [tfb.Scale(2.0)]).get_config()
