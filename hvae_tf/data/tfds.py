"""Images that TensorFlow Datasets has prepared on disk: read whole, checked, never downloaded."""

import contextlib
import difflib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from hvae_tf.data.events import DataError

COMMON = ("mnist", "fashion_mnist", "omniglot", "binarized_mnist")  # names that a misspelt one may mean
_NAME = re.compile(r"([a-z]\w*(?:/[\w.-]+)?)(?::(\d+\.\d+\.\d+))?")


def tensorflow_dataset(
    name: str, data_dir: Path | str | None, others: Iterable[str] = (), *, feature: str = "image"
) -> tuple[str, np.ndarray, np.ndarray]:
    """Full name, training and test images of a set that TFDS has prepared on disk.

    Args:
        name: ``name[/config][:version]``, the newest version unless one is named.
        data_dir: The folder that holds ``<name>/<version>/``; default: ``$TFDS_DATA_DIR``, then
            ``~/tensorflow_datasets``.
        others: Names that are no sets of TFDS, to be suggested where `name` is misspelt.
        feature: ``"image"``, or ``"label"`` for the labels in its place.

    Returns:
        ``name/version``; ``[n, height, width, channels]`` uint8; ``[k, height, width, channels]`` uint8; labels are
        ``[n]`` and ``[k]``.

    Raises:
        DataError: If the set is not there, damaged, or not one of fixed-size uint8 images.
        ValueError: If `name` is no such name.
    """
    folder = _version_folder(name, data_dir, others)
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
    if feature not in features or (feature != "image" and features[feature].shape != ()):
        raise DataError(f"{folder} has no labels, a whole number for each image; leave labels=True out")
    return builder.info.full_name, *(_read(builder, split, advice, feature) for split in ("train", "test"))


def _read(builder, split: str, advice: str, feature: str) -> np.ndarray:
    """All images of a split, ``[n, height, width, channels]`` uint8, or labels, in the order of its files."""
    import tensorflow_datasets as tfds

    if split not in builder.info.splits:
        raise DataError(f"{builder.data_path} has no split {split!r}; it has {', '.join(sorted(builder.info.splits))}")
    info = builder.info.splits[split]
    files = ", ".join(str(path) for path in info.filepaths[:1]) + (", ..." if len(info.filepaths) > 1 else "")
    features = {feature: builder.info.features[feature]}
    try:
        with tf.device("CPU:0"), _without_its_own_deprecation():
            images = builder.as_dataset(
                split=split,
                batch_size=-1,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding(features),
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            )[feature].numpy()
    except Exception as error:  # truncated or altered records, missing files
        raise DataError(f"{files} is damaged: {_line(error)}; {advice}") from error
    if images.shape != (info.num_examples, *features[feature].shape):
        raise DataError(
            f"{files} is damaged: it holds {feature}s {list(images.shape)}, its description says "
            f"{[info.num_examples, *features[feature].shape]}; {advice}"
        )
    return images


@contextlib.contextmanager
def _without_its_own_deprecation() -> Iterator[None]:
    """Drops the one warning that TFDS gives of code of its own: its partial decoding uses what it deprecates."""

    def keep(record: logging.LogRecord) -> bool:
        return "FeatureConnector.dtype" not in str(record.args) + str(record.msg)

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _version_folder(name: str, data_dir: Path | str | None, others: Iterable[str]) -> Path:
    """``<data_dir>/<name>[/<config>]/<version>``, the newest version unless one is named."""
    match = _NAME.fullmatch(name)
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    if not match:
        alike = _alike(name, [*others, *(f.name for f in root.glob("*") if f.is_dir())])
        raise ValueError(
            f"data set name is {name!r}; expected {', '.join(map(repr, others))} or a TFDS name[/config][:version]"
            + (f"; did you mean {alike!r}?" if alike else "")
        )
    path, version = match.groups()
    close = difflib.get_close_matches(name.lower(), [*others, *COMMON, *(f.name for f in root.glob("*"))], 1)
    hint = f"did you mean {close[0]!r}? Else " if close and close[0] != name else ""
    folders = {f.name: f for f in (root / path).glob("*") if re.fullmatch(r"\d+\.\d+\.\d+", f.name) and f.is_dir()}
    if not folders or (version and version not in folders):
        raise DataError(
            f"data set {name!r} is not in {root}: {hint}set TFDS_DATA_DIR or --data-dir to the folder that holds "
            f"{path}/{version or '<version>'}/, or prepare it on a machine with a network, "
            f"python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir='DIR')\", "
            "and copy DIR here; the set 'digits' needs no files"
        )
    return folders[version or max(folders, key=lambda v: tuple(map(int, v.split("."))))]


def _alike(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is but for case and punctuation, else `name` in lower case if that can be a name."""

    def plain(text: str) -> str:
        return re.sub(r"[\W_]", "", text).lower()

    if not plain(name):
        return None
    lower = name.lower() if _NAME.fullmatch(name.lower()) else None
    return next((other for other in known if plain(other) == plain(name)), lower)


def _line(error: BaseException) -> str:
    """The first line of an error's message, without what surrounds it."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
