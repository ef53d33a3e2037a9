"""Run records: one run = one JSON file, written atomically, read back with its schema checked.

Tables and figures are functions of records alone.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from hvae_tf.files import atomic_write
from hvae_tf.runs.environment import environment

SCHEMA_VERSION = 1
FIELDS: dict[str, type | tuple[type, ...]] = {
    "schema_version": int,
    "name": str,
    "configuration": dict,
    "seed": int,
    "environment": dict,
    "data_fingerprint": str,
    "history": dict,
    "wall_seconds": (int, float),
    "results": dict,
}
AGAIN = "delete it to have the run done again"


class RecordError(ValueError):
    """A record that cannot be used, and why."""


def make_record(
    name: str,
    *,
    configuration: dict,
    seed: int,
    data_fingerprint: str,
    history: dict,
    wall_seconds: float,
    results: dict,
) -> dict[str, Any]:
    """A record of one run, with the environment it ran in.

    Args:
        name: Of the run; its file is called after it.
        configuration: Everything that the run is a function of, but its seed.
        seed: Of the run.
        data_fingerprint: Of the data it saw, see `hvae_tf.files.fingerprint`.
        history: Learning curves by name, a list of numbers each.
        wall_seconds: How long it took.
        results: What it found.

    Returns:
        The record, as JSON has it: arrays are lists, NaN is null.
    """
    record = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "configuration": configuration,
        "seed": seed,
        "environment": environment(),
        "data_fingerprint": data_fingerprint,
        "history": history,
        "wall_seconds": round(float(wall_seconds), 3),
        "results": results,
    }
    return as_json(record)


def as_json(value):
    """The value as JSON has it: tuples and arrays as lists, keys as strings, None for what is not finite."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "numpy"):
        return as_json(np.asarray(value).tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_record(path: Path | str, record: dict[str, Any]) -> None:
    """Writes a record atomically.

    Raises:
        RecordError: If a field is missing or of the wrong type; nothing is written then.
    """
    check_record(record, str(path))
    atomic_write(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read_record(path: Path | str) -> dict[str, Any]:
    """Reads a record.

    Raises:
        RecordError: If the file is not JSON, or not a record of this version.
    """
    try:
        record = json.loads(Path(path).read_text(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not JSON ({error}); {AGAIN}") from error
    check_record(record, str(path))
    return record


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def check_record(record: Any, where: str) -> None:
    """Checks a record's frame: every field of its type, every learning curve a list of numbers.

    What stands in `configuration` and `results` is checked by whoever reads it, see `is_numbers`.

    Raises:
        RecordError: If something is amiss; the message begins with `where`.
    """
    if not isinstance(record, dict):
        raise RecordError(f"{where} holds a {type(record).__name__}; expected a record; {AGAIN}")
    for field, kind in FIELDS.items():
        if not isinstance(record.get(field), kind) or isinstance(record.get(field), bool):
            raise RecordError(f"{where}: field {field!r} is missing or of the wrong type; {AGAIN}")
    if record["schema_version"] != SCHEMA_VERSION:
        raise RecordError(
            f"{where} has schema version {record['schema_version']}; this code reads {SCHEMA_VERSION}: run it again"
        )
    for name, curve in record["history"].items():
        if not is_numbers(curve):
            raise RecordError(f"{where}: history[{name!r}] is no list of numbers; {AGAIN}")


def is_numbers(value: Any, length: int | None = None) -> bool:
    """Whether the value is a list of numbers, null standing for what is not finite, of this length if one is given."""
    if not isinstance(value, list) or length not in (None, len(value)):
        return False
    return all(item is None or (isinstance(item, (int, float)) and not isinstance(item, bool)) for item in value)
