"""The machine: what it is, and how quickly it multiplies matrices."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from harness.workers import Worker

PACKAGES = ("hvae_tf", "tensorflow", "keras", "numpy", "torch", "pythae", "jax", "jaxlib", "optax")
SIZE = 2048
PRODUCT_FLOPS = 2 * SIZE**3
PEAK = "matrix products"


def machine() -> dict:
    """Processor, memory, versions, revision of the code and date."""
    packages = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[package] = importlib.metadata.version(package)
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": packages,
        "revision": _revision(),
        "date": datetime.date.today().isoformat(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _revision() -> str:
    """The git revision, with ``+`` where tracked files were changed; ``unknown`` outside a clone."""

    def git(*command):
        folder = Path(__file__).resolve().parent
        return subprocess.run(["git", "-C", folder, *command], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "-uno").strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class MatrixProduct:
    """A worker's object: the float32 product of two 2048 x 2048 matrices by TensorFlow."""

    def __init__(self, threads: int):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        self._product = tf.linalg.matmul
        self._matrix = tf.random.stateless_normal([SIZE, SIZE], seed=(0, 0))

    def product(self) -> None:
        self._product(self._matrix, self._matrix).numpy()


@contextlib.contextmanager
def matrix_products(threads: int):
    """A timer for `round_robin`: the seconds of one product, `PRODUCT_FLOPS` FLOPs, on so many cores.

    It takes turns with what is compared with it, since how quick a shared machine is changes from minute to minute.
    """
    with Worker("harness.machine:MatrixProduct", threads, threads=threads) as worker:
        yield worker.timer("product")


def of_the_peak(flops: float, turns, products) -> list[float]:
    """The share of the matrix products' FLOP/s that so many FLOPs in each turn's seconds are, round by round."""
    return [flops / turn * product / PRODUCT_FLOPS for turn, product in zip(turns, products, strict=False)]
