"""Events of any shape, rows of a table, sequences or images, in three disjoint splits, checked."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_seed
from hvae_tf.data.binarisation import binarise, draw_key
from hvae_tf.files import fingerprint

SPLITS = ("train", "validation", "test")
_INDEX = {"validation": -1, "test": -2}  # of the draw that binarises the split


class DataError(ValueError):
    """A data set that is missing, damaged or not of the expected kind, and what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class EventData:
    """Events in three disjoint splits: rows of a table ``[n, d]``, sequences ``[n, t, d]``, images ``[n, h, w, c]``.

    Two objects are equal if they are one; what holds the same events has the same `fingerprint`.

    Attributes:
        name: Name and version of the set.
        train: ``[n, ...]``: uint8 or floats of 0 to `max_value`; without a `max_value` any finite numbers.
        validation: ``[m, ...]``, of the same dtype and event shape.
        test: ``[k, ...]``, likewise.
        max_value: The value that means an intensity of 1; None for values that are no intensities and stay as they are.
        split_seed: What chose the validation events.
        binarise_seed: What binarises validation and test events.
        contexts: For conditional models, by split an array ``[n, *context_shape]`` of what is known of each event, such
            as its label, one-hot; None for none.

    Raises:
        DataError: If a split is empty or no array ``[n, ...]`` of events, of another dtype or event shape than the
            others, outside [0, max_value], not finite, or has constant events only; if values without a `max_value`
            differ by less than float32 can tell; if floats never exceed 1 and `max_value` does; or if there is not one
            context of finite numbers for each event.

    Example:
        >>> table = np.random.default_rng(0).normal(size=(70, 5))
        >>> data = hvae_tf.from_arrays("mine", table[:60], table[60:], max_value=None)
        >>> data.values("train").shape, data.values("train").dtype
        ((50, 5), dtype('float32'))
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    max_value: int | None = 1
    split_seed: int = 0
    binarise_seed: int = 0
    contexts: Mapping[str, np.ndarray] | None = None

    def __post_init__(self):
        for name in ("split_seed", "binarise_seed"):
            object.__setattr__(self, name, check_seed(name, getattr(self, name)))
        if self.max_value is not None and not self.max_value > 0:
            raise DataError(f"max_value is {self.max_value}; expected a number above 0, or None for values as they are")
        for split in SPLITS:
            self._check(split, getattr(self, split))
            if self.contexts is not None:
                self._check_context(split, self.contexts.get(split), self.contexts.get("train"))
        self._check_scale()

    def _check(self, split: str, events: np.ndarray) -> None:
        where = f"{self.name}: the {split} split"
        self._check_shape(where, events)
        span = "any finite values" if self.max_value is None else f"0 to {self.max_value}"
        if events.dtype not in (np.uint8, np.float32, np.float64):
            floats = "finite floats" if self.max_value is None else f"floats in [0, {self.max_value}]"
            raise DataError(f"{where} is {events.dtype}; expected uint8 of {span}, or {floats}")
        if events.shape[1:] != self.train.shape[1:] or events.dtype != self.train.dtype:
            raise DataError(
                f"{where} holds {events.dtype} events of shape {events.shape[1:]}, the train split "
                f"{self.train.dtype} of {self.train.shape[1:]}; expected the same"
            )
        if events.dtype.kind == "f" and not np.isfinite(events).all():
            count = np.count_nonzero(~np.isfinite(events))
            raise DataError(f"{where} holds {count} values that are not finite; expected {span}")
        low, high = events.min(), events.max()
        least, most = (0, self.max_value) if self.max_value is not None else (-_LARGEST, _LARGEST)
        if not (low >= least and high <= most):
            raise DataError(f"{where} has values from {low} to {high}; expected {span}")
        flat = events.reshape(len(events), -1)
        if self.max_value is None and events.dtype == np.float64:
            self._check_digits(where, flat)
        one_value_each = np.all(flat == flat[:, :1])
        if one_value_each and (flat.shape[1] > 1 or (len(flat) > 1 and np.all(flat == flat[0]))):
            raise DataError(f"{where} has {len(events)} events, each of one value only; the data set is damaged")

    def _check_digits(self, where: str, flat: np.ndarray) -> None:
        """Numbers that differ, in training, by less than float32 can tell at their size would be one number."""
        train = self.train.reshape(len(self.train), -1)
        varies = np.ptp(train, axis=0) > 1e-12 * np.abs(train).max(axis=0)  # more than rounding does to a constant
        lost, spread = np.abs(flat - flat.astype(np.float32)).max(axis=0), train.std(axis=0)
        worst = int(np.argmax(np.where(varies, lost / np.where(varies, spread, 1.0), 0.0)))
        if varies[worst] and lost[worst] > _MOST_LOST * spread[worst]:
            raise DataError(
                f"{where}: in float32, in which networks compute, value {worst} of an event would be off by up to "
                f"{lost[worst]:.2g}, where its standard deviation is {spread[worst]:.2g}; take its mean off first"
            )

    def _check_scale(self) -> None:
        """Floats in [0, 1], divided by 255, would be images that are black."""
        if self.max_value is None or self.max_value <= 1 or self.train.dtype == np.uint8:
            return
        largest = max(float(getattr(self, split).max()) for split in SPLITS)
        if largest <= 1.0:
            raise DataError(
                f"{self.name} holds floats up to {largest} where max_value is {self.max_value}; expected floats in "
                f"[0, {self.max_value}], or max_value=1"
            )

    def _check_context(self, split: str, y, first) -> None:
        size, shape = len(getattr(self, split)), np.shape(first)[1:]
        if not isinstance(y, np.ndarray) or len(y) != size or y.shape[1:] != shape:
            raise DataError(
                f"{self.name}: the contexts of the {split} split have shape {np.shape(y)}; expected an array "
                f"{[size, *shape]}, one for each event"
            )
        what = y.dtype if y.dtype.kind not in "fiub" else None if np.all(np.isfinite(y)) else "not finite"
        if what is not None:
            raise DataError(
                f"{self.name}: the contexts of the {split} split are {what}; expected finite real numbers, such as "
                "one-hot labels"
            )

    def _check_shape(self, where: str, events: np.ndarray) -> None:
        if not isinstance(events, np.ndarray) or events.ndim < 2 or 0 in events.shape:
            raise DataError(f"{where} has shape {np.shape(events)}; expected an array of events [n, ...], n > 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one event: ``(d,)``, ``(t, d)``, ``(height, width, channels)``."""
        return tuple(self.train.shape[1:])

    @functools.cached_property
    def fingerprint(self) -> str:
        """A short digest of the events of all splits, in their order, and of their contexts."""
        contexts = [] if self.contexts is None else [self.contexts[split] for split in SPLITS]
        return fingerprint(self.train, self.validation, self.test, *contexts)

    def configuration(self) -> dict[str, Any]:
        """Name, sizes, seeds and fingerprint, as a run record has them."""
        return {
            "name": self.name,
            "images": {split: len(getattr(self, split)) for split in SPLITS},
            "split_seed": self.split_seed,
            "binarise_seed": self.binarise_seed,
            "fingerprint": self.fingerprint,
        }

    def values(self, split: str) -> np.ndarray:
        """The events of a split as float32, ``[n, ...]``: intensities in [0, 1], or the values as they are."""
        return scaled(self._split(split), self.max_value)

    def binarised(self, split: str, seed: int | None = None) -> np.ndarray:
        """The validation or test events with values 0.0 or 1.0, the same at every call with the same seed.

        Args:
            split: ``"validation"`` or ``"test"``; training events are binarised by `TrainBatches`.
            seed: Another seed than `binarise_seed`, to see how much a number depends on the binarisation.

        Returns:
            ``[n, ...]`` float32.

        Raises:
            ValueError: If the split is another, the seed is out of range, or the values are no intensities.
        """
        if split not in _INDEX:
            raise ValueError(f"split is {split!r}; expected 'validation' or 'test' (training images: TrainBatches)")
        self.check_intensities()
        seed = self.binarise_seed if seed is None else check_seed("seed", seed)
        with tf.device("CPU:0"):
            return binarise(self.values(split), draw_key(seed, _INDEX[split])).numpy()

    def check_intensities(self) -> None:
        """Raises ValueError unless the values are intensities, which can be binarised."""
        if self.max_value is None:
            raise ValueError(f"{self.name} has no max_value, so its values cannot be binarised; take them as they are")

    def _split(self, split: str) -> np.ndarray:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; accepted: {', '.join(SPLITS)}")
        return getattr(self, split)


_MOST_LOST = 0.01  # of the standard deviation
_LARGEST = float(np.finfo(np.float32).max)  # networks compute in float32


def scaled(events: np.ndarray, max_value: int | None) -> np.ndarray:
    """Events as float32, in units of `max_value` where there is one."""
    return (events if max_value is None else events / np.float32(max_value)).astype(np.float32)
