"""Runs on other machines: a dask.distributed scheduler as an executor for `hvae_tf.runs.run_all`.

The scheduler and its workers are dask's, started by whoever has the machines. What goes over the network is a task's
description and one line of outcome; data, checkpoints, progress and records are in a folder that all machines share.
"""

import concurrent.futures
import contextlib
import pickle
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import distributed

ROOT = Path(__file__).resolve().parent.parent
CONNECT_SECONDS, RESTART_SECONDS = 20, 10
_one_at_a_time = threading.Lock()  # Keras trains one model a process


class ClusterError(RuntimeError):
    """A scheduler, or workers, that cannot be used: in one line, with what to do."""


class ClusterExecutor(concurrent.futures.Executor):
    """Calls on the workers of a scheduler.

    A call whose worker is lost is made again on another; what it calls goes on from its own checkpoint.

    Args:
        client: Connected.
        folder: That all machines share; every worker is asked whether it sees it.
        cores: That each call has for TensorFlow.
        resources: What a call takes of what workers declare with ``dask worker --resources``.
    """

    def __init__(self, client: "distributed.Client", folder: Path, cores: int, resources: Mapping[str, float]):
        self._client, self._cores = client, cores
        self._inner = client.get_executor(pure=False, resources=dict(resources) or None)
        self._token = folder / ".locks" / f"cluster-{uuid.uuid4().hex}.shared"
        self._token.parent.mkdir(parents=True, exist_ok=True)
        self._token.touch()
        self._keys: set[str] = set()

    @property
    def num_workers(self) -> int:
        """How many workers the scheduler has just now, but one at least."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def submit(self, fn, /, *args, **kwargs):
        name = next((str(arg.name) for arg in args if hasattr(arg, "name")), fn.__name__)
        key = f"{name}-{uuid.uuid4().hex}"
        self._keys.add(key)
        return self._inner.submit(_by_value(fn, args, kwargs, self._token, self._cores), key=key)

    def shutdown(self, wait=True, *, cancel_futures=False):
        if cancel_futures:
            self._stop()
        self._inner.shutdown(wait=wait and not cancel_futures)
        self._token.unlink(missing_ok=True)

    def _stop(self) -> None:
        """Takes back what waits, and restarts the workers that are at a call of ours."""

        def active(dask_worker):  # nested: so that it travels by value
            return [str(key) for key in dask_worker.active_keys]

        found = self._client.run(active, on_error="ignore")
        busy = [worker for worker, keys in found.items() if self._keys.intersection(keys)]
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        self._inner.shutdown(wait=False)
        nannied = [worker for worker in busy if known.get(worker, {}).get("nanny")]
        if nannied:  # others go on to the end of their run: its record is welcome
            self._client.restart_workers(nannied, timeout=RESTART_SECONDS, raise_for_error=False)


@contextlib.contextmanager
def cluster(
    address: str, folder: Path, *, cores: int = 1, resources: Mapping[str, float] | None = None
) -> Iterator[ClusterExecutor]:
    """An executor on the workers of the scheduler at `address`; workers may come and go meanwhile.

    Where the block is left by an error or an interrupt, waiting calls are taken back, and workers that are at one are
    restarted, where they have the nanny that ``dask worker`` gives them by default.

    Raises:
        ClusterError: If dask is not installed, no scheduler answers, a worker has several threads, or none has the
            resources.
    """
    try:
        import distributed
    except ImportError as error:
        raise ClusterError('--scheduler needs dask.distributed: pip install ".[cluster]"') from error
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no scheduler answers at {address!r} ({error}); start one with: dask scheduler") from error
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        crowded = sorted(name for name, worker in workers.items() if worker["nthreads"] != 1)
        if crowded:
            raise ClusterError(
                f"worker {crowded[0]} has {workers[crowded[0]]['nthreads']} threads, and a process trains one model at "
                "a time; start it with: dask worker ADDRESS --nthreads 1 --nworkers N"
            )
        if workers and not any(_offers(worker, resources or {}) for worker in workers.values()):
            asked = ", ".join(f"{name}={amount:g}" for name, amount in (resources or {}).items())
            raise ClusterError(f"no worker offers {asked}; start some with: dask worker ADDRESS --resources {asked!r}")
        executor = ClusterExecutor(client, folder, cores, resources or {})
        try:
            yield executor
            executor.shutdown()
        except BaseException:
            with contextlib.suppress(Exception):  # the scheduler may be what was lost
                executor.shutdown(cancel_futures=True)
            raise


def _offers(worker: dict, resources: Mapping[str, float]) -> bool:
    return all(worker["resources"].get(name, 0.0) >= amount for name, amount in resources.items())


def _by_value(fn, args, kwargs, token: Path, cores: int):
    """The call as a function that needs nothing of this project to be unpickled: the scheduler has none of it."""
    call, root, shared = pickle.dumps((fn, args, kwargs)), str(ROOT), str(token)

    def on_worker():
        import importlib.util
        import os
        import pickle
        import platform
        import sys

        if importlib.util.find_spec("reproduce") is None:
            if not os.path.isdir(root):
                raise RuntimeError(f"{root} is not on worker {platform.node()}; all machines need it at the same path")
            sys.path.insert(0, root)
        from reproduce.cluster import perform

        return perform(lambda: pickle.loads(call), shared, cores)

    return on_worker


def perform(unpickle, token: str, cores: int) -> Any:
    """On a worker: gives TensorFlow its cores, and makes the call."""
    import platform

    import hvae_tf

    if not Path(token).exists():
        raise ClusterError(
            f"worker {platform.node()} does not see {Path(token).parent.parent} as the caller does; give --out a "
            "folder that all machines share"
        )
    with _one_at_a_time:
        try:
            hvae_tf.use_cores(cores)
        except RuntimeError as error:
            raise ClusterError(
                f"worker {platform.node()} has started with another number of cores; restart it, or give --cores as in "
                "the call before"
            ) from error
        fn, args, kwargs = unpickle()
        return fn(*args, **kwargs)
