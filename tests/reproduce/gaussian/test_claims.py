"""Figure 1's claims on made-up records: who is said to be better, and which claims are said to hold."""

import numpy as np
import pytest

from reproduce.gaussian.claims import report
from reproduce.gaussian.records import Records
from tests.reproduce.gaussian.test_headline import made_up

ML = {1: np.array([1.0, 1.5, 0.5]), 9: np.array([9.0, 9.5, 8.5])}  # all exact in binary, so that ± 0 is 0
OTHERS = {"nf-k1": 30.0, "vb": 20.0, "hvae-k1-untempered": 5.0}  # above the maximum likelihood's, in Delta and in sigma


def records_of(above) -> Records:
    """Every method's error of Delta and of sigma is so much above the maximum likelihood's."""
    noise = np.array([0.0, 0.25, -0.25])
    found = made_up({m: {d: ml + shift + noise for d, ml in ML.items()} for m, shift in above.items()}, ML)
    for (_, method, d), record in found.by_key.items():
        record["configuration"] |= {"iterations": 10, "num_samples": 2}
        sigma = above[method] + noise
        record["results"] |= {
            "sigma_error": list(sigma), "ml_sigma_error": [0.0] * 3, "exact_elbo": [0.0] * 3,
            "optimal_elbo": [1.0] * 3, "maximum_evidence": [3.0] * 3, "theta_error": list(ML[d] + 2 * sigma),
        }  # fmt: skip
    return found


@pytest.fixture
def text():
    return report(records_of(OTHERS | {"hvae-k1": 0.0}), ["corrected"])


def test_the_better_one_is_called_better(text):
    assert "hvae-k1 is better than the best other method (vb): -40 ± 0" in text
    worse = report(records_of(OTHERS | {"hvae-k1": 25.0}), ["corrected"])
    assert "hvae-k1 is worse than the best other method (vb): +10 ± 0" in worse
    equal = report(records_of(OTHERS | {"hvae-k1": 20.0}), ["corrected"])
    assert "hvae-k1 is not told apart from the best other method (vb)" in equal


def test_the_worst_one_is_called_worst(text):
    assert 'prediction of Delta as d increases"** — holds in part: delta_error of vb is 29;' in text
    assert "against hvae-k1 9: +20 ± 0, higher; against nf-k1 39: -10 ± 0, lower" in text
    assert 'poorly on predicting Sigma" (nf-k1)** — holds: sigma_error of nf-k1 is 30' in text
    mild = report(records_of({"nf-k1": 0.0, "vb": 20.0, "hvae-k1": 5.0}), ["corrected"])
    assert 'poorly on predicting Sigma" (nf-k1)** — does not hold' in mild


def test_tempering_is_held_against_none(text):
    assert 'non-tempered counterparts"** (hvae-k1) — holds there' in text
    worse = report(records_of({"hvae-k1": 9.0, "hvae-k1-untempered": 5.0}), ["corrected"])
    assert "(hvae-k1) — is contradicted there" in worse
    equal = report(records_of({"hvae-k1": 5.0, "hvae-k1-untempered": 5.0}), ["corrected"])
    assert "(hvae-k1) — is not shown there" in equal


def test_what_is_left_to_the_optimum_is_reached_less_best(text):
    assert "| 9 | 1 (max 1) |" in text
    assert "| 9 | 2 |" in text  # the optimum below the maximum of the evidence
