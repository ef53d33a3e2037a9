"""Figure 1's work, cut into jobs: which runs train together, how a job runs, and what it records.

A job is one method under one variant at one or more sizes d; it leaves one record for each d. In the variant
``corrected`` every data set is a training of its own, all of them side by side. In ``as-released`` the variables are
made once and training goes on from one data set to the next, as the authors' released code does, and the planar flow
has the faulty likelihood of that code. A job saves its state now and then, and goes on from there.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from hvae_tf.files import fingerprint
from hvae_tf.runs import Report, RunStore, make_record
from hvae_tf.targets.gaussian import maximum_likelihood
from reproduce.gaussian.configs import LINES, GaussianConfig, bound_of
from reproduce.gaussian.problem import make_group, simulate, squared_errors
from reproduce.gaussian.state import load_state, save_state
from reproduce.gaussian.trainer import Trainer

SMALL = 60  # sizes up to this train in one padded group: their cost is the number of operations, not their size
CURVES = ("elbo", "exact_elbo", "evidence")
SAVE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Job:
    """One method under one variant at the sizes `dims`; a `hvae_tf.runs.Task`."""

    variant: str
    method: str
    dims: tuple[int, ...]
    config: GaussianConfig
    seed: int

    @property
    def name(self) -> str:
        """Unique among jobs."""
        return f"{self.variant}-{self.method}-d{'-'.join(map(str, self.dims))}"

    @property
    def label(self) -> str:
        """What a reader is told it is."""
        sizes = str(self.dims[0]) if len(self.dims) == 1 else f"{self.dims[0]}-{self.dims[-1]}"
        return f"{self.method}, d {sizes}"

    @property
    def cost(self) -> float:
        """Roughly how long it takes, in arbitrary units."""
        stages = self.stages()
        operations = 2.0 + LINES[self.method].num_steps
        each = 5_000 + len(stages[0]) * max(self.dims) * self.config.num_samples
        return self.config.iterations * len(stages) * operations * each

    def stages(self) -> list[list[tuple[int, int]]]:
        """Groups of runs (d, data set) that train one after the other, each from where the last one ended."""
        datasets = range(self.config.datasets)
        if self.variant == "as-released":
            return [[(d, i) for d in self.dims] for i in datasets]
        return [[(d, i) for d in self.dims for i in datasets]]

    def record_name(self, d: int) -> str:
        """The name of the record of size d."""
        return f"{self.variant}-{self.method}-d{d}"

    def configuration(self, d: int) -> dict:
        """What the record of size d is a record of."""
        of = {"variant": self.variant, "method": self.method, "d": d}
        return of | bound_of(self.method) | self.config.protocol()

    def missing_dims(self, store: RunStore) -> tuple[int, ...]:
        """The sizes that have no finished record.

        Raises:
            RecordError: If the record there is of another configuration or seed.
        """
        return tuple(d for d in self.dims if not store.done(self.record_name(d), self.configuration(d), self.seed))

    def done(self, store: RunStore) -> bool:
        """Whether every size has a finished record; raises as `missing_dims`."""
        return not self.missing_dims(store)

    def run(self, store: RunStore, progress: Report, force: bool = False) -> None:
        """Trains and records the sizes that are missing, or all with `force`; `progress` hears the fraction done.

        Raises:
            RecordError: If a record of another configuration has come to stand where this one's would.
            Diverged: If a bound stops being finite; nothing is recorded then.
        """
        job = self if force else dataclasses.replace(self, dims=self.missing_dims(store))
        progress(0.0, job.label, kept=True)
        training = _Training(job, store.folder / "work" / f"{job.name}.npz")
        if force:
            training.path.unlink(missing_ok=True)
        training.resume()
        training.finish(progress)
        missing = job.dims if force else job.missing_dims(store)
        for d in missing:
            store.write(training.record(d))
        training.path.unlink(missing_ok=True)


def make_jobs(config: GaussianConfig, methods, variants, seed: int) -> list[Job]:
    """All the jobs, the longest first, so that processes end together."""
    small = tuple(d for d in config.dims if d <= SMALL)
    large = tuple(d for d in config.dims if d > SMALL)
    jobs = []
    for variant in variants:
        groups = [small, large] if variant == "as-released" else [small, *((d,) for d in large)]
        jobs += [Job(variant, method, group, config, seed) for method in methods for group in groups if group]
    return sorted(jobs, key=lambda job: -job.cost)


class _Training:
    """A job under way: which stage it is in, the learning curves so far, and the results of finished stages."""

    def __init__(self, job: Job, path: Path):
        self.job, self.path = job, path
        self.stages = job.stages()
        points = min(job.config.history_points, job.config.iterations)
        self.ends = np.linspace(0, job.config.iterations, points + 1).round().astype(int)[1:]
        self.start_over()

    def start_over(self) -> None:
        """To where nothing is done."""
        job = self.job
        self.results: list[list[dict]] = []  # by finished stage, by run
        self.curves: list[dict[str, list[np.ndarray]]] = [{name: [] for name in CURVES} for _ in self.stages]
        self.seconds = 0.0
        group = make_group(self.stages[0], job.config, job.seed)
        self.trainer = Trainer(job.method, group, job.config, job.seed, released=job.variant == "as-released")

    # ------------------------------------------------------------------------------------------------- going on

    def resume(self) -> None:
        """Takes up what was saved of this very job, if anything."""
        saved = load_state(self.path, repr(self.job))
        if saved is None:
            return
        header, arrays = saved
        try:
            self.results, self.seconds = header["results"], header["seconds"]
            curves = {name: array for name, array in arrays.items() if "/" in name}
            for name, array in curves.items():
                stage, curve = name.split("/")
                self.curves[int(stage)][curve] = list(array)
            self.trainer.set_state({name: array for name, array in arrays.items() if name not in curves})
        except (LookupError, ValueError):  # of code that kept other things
            self.start_over()

    def save(self) -> None:
        """Writes down where the job is."""
        curves = {
            f"{stage}/{name}": np.array(values)
            for stage, found in enumerate(self.curves)
            for name, values in found.items()
            if values
        }
        header = {"results": self.results, "seconds": self.seconds}
        save_state(self.path, repr(self.job), header, self.trainer.state() | curves)

    def _fraction(self) -> float:
        """How much of the job is done."""
        stage = len(self.results)
        done = len(self.curves[stage]["elbo"]) / len(self.ends) if stage < len(self.stages) else 0.0
        return (stage + done) / len(self.stages)

    def finish(self, progress: Report) -> None:
        """Trains from where the job is to its end."""
        config, saved = self.job.config, time.monotonic()
        progress(self._fraction(), self.job.label, kept=True)
        while (stage := len(self.results)) < len(self.stages):
            began = time.monotonic()
            if self.trainer.group.runs != tuple(self.stages[stage]):
                self.trainer.set_group(make_group(self.stages[stage], config, self.job.seed))
            curves = self.curves[stage]
            for end in self.ends[len(curves["elbo"]) :]:
                curves["elbo"].append(self.trainer.train(int(end - self.trainer.iteration + stage * config.iterations)))
                curves["evidence"].append(self.trainer.evidence())
                exact = self.trainer.exact_elbo()
                curves["exact_elbo"].append(np.full(len(self.stages[stage]), np.nan) if exact is None else exact)
                progress(self._fraction())
                if time.monotonic() - saved > SAVE_SECONDS:
                    saved = time.monotonic()
                    self.seconds, began = self.seconds + saved - began, saved
                    self.save()
            self.results.append(_results(self.trainer, with_optimum=self.job.variant == "corrected"))
            self.seconds += time.monotonic() - began
            if stage + 1 < len(self.stages):
                self.save()

    # ------------------------------------------------------------------------------------------------- recording

    def record(self, d: int) -> dict:
        """The record of one size: results by data set, learning curves as means over data sets."""
        job = self.job
        rows = [
            row
            for runs, results in zip(self.stages, self.results, strict=True)
            for (size, _), row in zip(runs, results, strict=True)
            if size == d
        ]

        def curve(name):
            columns = [
                np.array(curves[name])[:, [size == d for size, _ in runs]]
                for runs, curves in zip(self.stages, self.curves, strict=True)
            ]
            return np.concatenate(columns, axis=1).mean(axis=1)

        statistics = [simulate(d, i, job.config.num_observations, job.seed) for i in range(job.config.datasets)]
        return make_record(
            job.record_name(d),
            configuration=job.configuration(d),
            seed=job.seed,
            data_fingerprint=fingerprint(*(np.asarray(part) for s in statistics for part in s)),
            history={"iteration": self.ends, **{name: curve(name) for name in CURVES}},
            wall_seconds=self.seconds / len(job.dims),
            results={name: [row[name] for row in rows] for name in rows[0]},
        )


def _results(trainer: Trainer, with_optimum: bool) -> list[dict]:
    """What is recorded of each run at its end; the optimum is the same in both variants, so one of them finds it."""
    exact, best = trainer.exact_elbo(), trainer.maximum_evidence()
    optimum = trainer.optimal_elbo() if with_optimum else None
    evidence, parameters = trainer.evidence(), trainer.method.summary()
    rows = []
    for i, errors in enumerate(trainer.errors()):
        d, likeliest = trainer.group.runs[i][0], maximum_likelihood(trainer.group.each[i])
        rows.append(
            {
                **errors,
                **{f"ml_{name}": value for name, value in squared_errors(d, *likeliest).items()},
                "evidence": evidence[i],
                "maximum_evidence": best[i],
                "exact_elbo": None if exact is None else exact[i],
                "optimal_elbo": None if optimum is None else optimum[i],
                **{name: values[i] for name, values in parameters.items()},
            }
        )
    return rows
