"""Files that are whole or not there, and what tells arrays apart."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np


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


def update(path: Path | str, data: str | bytes) -> None:
    """`atomic_write`, unless the file holds just that: what is up to date may stand where nothing can be written."""
    path = Path(path)
    data = data.encode() if isinstance(data, str) else data
    if not (path.is_file() and path.read_bytes() == data):
        atomic_write(path, data)


def fingerprint(*arrays) -> str:
    """A short digest of arrays: dtype, shape and bytes."""
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
