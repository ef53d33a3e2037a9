"""Figure 1's jobs: what they cover, and that they go on bit for bit where they were stopped."""

import dataclasses
import pickle
import shutil

import numpy as np
import pytest

from hvae_tf.runs import RunStore
from reproduce.gaussian import jobs
from reproduce.gaussian.configs import LINES, GaussianConfig
from reproduce.gaussian.jobs import make_jobs
from reproduce.gaussian.state import load_state, save_state
from tests.marks import slow
from tests.reproduce.gaussian.examples import TINY, Heard, quiet, results_of, tiny_job


def stopped(job, store, at):
    """Stops the job when its progress is past `at`."""

    def stop_late(fraction, doing="", kept=False):
        if fraction > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(store, stop_late)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The store of an undisturbed chain."""
    store = RunStore(tmp_path_factory.mktemp("whole"))
    tiny_job().run(store, quiet)
    return store


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The store of a chain that was stopped within its second data set."""
    store = RunStore(tmp_path_factory.mktemp("begun"))
    stopped(tiny_job(), store, 0.6)
    return store


def copy_of(store, folder):
    """A store in `folder` that holds what the other one holds."""
    shutil.copytree(store.folder, folder)
    return RunStore(folder)


def state_path(store, job):
    return store.folder / "work" / f"{job.name}.npz"


def test_jobs_cover_every_cell_once():
    config = GaussianConfig()
    found = make_jobs(config, LINES, ("corrected", "as-released"), seed=0)
    cells = [(job.variant, job.method, d) for job in found for d in job.dims]
    assert len(cells) == len(set(cells)) == 2 * len(LINES) * len(config.dims)
    assert len({job.name for job in found}) == len(found)


def test_a_chain_goes_on_from_one_data_set_to_the_next_and_resumes(tmp_path, whole, begun):
    """Stopped within its second data set and run again, the chain ends where the uninterrupted one ends."""
    job, store = tiny_job(), copy_of(begun, tmp_path / "cut")
    assert job.missing_dims(store) == (1, 3)
    heard = Heard()
    job.run(store, heard)
    assert min(heard) > 0.5  # the first data set was not done again
    assert results_of(store, job) == results_of(whole, job)
    # warm: with a fresh start each, the second data set ends elsewhere
    fresh, fresh_job = RunStore(tmp_path / "fresh"), dataclasses.replace(job, variant="corrected")
    fresh_job.run(fresh, quiet)
    chained, apart = results_of(whole, job)[1]["results"], results_of(fresh, fresh_job)[1]["results"]
    assert chained["sigma_error"][0] == pytest.approx(apart["sigma_error"][0], rel=1e-4)
    assert chained["sigma_error"][1] < 0.98 * apart["sigma_error"][1]


def test_a_data_set_goes_on_within_its_training(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(jobs, "SAVE_SECONDS", 0.0)
    job, store = tiny_job(), RunStore(tmp_path)
    stopped(job, store, 0.8)
    heard = Heard()
    job.run(store, heard)
    assert min(heard) > 0.8
    assert results_of(store, job) == results_of(whole, job)
    assert not list((tmp_path / "work").iterdir())


class Trap:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


DAMAGES = "cut short", "a bit", "empty", "a pickle", "a pickle inside", "other arrays"


def damage(path, how, trap):
    if how == "cut short":
        path.write_bytes(path.read_bytes()[:-200])
    elif how == "a bit":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a pickle":
        path.write_bytes(pickle.dumps(Trap(trap)))
    elif how == "a pickle inside":
        with np.load(path) as file:
            arrays = dict(file)
        with path.open("wb") as file:
            np.savez(file, **arrays | {"variable-0": np.array([Trap(trap)], object)})
    else:
        with np.load(path) as file:
            arrays = dict(file)
        del arrays["variable-1"]
        with path.open("wb") as file:
            np.savez(file, **arrays)


@pytest.mark.parametrize("how", slow(DAMAGES, "a bit", "empty", "inside"))
def test_a_damaged_state_is_made_again_and_runs_nothing(how, tmp_path, whole, begun, capsys):
    job, store, trap = tiny_job(), copy_of(begun, tmp_path / "store"), tmp_path / "trap"
    path = state_path(store, job)
    damage(path, how, trap)
    heard = Heard()
    job.run(store, heard)
    assert min(heard) < 0.5  # all of it was done again
    assert results_of(store, job) == results_of(whole, job)
    assert not trap.exists()
    if how != "other arrays":
        assert f"{path} is damaged" in capsys.readouterr().err


def test_the_trap_works(tmp_path):
    """With pickle allowed, the planted state of the test above does run code."""
    path, trap = tmp_path / "state.npz", tmp_path / "trap"
    save_state(path, "key", {}, {"variable-0": np.zeros(1)})
    damage(path, "a pickle inside", trap)
    assert load_state(path, "key") is None
    assert not trap.exists()
    with np.load(path, allow_pickle=True) as file:
        file["variable-0"]
    assert trap.exists()


def test_a_state_is_found_by_its_own_job_alone(begun):
    job, path = tiny_job(), state_path(begun, tiny_job())
    other = dataclasses.replace(job, seed=1)
    assert load_state(path, repr(job)) is not None
    assert load_state(path, repr(other)) is None
    assert load_state(path, repr(dataclasses.replace(job, config=dataclasses.replace(TINY, iterations=41)))) is None


def test_force_takes_no_account_of_what_was_done(tmp_path, whole):
    job, store = tiny_job(), copy_of(whole, tmp_path / "store")
    heard = Heard()
    job.run(store, heard, force=True)
    assert min(heard) < 0.5
    assert results_of(store, job) == results_of(whole, job)


def test_a_job_does_only_the_sizes_that_are_missing(tmp_path, whole):
    job, store = tiny_job(), copy_of(whole, tmp_path / "store")
    store.path(job.record_name(3)).unlink()
    before = store.path(job.record_name(1)).stat().st_mtime_ns
    job.run(store, quiet)
    assert job.done(store)
    assert store.path(job.record_name(1)).stat().st_mtime_ns == before
