"""A process that runs code on the records alone, without TensorFlow, so that it starts at once."""

import importlib.util
import subprocess
import sys
from pathlib import Path

START = """
import sys, time, types
package = types.ModuleType("hvae_tf")
package.__path__ = [sys.argv[1]]
sys.modules["hvae_tf"] = package
from hvae_tf import files, runs
"""


def child(code, *arguments, stdin=None):
    """The process; `files` and `runs` are imported, and the arguments begin at ``sys.argv[2]``."""
    package = Path(importlib.util.find_spec("hvae_tf").origin).parent
    command = [sys.executable, "-c", START + code, str(package), *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)
