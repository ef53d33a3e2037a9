"""The shear in front of a decoder: its matrix, what learns in it, and that it is saved with the decoder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.networks import UnitLowerTriangular, dense_decoder, sheared
from hvae_tf.networks.shear import shear_of


def layer(size, seed, dtype="float64"):
    made = UnitLowerTriangular(dtype=dtype)
    made.build((None, size))
    if size > 1:
        made.below.assign(np.random.default_rng(seed).normal(size=made.below.shape))
    return made


def test_it_starts_as_the_identity():
    made = UnitLowerTriangular()
    z = tf.random.stateless_normal([3, 4], [0, 1])
    np.testing.assert_array_equal(made(z), z)
    np.testing.assert_array_equal(made.matrix(), np.eye(4))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_it_is_its_matrix(size, seed):
    made = layer(size, seed)
    matrix = made.matrix().numpy()
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    np.testing.assert_array_equal(np.triu(matrix, 1), 0.0)
    assert np.count_nonzero(np.tril(matrix, -1)) == size * (size - 1) // 2 == made.count_params()
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    z = np.random.default_rng(seed).normal(size=(2, 3, size))
    np.testing.assert_allclose(made(z), z @ matrix.T, rtol=1e-12)


def test_its_gradient_is_that_of_every_entry_below_the_diagonal(seed):
    made, z = layer(4, seed), np.random.default_rng(seed).normal(size=(6, 4))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(made(z) ** 3)
    gradient = tape.gradient(value, made.below.value).numpy()
    full = (3.0 * made(z) ** 2).numpy().T @ z  # in all entries of a matrix
    np.testing.assert_allclose(np.sort(gradient), np.sort(full[np.tril_indices(4, -1)]), rtol=1e-10)


def test_a_sheared_decoder_is_saved_with_its_shear(tmp_path, seed):
    plain = dense_decoder((4,), 3, (5,))
    decoder = sheared(plain)
    z = tf.random.stateless_normal([6, 3], [seed, 2])
    np.testing.assert_array_equal(decoder(z), plain(z))
    shear_of(decoder).below.assign([0.5, -1.0, 2.0])
    np.testing.assert_allclose(decoder(z), plain(z @ shear_of(decoder).matrix().numpy().T), rtol=1e-5)
    decoder.save(tmp_path / "decoder.keras")
    loaded = keras.models.load_model(tmp_path / "decoder.keras")
    np.testing.assert_array_equal(loaded(z), decoder(z))
    assert shear_of(loaded).below.numpy().tolist() == [0.5, -1.0, 2.0]
    assert shear_of(plain) is None


def test_what_takes_no_latents_is_refused():
    z = keras.Input([2, 2])
    with pytest.raises(ValueError, match=r"takes inputs of shape \(None, 2, 2\); expected \(None, l\)"):
        sheared(keras.Model(z, z))
