"""Judging a model by blocks, resuming, what a record must have, and the pictures."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import hvae_tf
from hvae_tf.data import from_arrays
from reproduce.configs import Evaluation
from reproduce.mnist.evaluation import evaluate, read_run_record
from reproduce.mnist.pictures import posterior_correlation, read_pictures
from tests.reproduce.mnist_records import run_record


class CountedModel:
    """Gives known numbers and counts the calls."""

    def __init__(self, stop_at=None):
        self.calls, self._stop_at = 0, stop_at

    def get_weights(self):
        return [np.zeros(1)]

    def elbo(self, x, num_samples, seed):
        return np.full(len(x), -5.0 - 0.01 * (seed % 2))

    def log_likelihood(self, x, num_samples, seed):
        if self.calls == self._stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        return SimpleNamespace(value=np.arange(len(x)) - 4.0)


def test_evaluation_resumes_by_blocks(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2, [300, 4, 4, 1]).astype(np.uint8)
    data = from_arrays("noise", pixels, pixels[:250])
    wanted, path = Evaluation(samples=4, repeats=2), tmp_path / "evaluation.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate(CountedModel(stop_at=4), data, wanted, path)
    second = CountedModel()
    results = evaluate(second, data, wanted, path)
    assert second.calls == 2  # of 6 blocks, 4 were kept
    whole = evaluate(CountedModel(), data, wanted, tmp_path / "other.json")
    assert results.keys() == whole.keys()
    for name in results.keys() - {"evaluation_seconds"}:
        np.testing.assert_equal(results[name], whole[name])
    expected = 4.0 - np.mean(np.concatenate([np.arange(100), np.arange(100), np.arange(50)]))
    np.testing.assert_allclose(results["nll"], expected)
    assert results["evaluation"]["images"] == 250
    assert json.loads(path.read_text())["evaluation"]["samples"] == 4


def test_values_of_single_images_are_kept(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2, [150, 4, 4, 1]).astype(np.uint8)
    data = from_arrays("noise", pixels, pixels[:120])
    results = evaluate(CountedModel(), data, Evaluation(samples=4, repeats=2), tmp_path / "evaluation.json")
    for name in ("neg_elbo", "nll"):
        values = np.array(results["per_image"][name])
        assert values.shape == (120,)
        assert values.mean() == pytest.approx(results[name].mean(), abs=1e-4)
        np.testing.assert_array_equal(values, np.round(values, 4))
    np.testing.assert_allclose(results["per_image"]["nll"][:3], [4.0, 3.0, 2.0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: "{",
        lambda kept: "[]",
        lambda kept: json.dumps({**kept, "blocks": {"0/0": [[1.0], [2.0]]}}),
        lambda kept: json.dumps({**kept, "blocks": {"9/0": kept["blocks"]["0/0"]}}),
        lambda kept: json.dumps({**kept, "blocks": {"0/0": "x"}}),
        lambda kept: json.dumps({k: v for k, v in kept.items() if k != "seconds"}),
    ],
)
def test_a_damaged_evaluation_is_made_again(tmp_path, damage):
    pixels = np.random.default_rng(0).integers(0, 2, [120, 4, 4, 1]).astype(np.uint8)
    data, path, wanted = from_arrays("noise", pixels, pixels), tmp_path / "evaluation.json", Evaluation(None, 4, 2)
    whole = evaluate(CountedModel(), data, wanted, path)
    path.write_text(damage(json.loads(path.read_text())))
    again = CountedModel()
    found = evaluate(again, data, wanted, path)
    assert again.calls == 4
    assert found["per_image"] == whole["per_image"]


def _without(record, *names):
    inner = record
    for name in names[:-1]:
        inner = inner[name]
    del inner[names[-1]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: _without(r, "results", "nll"), "results.nll"),
        (lambda r: _without(r, "results", "evaluation"), "results.evaluation.images"),
        (lambda r: _without(r, "results", "training"), "results.training.epochs"),
        (lambda r: _without(r, "configuration", "patience"), "configuration.patience"),
        (lambda r: _without(r, "history", "val_loss"), "history.val_loss"),
        (lambda r: r["configuration"].update(cell="k3-free"), "configuration.cell"),
        (lambda r: r["results"].update(nll=[None]), "results.nll"),
        (lambda r: r["results"].update(nll_image_sd="x"), "results.nll_image_sd"),
        (lambda r: r["results"].update(posterior_correlation=None), "results.posterior_correlation"),
        (lambda r: r["results"]["per_image"].update(nll=[1.0]), "results.per_image.nll"),
    ],
)
def test_a_record_with_wrong_insides_is_one_clear_line(tmp_path, change, named):
    path = tmp_path / "vae-seed0.json"
    record = run_record("vae", 0, [86.0], images=3, per_image=[86.0] * 3)
    hvae_tf.runs.write_record(path, record)
    assert read_run_record(path)["results"]["nll"] == [86.0]
    change(record)
    hvae_tf.runs.write_record(path, record)
    with pytest.raises(hvae_tf.runs.RecordError) as error:
        read_run_record(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)
    assert "delete the file" in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_pictures_are_one_clear_line_and_never_unpickled(tmp_path):
    path, planted = tmp_path / "vae-seed0.npz", tmp_path / "planted"
    whole = {name: np.zeros([2] * n, np.uint8) for name, n in
             {"samples": 4, "originals": 4, "reconstructions": 4, "correlation": 2}.items()}  # fmt: skip
    np.savez_compressed(path, **whole)
    assert set(read_pictures(path)) == set(whole)

    class Planted:
        def __reduce__(self):
            return planted.touch, ()

    half = path.read_bytes()[:200]
    for damage in (
        lambda: path.write_bytes(b"not a zip file"),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(half),
        lambda: np.savez(path, **{k: v for k, v in whole.items() if k != "samples"}),
        lambda: np.savez(path, **{**whole, "correlation": np.zeros(3)}),
        lambda: np.savez(path, **{**whole, "samples": np.array([[[[Planted()]]]], object)}),
        lambda: np.save(path.open("wb"), np.zeros(3)),
    ):
        damage()
        with pytest.raises(hvae_tf.runs.RecordError, match="is damaged") as error:
            read_pictures(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert not planted.exists()


def test_posterior_correlation_sees_a_planted_one():
    class Sampler:
        def __init__(self, covariance):
            self.covariance = covariance

        def sample_posterior(self, x, num_samples, seed):
            draws = np.random.default_rng(seed).multivariate_normal(np.zeros(4), self.covariance, (num_samples, len(x)))
            return draws

    x = np.zeros((20, 1))
    independent, _ = posterior_correlation(Sampler(np.eye(4)), x)
    planted, matrix = posterior_correlation(Sampler(0.8 * np.eye(4) + 0.2), x)
    assert abs(independent) < 0.02
    assert planted == pytest.approx(0.2, abs=0.02)
    assert matrix.shape == (4, 4)
