"""The derivation of the VAE: its equations hold on a trained network, and one that is broken is seen."""

import csv

import numpy as np
import pytest

import hvae_tf
from reproduce import vae_derivation
from reproduce.derivation import training, variances
from reproduce.derivation.steps import Integrals, steps


@pytest.fixture(scope="module")
def data():
    return hvae_tf.load("digits")


@pytest.fixture(scope="module")
def model(data):
    made = training.make(data, 2, seed=1)
    training.train(made, data, 0, 3, seed=1)
    return made


def test_every_step_holds(model, data, seed):
    found = steps(model, data.binarised("test")[:4], 500, seed)
    assert len(found) == 14
    assert max(step.z for step in found) < 5


def test_a_broken_equation_is_seen(model, data, seed, monkeypatch):
    """A planted error: the prior's constant forgotten in the integrals."""
    right = Integrals.of

    def without_constant(*args):
        integrals = right(*args)
        return integrals._replace(log_prior=integrals.log_prior + np.log(2.0 * np.pi))

    monkeypatch.setattr(Integrals, "of", without_constant)
    evidence, bound, *_ = steps(model, data.binarised("test")[:4], 500, seed)
    assert evidence.z > 5
    assert bound.z > 5


def test_the_estimators_share_their_mean_and_the_score_function_is_the_noisiest(model, data, seed):
    found = {noise.estimator: noise for noise in variances.measure(model, data.binarised("test")[:10], 3, 60, seed)}
    assert set(found) == {*variances.LIBRARY, *variances.SCORES}
    assert max(noise.mean_deviation for noise in found.values()) < 5
    noisiest = found["score function"].variance
    assert all(10 * noise.variance < noisiest for name, noise in found.items() if name in variances.LIBRARY)
    assert found["all sampled"].variance == pytest.approx(found["prior sampled"].variance, rel=1e-3)


def test_trained_in_pieces_it_is_the_same(data):
    whole, pieces = (training.make(data, 2, seed=2) for _ in range(2))
    training.train(whole, data, 0, 2, seed=2)
    for start in (0, 1):
        training.train(pieces, data, start, start + 1, seed=2)
    for a, b in zip(whole.get_weights(), pieces.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


QUICK = ["--epochs", "1", "--draws", "10", "--gradient-draws", "3", "--seeds", "1"]


@pytest.mark.slow
def test_the_command_writes_its_report(tmp_path, capsys):
    assert vae_derivation.main([*QUICK, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md", "steps.csv", "variances.csv", "vae_derivation.png"
    }  # fmt: skip
    text = (tmp_path / "report.md").read_text()
    assert "nan" not in text
    assert "## How noisy the estimators are" in text
    rows = list(csv.DictReader((tmp_path / "variances.csv").open()))
    assert {int(row["epochs"]) for row in rows} == {0, 1}
    assert str(tmp_path / "report.md") in capsys.readouterr().out


def test_errors_and_interrupts_are_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert vae_derivation.main([*QUICK, "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("error: ")

    def interrupted(args, display):
        raise KeyboardInterrupt

    monkeypatch.setattr(vae_derivation, "results", interrupted)
    assert vae_derivation.main([*QUICK, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "stopped; nothing was written; the same command starts again\n"
    with pytest.raises(SystemExit):
        vae_derivation.main(["--draws", "1"])
