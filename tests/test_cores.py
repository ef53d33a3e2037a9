"""Batches in parts: the same numbers as in one piece, and what it asks of TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf import cores

SIZES = {"image_shape": (5, 4, 1), "latent_size": 3, "hidden_units": 4, "filters": (2, 2), "dtype": "float64"}


def make_model(kind):
    networks = hvae_tf.conv_encoder(**SIZES), hvae_tf.conv_decoder(**SIZES)
    kwargs = {"seed": 3, "dtype": "float64"}
    if kind == "hvae":
        return hvae_tf.HVAE(*networks, num_leapfrog_steps=2, num_samples=2, **kwargs)
    return {"vae": hvae_tf.VAE, "iwae": hvae_tf.IWAE}[kind](*networks, **kwargs)


def results(kind, x):
    model = make_model(kind)
    model.compile("sgd", run_eagerly=False)
    history = model.fit(x, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    estimate = model.log_likelihood(x, num_samples=7, chunk_size=3, batch_size=4)
    drawn = [*estimate, model.encode(x, 3), model.elbo(x, 3), model.evaluate(x, verbose=0)]
    return [history, *model.get_weights(), *drawn]


@pytest.mark.parametrize("kind", ["vae", "iwae", "hvae"])
@pytest.mark.parametrize("num_parts", [2, 3, 6])  # the batches have 4, 4 and 1 images
def test_parts_compute_what_the_whole_does(kind, num_parts, monkeypatch, seed):
    x = np.random.default_rng(seed).integers(0, 2, [9, 5, 4, 1]).astype(np.float64)
    whole = results(kind, x)
    monkeypatch.setattr(cores, "_num_parts", num_parts)
    for a, b in zip(whole, results(kind, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_every_member_is_in_one_part(monkeypatch):
    monkeypatch.setattr(cores, "_num_parts", 3)
    sizes = []

    def function(a, b, nothing):
        assert nothing is None
        sizes.append(len(a))
        return a * 2, tf.transpose(b)

    a, b = tf.range(7), tf.reshape(tf.range(21), [3, 7])
    doubled, transposed = cores.in_parts(function, (a, b, None), axes=(0, 1, 0), result_axis=0)
    assert sizes == [2, 2, 3]
    np.testing.assert_array_equal(doubled, 2 * np.arange(7))
    np.testing.assert_array_equal(transposed, np.transpose(b))


def test_use_cores_sets_threads_and_parts():
    code = "import hvae_tf, tensorflow as tf; hvae_tf.use_cores(2); t = tf.config.threading; tf.zeros([]); "
    code += "print(t.get_intra_op_parallelism_threads(), t.get_inter_op_parallelism_threads(), end=' '); "
    code += "print(hvae_tf.cores._num_parts)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "2", "2"]


def test_use_cores_comes_first():
    tf.zeros([])
    with pytest.raises(RuntimeError, match="before anything else"):
        hvae_tf.use_cores(2)
    with pytest.raises(ValueError, match="count is 0"):
        hvae_tf.use_cores(0)
