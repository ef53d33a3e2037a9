"""A folder of records that several processes may fill together.

A run is claimed through a lock that the operating system drops when its owner dies, however it dies.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from hvae_tf.runs.record import AGAIN, RecordError, as_json, read_record, write_record


class RunStore:
    """A folder of records, one file ``<name>.json`` a run.

    What is in it can be read where nothing can be written.

    Args:
        folder: Where the records are; made if missing.

    Raises:
        RecordError: If `folder` is empty.
    """

    def __init__(self, folder: Path | str):
        if not str(folder).strip():
            raise RecordError("the folder of records has an empty name; name one, or '.' for the one you are in")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """The file of the run called `name`.

        Raises:
            RecordError: If no file in this folder can have that name.
        """
        return self.folder / f"{checked_name(name)}.json"

    def write(self, record: dict[str, Any]) -> None:
        """Writes a record under its own name.

        Raises:
            RecordError: If a field is missing or of the wrong type; nothing is written then.
        """
        write_record(self.path(record["name"]), record)

    def read(self, name: str) -> dict[str, Any]:
        """The record called `name`.

        Raises:
            RecordError: If the file is no record of this version, or another run's.
        """
        path = self.path(name)
        record = read_record(path)
        if record["name"] != name:
            raise RecordError(f"{path} is the record of {record['name']!r}; give it its own name back, or {AGAIN}")
        return record

    def read_all(self) -> list[dict[str, Any]]:
        """Every record here, by name.

        Raises:
            RecordError: If a file is no record of this version, or not the record that it is called after.
        """
        return [self.read(path.stem) for path in sorted(self.folder.glob("*.json")) if not path.name.startswith(".")]

    def done(self, name: str, configuration: dict, seed: int) -> bool:
        """Whether the run has a finished record.

        Raises:
            RecordError: If there is a record of that name for another configuration or seed: it is neither reused nor
                overwritten.
        """
        if not self.path(name).exists():
            return False
        record = self.read(name)
        found, wanted = {**record["configuration"], "seed": record["seed"]}, {**as_json(configuration), "seed": seed}
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
        locks = self.locks()
        locks.mkdir(exist_ok=True)
        lock = filelock.FileLock(locks / f"{checked_name(name)}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def locks(self) -> Path:
        """The folder of the runs' locks; what is in it is of use only while runs are under way."""
        return self.folder / ".locks"


def checked_name(name: str) -> str:
    """The name, if it is a plain file name: not empty, not hidden, without folders.

    Raises:
        RecordError: If not.
    """
    if not name or name.startswith(".") or any(sign in name for sign in ("/", "\\", "\0")):
        raise RecordError(f"{name!r} cannot be a run's name; expected a file name without folders or a leading dot")
    return name
