"""Batches in parts: the same numbers as in one piece, and what it asks of TensorFlow."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf import parallel

SIZES = {"image_shape": (5, 4, 1), "latent_size": 3, "hidden_units": 4, "filters": (2,)}


def make_model(kind, dtype):
    networks = hvae_tf.conv_encoder(**SIZES, dtype=dtype), hvae_tf.conv_decoder(**SIZES, dtype=dtype)
    kwargs = {"seed": 3, "dtype": dtype}
    if kind == "hvae":
        return hvae_tf.HVAE(*networks, num_leapfrog_steps=1, num_samples=2, **kwargs)
    return {"vae": hvae_tf.VAE, "iwae": hvae_tf.IWAE}[kind](*networks, **kwargs)


def results(kind, x, dtype):
    model = make_model(kind, dtype)
    model.compile("sgd", run_eagerly=False)
    history = model.fit(x, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    estimate = model.log_likelihood(x, num_samples=7, chunk_size=3, batch_size=4)
    drawn = [*estimate, model.sample_posterior(x, 3), model.elbo(x, 3), model.evaluate(x, verbose=0)]
    return [history, *model.get_weights(), *drawn]


@pytest.mark.parametrize(("kind", "dtype", "num_parts"), [
    ("vae", "float64", 2),
    pytest.param("iwae", "float64", 6, marks=pytest.mark.slow),
    pytest.param("hvae", "float32", 3, marks=pytest.mark.slow),
])  # fmt: skip
def test_parts_compute_what_the_whole_does(kind, dtype, num_parts, monkeypatch, seed):
    """With batches of 4, 4 and 1 images: some parts have none."""
    x = np.random.default_rng(seed).integers(0, 2, [9, 5, 4, 1]).astype(dtype)
    whole = results(kind, x, dtype)
    monkeypatch.setattr(parallel, "_num_parts", num_parts)
    tolerance = {"float64": 1e-9, "float32": 1e-4}[dtype]
    for a, b in zip(whole, results(kind, x, dtype), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_an_encoder_with_a_state_sees_whole_batches(monkeypatch, seed):
    x = np.random.default_rng(seed).integers(0, 2, [9, 5, 4, 1]).astype(np.float32)

    def weights():
        keras.utils.set_random_seed(0)
        image = keras.Input([5, 4, 1])
        h = keras.layers.BatchNormalization()(keras.layers.Flatten()(image))
        outputs = [keras.layers.Dense(3)(h), keras.layers.Dense(3, activation=hvae_tf.positive_softplus)(h)]
        model = hvae_tf.VAE(keras.Model(image, outputs), hvae_tf.conv_decoder(**SIZES))
        model.compile("sgd")
        model.fit(x, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    whole = weights()
    monkeypatch.setattr(parallel, "_num_parts", 2)
    for a, b in zip(whole, weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_every_member_is_in_one_part(monkeypatch):
    monkeypatch.setattr(parallel, "_num_parts", 3)
    sizes = []

    def function(a, b, nothing):
        assert nothing is None
        sizes.append(len(a))
        return a * 2, tf.transpose(b)

    a, b = tf.range(7), tf.reshape(tf.range(21), [3, 7])
    doubled, transposed = parallel.shard_batch(function, (a, b, None), axes=(0, 1, 0), result_axis=0)
    assert sizes == [2, 2, 3]
    one = parallel.shard_batch(lambda a: a + 1, (tf.range(1),), axes=(0,), result_axis=0)
    np.testing.assert_array_equal(one, [1])
    np.testing.assert_array_equal(doubled, 2 * np.arange(7))
    np.testing.assert_array_equal(transposed, np.transpose(b))


@pytest.mark.slow
def test_use_cores_sets_threads_and_parts():
    code = "import hvae_tf, tensorflow as tf; hvae_tf.use_cores(2); t = tf.config.threading; tf.zeros([]); "
    code += "print(t.get_intra_op_parallelism_threads(), t.get_inter_op_parallelism_threads(), end=' '); "
    code += "print(hvae_tf.parallel._num_parts)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "2", "2"]


def test_use_cores_comes_first():
    tf.zeros([])
    with pytest.raises(RuntimeError, match="before anything else"):
        hvae_tf.use_cores(2)
    with pytest.raises(ValueError, match="count is 0"):
        hvae_tf.use_cores(0)
