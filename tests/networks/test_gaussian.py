"""The last layers of an encoder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.networks import conv_encoder, dense_encoder

MAKE = {
    "conv": lambda size, **k: conv_encoder((6, 5, 1), size, 8, (3,), **k),
    "dense": lambda size, **k: dense_encoder((6, 5, 1), size, (8,), **k),
}


@pytest.mark.parametrize("latent_size", [1, 2, 5])
@pytest.mark.parametrize("network", MAKE)
def test_a_full_covariance_starts_as_the_diagonal_one(network, latent_size, seed, tmp_path):
    x = np.random.default_rng(seed).uniform(size=(4, 6, 5, 1)).astype(np.float32)
    diagonal, full = (MAKE[network](latent_size, covariance=kind, seed=3) for kind in ("diagonal", "full"))
    (mean, deviation), (full_mean, factor) = diagonal(x), full(x)
    np.testing.assert_array_equal(full_mean, mean)
    np.testing.assert_array_equal(factor, tf.linalg.diag(deviation))
    assert full.output_shape == [(None, latent_size), (None, latent_size, latent_size)]
    full.set_weights([w + 0.1 * np.cos(np.arange(w.size)).reshape(w.shape) for w in full.get_weights()])
    factor = full(x)[1].numpy()
    np.testing.assert_array_equal(np.triu(factor, 1), 0.0)
    assert np.all(np.count_nonzero(factor, axis=(1, 2)) == latent_size * (latent_size + 1) // 2)
    assert np.all(np.diagonal(factor, axis1=1, axis2=2) > 0.0)
    full.save(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "encoder.keras")(x)[1], factor)


@pytest.mark.parametrize("network", MAKE)
def test_an_unknown_covariance_is_named(network):
    with pytest.raises(ValueError, match="unknown covariance 'low-rank'; accepted: diagonal, full"):
        MAKE[network](2, covariance="low-rank")
