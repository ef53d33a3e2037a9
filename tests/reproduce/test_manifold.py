"""The script on metrics: its parts on small settings, its report from records, its command line."""

import csv
import dataclasses
import io

import numpy as np
import pytest

import hvae_tf
from hvae_tf.runs import RecordError, make_record
from hvae_tf.runs.record import as_json
from reproduce import manifold
from reproduce.riemann import digits, samplers
from reproduce.riemann import report as reporting
from reproduce.riemann.settings import PRESETS, SAMPLERS, TARGETS, Preset, Sampling, cell_name, cells

QUICK = PRESETS["quick"]
SMALL = Preset(Sampling(16, 8, 8, (1,), step_sizes=(0.2, 0.5)), dataclasses.replace(QUICK.digits, seeds=2))


def fake_records(plain=0.0) -> dict:
    """Records with numbers that are known; the VAE's bound is so much above that of flows without a metric."""

    def record(name, results):
        return make_record(
            name, configuration={}, seed=0, data_fingerprint="", history={}, wall_seconds=1.0, results=results
        )

    found = {}
    for target in TARGETS:
        rows = {
            sampler: {
                "step_size": 0.5, "length": 1, "acceptance": 0.9, "effective": 100.0 * 4.0**place,
                "effective_error": 1.0, "effective_means": 8.0, "effective_means_error": 1.0, "gradients": 1000,
                "metric_evaluations_per_step": 9.0 * (place == 2), "unsolved_proposals": 0.001, "seconds": 2.0,
                "mean": [0.0, 0.2], "mean_error": [0.1, 0.1], "variance": [4.0, 10.0], "variance_error": [0.5, 0.5],
            }
            for place, sampler in enumerate(SAMPLERS)
        }  # fmt: skip
        path = {"z": np.zeros([3, 2]) + 0.1, "energy_error": 0.1}
        trajectories = {"leapfrog": path, "generalised leapfrog": path, "step_size": 0.1, "steps": 2}
        results = {"samplers": rows, "trajectories": trajectories}
        found[f"samplers-{target}"] = record(f"samplers-{target}", results)
    for method, steps in cells(SMALL.digits):
        for seed in range(2):
            elbo = -20.0 + 0.5 * (method == "dense") - 0.01 * seed * (method == "fisher") + plain * (steps == 0)
            results = {"elbo": elbo, "elbo_error": 0.1, "elbo_judged": elbo, "log_likelihood_judged": -19.0}
            name = cell_name(method, steps, seed)
            found[name] = record(name, results)
    return found


def test_verdicts_follow_the_records():
    contents = reporting.report(fake_records(), SMALL)
    page = contents["report.md"]
    flat = " ".join(page.split())
    covariance = "of HMC, covariance as metric"  # the better of the two
    assert f"for each gradient of log p: logistic × 4 [4, 4] {covariance} (more)" in flat
    assert f"those of the metric counted: logistic × 0.4 [0.4, 0.4] {covariance} (less)" in flat
    assert flat.count("(more)") == 3 + 3 + 2
    assert "K = 1: +0.500 ± 0.000 and +0.500 ± 0.000 (more)" in flat
    assert "K = 1: -0.005 ± 0.064 and -0.005 ± 0.064 (not told apart)" in flat
    title = "logistic regression, five observations"
    assert f"| {title} | RMHMC | 0.5 | 1 | 0.90 | 1,600.0 ± 1.0 | 8.0 ± 1.0 | 160.00 ± 0.10 |" in page
    assert "At an end of what was tried, so that a wider search may find better: logistic, HMC (ε and steps);" in flat
    assert "| banana, s = 2, b = 0.5 | exactly | 0.00, 0.00 | 2.00, 3.00 |  |  |" in page
    assert "|  | HMC | 0.00, 0.20 | 2.00, 3.16 | 2.0 | 2.0 |" in page
    assert "the bound of no metric changes within its error by +0.000 ± 0.000; dense" in flat
    assert len(list(csv.DictReader(io.StringIO(contents["digits.csv"])))) == 2 * len(cells(SMALL.digits))
    for name in ("trajectories.png", "samplers.png", "digits.png"):
        assert contents[name][:4] == b"\x89PNG"


