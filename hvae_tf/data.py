"""Image data: sets and splits, and training batches that are a function of (seed, step).

A pixel of intensity x in [0, 1] becomes 1 with probability x (dynamic binarisation). Training images are binarised
afresh at every step; validation and test images once, from stated seeds. Nothing here holds a random state: batch
number `step` of a seed is always the same batch, whoever asks, in whatever order, so training that was stopped goes on
where it was. All random draws are stateless, with keys (seed, step) for training, (seed, -1) and (seed, -2) for the
validation and the test images, and (seed, -3 - epoch) for the order of an epoch.
"""

import dataclasses
import functools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_seed
from hvae_tf.records import fingerprint

SPLITS = ("train", "validation", "test")
VALIDATION_FRACTION = 1 / 6  # 10 000 of MNIST's 60 000
DIGITS_TEST = 297  # the last ones of 1797
_STREAM = 0x64617461 << 32  # keeps these draws apart from a model's noise at the same (seed, step)


class DataError(ValueError):
    """A data set that is missing, damaged or not of the expected kind, and what to do."""


@dataclasses.dataclass(frozen=True)
class ImageData:
    """Images in three disjoint splits.

    Attributes:
        name: Name and version of the set.
        train: ``[n, height, width, channels]``: uint8 of 0 to `max_value`, or floats in [0, 1].
        validation: ``[m, height, width, channels]``, of the same dtype.
        test: ``[k, height, width, channels]``, of the same dtype.
        max_value: The pixel value that means an intensity of 1.
        split_seed: What chose the validation images.
        binarise_seed: What binarises validation and test images.

    Raises:
        DataError: If a split is empty, not ``[n, height, width, channels]``, of another dtype or image shape than the
            others, outside [0, max_value], not finite, or has constant images only.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    max_value: int = 1
    split_seed: int = 0
    binarise_seed: int = 0

    def __post_init__(self):
        check_seed("split_seed", self.split_seed)
        check_seed("binarise_seed", self.binarise_seed)
        for split in SPLITS:
            self._check(split, getattr(self, split))

    def _check(self, split: str, images: np.ndarray) -> None:
        where = f"{self.name}: the {split} split"
        if not isinstance(images, np.ndarray) or images.ndim != 4 or 0 in images.shape:
            raise DataError(
                f"{where} has shape {np.shape(images)}; expected images [n, height, width, channels], n > 0"
            )
        if images.dtype not in (np.uint8, np.float32, np.float64):
            raise DataError(f"{where} is {images.dtype}; expected uint8 of 0 to {self.max_value}, or floats in [0, 1]")
        if images.shape[1:] != self.train.shape[1:] or images.dtype != self.train.dtype:
            raise DataError(
                f"{where} holds {images.dtype} images of shape {images.shape[1:]}, the train split "
                f"{self.train.dtype} of {self.train.shape[1:]}; expected the same"
            )
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= self.max_value):  # NaN fails too
            raise DataError(f"{where} has values from {low} to {high}; expected 0 to {self.max_value}")
        if np.all(images == images[:, :1, :1, :1]):
            raise DataError(f"{where} has {len(images)} images, each of one value only; the data set is damaged")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return tuple(self.train.shape[1:])

    @functools.cached_property
    def fingerprint(self) -> str:
        """A short digest of the images of all splits, in their order."""
        return fingerprint(self.train, self.validation, self.test)

    def configuration(self) -> dict[str, Any]:
        """Name, sizes, seeds and fingerprint, as a run record has them."""
        return {
            "name": self.name,
            "images": {split: len(getattr(self, split)) for split in SPLITS},
            "split_seed": self.split_seed,
            "binarise_seed": self.binarise_seed,
            "fingerprint": self.fingerprint,
        }

    def intensities(self, split: str) -> np.ndarray:
        """The images of a split as float32 in [0, 1], ``[n, height, width, channels]``."""
        return (self._split(split) / np.float32(self.max_value)).astype(np.float32)

    def binarised(self, split: str, seed: int | None = None) -> np.ndarray:
        """The validation or test images with pixels 0.0 or 1.0, the same at every call with the same seed.

        Args:
            split: ``"validation"`` or ``"test"``; training images are binarised by `TrainBatches`.
            seed: Another seed than `binarise_seed`, to see how much a number depends on the binarisation.

        Returns:
            ``[n, height, width, channels]`` float32.

        Raises:
            ValueError: If the split is another, or the seed is out of range.
        """
        if split not in ("validation", "test"):
            raise ValueError(f"split is {split!r}; expected 'validation' or 'test' (training images: TrainBatches)")
        seed = self.binarise_seed if seed is None else check_seed("seed", seed)
        key = tf.constant([_STREAM + seed, -1 if split == "validation" else -2], tf.int64)
        with tf.device("CPU:0"):
            return binarise(self.intensities(split), key).numpy()

    def mean_logit(self) -> np.ndarray:
        """Where to start the bias of a decoder's output: the mean over training images of logit(mean intensity).

        As in the paper's released code; an image's mean is kept within [0.001, 0.999].

        Returns:
            ``[channels]`` float32.
        """
        mean = self.train.mean(axis=(1, 2), dtype=np.float64) / self.max_value
        mean = mean.clip(1e-3, 1 - 1e-3)
        return np.mean(np.log(mean) - np.log1p(-mean), axis=0).astype(np.float32)

    def _split(self, split: str) -> np.ndarray:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; accepted: {', '.join(SPLITS)}")
        return getattr(self, split)


def binarise(intensities, key) -> tf.Tensor:
    """Pixels that are 1 with probability equal to their intensity, else 0.

    Args:
        intensities: ``[...]`` float32 in [0, 1].
        key: ``[2]`` int64, what the draw is a function of.

    Returns:
        ``[...]`` float32 of zeros and ones.
    """
    uniform = tf.random.stateless_uniform(tf.shape(intensities), key, dtype=tf.float32, alg="philox")
    return tf.cast(
        uniform < intensities, tf.float32
    )  # uniform is in [0, 1): intensity 0 is never 1, intensity 1 always


class TrainBatches:
    """Shuffled, freshly binarised training batches, numbered from step 0.

    Epoch e holds steps ``e * steps_per_epoch`` to ``(e + 1) * steps_per_epoch - 1`` and visits the images in a
    permutation of its own, without replacement. Where the batch size does not divide the number of images, the rest of
    the permutation is left out: other images each epoch.

    Args:
        data: Where the images come from.
        batch_size: Images a step.
        seed: Of the permutations and the binarisation.
        binarised: False yields the intensities themselves.

    Attributes:
        steps_per_epoch: Whole batches in an epoch.

    Raises:
        ValueError: If the batch size is not in 1..n, or the seed is out of range.
    """

    def __init__(self, data: ImageData, batch_size: int, seed: int, binarised: bool = True):
        size = len(data.train)
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or not 1 <= batch_size <= size:
            raise ValueError(f"batch_size is {batch_size}; expected an integer from 1 to {size}, the training images")
        self.data = data
        self.batch_size = int(batch_size)
        self.seed = check_seed("seed", seed)
        self.binarised = bool(binarised)
        self.steps_per_epoch = size // self.batch_size
        with tf.device("CPU:0"):
            self._images = tf.constant(data.train)

    def configuration(self) -> dict[str, Any]:
        """What the batches are a function of, besides the step."""
        return {
            "data": self.data.configuration(),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "binarised": self.binarised,
        }

    def permutation(self, epoch) -> tf.Tensor:
        """The images of an epoch's steps, ``[steps_per_epoch, batch_size]`` int64."""
        key = tf.stack([tf.constant(_STREAM + self.seed, tf.int64), -3 - tf.cast(epoch, tf.int64)])
        random = tf.random.stateless_uniform([len(self.data.train)], key, None, None, tf.int64, alg="philox")
        order = tf.argsort(random, stable=True)[: self.steps_per_epoch * self.batch_size]
        return tf.cast(tf.reshape(order, [self.steps_per_epoch, self.batch_size]), tf.int64)

    def batch(self, step, indices) -> tf.Tensor:
        """The batch of step number `step`, made of images `indices`: ``[batch_size, height, width, channels]``."""
        images = tf.cast(tf.gather(self._images, indices), tf.float32) / self.data.max_value
        if not self.binarised:
            return images
        return binarise(images, tf.stack([tf.constant(_STREAM + self.seed, tf.int64), step]))

    def dataset(self, start: int, stop: int) -> tf.data.Dataset:
        """Batches number start to stop - 1 in order, ``[batch_size, height, width, channels]`` float32, prefetched.

        Raises:
            ValueError: Unless 0 <= start <= stop.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"steps from {start} to {stop} were asked for; expected 0 <= start <= stop")
        length = self.steps_per_epoch
        first, last = start // length, -(-stop // length)

        def steps_of(epoch):
            steps = epoch * length + tf.range(length, dtype=tf.int64)
            return tf.data.Dataset.from_tensor_slices((steps, self.permutation(epoch)))

        with tf.device("CPU:0"):
            steps = tf.data.Dataset.range(first, last).flat_map(steps_of).skip(start - first * length)
            steps = steps.take(stop - start).apply(tf.data.experimental.assert_cardinality(stop - start))
            return steps.map(self.batch, num_parallel_calls=2, deterministic=True).prefetch(4)


def load(
    name: str,
    data_dir: Path | str | None = None,
    *,
    split_seed: int = 0,
    binarise_seed: int = 0,
    validation_fraction: float = VALIDATION_FRACTION,
    limit: int | tuple[int, int, int] | None = None,
) -> ImageData:
    """Loads a set of images, whole and checked, without any network.

    The validation images are drawn from the training images by the split seed: a sixth, which is 50 000 / 10 000 /
    10 000 for MNIST. ``"digits"`` are the 1797 8x8 digits that come with scikit-learn, the last 297 of them for
    testing.

    Args:
        name: ``"mnist"`` or any image set of TensorFlow Datasets with splits ``train`` and ``test``, prepared on disk,
            as ``name[/config][:version]``; or ``"digits"``.
        data_dir: The folder that holds ``<name>/<version>/``; default: ``$TFDS_DATA_DIR``, then
            ``~/tensorflow_datasets``.
        split_seed: Chooses and orders the validation images.
        binarise_seed: Binarises validation and test images.
        validation_fraction: The part of the training images that becomes the validation split.
        limit: Keeps the first images of each split: one number for all splits, or (train, validation, test).

    Returns:
        The images, uint8.

    Raises:
        DataError: If the set is not there, damaged, or not one of fixed-size uint8 images.
        ValueError: If an argument is out of range.
    """
    if name == "digits":
        full, train, test, max_value = _digits()
    else:
        full, train, test = _tensorflow_dataset(name, data_dir)
        max_value = 255 if max(train.max(), test.max()) > 1 else 1  # sets stored as zeros and ones
    return from_arrays(
        full,
        train,
        test,
        max_value,
        split_seed=split_seed,
        binarise_seed=binarise_seed,
        validation_fraction=validation_fraction,
        limit=limit,
    )


def from_arrays(
    name: str,
    train: np.ndarray,
    test: np.ndarray,
    max_value: int = 1,
    *,
    split_seed: int = 0,
    binarise_seed: int = 0,
    validation_fraction: float = VALIDATION_FRACTION,
    limit: int | tuple[int, int, int] | None = None,
) -> ImageData:
    """Images of your own: as `load`, from arrays.

    Args:
        name: What to call the set.
        train: ``[n, height, width, channels]``, uint8 of 0 to `max_value` or floats in [0, 1]; validation images are
            drawn from these.
        test: ``[k, height, width, channels]``, likewise.
        max_value: The pixel value that means an intensity of 1.
        split_seed: As in `load`.
        binarise_seed: As in `load`.
        validation_fraction: As in `load`.
        limit: As in `load`.

    Raises:
        DataError: If the images are not as described.
        ValueError: If an argument is out of range.
    """
    held_out = round(len(train) * validation_fraction)
    if not 0 < held_out < len(train):
        raise ValueError(
            f"validation_fraction is {validation_fraction}; expected a part that leaves at least one of "
            f"{len(train)} images on each side"
        )
    order = np.random.default_rng(check_seed("split_seed", split_seed)).permutation(len(train))
    data = ImageData(name, train[order[held_out:]], train[order[:held_out]], test, max_value, split_seed, binarise_seed)
    return data if limit is None else _first(data, limit)


def _first(data: ImageData, limit) -> ImageData:
    """The first images of each split."""
    limits = (limit,) * 3 if np.ndim(limit) == 0 else tuple(limit)
    splits = {split: getattr(data, split) for split in SPLITS}
    if len(limits) != 3 or not all(
        isinstance(n, (int, np.integer)) and 1 <= n <= len(images)
        for n, images in zip(limits, splits.values(), strict=False)
    ):
        sizes = ", ".join(f"{split} {len(images)}" for split, images in splits.items())
        raise ValueError(f"limit is {limit}; expected one number of images or three, each within: {sizes}")
    return dataclasses.replace(
        data, **{split: images[:n] for (split, images), n in zip(splits.items(), limits, strict=True)}
    )


def _digits() -> tuple[str, np.ndarray, np.ndarray, int]:
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.uint8)[..., None]
    return "digits", images[:-DIGITS_TEST], images[-DIGITS_TEST:], 16


def _tensorflow_dataset(name: str, data_dir: Path | str | None) -> tuple[str, np.ndarray, np.ndarray]:
    """Full name, training and test images of a set that TFDS has prepared on disk; never downloads."""
    folder = _version_folder(name, data_dir)
    import tensorflow_datasets as tfds

    advice = f"delete {folder} and prepare it again with TFDS"
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # whatever a damaged description makes TFDS raise
        raise DataError(f"{folder} is damaged: {_line(error)}; {advice}") from error
    features = builder.info.features
    image = features["image"] if isinstance(features, tfds.features.FeaturesDict) and "image" in features else None
    if image is None or len(image.shape) != 3 or None in image.shape or image.np_dtype != np.uint8:
        raise DataError(
            f"{folder} has no feature 'image' of fixed-size uint8 images; it has {' '.join(str(features).split())}"
        )
    return builder.info.full_name, *(_read(builder, split, advice) for split in ("train", "test"))


def _read(builder, split: str, advice: str) -> np.ndarray:
    """All images of a split, ``[n, height, width, channels]`` uint8, in the order of its files."""
    import tensorflow_datasets as tfds

    if split not in builder.info.splits:
        raise DataError(f"{builder.data_path} has no split {split!r}; it has {', '.join(sorted(builder.info.splits))}")
    info = builder.info.splits[split]
    files = ", ".join(str(path) for path in info.filepaths[:1]) + (", ..." if len(info.filepaths) > 1 else "")
    features = {"image": builder.info.features["image"]}
    try:
        with tf.device("CPU:0"):
            images = builder.as_dataset(
                split=split,
                batch_size=-1,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding(features),
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            )["image"].numpy()
    except Exception as error:  # truncated or altered records, missing files
        raise DataError(f"{files} is damaged: {_line(error)}; {advice}") from error
    if images.shape != (info.num_examples, *features["image"].shape):
        raise DataError(
            f"{files} is damaged: it holds images {list(images.shape)}, its description says "
            f"{[info.num_examples, *features['image'].shape]}; {advice}"
        )
    return images


def _version_folder(name: str, data_dir: Path | str | None) -> Path:
    """``<data_dir>/<name>[/<config>]/<version>``, the newest version unless one is named."""
    match = re.fullmatch(r"([a-z]\w*(?:/[\w.-]+)?)(?::(\d+\.\d+\.\d+))?", name)
    if not match:
        raise ValueError(f"data set name is {name!r}; expected 'digits' or a TFDS name[/config][:version]")
    path, version = match.groups()
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folders = {f.name: f for f in (root / path).glob("*") if re.fullmatch(r"\d+\.\d+\.\d+", f.name) and f.is_dir()}
    if not folders or (version and version not in folders):
        raise DataError(
            f"data set {name!r} is not in {root}: set TFDS_DATA_DIR or --data-dir to the folder that holds "
            f"{path}/{version or '<version>'}/, or prepare it on a machine with a network, "
            f"python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir='DIR')\", "
            "and copy DIR here; the set 'digits' needs no files"
        )
    return folders[version or max(folders, key=lambda v: tuple(map(int, v.split("."))))]


def _line(error: BaseException) -> str:
    """The first line of an error's message, without what surrounds it."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
