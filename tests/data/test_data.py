"""Data sets, their splits and checks, and training batches as a function of (seed, step)."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.data import DataError, ImageData, TrainBatches, binarise, from_arrays, load

SIZES = {"train": 60, "test": 12}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder in which TFDS has prepared the set ``toy``: 6x5 images."""
    import tensorflow_datasets as tfds

    folder, rng = tmp_path_factory.mktemp("tfds"), np.random.default_rng(0)
    images = {split: rng.integers(0, 256, [n, 6, 5, 1]).astype(np.uint8) for split, n in SIZES.items()}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="toy",
        version="1.2.0",
        features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(6, 5, 1))}),
        split_datasets={s: tf.data.Dataset.from_tensor_slices({"image": x}) for s, x in images.items()},
        data_dir=folder,
        disable_shuffling=True,
    )
    np.savez(folder / "images.npz", **images)
    return folder


@pytest.fixture
def damaged(prepared, tmp_path):
    """A copy of the prepared folder, to be damaged, and its version folder."""
    shutil.copytree(prepared, tmp_path / "copy")
    return tmp_path / "copy", tmp_path / "copy/toy/1.2.0"


@pytest.fixture(scope="module")
def mnist_dir():
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("needs MNIST: set TFDS_DATA_DIR to a folder with mnist/")
    return folder


def images(n=20, shape=(3, 4, 1), seed=0):
    return np.random.default_rng(seed).random((n, *shape)).astype(np.float32)


def grey(n, intensities, copies=1):
    """n equal images whose pixels have the given intensities, `copies` pixels of each."""
    row = np.repeat(np.asarray(intensities, np.float32), copies)
    return np.broadcast_to(row[None, :, None, None], (n, row.size, 1, 1)).copy()


# -- sets and splits --------------------------------------------------------------------------------------------------


def test_digits_are_whole_and_of_the_stated_sizes(digits):
    assert digits.image_shape == (8, 8, 1)
    assert digits.configuration()["images"] == {"train": 1250, "validation": 250, "test": 297}
    assert digits.intensities("train").min() == 0.0
    assert digits.intensities("train").max() == 1.0
    assert digits.intensities("train").dtype == np.float32


def test_splits_are_disjoint_and_together_the_set(seed):
    pixels = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1) + np.array([0, 7], np.uint8).reshape(1, 1, 2, 1)
    data = from_arrays("numbers", pixels, pixels[:5], 255, split_seed=seed)
    train, validation = (set(split[:, 0, 0, 0]) for split in (data.train, data.validation))
    assert not train & validation
    assert train | validation == set(range(60))
    assert len(validation) == 10


def test_the_split_is_a_function_of_its_seed(digits, seed):
    again, other = load("digits"), load("digits", split_seed=seed + 1)
    assert again.fingerprint == digits.fingerprint
    assert other.fingerprint != digits.fingerprint
    np.testing.assert_array_equal(other.test, digits.test)


def test_limit_takes_the_first_of_each_split(digits):
    part = load("digits", limit=(100, 40, 30))
    np.testing.assert_array_equal(part.train, digits.train[:100])
    np.testing.assert_array_equal(part.validation, digits.validation[:40])
    np.testing.assert_array_equal(part.test, digits.test[:30])
    assert len(load("digits", limit=20).validation) == 20


def test_tensorflow_dataset_is_read_as_written(prepared):
    written = np.load(prepared / "images.npz")
    data = load("toy", prepared)
    assert data.name == "toy/1.2.0"
    assert data.max_value == 255
    np.testing.assert_array_equal(data.test, written["test"])
    both = np.concatenate([data.train, data.validation]).reshape(60, -1)
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(written["train"].reshape(60, -1), axis=0))
    assert load("toy:1.2.0", prepared).fingerprint == data.fingerprint


def test_data_dir_comes_from_the_environment(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert load("toy").name == "toy/1.2.0"


def test_sets_of_zeros_and_ones_are_binary(monkeypatch):
    bits = (images(12) < 0.5).astype(np.uint8)
    monkeypatch.setattr("hvae_tf.data._tensorflow_dataset", lambda name, data_dir: ("bits/1.0.0", bits, bits))
    data = load("bits")
    np.testing.assert_array_equal(data.intensities("test"), bits)
    np.testing.assert_array_equal(data.binarised("test"), bits)


def test_mean_logit_is_per_channel():
    half = np.array([0.25, 0.75], np.float32).reshape(1, 2, 1, 1)
    colours = np.concatenate([np.broadcast_to(half, (6, 2, 2, 1)), np.zeros((6, 2, 2, 1), np.float32)], axis=-1)
    data = from_arrays("colours", colours, colours)
    np.testing.assert_allclose(data.mean_logit(), [0.0, np.log(0.001 / 0.999)], atol=1e-6)


def test_mean_logit_averages_logits_of_images(digits):
    mean = digits.intensities("train").astype(np.float64).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(digits.mean_logit(), [np.mean(np.log(mean / (1 - mean)))], rtol=1e-6)


# -- binarisation -----------------------------------------------------------------------------------------------------

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


# -- batches ----------------------------------------------------------------------------------------------------------


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


# -- what is refused --------------------------------------------------------------------------------------------------


def test_missing_set_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=r"'mnist' is not in .*TFDS_DATA_DIR or --data-dir.*tfds.load\('mnist'"
    ) as error:
        load("mnist", tmp_path)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        load("mnist")


