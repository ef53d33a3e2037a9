"""Where data come from: a table of named sets, anything that TFDS has prepared on disk, or arrays of your own."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hvae_tf.checks import check_seed
from hvae_tf.data.events import SPLITS, DataError, EventData
from hvae_tf.data.images import ImageData
from hvae_tf.data.tfds import tensorflow_dataset

VALIDATION_FRACTION = 1 / 6  # 10 000 of MNIST's 60 000
DIGITS_TEST = 297  # the last ones of 1797


class Source(NamedTuple):
    """A set as it is stored.

    Attributes:
        name: Name and version.
        train: ``[n, ...]``, training and validation events.
        test: ``[k, ...]``.
        max_value: The value that means an intensity of 1; None where values are no intensities.
        labels: ``[n]`` and ``[k]``, whole numbers from 0, or None.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    max_value: int | None
    labels: tuple[np.ndarray, np.ndarray] | None = None


def _digits() -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8)[..., None], digits.target
    of_images = labels[:-DIGITS_TEST], labels[-DIGITS_TEST:]
    return Source("digits", images[:-DIGITS_TEST], images[-DIGITS_TEST:], 16, of_images)


def _tfds(name: str, data_dir: Path | str | None, labels: bool) -> Source:
    full, train, test = tensorflow_dataset(name, data_dir, SOURCES)
    max_value = 255 if max(train.max(), test.max()) > 1 else 1  # sets stored as zeros and ones
    of_images = tensorflow_dataset(name, data_dir, SOURCES, feature="label")[1:] if labels else None
    return Source(full, train, test, max_value, of_images)


SOURCES: dict[str, Callable[[], Source]] = {"digits": _digits}
"""Sets that need no files, by name; every other name is one of TFDS."""


