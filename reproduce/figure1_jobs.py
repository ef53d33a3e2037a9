"""Figure 1's work, cut into jobs: which runs train together, how a job runs, and what it records.

A job is one method under one variant at one or more sizes d; it leaves one record for each d. In the variant
``corrected`` every data set is a training of its own, all of them side by side. In ``as-released`` the variables are
made once and training goes on from one data set to the next, as the authors' released code does, and the planar flow
has the faulty likelihood of that code; a job saves its state after each data set and resumes there.
"""

import dataclasses
import io
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hvae_tf import maximum_likelihood
from hvae_tf.records import RunStore, atomic_write, fingerprint, make_record
from reproduce.configs import GAUSSIAN_METHODS, GaussianConfig
from reproduce.gaussian_experiment import Diverged, Trainer, make_group, simulate, squared_errors

SMALL = 60  # sizes up to this train in one padded group: their cost is the number of operations, not their size


@dataclasses.dataclass(frozen=True)
class Job:
    """One method under one variant at the sizes `dims`."""

    variant: str
    method: str
    dims: tuple[int, ...]

    @property
    def name(self) -> str:
        """Unique among jobs."""
        return f"{self.variant}-{self.method}-d{'-'.join(map(str, self.dims))}"

    def cost(self, config: GaussianConfig) -> float:
        """Roughly how long it takes, in arbitrary units, for the estimate of the time left."""
        runs = len(self.dims) * (1 if self.variant == "as-released" else config.datasets)
        operations = 2.0 + GAUSSIAN_METHODS[self.method].num_steps
        stages = config.datasets if self.variant == "as-released" else 1
        return config.iterations * stages * operations * (5_000 + runs * max(self.dims) * config.num_samples)


def make_jobs(config: GaussianConfig, methods, variants) -> list[Job]:
    """All the jobs, the longest first, so that processes end together."""
    small = tuple(d for d in config.dims if d <= SMALL)
    large = tuple(d for d in config.dims if d > SMALL)
    jobs = []
    for variant in variants:
        groups = [small, large] if variant == "as-released" else [small, *((d,) for d in large)]
        jobs += [Job(variant, method, group) for method in methods for group in groups if group]
    return sorted(jobs, key=lambda job: -job.cost(config))


def record_name(variant: str, method: str, d: int) -> str:
    """The name of the record of one (variant, method, d)."""
    return f"{variant}-{method}-d{d}"


def configuration(job: Job, d: int, config: GaussianConfig) -> dict:
    """What a record of this job at size d is a record of."""
    protocol = dataclasses.asdict(config)
    del protocol["dims"]
    return {"variant": job.variant, "method": job.method, "d": d, **protocol}


def is_done(job: Job, d: int, config: GaussianConfig, seed: int, store: RunStore) -> bool:
    """Whether the job's size d has a finished record.

    Raises:
        RecordError: If the record there is of another configuration or seed.
    """
    return store.done(record_name(job.variant, job.method, d), configuration(job, d, config), seed)


def missing_dims(job: Job, config: GaussianConfig, seed: int, store: RunStore) -> tuple[int, ...]:
    """The sizes of the job that have no finished record; raises as `is_done`."""
    return tuple(d for d in job.dims if not is_done(job, d, config, seed, store))


def run_job(
    job: Job, config: GaussianConfig, seed: int, store: RunStore, progress: Callable[[float], None], afresh=False
) -> None:
    """Trains and records a job; `progress` hears the fraction done. `afresh` takes no account of what was done before.

    Raises:
        RecordError: If a record of another configuration has come to stand where this one's would.
        Diverged: If a bound stops being finite; nothing is recorded then.
    """
    if job.variant == "as-released":
        stages = [[(d, i) for d in job.dims] for i in range(config.datasets)]
    else:
        stages = [[(d, i) for d in job.dims for i in range(config.datasets)]]
    state_path = store.folder / "work" / f"{job.name}.npz"
    if afresh:
        state_path.unlink(missing_ok=True)
    key = repr((job, config, seed))
    done = _load_state(state_path, key)
    first = 0 if done is None else int(done["stage"]) + 1
    rows = {d: [] for d in job.dims}
    curves: list[dict] = []
    seconds = 0.0
    if done is not None:
        rows, curves, seconds = done["rows"].item(), list(done["curves"]), float(done["seconds"])
    trainer = None
    for stage in range(first, len(stages)):
        started = time.monotonic()
        group = make_group(stages[stage], config, seed)
        if trainer is None:
            released = job.variant == "as-released"
            trainer = Trainer(job.method, make_group(stages[0], config, seed), config, seed, released_nf_term=released)
            if done is not None:
                trainer.set_state(done["state"].item())
        trainer.set_group(group)
        curves.append(_train_stage(trainer, config, lambda f, s=stage: progress((s + f) / len(stages))))
        for (d, _), row in zip(group.runs, _results(trainer, job.variant == "corrected"), strict=True):
            rows[d].append(row)
        seconds += time.monotonic() - started
        if stage + 1 < len(stages):
            _save_state(state_path, key, stage, trainer.state(), rows, curves, seconds)
    for d in job.dims:
        if afresh or not is_done(job, d, config, seed, store):
            store.write(_record(job, d, config, seed, rows[d], curves, seconds))
    state_path.unlink(missing_ok=True)


