"""Training batches as a function of (seed, step)."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf.data import EventData, ImageData, TrainBatches, from_arrays
from hvae_tf.networks import dense_decoder, dense_encoder


@pytest.fixture(scope="module")
def numbered():
    """25 images, image i all of intensity i / 25."""
    level = np.broadcast_to((np.arange(25, dtype=np.float32) / 25)[:, None, None, None], (25, 2, 2, 1)).copy()
    level[:, 0, 0, 0] = 1.0  # no image is constant
    return ImageData("numbered", level, level, level)


def seen(batch):
    return np.round(batch[:, 1, 1, 0] * 25).astype(int)


def test_every_image_is_used_once_an_epoch(numbered, seed):
    batches = TrainBatches(numbered, 5, seed, binarised=False)
    assert batches.steps_per_epoch == 5
    steps = [seen(batch) for batch in batches.dataset(0, 15).as_numpy_iterator()]
    epochs = [np.concatenate(steps[i : i + 5]) for i in (0, 5, 10)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(25))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])


def test_the_rest_of_an_epoch_is_left_out_in_turn(numbered, seed):
    batches = TrainBatches(numbered, 7, seed, binarised=False)
    assert batches.steps_per_epoch == 3
    steps = [seen(batch) for batch in batches.dataset(0, 60).as_numpy_iterator()]
    epochs = [np.concatenate(steps[i : i + 3]) for i in range(0, 60, 3)]
    assert all(len(set(epoch)) == 21 for epoch in epochs)
    assert set(np.concatenate(epochs)) == set(range(25))


def test_permutations_are_uniform_and_independent(digits, seed):
    batches = TrainBatches(digits, 1250, seed)
    orders = np.array([batches.permutation(epoch).numpy()[0] for epoch in range(400)])
    assert len({tuple(order[:4]) for order in orders}) == 400  # no permutation comes back
    position = np.arange(1250)
    for other in (*orders[1:40], position):
        assert abs(np.corrcoef(orders[0], other)[0, 1]) < 5 / np.sqrt(1250)
    for place in (0, 1, 700, 1249):  # which image stands there: uniform over the epochs
        counts = np.bincount(orders[:, place] * 10 // 1250, minlength=10)
        assert np.sum((counts - 40) ** 2 / 40) < 40  # chi squared with 9 degrees of freedom: 1e-5


@pytest.mark.parametrize("start", [1, 4, 5, 13])
def test_batches_do_not_depend_on_where_one_starts(numbered, start, seed):
    batches = TrainBatches(numbered, 5, seed)
    whole = list(batches.dataset(0, 17).as_numpy_iterator())
    part = list(TrainBatches(numbered, 5, seed).dataset(start, 17).as_numpy_iterator())
    assert len(part) == 17 - start
    assert int(batches.dataset(start, 17).cardinality()) == 17 - start
    for a, b in zip(whole[start:], part, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_are_binary_images(digits, seed):
    batch = next(iter(TrainBatches(digits, 50, seed).dataset(0, 1)))
    assert batch.shape == (50, 8, 8, 1)
    assert batch.dtype == tf.float32
    assert set(np.unique(batch)) == {0.0, 1.0}
    assert TrainBatches(digits, 50, seed).dataset(0, 3).element_spec.shape == (50, 8, 8, 1)


def test_configuration_is_plain_and_names_the_seeds(digits):
    configuration = TrainBatches(digits, 50, 3).configuration()
    assert json.loads(json.dumps(configuration)) == configuration
    assert configuration["seed"] == 3
    assert configuration["data"]["fingerprint"] == digits.fingerprint


@pytest.mark.parametrize("batch_size", [0, -1, 1251, 2.5, True])
def test_bad_batch_sizes_are_refused(digits, batch_size):
    with pytest.raises(ValueError, match="batch_size is"):
        TrainBatches(digits, batch_size, 0)


def test_other_bad_arguments_are_refused(digits):
    with pytest.raises(ValueError, match=r"seed is 1\.5"):
        TrainBatches(digits, 50, 1.5)
    for start, stop in ((-1, 3), (3, 2)):
        with pytest.raises(ValueError, match="expected 0 <= start <= stop"):
            TrainBatches(digits, 50, 0).dataset(start, stop)
    with pytest.raises(ValueError, match="expected 'validation' or 'test'"):
        digits.binarised("train")
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        digits.intensities("valid")


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """Rows of a linear factor model: four real columns, two factors, noise of 0.1."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(400, 4)) - 3.0
    return from_arrays("factors", rows[:300], rows[300:], max_value=None)


def test_real_values_are_not_binarised(table, seed):
    batches = TrainBatches(table, 50, seed)
    assert batches.configuration()["binarised"] is False
    epoch = np.concatenate(list(batches.dataset(0, 5).as_numpy_iterator()))
    assert epoch.shape == (250, 4)
    np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(table.train.astype(np.float32), axis=0))
    with pytest.raises(ValueError, match="factors has no max_value, so its values cannot be binarised"):
        TrainBatches(table, 50, seed, binarised=True)


@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 3, 1)])
def test_intensities_of_any_shape_are_binarised_as_images_are(shape, seed):
    intensities = np.random.default_rng(0).random((12, *shape)).astype(np.float32)
    data = EventData("soft", intensities, intensities, intensities)
    batch = next(TrainBatches(data, 5, seed).dataset(0, 1).as_numpy_iterator())
    assert batch.shape == (5, *shape)
    assert set(np.unique(batch)) <= {0.0, 1.0}


class Reconstruction(keras.Model):
    """A Keras model of a user's own: an encoder's mean, a decoder, and a squared error."""

    def __init__(self):
        super().__init__()
        self.encoder = dense_encoder((4,), 2, (8,))
        self.decoder = dense_decoder((4,), 2, (8,), output_bias=-3.0)

    def call(self, x):
        return self.decoder(self.encoder(x)[0])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return tf.reduce_mean(tf.reduce_sum(tf.square(x - y_pred), axis=-1))


@pytest.mark.slow
def test_a_table_trains_any_keras_model_and_goes_on_where_it_was(table, tmp_path):
    def run(folder, last_epoch=8):
        model = Reconstruction()
        model.build((None, 4))
        model.compile(keras.optimizers.Adam(0.01))
        batches, validation = TrainBatches(table, 50, 1), table.values("validation")
        stop = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch + 1 >= last_epoch)
        )
        settings = {"max_epochs": 8, "callbacks": [stop], "verbose": 0}
        return hvae_tf.fit(model, batches, validation, tmp_path / folder, **settings), model.get_weights()

    assert run("stopped", 3)[0].epochs == 3
    (result, weights), (again, others) = run("whole"), run("stopped")
    assert result.history["val_loss"][-1] < 0.5 * result.history["val_loss"][0]
    assert result.history["val_loss"] == again.history["val_loss"]
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_array_equal(a, b)
