"""Closed forms for chains on Gaussians, HVI on the beta-binomial posterior, and the script."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from hvae_tf.targets.beta_binomial import BetaBinomialTarget
from reproduce import hvi
from reproduce.auxiliary import report, results
from reproduce.auxiliary.beta_binomial import best_gaussian, hvi_flow
from reproduce.auxiliary.exact import BivariateGaussian, coordinate_moves, elbo_of, linear_reverse
from reproduce.auxiliary.results import BIVARIATE, START, moments_of
from reproduce.auxiliary.training import Training, train

MEAN_FIELD, GAUSSIAN, LOG_Z = -570.922, -570.836, -570.7086


@pytest.mark.parametrize("a", [-0.6, 0.0, 0.5])
@pytest.mark.parametrize("num_moves", [0, 1, 2, 7])
def test_the_bound_with_the_best_reverse_model_is_the_elbo_of_where_the_chain_ends(num_moves, a):
    """On Gaussians the regression is exact: two formulas, one number."""
    target = BivariateGaussian(0.3, 1.2)
    chain = coordinate_moves(target, [0.5, -0.2], np.diag([0.2, 0.4]), num_moves, a)
    assert chain.bound == pytest.approx(elbo_of(target, chain.mean, chain.covariance), abs=1e-12)
    assert chain.bound < target.log_z


def test_the_bound_climbs_to_the_evidence():
    bounds = [coordinate_moves(BIVARIATE, *START, T, 0.0).bound for T in (0, 1, 2, 5, 20, 200)]
    assert np.all(np.diff(bounds) > 0.0)
    assert bounds[-1] == pytest.approx(BIVARIATE.log_z, abs=1e-6)
    # over-relaxation helps a narrow target, and too much of it does not
    assert coordinate_moves(BIVARIATE, *START, 8, -0.6).bound > coordinate_moves(BIVARIATE, *START, 8, 0.0).bound
    assert coordinate_moves(BIVARIATE, *START, 8, 0.9).bound < coordinate_moves(BIVARIATE, *START, 8, 0.0).bound


def test_the_moves_leave_the_target_as_it_is():
    covariance = np.linalg.inv(BIVARIATE.precision)
    chain = coordinate_moves(BIVARIATE, np.zeros(2), covariance, 3, -0.5)
    np.testing.assert_allclose(chain.covariance, covariance, rtol=1e-12)
    assert chain.bound == pytest.approx(BIVARIATE.log_z)


def test_the_linear_reverse_model_is_the_best(seed):
    """The gap as a least: any other line is worse. The bound by sampling-free moments of (z_1, v_1)."""
    lam, centre, eps, s, n = 4.0, 0.7, 0.6, 0.9, 2
    answer = linear_reverse(lam, centre, eps, s, n)

    def gap(offset, slope, scale):
        x, w = np.polynomial.hermite_e.hermegauss(3)
        z, v = (part.ravel() for part in np.meshgrid(x, s * x))
        w = np.outer(w, w).ravel() / w.sum() ** 2
        forward = -0.5 * (z**2 + (v / s) ** 2) - np.log(s)
        for _ in range(n):
            v = v - 0.5 * eps * lam * (z - centre)
            z = z + eps * v
            v = v - 0.5 * eps * lam * (z - centre)
        log_posterior = -0.5 * lam * (z - centre) ** 2 + 0.5 * np.log(lam)
        reverse = -0.5 * ((v - offset - slope * z) / scale) ** 2 - np.log(scale)
        return np.sum(w * (forward - log_posterior - reverse))

    parameters = np.array([answer.offset, answer.slope, answer.scale])
    assert gap(*parameters) == pytest.approx(answer.gap, abs=1e-12)
    for change in np.random.default_rng(seed).normal(size=(5, 3)):
        assert gap(*(parameters + 0.05 * change)) > answer.gap


@pytest.mark.slow
def test_best_gaussians():
    """Both references, and HVI from the mean-field one lands above them and below the evidence."""
    target = BetaBinomialTarget()
    mean_field, mean, factor = best_gaussian(target, full=False, nodes=16)
    full, _, _ = best_gaussian(target, full=True, nodes=16)
    assert mean_field == pytest.approx(MEAN_FIELD, abs=2e-3)
    assert full == pytest.approx(GAUSSIAN, abs=2e-3)
    training = Training(iterations=350, learning_rate=0.02, draws=50_000)
    fit = train(target, hvi_flow(4, training, np.diag(factor)), (mean, np.diag(factor)), training)
    assert fit.bound - 3 * fit.standard_error > GAUSSIAN
    assert fit.bound < LOG_Z + 3 * fit.standard_error


def test_moments():
    values = np.random.default_rng(0).normal(size=(100_000, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
    found = moments_of(values)
    np.testing.assert_allclose(found.mean, 0.0, atol=0.02)
    np.testing.assert_allclose(found.standard_deviation, [1.0, np.sqrt(1.25)], rtol=0.02)
    assert found.correlation == pytest.approx(0.5 / np.sqrt(1.25), abs=0.02)
    assert abs(found.skewness) < 0.05


# ---- the script


@pytest.mark.slow
def test_end_to_end(monkeypatch, tmp_path, capsys):
    for module in (results, report):
        monkeypatch.setattr(module, "LEAPFROG_STEPS", (1, 4))
    assert hvi.main(["--iterations", "3", "--draws", "2000", "--out", str(tmp_path)]) == 0
    assert str(tmp_path / "report.md") in capsys.readouterr().out
    page = (tmp_path / "report.md").read_text()
    for claim in ("The auxiliary bound helps", "More leapfrog steps help", "Reverse kernels are unnecessary"):
        assert claim in page
    assert "| 1 | 2.0000 | 0.1534 | 0.5000 | 0.0000 |" in page
    with (tmp_path / "beta_binomial.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5
    for name in ("bivariate.png", "bounds.png", "posterior.png", "bivariate.csv"):
        assert (tmp_path / name).stat().st_size > 500


def test_an_interrupt_is_answered_in_one_line(monkeypatch, capsys, tmp_path):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(hvi, "make_report", interrupted)
    assert hvi.main(["--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped; nothing was written\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", ""], "the folder's name is empty"),
        (["--iterations", "0"], "expected an integer of at least 1"),
        (["--seed", "-1"], "--seed: expected an integer from 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        hvi.main(arguments)
    assert message in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, hvi.__file__, "--out", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "error: " in done.stderr
