"""Differences between cells: their intervals, what they allow for, and many verdicts at once."""

import math

import numpy as np
import pytest
from scipy import stats

from reproduce.differences import Difference, Score, Spread, difference, pooled, seed_by_seed, together


def score(seed, values, slack=0.0, slack_error=0.0):
    values = np.asarray(values, float)
    return Score(seed, float(values.mean()), len(values), values, slack, slack_error)


def test_the_error_of_the_judge_is_allowed_for():
    found = Difference(-0.3, 0.02, 2)
    assert found.p < 0.01 < 0.05 < found._replace(above=0.25).p < 1.0 == found._replace(above=0.4).p
    assert found._replace(below=0.4).p == found.p  # what is lower is not made less so
    assert found.verdict == "lower"
    for above in (0.25, 0.4):  # it is the judge alone that leaves it open, and no seed
        assert found._replace(above=above).verdict == "lower; AIS's own error leaves it open"
    surely = found._replace(above=0.2, above_error=0.01, image_error=0.01, images=100, error=0.04)
    assert surely.verdict == "lower; seeds and AIS's own error together leave it open"
    few = Difference(-0.3, 0.2, 2, image_error=0.01, images=100)
    assert few._replace(above=0.25).verdict.startswith("lower for these trained models")
    assert few._replace(above=0.29).verdict == "not told apart"
    scores = [score(0, [1.0, 1.1], 0.1, 0.03), score(1, [1.0, 1.2], 0.3, 0.04)], [score(0, [2.0, 2.1], 0.05, 0.02)]
    found = difference(*scores)
    assert (found.below, found.above) == pytest.approx((0.2, 0.05))
    assert (found.below_error, found.above_error) == pytest.approx((0.025, 0.02))


def test_the_error_of_the_judges_own_gap_is_added():
    """Of what is taken away, so that the rest is no surer than it is: SciPy's for a mean known from very many."""
    found = Difference(-0.3, 0.03, 4, above=0.1, above_error=0.08)
    many = 10**9
    welch = stats.ttest_ind_from_stats(0.2, 0.03 * math.sqrt(5), 5, 0.0, 0.08 * math.sqrt(many), many, equal_var=False)
    assert found.p == pytest.approx(welch.pvalue, rel=1e-4)
    assert found._replace(above_error=0.0).p < found.p
    assert found._replace(below_error=9.0).p == found.p  # that of the other side has no part in it
    assert found._replace(value=0.3).p == pytest.approx(2.0 * stats.t.sf(0.3 / 0.03, 4))


def test_seeds_and_images_together_are_welchs():
    """Two means of unlike spread: SciPy's interval from summary statistics."""
    found = Difference(0.0, 0.2, 4, image_error=0.3, images=11)
    welch = stats.ttest_ind_from_stats(1.0, 0.2 * math.sqrt(5), 5, 0.0, 0.3 * math.sqrt(11), 11, equal_var=False)
    assert found.whole_error == pytest.approx(math.hypot(0.2, 0.3))
    assert found._replace(value=1.0).p == pytest.approx(welch.pvalue)
    assert found.half == pytest.approx(stats.t.ppf(0.975, found.whole_free) * found.whole_error)
    assert found._replace(image_error=math.nan).half == pytest.approx(stats.t.ppf(0.975, 4) * 0.2)
    # what is known of images as well makes nothing surer: Welch's degrees of freedom may grow by more than the error
    little = found._replace(value=0.6, image_error=0.05, images=1000)
    alone = little._replace(image_error=math.nan)
    assert stats.t.ppf(0.975, little.whole_free) * little.whole_error < alone.half
    assert (little.half, little.p) == pytest.approx((alone.half, alone.p))


def test_pairs_of_one_seed_need_three_and_the_same():
    random = np.random.default_rng(0)
    images, shared = random.normal(size=60), random.normal(size=4)
    ours = [score(seed, 1.0 + images + s + 0.01 * seed) for seed, s in enumerate(shared)]
    theirs = [score(seed, 2.0 + images + s) for seed, s in enumerate(shared)]
    each = stats.ttest_rel([s.mean for s in ours], [s.mean for s in theirs])
    found = difference(ours, theirs)
    assert found._replace(image_error=math.nan).p == pytest.approx(each.pvalue)
    assert difference(ours[::-1], theirs).value == pytest.approx(found.value)  # whatever their order
    two = difference(ours[:2], theirs[:2])
    assert (two.how, two.free) == ("2 and 2 trainings, one spread", 2)
    assert two.error == pytest.approx(pooled([[s.mean for s in side[:2]] for side in (ours, theirs)]).deviation)
    assert difference(ours[:3], theirs[1:]).how == "3 and 3 trainings, one spread"
    assert difference(ours[:2], theirs[:2], Spread(0.5, 7)).error == pytest.approx(0.5)
    assert str(seed_by_seed({0: 1.0}, {1: 2.0})) == "not on record"  # no seed in common


def test_models_are_compared_on_the_images_that_all_have():
    a, b = np.arange(6.0), np.arange(4.0) + 1.0
    found = difference([score(0, a)], [score(0, b)])
    assert (found.images, found.value) == (4, -1.0)
    assert found.image_error == 0.0
    assert difference([score(0, a)._replace(per_image=None)], [score(0, b)]) is None
    assert difference([], [score(0, b)]) is None


def test_pooled_is_within_cells():
    assert pooled([[1.0], [2.0]]) == pytest.approx((math.nan, 0), nan_ok=True)
    assert pooled([[1.0, 3.0], [10.0, 10.0, 13.0], [7.0]]) == pytest.approx((math.sqrt((2.0 + 6.0) / 3.0), 3))


@pytest.mark.parametrize("seed", [0, 1])
def test_verdicts_are_right_together(seed):
    """Of 40 comparisons without any difference, in 5 % of tables at most one is wrong; taken alone, in most."""
    random, wrong = np.random.default_rng(seed), {"alone": 0, "together": 0}
    for _ in range(100):
        values = random.standard_normal([40, 3])
        parts = {
            number: Difference(float(each.mean()), float(each.std(ddof=1) / math.sqrt(3)), 2)
            for number, each in enumerate(values)
        }
        wrong["together"] += min(together(parts).values()) <= 0.05
        wrong["alone"] += any(part.verdict != "not told apart" for part in parts.values())
    assert wrong["together"] <= 5 + 4 * 2.2  # of 100; four standard deviations
    assert wrong["alone"] > 70  # a planted error: nothing corrected
    sure, unsure = Difference(3.0, 0.1, 2), Difference(0.1, 0.1, 2)
    assert together({"a": sure, "b": unsure, "c": Difference(1.0, math.nan, 0)}) == {
        "a": pytest.approx(2.0 * sure.p),
        "b": pytest.approx(unsure.p),
    }


def test_the_judges_error_has_a_part_in_what_is_said_of_these_models():
    found = Difference(-0.3, 0.2, 2, image_error=0.01, images=100, above=0.25)
    assert found.verdict.startswith("lower for these trained models")
    assert found._replace(above_error=0.03).verdict == "not told apart"
    for factor, said in ((1.9, "not told apart"), (2.0, "lower for these trained models; the seeds do not decide")):
        assert Difference(-0.01 * factor, 0.05, 2, image_error=0.01, images=100).verdict == said


def test_a_gap_below_zero_allows_for_nothing():
    ours, theirs = ([Score(0, v, 2, np.array([v, v + 0.1]), -0.5, 0.1)] for v in (1.0, 2.0))
    found = difference(ours, theirs)
    assert (found.below, found.above) == (0.0, 0.0)
