"""Run records: one run = one JSON file, written atomically, read back with its schema checked.

Tables and figures are functions of records alone. A `RunStore` is a folder of them that several processes may fill
together: a run is claimed through a lock that the operating system drops when its owner dies, however it dies.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np

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
PACKAGES = ("hvae_tf", "tensorflow", "keras", "tensorflow-probability", "tensorflow-datasets", "numpy")


class RecordError(ValueError):
    """A record that cannot be used, and why."""


def atomic_write(path: Path | str, data: str | bytes) -> None:
    """Writes a whole file or leaves what was there: to a temporary file beside it, flushed, then renamed over it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def fingerprint(*arrays) -> str:
    """A short digest of arrays: dtype, shape and bytes."""
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def environment() -> dict[str, Any]:
    """Code revision, package versions, Python and device of this process."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "revision": _revision(),
        "packages": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _revision() -> str:
    """The git revision of this code, with ``+`` where its tracked files were changed; ``unknown`` outside a clone."""
    folder = Path(__file__).resolve().parent

    def git(*command):
        return subprocess.run(
            ["git", "-C", folder, *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


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
    """A record of one run, with the environment it ran in. Arrays become lists; NaN becomes null."""
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
    return _plain(record)


def _plain(value):
    """The value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "numpy"):
        return _plain(np.asarray(value).tolist())
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
        record = json.loads(Path(path).read_text())
    except ValueError as error:
        raise RecordError(f"{path} is not JSON ({error}); delete it to have the run done again") from error
    check_record(record, str(path))
    return record


def check_record(record: Any, where: str) -> None:
    """Raises RecordError unless `record` has every field, of its type."""
    if not isinstance(record, dict):
        raise RecordError(f"{where} holds a {type(record).__name__}; expected a record")
    for field, kind in FIELDS.items():
        if not isinstance(record.get(field), kind) or isinstance(record.get(field), bool):
            raise RecordError(f"{where}: field {field!r} is missing or of the wrong type")
    if record["schema_version"] != SCHEMA_VERSION:
        raise RecordError(
            f"{where} has schema version {record['schema_version']}; this code reads {SCHEMA_VERSION}: run it again"
        )


class RunStore:
    """A folder of records, one file ``<name>.json`` a run, that several processes may fill together.

    Args:
        folder: Where the records are; made if missing.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """The file of the run called `name`."""
        return self.folder / f"{name}.json"

    def write(self, record: dict[str, Any]) -> None:
        """Writes a record under its own name."""
        write_record(self.path(record["name"]), record)

    def read(self, name: str) -> dict[str, Any]:
        """The record called `name`."""
        return read_record(self.path(name))

    def done(self, name: str, configuration: dict, seed: int) -> bool:
        """Whether the run has a finished record.

        Raises:
            RecordError: If there is a record of that name for another configuration or seed: it is neither reused nor
                overwritten.
        """
        if not self.path(name).exists():
            return False
        record = self.read(name)
        found, wanted = {**record["configuration"], "seed": record["seed"]}, {**_plain(configuration), "seed": seed}
        if found != wanted:
            unlike = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
            detail = ", ".join(f"{k}={found.get(k)!r} there, {wanted.get(k)!r} asked" for k in unlike)
            raise RecordError(
                f"{self.path(name)} is of another configuration ({detail}); choose another output folder, or --force"
            )
        return True

    @contextlib.contextmanager
    def claim(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Claims a run for this process; yields whether it got it.

        The lock is the operating system's, on ``.locks/<name>.lock``: when its owner ends or is killed it is free, so
        no dead process holds it. With `wait` the call returns only once it has the claim.
        """
        locks = self.folder / ".locks"
        locks.mkdir(exist_ok=True)
        lock = filelock.FileLock(locks / f"{name}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
