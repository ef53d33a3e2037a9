"""Figure 1: the experiment's parts against exact answers, and the script end to end, twice."""

import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf.runs import RunStore
from reproduce import figure1_gaussian
from reproduce.configs import GAUSSIAN_METHODS, GaussianConfig
from reproduce.figure1_jobs import Job, make_jobs, missing_dims, record_name, run_job
from reproduce.figure1_report import difference
from reproduce.gaussian_experiment import Trainer, make_group, true_parameters

TINY = GaussianConfig(dims=(1, 3), datasets=2, iterations=40, num_observations=50, history_points=4)


def quiet(fraction):
    pass


def test_true_parameters_are_the_papers():
    delta, sigma = true_parameters(11)
    np.testing.assert_allclose(delta, np.arange(-5, 6) / 5)
    np.testing.assert_allclose(sigma[[0, 5, 10]], [1.0, 0.1, 1.0])
    assert np.all(np.abs(np.diff(sigma, 2) - 2 * 0.036) < 1e-12)  # quadratic
    np.testing.assert_allclose(true_parameters(1)[1], [1.0])


def test_runs_do_not_depend_on_their_company():
    """A run padded beside larger ones learns what it learns alone."""
    for method in ("hvae-k10", "nf-k30", "vb"):
        alone = Trainer(method, make_group([(2, 0)], TINY, 0), TINY, 0)
        beside = Trainer(method, make_group([(2, 0), (5, 0)], TINY, 0), TINY, 0)
        elbos = [trainer.train(30)[0] for trainer in (alone, beside)]
        np.testing.assert_allclose(*elbos, rtol=1e-5)
        np.testing.assert_allclose(alone.delta[0], beside.delta[0, :2], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(alone.log_sigma[0], beside.log_sigma[0, :2], rtol=1e-5)


@pytest.mark.parametrize("method", ["hvae-k1", "hvae-k10", "hvae-k10-untempered", "vb"])
def test_estimated_elbo_agrees_with_the_exact_one(method):
    config = dataclasses.replace(TINY, num_samples=4000, initial_log_sigma=0.5, initial_log_sigma_z=-2.0)
    trainer = Trainer(method, make_group([(2, 0), (4, 1)], config, 0), config, 0)
    trainer.train(5)
    estimates = np.array([trainer.elbo(tf.constant(1000 + i)).numpy() for i in range(10)])
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    scores = np.abs(estimates.mean(axis=0) - trainer.exact_elbo()) / (error + 1e-6 * np.abs(trainer.exact_elbo()))
    assert np.all(scores < 5)
    # the same test sees an ELBO that is off by the padded dimensions' share
    assert np.any(np.abs(estimates.mean(axis=0) - trainer.exact_elbo() + [1.0, 0.0]) > 5 * error)


def test_optimum_is_above_what_training_reached_and_below_the_evidence():
    for method in ("hvae-k1", "hvae-k10-untempered", "vb"):
        trainer = Trainer(method, make_group([(3, 0), (3, 1)], TINY, 0), TINY, 0)
        trainer.train(20)
        optimum = trainer.optimal_elbo()
        assert np.all(optimum > trainer.exact_elbo())
        assert np.all(optimum <= trainer.maximum_evidence() + 1e-9)


@pytest.mark.parametrize(("method", "slack"), [("hvae-k1", 1e-3), ("hvae-k10-untempered", 15.0)])
def test_optimum_is_the_known_one(method, slack):
    """The best bound is sum_j sqrt(lam) - 1 - log(lam)/2 below the evidence, at K = 1 with tempering.

    Ten untempered steps come within some nats of it, with a step size that training does not find.
    """
    config = dataclasses.replace(TINY, num_observations=10_000)
    trainer = Trainer(method, make_group([(1, 0)], config, 0), config, 0)
    statistics = trainer.group.statistics
    log_sigma = np.linspace(-0.2, 0.2, 4001)[:, None]
    lam = 1.0 + config.num_observations * np.exp(-2.0 * log_sigma)
    gap = np.sqrt(lam) - 1.0 - 0.5 * np.log(lam)
    known = hvae_tf.evidence(statistics, statistics.mean, tf.constant(log_sigma)) - gap[:, 0]
    assert -1e-3 < np.max(known) - trainer.optimal_elbo() < slack


def test_released_planar_term_doubles_the_variance():
    """The faulty term's optimum has sigma^2 twice the data's; the right one has the data's."""
    config = dataclasses.replace(TINY, initial_log_sigma=0.5, learning_rate=0.01, num_observations=1000)
    sigma = {}
    for released in (False, True):
        trainer = Trainer("nf-k1", make_group([(1, 0)], config, 0), config, 0, released_nf_term=released)
        trainer.train(3000)
        sigma[released] = np.exp(trainer.log_sigma.numpy()[0, 0])
    spread = np.sqrt(trainer.group.statistics.centred_second_moment[0, 0] / 1000)
    assert sigma[False] == pytest.approx(spread, rel=0.03)
    assert sigma[True] == pytest.approx(np.sqrt(2) * spread, rel=0.03)


def test_chain_continues_from_one_data_set_to_the_next_and_resumes(tmp_path):
    """Stopped within its second data set and run again, the chain ends where the uninterrupted one ends."""
    job = Job("as-released", "hvae-k1", (1, 3))
    whole, cut = RunStore(tmp_path / "whole"), RunStore(tmp_path / "cut")
    run_job(job, TINY, 0, whole, quiet)

    def stop_late(fraction):
        if fraction > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, TINY, 0, cut, stop_late)
    assert missing_dims(job, TINY, 0, cut) == (1, 3)
    heard = []
    run_job(job, TINY, 0, cut, heard.append)
    assert min(heard) > 0.5  # the first data set was not done again
    for d in job.dims:
        a, b = (store.read(record_name("as-released", "hvae-k1", d)) for store in (whole, cut))
        assert a["results"] == b["results"]
        assert a["history"] == b["history"]
    # warm: with a fresh start each, the second data set ends elsewhere
    fresh = RunStore(tmp_path / "fresh")
    run_job(dataclasses.replace(job, variant="corrected"), TINY, 0, fresh, quiet)
    a, b = (s.read(record_name(v, "hvae-k1", 3))["results"] for s, v in ((whole, "as-released"), (fresh, "corrected")))
    assert a["sigma_error"][0] == pytest.approx(b["sigma_error"][0], rel=1e-4)
    assert a["sigma_error"][1] < 0.98 * b["sigma_error"][1]


