"""What a run ran in: code revision, versions, machine and device."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("hvae_tf", "tensorflow", "keras", "tensorflow-probability", "tensorflow-datasets", "numpy")


def environment() -> dict[str, Any]:
    """Code revision, package versions, Python, machine and device of this process, and the time."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "revision": _revision(),
        "packages": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device(),
        "cores": os.cpu_count(),
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def device() -> str:
    """What this process computes on: ``"GPU: ..."`` with each GPU that TensorFlow uses, else ``"CPU: ..."``.

    TensorFlow is asked only where it is imported already: without it there is no GPU at work.
    """
    tensorflow: Any = sys.modules.get("tensorflow")
    gpus = tensorflow.config.get_visible_devices("GPU") if tensorflow else []
    if gpus:
        details = [tensorflow.config.experimental.get_device_details(gpu) for gpu in gpus]
        return "GPU: " + ", ".join(found.get("device_name", "unknown") for found in details)
    return f"CPU: {_processor()}"


def _processor() -> str:
    """The processor as it calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _revision() -> str:
    """The git revision of this code, with ``+`` where its tracked files were changed; ``unknown`` outside a clone."""
    folder = Path(__file__).resolve().parent.parent

    def git(*command):
        return subprocess.run(
            ["git", "-C", folder, *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
