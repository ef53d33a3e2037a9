"""The state of a training under way, kept in one file: plain arrays and a JSON header, no pickle.

What cannot be read is as good as absent: the work that it stood for is done again.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np

from hvae_tf.files import atomic_write
from hvae_tf.runs.record import as_json

HEADER = "header"


def save_state(path: Path, key: str, header: dict, arrays: dict[str, np.ndarray]) -> None:
    """Writes a state, atomically.

    Args:
        path: Of the file.
        key: Of what this is the state; only the same key finds it again.
        header: Numbers, strings, lists and dicts of them.
        arrays: Of numbers, by name.
    """
    text = json.dumps({"key": key, **as_json(header)})
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{HEADER: np.frombuffer(text.encode(), np.uint8)}, **arrays)
    atomic_write(path, buffer.getvalue())


def load_state(path: Path, key: str) -> tuple[dict, dict[str, np.ndarray]] | None:
    """Header and arrays of the state saved under this key; None where there is none, or none that can be read."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(HEADER).tobytes())
        found = header.pop("key")
    except Exception as error:  # NumPy and zipfile have many ways to say that a file is damaged
        print(f"{path} is damaged ({type(error).__name__}); its work is done again", file=sys.stderr, flush=True)
        return None
    return (header, arrays) if found == key else None