def test_missing_version_is_named(prepared):
    with pytest.raises(DataError, match=r"'toy:9.9.9' is not in"):
        load("toy:9.9.9", prepared)


def one_line(damage, folder):
    with pytest.raises(DataError, match=damage) as error:
        load("toy", folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def records(version, split="train"):
    return next(version.glob(f"toy-{split}.tfrecord*"))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_truncated_records_are_found(damaged, keep):
    folder, version = damaged
    path = records(version)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    one_line("toy-train.tfrecord.* is damaged", folder)


def test_records_that_lack_whole_examples_are_found(damaged):
    folder, version = damaged
    path = records(version, "test")
    examples = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples[:-2]:
            writer.write(example)
    one_line("toy-test.tfrecord.* is damaged", folder)


def test_an_altered_byte_is_found(damaged):
    folder, version = damaged
    path = records(version)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    one_line("toy-train.tfrecord.* is damaged", folder)


def test_missing_records_are_found(damaged):
    folder, version = damaged
    records(version).unlink()
    one_line("toy-train.tfrecord.* is damaged", folder)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", ["", '{"name": "to'])
def test_damaged_descriptions_are_found(damaged, file, content):
    folder, version = damaged
    (version / file).write_text(content)
    one_line("is damaged", folder)


def test_a_set_of_one_constant_is_found(damaged):
    blank = np.zeros((60, 6, 5, 1), np.uint8)
    with pytest.raises(DataError, match="each of one value only"):
        from_arrays("blank", blank, blank, 255)


def test_a_set_without_the_splits_is_refused(damaged):
    folder, version = damaged
    info = json.loads((version / "dataset_info.json").read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] == "train"]
    (version / "dataset_info.json").write_text(json.dumps(info))
    one_line("has no split 'test'; it has train", folder)


def test_a_set_without_images_is_refused(damaged):
    folder, version = damaged
    text = (version / "features.json").read_text().replace('"image": {', '"picture": {', 1)
    (version / "features.json").write_text(text)
    one_line("has no feature 'image'", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": images()[:, :, :, 0]}, "the train split has shape"),
        ({"test": images(0)}, "the test split has shape"),
        ({"train": [1, 2]}, "the train split has shape"),
        ({"validation": images(4, (4, 3, 1))}, r"the validation split holds float32 images of shape \(4, 3, 1\)"),
        ({"test": images().astype(np.float64)}, "the test split holds float64"),
        ({"train": images().astype(np.int32)}, "the train split is int32"),
        ({"validation": images() + 0.5}, r"the validation split has values from .*; expected 0 to 1"),
        ({"test": images() - 0.5}, "the test split has values from -"),
        ({"test": np.where(images() < 0.5, np.nan, images())}, "the test split has values from nan"),
        ({"test": np.ones((3, 3, 4, 1), np.float32)}, "each of one value only"),
    ],
)
def test_bad_images_are_refused(change, message):
    good = ImageData("good", images(), images(4), images(4))
    with pytest.raises(DataError, match=message):
        dataclasses.replace(good, **change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split_seed": -1}, "split_seed is -1"),
        ({"split_seed": True}, "split_seed is True"),
        ({"binarise_seed": 2**31}, "binarise_seed is 2147483648"),
        ({"validation_fraction": 0.0}, "validation_fraction is 0.0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": 298}, "limit is 298.*test 297"),
        ({"limit": (10, 10)}, "limit is"),
        ({"limit": (10, 10, 1.5)}, "limit is"),
    ],
)
def test_bad_arguments_of_load_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load("digits", **arguments)


@pytest.mark.parametrize("name", ["", "../mnist", "mnist:latest", "MNIST", "mnist/"])
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match="data set name is"):
        load(name)


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


# -- MNIST itself -----------------------------------------------------------------------------------------------------


def test_mnist_has_the_papers_split(mnist_dir):
    data = load("mnist", mnist_dir)
    assert data.configuration()["images"] == {"train": 50_000, "validation": 10_000, "test": 10_000}
    assert data.image_shape == (28, 28, 1)
    assert abs(data.intensities("train").mean() - 0.1307) < 5e-4
    assert TrainBatches(data, 100, 0).steps_per_epoch == 500
    assert -2.1 < data.mean_logit()[0] < -1.8


def test_truncated_mnist_is_found(mnist_dir, tmp_path):
    shutil.copytree(Path(mnist_dir) / "mnist", tmp_path / "mnist")
    path = next(tmp_path.rglob("mnist-test.tfrecord*"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"mnist-test.tfrecord.* is damaged"):
        load("mnist", tmp_path)