def test_a_metric_has_to_be_above_the_vae_too():
    """Better than a flow that is worse than none is not said to help."""
    flat = " ".join(reporting.report(fake_records(plain=0.5), SMALL)["report.md"].split())
    assert "K = 1: +0.500 ± 0.000 and +0.000 ± 0.000 (not told apart)" in flat
    assert "| 1 | 0.500 ± 0.000 | -0.005 ± 0.064 | -0.500 ± 0.000 | 0.000 ± 0.000 | -0.505 ± 0.064 |" in flat


def test_missing_records_are_named():
    records = fake_records()
    del records["samplers-funnel"]
    with pytest.raises(RecordError, match="1 records are missing"):
        reporting.report(records, SMALL)


def test_what_has_a_record_is_not_done_again(monkeypatch, tmp_path, capsys):
    records = fake_records()
    monkeypatch.setattr(manifold, "PRESETS", {"quick": SMALL})
    monkeypatch.setattr(reporting, "report", lambda found, preset: {"report.md": ", ".join(sorted(found))})
    monkeypatch.setattr(samplers, "compare", lambda name, sampling, say: configured(
        records[f"samplers-{name}"], samplers.configuration(name, sampling)
    ))  # fmt: skip
    monkeypatch.setattr(digits, "train", lambda method, steps, seed, data, how: configured(
        records[cell_name(method, steps, seed)], digits.configuration(method, steps, how), seed
    ))  # fmt: skip
    assert manifold.main(["--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("==") == len(records)
    assert str(tmp_path / "report.md") in out
    assert (tmp_path / "report.md").read_text() == ", ".join(sorted(records))
    assert manifold.main(["--out", str(tmp_path)]) == 0
    assert "==" not in capsys.readouterr().out


def configured(record, configuration, seed=0):
    """The record as that of this configuration."""
    return as_json(record | {"configuration": configuration, "seed": seed})


class IndependentDraws:
    """In the place of a chain: every move is a new draw of a normal with the target's moments.

    In pilots two moves of one step share a draw: worse than longer ones by the move, better by the gradient.
    """

    def __init__(self, name, where, seed):
        self.mean, self.sd = where.mean, where.sd

    def metric_cost(self, step_size, length):
        return 3.0, 0.0

    def run(self, z, step_size, length, moves, seed):
        rng = np.random.default_rng([length, moves, seed])
        draws = rng.normal(size=(moves, *z.shape))
        if seed == 1 and length == 1:
            draws[1::2] = draws[::2]
        return self.mean + self.sd * draws, 0.95


def test_of_independent_draws_every_figure_is_known(monkeypatch):
    """N effective samples of N, standard errors of sd / sqrt(N) and of sqrt(2) sd^2 / sqrt(N)."""
    monkeypatch.setattr(samplers, "Chain", IndependentDraws)
    monkeypatch.setattr(samplers, "trajectories", lambda name, where: {})
    sampling = Sampling(128, pilot_steps=400, steps=4000, lengths=(1, 4), step_sizes=(0.1, 0.2))
    where = samplers.problem("banana")
    for row in samplers.compare("banana", sampling, lambda text: None)["results"]["samplers"].values():
        assert row["length"] == 1
        count = 4000 * 128
        assert row["gradients"] == count
        assert row["acceptance"] == 0.95
        assert row["effective_means"] == pytest.approx(count, rel=0.1)
        assert row["effective"] == pytest.approx(count, rel=0.1)
        assert row["effective_error"] < 0.02 * count
        np.testing.assert_allclose(row["mean_error"], where.sd / count**0.5, rtol=0.3)
        np.testing.assert_allclose(row["variance_error"], np.sqrt(2.0 / count) * where.sd**2, rtol=0.3)
        for moment, exact in (("mean", where.mean), ("variance", where.sd**2)):
            assert np.all(np.abs(np.array(row[moment]) - exact) < 5.0 * np.array(row[f"{moment}_error"]))


@pytest.mark.slow
def test_a_chain_reports_means_over_moves_and_costs_of_a_step():
    """With tiny steps all is accepted, and each of a proposal's steps costs the metric as often as the first."""
    where = samplers.problem("banana")
    start = np.asarray(where.draw(16, 1))
    for name in SAMPLERS:
        chain = samplers.Chain(name, where, 0)
        for moves in (2, 5):
            states, acceptance = chain.run(start, 1e-3, 2, moves, 1)
            assert states.shape == (moves, *start.shape)
            assert acceptance == pytest.approx(1.0, abs=1e-3)
    one, five = chain.metric_cost(1e-3, 1)[0], chain.metric_cost(1e-3, 5)[0]
    assert 2.0 < one == pytest.approx(five, rel=0.05)


@pytest.mark.slow
def test_samplers_are_compared():
    record = samplers.compare("funnel", dataclasses.replace(SMALL.sampling, step_sizes=(0.2,)), lambda text: None)
    assert set(record["results"]["samplers"]) == set(SAMPLERS)
    for row in record["results"]["samplers"].values():
        assert row["acceptance"] > 0.5
        assert row["gradients"] == SMALL.sampling.steps * SMALL.sampling.chains
        assert row["effective"] <= row["effective_means"]
    assert record["results"]["samplers"]["RMHMC"]["metric_evaluations_per_step"] > 2.0
    assert np.shape(record["results"]["trajectories"]["leapfrog"]["z"]) == (25, 2)


@pytest.mark.slow
def test_what_is_not_solved_for_is_not_taken():
    """On the banana with steps of 1.4; and what is left of them all is named."""
    sampling = dataclasses.replace(SMALL.sampling, step_sizes=(1.4,), chains=16)
    where = samplers.problem("banana")
    chain = samplers.Chain("RMHMC", where, 0)
    assert chain.metric_cost(0.05, 1)[1] < 1e-3 < 0.05 < chain.metric_cost(1.4, 1)[1]
    with pytest.raises(ValueError, match=r"RMHMC: no step size of .* is accepted and solved for"):
        samplers.tuned(chain, "RMHMC", np.asarray(where.draw(16, 1)), sampling)


@pytest.mark.slow
def test_a_model_of_digits_is_trained_and_judged():
    how = dataclasses.replace(SMALL.digits, epochs=2, judged=4, elbo_samples=2, temperatures=4)
    record = digits.train("fisher", 1, 0, hvae_tf.load("digits"), how)
    assert record["name"] == "digits-fisher-k1-seed0"
    assert -45.0 < record["results"]["elbo"] < -20.0
    assert record["results"]["step_sizes"] == pytest.approx(1.3, abs=0.2)


@pytest.mark.parametrize("name", TARGETS)
def test_exact_draws_have_the_grids_moments(name, seed):
    where = samplers.problem(name)
    density = np.exp(samplers.log_density(where.target, where.grid))
    density /= density.sum()
    draws = np.asarray(where.draw(20_000, seed))
    for axis, grid in enumerate(where.grid):
        marginal = density.sum(axis=1 - axis)
        mean = marginal @ grid
        assert abs(draws[:, axis].mean() - mean) < 5.0 * draws[:, axis].std() / 20_000**0.5 + 0.06
        squares = (draws[:, axis] - where.mean[axis]) ** 2
        assert abs(squares.mean() - where.sd[axis] ** 2) < 5.0 * squares.std() / 20_000**0.5 + 1e-6


def test_effective_samples_of_independent_draws(seed):
    states = np.random.default_rng(seed).normal(size=(200, 16, 2))
    assert samplers.effective_samples(states, np.zeros(2)).sum() == pytest.approx(200 * 16, rel=0.35)


def test_antithetic_moves_are_seen_in_the_squares(seed):
    """z' = -0.9 z + sqrt(1 - 0.9^2) e: means have up to (1 + 0.9)/(1 - 0.9) = 19 for each draw, squares far below one.

    Their autocorrelation is 0.81^t, of which (1 - 0.81)/(1 + 0.81) is left.
    """
    rng, moves, chains = np.random.default_rng(seed), 400, 32
    states = [rng.normal(size=(chains, 2))]
    for _ in range(moves - 1):
        states.append(-0.9 * states[-1] + np.sqrt(0.19) * rng.normal(size=(chains, 2)))
    states, count = np.stack(states) + 3.0, moves * chains
    both, means = (samplers.effective_samples(states, np.full(2, 3.0), powers).sum() for powers in ((1, 2), (1,)))
    assert means > 3.0 * count
    assert both == pytest.approx(count * 0.19 / 1.81, rel=0.4)


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--preset", "huge"], "invalid choice"), (["--out", ""], "the folder's name is empty")]
)
def test_bad_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        manifold.parse(arguments)
    assert message in capsys.readouterr().err


def test_a_report_without_records_says_so(tmp_path, capsys):
    assert manifold.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert "records are missing" in capsys.readouterr().err
