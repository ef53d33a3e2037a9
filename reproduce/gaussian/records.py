"""Figure 1's records, read and checked."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RecordError, RunStore
from hvae_tf.runs.record import AGAIN, is_numbers
from reproduce.gaussian.configs import LINES, VARIANTS, GaussianConfig, bound_of

ERRORS = ("delta_error", "sigma_error", "theta_error")
RESULTS = (*ERRORS, *(f"ml_{name}" for name in ERRORS), "evidence", "maximum_evidence", "exact_elbo", "optimal_elbo")
HISTORY = ("iteration", "elbo", "exact_elbo", "evidence")


class Records(NamedTuple):
    """The records of a folder by (variant, method, d), and the sizes d found."""

    by_key: dict
    dims: list

    def results(self, variant, method, name) -> dict[int, np.ndarray]:
        """By d, the named result of every data set; NaN where it is not known."""
        found = {}
        for d in self.dims:
            if (record := self.by_key.get((variant, method, d))) is not None:
                found[d] = np.array(record["results"].get(name), float)
        return found


def load(folder: Path) -> Records:
    """Every record in `folder`.

    Raises:
        RecordError: If one is damaged or no record of Figure 1, or if they are not of one protocol and seed.
    """
    store = RunStore(folder)
    by_key, protocols = {}, {}
    for record in store.read_all():
        path = store.path(record["name"])
        _check(record, path)
        configuration = dict(record["configuration"])
        by_key[tuple(configuration.pop(name) for name in ("variant", "method", "d"))] = record
        configuration.pop("bound", None)
        protocols[json.dumps([configuration, record["seed"]], sort_keys=True)] = path
    if len(protocols) > 1:
        one, other = list(protocols.values())[:2]
        raise RecordError(f"{one} and {other} are of unlike protocols or seeds; keep them in folders of their own")
    return Records(by_key, sorted({d for _, _, d in by_key}))


def _check(record, path: Path) -> None:
    """Raises RecordError unless the record holds everything that tables, figures and report show."""
    configuration, results, history = record["configuration"], record["results"], record["history"]
    if configuration.get("variant") not in VARIANTS or configuration.get("method") not in list(LINES):
        raise RecordError(f"{path} is no record of Figure 1; keep other runs in folders of their own")
    method = configuration["method"]
    if configuration.get("bound") != bound_of(method).get("bound"):
        raise RecordError(
            f"{path} is of a bound of {method} that is {configuration.get('bound', 'sampled')}, where it is "
            f"{bound_of(method).get('bound', 'sampled')} now; {AGAIN}"
        )
    for name, default in {"d": 1, **GaussianConfig().protocol()}.items():
        value = configuration.get(name)
        kind = int if isinstance(default, int) else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and value < 1):
            raise RecordError(
                f"{path}: configuration[{name!r}] is {value!r}; expected a number like {default}; {AGAIN}"
            )
    for name in RESULTS:
        if not is_numbers(results.get(name), configuration["datasets"]):
            wanted = f"expected {configuration['datasets']} numbers, one a data set"
            raise RecordError(f"{path}: results[{name!r}] is damaged; {wanted}; {AGAIN}")
    for name in ERRORS:
        if None in results[name]:
            raise RecordError(f"{path}: results[{name!r}] has an error that is not finite; {AGAIN}")
    points = len(history.get("iteration", ()))
    for name in HISTORY:
        if points < 1 or not is_numbers(history.get(name), points):
            raise RecordError(
                f"{path}: history[{name!r}] is damaged; expected a number for each iteration listed; {AGAIN}"
            )
