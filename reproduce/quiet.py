"""Keeps TensorFlow's start-up lines off a command's terminal. For commands and their workers; the library stays as is.

No environment variable silences them in TensorFlow 2.21 (tensorflow#100442): they are written to file descriptor 2
while the module is loaded. An exception comes through; what is written there meanwhile is lost.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator


def import_quietly() -> None:
    """Imports TensorFlow and Keras without a word, and keeps TensorFlow's later notes to errors.

    What Python warns of is said in one line from then on, without the place in the source.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what TensorFlow says later, on finding no GPU for instance
    if "tensorflow" not in sys.modules:
        with stderr_dropped():
            import keras  # noqa: F401
            import tensorflow  # noqa: F401
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it takes the graphs of several models for one that is traced again and again
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


@contextlib.contextmanager
def stderr_dropped() -> Iterator[None]:
    """Within the block nothing that this process writes to file descriptor 2 is seen, whoever writes it."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)
