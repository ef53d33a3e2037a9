"""Blocks of images that were judged, each kept in a file of its own as soon as it is done."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.files import atomic_write
from hvae_tf.runs.record import as_json, is_numbers

DECIMALS = 4


class Block(NamedTuple):
    """What was found of some images, by name; the seconds that it took; and whether it was made just now."""

    arrays: dict[str, np.ndarray]
    seconds: float
    made: bool


class Blocks:
    """The blocks of one model.

    A block is a function of its key alone. What is not there, damaged, or of another key, is made again.

    Args:
        folder: Where the files are.
        key: What all blocks depend on, as JSON has it: the model's weights, the data, the seed.
    """

    def __init__(self, folder: Path, key: dict):
        self.folder, self._key = folder, as_json(key)

    def get(self, name: str, key: dict, count: int, make: Callable[[], dict[str, np.ndarray]]) -> Block:
        """What `make` gives, from the file if it is there.

        Args:
            name: Of the file.
            key: What this block depends on besides.
            count: How many images it has.
            make: Gives arrays by name, ``[count]`` or ``[T - 1]``, which are kept with four decimals.
        """
        path, whole = self.folder / f"{name}.json", {**self._key, **as_json(key), "count": count}
        kept, made = _read(path, whole), False
        if kept is None:
            made = True
            began = time.monotonic()
            arrays = {label: np.round(np.asarray(value, float), DECIMALS).tolist() for label, value in make().items()}
            kept = as_json({"key": whole, "seconds": round(time.monotonic() - began, 3), "arrays": arrays})
            atomic_write(path, json.dumps(kept))
        arrays = {label: np.array(value, float) for label, value in kept["arrays"].items()}
        return Block(arrays, float(kept["seconds"]), made)


def _read(path: Path, key: dict) -> dict | None:
    """The block, if it is whole and of this key."""
    try:
        kept = json.loads(path.read_text())
        arrays, seconds = kept["arrays"], kept["seconds"]
        whole = kept["key"] == key and isinstance(seconds, float) and arrays and all(map(is_numbers, arrays.values()))
        lengths = {len(value) for label, value in arrays.items() if label != "acceptance"}
        return kept if whole and lengths == {key["count"]} else None
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None