def test_jobs_cover_every_cell_once():
    config = GaussianConfig()
    jobs = make_jobs(config, GAUSSIAN_METHODS, ("corrected", "as-released"))
    cells = [(job.variant, job.method, d) for job in jobs for d in job.dims]
    assert len(cells) == len(set(cells)) == 2 * len(GAUSSIAN_METHODS) * len(config.dims)


def test_difference_is_paired():
    a = np.array([10.0, 20.0, 30.0])
    assert difference(a, a + np.array([1.0, 1.1, 0.9]), "corrected").verdict == "lower"
    assert difference(a, a[::-1], "corrected").verdict == "not told apart"
    # a chain of warm starts has no interval: a verdict needs every data set
    assert difference(a, a + np.array([1.0, 1.1, -0.1]), "as-released").verdict == "not told apart"
    lower = difference(a, a + 1.0, "as-released")
    assert (lower.verdict, str(lower)) == ("lower", "-1")


def test_script_end_to_end_twice(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [
        "--preset", "quick", "--dims", "1,2", "--datasets", "2", "--iterations", "10", "--methods", "hvae-k1,vb",
        "--variant", "both", "--out", str(out), "--processes", "1",
    ]  # fmt: skip
    assert figure1_gaussian.main(arguments) == 0
    with (out / "figure1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["variant", "method", "d", "dataset", "delta_error", "sigma_error", "theta_error"]
    assert len(rows) == 2 * 2 * 2 * 2
    for row in rows:
        parts = float(row["delta_error"]) + float(row["sigma_error"])
        assert float(row["theta_error"]) == pytest.approx(parts, rel=1e-4)
    for name in ("figure1a.png", "figure1b.png", "figure1_parts.png", "learning_curves.png", "report.md"):
        assert (out / name).stat().st_size > 1000
    records = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert len(records) == 8
    assert figure1_gaussian.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.json")} == records
    assert "jobs to do" not in capsys.readouterr().out.split("report.md")[1]
    assert figure1_gaussian.main([*arguments, "--seed", "1"]) == 1
    assert "seed=0 there, 1 asked" in capsys.readouterr().err
    assert figure1_gaussian.main(["--report-only", "--out", str(out)]) == 0
    assert figure1_gaussian.main(["--report-only", "--out", str(tmp_path / "empty")]) == 1
    assert "no records" in capsys.readouterr().err
    # records of another configuration are neither reused nor overwritten
    assert figure1_gaussian.main([*arguments, "--iterations", "11"]) == 1
    assert "iterations=10 there, 11 asked" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.json")} == records


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "hmc"], "accepted: hvae-k1"),
        (["--dims", "0"], "at least 1"),
        (["--dims", "two"], "not a list of integers"),
        (["--iterations", "-1"], "at least 1"),
        (["--variant", "wrong"], "invalid choice"),
        (["--seed", "-1"], "at least 0"),
    ],
)
def test_bad_arguments(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        figure1_gaussian.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