def _train_stage(trainer: Trainer, config: GaussianConfig, progress) -> dict:
    """Trains `config.iterations` and samples the learning curves, by run."""
    curve = {"iteration": [], "elbo": [], "exact_elbo": [], "evidence": []}
    ends = np.linspace(0, config.iterations, min(config.history_points, config.iterations) + 1).round().astype(int)
    for start, end in itertools.pairwise(ends):
        curve["elbo"].append(trainer.train(int(end - start)))
        curve["iteration"].append(int(end))
        curve["evidence"].append(trainer.evidence())
        exact = trainer.exact_elbo()
        curve["exact_elbo"].append(np.full(len(trainer.group.runs), np.nan) if exact is None else exact)
        progress(end / config.iterations)
    return {"runs": trainer.group.runs, **{name: np.array(values) for name, values in curve.items()}}


def _results(trainer: Trainer, with_optimum: bool) -> list[dict]:
    """What is recorded of each run at its end; the optimum is the same in both variants, so one of them finds it."""
    exact, best = trainer.exact_elbo(), trainer.maximum_evidence()
    optimum = trainer.optimal_elbo() if with_optimum else None
    evidence, parameters = trainer.evidence(), trainer.flow_summary()
    rows = []
    for i, errors in enumerate(trainer.errors()):
        d, dataset = trainer.group.runs[i]
        likeliest = simulate(d, dataset, trainer.config.num_observations, trainer.seed)
        rows.append(
            {
                **errors,
                **{f"ml_{k}": v for k, v in squared_errors(d, *maximum_likelihood(likeliest)).items()},
                "evidence": evidence[i],
                "maximum_evidence": best[i],
                "exact_elbo": None if exact is None else exact[i],
                "optimal_elbo": None if optimum is None else optimum[i],
                **{k: v[i] for k, v in parameters.items()},
            }
        )
    return rows


def _record(job, d, config, seed, rows, curves, seconds):
    """The record of one size: results by data set, learning curves as means over data sets."""
    statistics = [simulate(d, i, config.num_observations, seed) for i in range(config.datasets)]

    def curve(name):
        columns = [np.asarray(c[name])[:, [run[0] == d for run in c["runs"]]] for c in curves]
        return np.concatenate(columns, axis=1).mean(axis=1)

    return make_record(
        record_name(job.variant, job.method, d),
        configuration=configuration(job, d, config),
        seed=seed,
        data_fingerprint=fingerprint(*(np.asarray(part) for s in statistics for part in s)),
        history={"iteration": curves[0]["iteration"], **{k: curve(k) for k in ("elbo", "exact_elbo", "evidence")}},
        wall_seconds=seconds / len(job.dims),
        results={name: [row[name] for row in rows] for name in rows[0]},
    )


def _save_state(path: Path, key: str, stage: int, state: dict, rows: dict, curves: list, seconds: float) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer, key=key, stage=stage, state=np.array(state, object), rows=np.array(rows, object),
        curves=np.array(curves, object), seconds=seconds,
    )  # fmt: skip
    atomic_write(path, buffer.getvalue())


def _load_state(path: Path, key: str):
    """The state saved for exactly this work, or None: what is saved is ours alone, under the job's lock."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=True) as saved:
        state = dict(saved)
    return state if str(state["key"]) == key else None


__all__ = ["Diverged", "Job", "make_jobs", "missing_dims", "record_name", "run_job"]
