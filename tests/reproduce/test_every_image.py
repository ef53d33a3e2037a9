"""Which image goes with which noise: Table 1's evaluation and the judge, on images that say their own number."""

from types import SimpleNamespace

import numpy as np
import pytest

from hvae_tf.bounds.annealing import AISResult, Bounds
from hvae_tf.bounds.importance import Estimate
from hvae_tf.data import from_arrays
from reproduce.configs import Evaluation
from reproduce.judging.blocks import Blocks
from reproduce.judging.estimates import Judge
from reproduce.judging.presets import Chains, JudgePreset
from reproduce.mnist.evaluation import evaluate


class Telling:
    """Its numbers say of which image they are; it remembers seeds."""

    def __init__(self):
        self.seeds = {"elbo": [], "nll": [], "ais": [], "bdmc": []}

    @staticmethod
    def number(x):
        return x.reshape(len(x), -1) @ 2.0 ** np.arange(x[0].size)

    def get_weights(self):
        return [np.zeros(1)]

    def elbo(self, x, num_samples, seed):
        self.seeds["elbo"].append(seed)
        return self.number(x)

    def log_likelihood(self, x, num_samples, seed):
        self.seeds["nll"].append(seed)
        return SimpleNamespace(value=self.number(x))

    def annealed_log_likelihood(self, x, seed, **_):
        self.seeds["ais"].append(seed)
        n = len(x)
        return AISResult(np.zeros((2, n)), Estimate(self.number(x), np.ones(n), np.ones(n)), np.ones((3, n)))

    def bdmc(self, size, seed, **_):
        self.seeds["bdmc"].append(seed)
        rng = np.random.default_rng(seed)
        lower, gap = rng.normal(size=size), rng.exponential(size=size)
        one = np.ones(size)
        return Bounds(*(Estimate(v, one, one) for v in (lower, lower + gap, gap)))


@pytest.fixture
def images():
    """Image i is i in binary."""
    pixels = ((np.arange(250)[:, None] >> np.arange(8)) & 1).astype(np.uint8).reshape(-1, 4, 2, 1)
    return from_arrays("numbered", pixels, pixels)


def test_every_image_is_evaluated_with_noise_of_its_own(images, tmp_path):
    model = Telling()
    found = evaluate(model, images, Evaluation(samples=4, repeats=2), tmp_path / "evaluation.json")
    exact = -Telling.number(images.binarised("test"))
    for name in ("neg_elbo", "nll"):
        np.testing.assert_array_equal(found["per_image"][name], exact)
    for name in ("elbo", "nll"):
        assert len(set(model.seeds[name])) == len(model.seeds[name]) == 3 * 2


def test_the_judge_takes_every_image_once_with_noise_of_its_own(images, tmp_path):
    model = Telling()
    preset = JudgePreset("digits", 120, 110, 70, 130, chains=Chains("encoder", 4), prior=Chains("prior", 4))
    judge = Judge(
        model, images, preset, Blocks(tmp_path, {}), name="", total=1.0, progress=lambda *_, **__: None, weights=""
    )
    results, _, _ = judge.all()
    exact = -Telling.number(images.binarised("test"))
    np.testing.assert_array_equal(results["per_image"]["ais"], exact[:120])
    np.testing.assert_array_equal(results["prior"]["per_image"], exact[:70])
    np.testing.assert_array_equal(results["per_image"]["nll"], exact[:130])
    for seeds in model.seeds.values():
        assert len(set(seeds)) == len(seeds) > 1
    gap = np.subtract(results["simulated_per_image"]["upper"], results["simulated_per_image"]["lower"])
    assert len(np.unique(gap)) == 110
    assert results["gap_standard_error"] == pytest.approx(gap.std(ddof=1) / np.sqrt(110))
    assert results["ais_standard_error"] == pytest.approx(exact[:120].std(ddof=1) / np.sqrt(120))
    assert results["ais_chains_standard_error"] == pytest.approx(1.0 / np.sqrt(120))
