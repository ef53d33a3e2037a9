"""Small work for the tests of Figure 1."""

from reproduce.gaussian.configs import GaussianConfig
from reproduce.gaussian.jobs import Job

TINY = GaussianConfig(dims=(1, 3), datasets=2, iterations=40, num_observations=50, history_points=4)


def tiny_job(variant="as-released", method="hvae-k1", dims=(1, 3)):
    return Job(variant, method, dims, TINY, seed=0)


def quiet(fraction, doing="", kept=False):
    pass


class Heard(list):
    """The fractions that a job told while it worked."""

    def __call__(self, fraction, doing="", kept=False):
        if not kept:
            self.append(fraction)


def results_of(store, job):
    """What the job's records say, without what differs from run to run."""
    records = [store.read(job.record_name(d)) for d in job.dims]
    return [{part: record[part] for part in ("configuration", "seed", "history", "results")} for record in records]
