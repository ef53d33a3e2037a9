"""Binarisation: its distribution, and the independence of its draws."""

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.data import ImageData, TrainBatches, binarise, load


def grey(n, intensities, copies=1):
    """n equal images whose pixels have the given intensities, `copies` pixels of each."""
    row = np.repeat(np.asarray(intensities, np.float32), copies)
    return np.broadcast_to(row[None, :, None, None], (n, row.size, 1, 1)).copy()


LEVELS = np.linspace(0.0, 1.0, 11)


def frequencies_are_right(frequencies, intensities, draws):
    """Whether each frequency of ones lies within 5 standard errors of its intensity, exactly at 0 and 1."""
    error = np.sqrt(intensities * (1 - intensities) / draws)
    return np.all(np.abs(frequencies - intensities) <= 5 * error)


def training_frequencies(levels, seed, steps=50):
    data = ImageData("grey", grey(40, levels, 10), grey(1, levels, 10), grey(1, levels, 10))
    total = sum(batch.mean(axis=0) for batch in TrainBatches(data, 20, seed).dataset(0, steps).as_numpy_iterator())
    return (total / steps).reshape(len(levels), 10).mean(axis=1), 20 * steps * 10


def test_training_pixels_are_one_as_often_as_their_intensity(seed):
    frequencies, draws = training_frequencies(LEVELS, seed)
    assert frequencies_are_right(frequencies, LEVELS, draws)


def test_planted_error_in_the_binarisation_is_seen(seed):
    frequencies, draws = training_frequencies(np.sqrt(LEVELS), seed)  # a gamma correction that should not be there
    assert not frequencies_are_right(frequencies, LEVELS, draws)
    frequencies, draws = training_frequencies(np.round(LEVELS), seed)  # a threshold
    assert not frequencies_are_right(frequencies, LEVELS, draws)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_fixed_splits_have_the_right_distribution(split, seed):
    data = ImageData("grey", *[grey(1000, LEVELS)] * 3, binarise_seed=seed)
    fixed = data.binarised(split)
    assert set(np.unique(fixed)) == {0.0, 1.0}
    assert frequencies_are_right(fixed.mean(axis=0).ravel(), LEVELS, 1000)


def correlation(a, b, intensities):
    """Of two binarisations about their intensities, in standard errors: z of the mean product."""
    product = ((a - intensities) * (b - intensities)).ravel()
    return abs(product.mean()) / (product.std() / np.sqrt(product.size))


def test_draws_are_independent_between_steps_seeds_and_splits(seed):
    level = grey(200, [0.3, 0.5, 0.7], 30)
    data = ImageData("grey", level, level, level, binarise_seed=seed)
    batches = list(TrainBatches(data, 200, seed).dataset(0, 4).as_numpy_iterator())  # one step an epoch
    other = next(TrainBatches(data, 200, seed + 1).dataset(0, 1).as_numpy_iterator())
    draws = [*batches, other, data.binarised("validation"), data.binarised("test"), data.binarised("test", seed + 1)]
    for i in range(len(draws)):
        assert correlation(draws[i], draws[i], level) > 50  # the test sees dependence
        for j in range(i):
            assert correlation(draws[i], draws[j], level) < 5, (i, j)


def test_training_noise_is_not_a_models_noise_at_the_same_seed_and_step(seed):
    level = grey(200, [0.4, 0.5], 50)
    batch = next(TrainBatches(ImageData("grey", level, level, level), 200, seed).dataset(3, 4).as_numpy_iterator())
    assert correlation(batch, binarise(level, tf.constant([seed, 3], tf.int64)).numpy(), level) < 5


def test_fixed_splits_are_fixed(digits):
    np.testing.assert_array_equal(digits.binarised("test"), load("digits").binarised("test"))
    np.testing.assert_array_equal(digits.binarised("test"), digits.binarised("test", digits.binarise_seed))
    assert np.any(digits.binarised("test") != digits.binarised("test", 1))