def load(
    name: str,
    data_dir: Path | str | None = None,
    *,
    split_seed: int = 0,
    binarise_seed: int = 0,
    validation_fraction: float = VALIDATION_FRACTION,
    limit: int | tuple[int, int, int] | None = None,
    labels: bool = False,
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
        labels: Whether to load the labels too, one-hot, as the contexts of a conditional model.

    Returns:
        The images, uint8.

    Raises:
        DataError: If the set is not there, damaged, or not one of fixed-size uint8 images.
        ValueError: If an argument is out of range.

    Example:
        >>> data = hvae_tf.load("digits")
        >>> data.event_shape, len(data.train), len(data.validation), len(data.test)
        ((8, 8, 1), 1250, 250, 297)
    """
    source = SOURCES[name]() if name in SOURCES else _tfds(name, data_dir, labels)
    if labels and source.labels is None:
        raise DataError(f"{source.name} has no labels; leave labels=True out")
    data = from_arrays(
        *source[:4],
        split_seed=split_seed,
        binarise_seed=binarise_seed,
        validation_fraction=validation_fraction,
        limit=limit,
        contexts=_one_hot(source.labels) if labels and source.labels else None,
    )
    assert isinstance(data, ImageData)  # every named set is one of images
    return data


def from_arrays(
    name: str,
    train: np.ndarray,
    test: np.ndarray,
    max_value: int | None = 1,
    *,
    validation: np.ndarray | None = None,
    split_seed: int = 0,
    binarise_seed: int = 0,
    validation_fraction: float = VALIDATION_FRACTION,
    limit: int | tuple[int, int, int] | None = None,
    contexts: tuple[np.ndarray, ...] | None = None,
) -> EventData:
    """Events of your own: as `load`, from arrays.

    Args:
        name: What to call the set.
        train: ``[n, ...]``: rows of a table ``[n, d]``, sequences ``[n, t, d]``, images ``[n, height, width,
            channels]``; whole numbers or floats of 0 to `max_value`; validation events are drawn from these, unless
            they are given.
        test: ``[k, ...]``, likewise.
        max_value: The value that means an intensity of 1; None for a table of real numbers and whatever else is no
            intensity: the values stay as they are, and nothing is binarised.
        validation: ``[m, ...]``, likewise, where they are split off already; `train` then stays whole, in its order.
        split_seed: As in `load`.
        binarise_seed: As in `load`.
        validation_fraction: As in `load`.
        limit: As in `load`.
        contexts: For a conditional model what is known of the events of `train` and of `test`, ``[n, *context_shape]``
            and ``[k, *context_shape]``, such as one-hot labels, and between the two of `validation` where that is
            given.

    Returns:
        `ImageData` of arrays of rank 4, else `EventData`.

    Raises:
        DataError: If the events are not as described.
        ValueError: If an argument is out of range.

    Example:
        >>> table = np.random.default_rng(0).normal(size=(120, 5))
        >>> data = hvae_tf.from_arrays("mine", table[:100], table[100:], max_value=None)
        >>> data.event_shape, len(data.train), len(data.validation)
        ((5,), 83, 17)
    """
    if not isinstance(train, np.ndarray) or not train.ndim:
        raise DataError(f"{name}: train has shape {np.shape(train)}; expected a NumPy array of events [n, ...], n > 0")
    train, test, *given = _alike(train, test, *([] if validation is None else [validation]))
    if contexts is not None and len(contexts) != (2 if validation is None else 3):
        wanted = "train's and test's" if validation is None else "train's, validation's and test's"
        raise DataError(f"{name}: {len(contexts)} arrays of contexts; expected {wanted}")
    kind = ImageData if train.ndim == 4 else EventData
    if validation is not None:
        if validation_fraction != VALIDATION_FRACTION:
            raise ValueError("validation_fraction is given beside validation; leave one of them out")
        of_splits = None if contexts is None else dict(zip(SPLITS, map(np.asarray, contexts), strict=True))
        data = kind(name, train, given[0], test, max_value, split_seed, binarise_seed, of_splits)
        return data if limit is None else _first(data, limit)
    held_out = round(len(train) * validation_fraction)
    if not 0 < held_out < len(train):
        raise ValueError(
            f"validation_fraction is {validation_fraction}; expected a part that leaves at least one of "
            f"{len(train)} events on each side"
        )
    order = np.random.default_rng(check_seed("split_seed", split_seed)).permutation(len(train))
    parts = {"train": order[held_out:], "validation": order[:held_out]}
    of_splits = None
    if contexts is not None:
        of_train, of_test = (np.asarray(y) for y in contexts)
        if len(of_train) != len(train):
            raise DataError(f"{name}: {len(of_train)} contexts for {len(train)} training events; expected one for each")
        of_splits = {split: of_train[part] for split, part in parts.items()} | {"test": of_test}
    training, held = (train[part] for part in parts.values())
    data = kind(name, training, held, test, max_value, split_seed, binarise_seed, of_splits)
    return data if limit is None else _first(data, limit)


def _alike(*splits):
    """Whole numbers of another type than uint8 as floats, of the other splits' kind; truth values as uint8."""
    kinds = [part.dtype if isinstance(part, np.ndarray) else None for part in splits]
    floats = {kind for kind in kinds if kind is not None and kind.kind == "f"}
    whole = floats.pop() if len(floats) == 1 else np.dtype(np.float64)
    found = []
    for part, kind in zip(splits, kinds, strict=True):
        if kind is not None and kind.kind == "b":
            part = part.astype(np.uint8)
        elif kind is not None and kind.kind in "iu" and kind != np.uint8:
            part = part.astype(whole)
        found.append(part)
    return found


def _first(data: EventData, limit) -> EventData:
    """The first events of each split."""
    limits = (limit,) * 3 if np.ndim(limit) == 0 else tuple(limit)
    splits = {split: getattr(data, split) for split in SPLITS}
    if len(limits) != 3 or not all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 1 <= n <= len(images)
        for n, images in zip(limits, splits.values(), strict=False)
    ):
        sizes = ", ".join(f"{split} {len(images)}" for split, images in splits.items())
        raise ValueError(f"limit is {limit}; expected one number of events or three, each within: {sizes}")
    kept: dict[str, Any] = {split: images[:n] for (split, images), n in zip(splits.items(), limits, strict=True)}
    if data.contexts is not None:
        kept["contexts"] = {split: data.contexts[split][: len(images)] for split, images in kept.items()}
    return dataclasses.replace(data, **kept)


def _one_hot(labels: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    classes = 1 + max(int(part.max()) for part in labels)
    train, test = (np.eye(classes, dtype=np.float32)[part] for part in labels)
    return train, test
