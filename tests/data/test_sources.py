"""Where data come from: splits and their seeds, TFDS on disk, what is missing or damaged, names."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.data import DataError, TrainBatches, from_arrays, load

SIZES = {"train": 60, "test": 12}


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


def images(n=20, shape=(3, 4, 1), seed=0):
    return np.random.default_rng(seed).random((n, *shape)).astype(np.float32)


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


def test_digits_and_their_draws_are_what_runs_were_recorded_with(digits):
    data = load("digits", split_seed=3, binarise_seed=4)
    assert (digits.fingerprint, data.fingerprint) == ("d7ec074c337aefb4", "9fc2a1835a1f50fe")
    assert digest(data.intensities("train")) == "0b7ca2f68da700ef"
    assert digest(data.binarised("test")) == "a14d19f8439e0244"
    assert digest(data.binarised("validation", 9)) == "13ae97d0b0ef7cae"
    batches = TrainBatches(data, 70, 5)
    assert digest(batches.permutation(2)) == "b5c307dcee892070"
    assert digest(np.stack(list(batches.dataset(15, 20).as_numpy_iterator()))) == "23d03be60c21112a"
    assert data.mean_logit() == np.float32([-0.82698816])


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


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
    monkeypatch.setattr("hvae_tf.data.sources.tensorflow_dataset", lambda *_: ("bits/1.0.0", bits, bits))
    data = load("bits")
    np.testing.assert_array_equal(data.intensities("test"), bits)
    np.testing.assert_array_equal(data.binarised("test"), bits)


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
        ({"limit": True}, "limit is True"),
        ({"limit": (True, 10, 10)}, "limit is"),
    ],
)
def test_bad_arguments_of_load_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load("digits", **arguments)


@pytest.mark.parametrize("name", ["", "../mnist", "mnist:latest", "MNIST", "mnist/"])
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match="data set name is"):
        load(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("MNIST", "mnist"), ("Digits", "digits"), ("Toy", "toy"), ("T_o-y", "toy"), ("KMNIST", "kmnist")],
)
def test_a_misspelt_name_gets_the_right_one(prepared, name, meant):
    with pytest.raises(ValueError, match=f"data set name is '{name}'; expected 'digits' or .*; did you mean '{meant}'"):
        load(name, prepared)
    with pytest.raises(ValueError, match=r"version\]$"):  # nothing is alike
        load("../!", prepared)


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


@pytest.mark.parametrize(("name", "meant"), [("mnsit", "mnist"), ("mNIST", "mnist"), ("fashion", "fashion_mnist")])
def test_a_misspelt_set_is_guessed(name, meant, tmp_path):
    with pytest.raises(DataError, match=f"did you mean '{meant}'"):
        load(name, tmp_path)
