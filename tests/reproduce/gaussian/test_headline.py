"""What Figure 1's report says first, and of its draw of data sets: made of the records, and right about chance."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reproduce.cli import opening
from reproduce.gaussian.headline import draw_section, draws, headline, plain
from reproduce.gaussian.problem import true_parameters
from reproduce.gaussian.records import Records, load

ROOT = Path(__file__).resolve().parent.parent.parent.parent
N = 10_000


def made_up(errors, ml, variant="corrected") -> Records:
    """Records of errors by method and d, all of it in Delta, beside the maximum likelihood's by d."""
    by_key = {
        (variant, method, d): {
            "configuration": {"num_observations": N, "datasets": len(values)},
            "results": {
                "theta_error": list(values), "delta_error": list(values),
                "ml_theta_error": list(ml[d]), "ml_delta_error": list(ml[d]),
            },
        }
        for method, by_d in errors.items()
        for d, values in by_d.items()
    }  # fmt: skip
    return Records(by_key, sorted({d for _, _, d in by_key}))


def likelihood_errors(d, datasets, rng) -> np.ndarray:
    """|mean of the data - Delta|^2, which is |z + noise|^2, data set by data set."""
    spread = np.sqrt(1.0 + true_parameters(d)[1] ** 2 / N)
    return np.sum((spread * rng.normal(size=(datasets, d))) ** 2, axis=1)


def test_the_probability_of_a_draw_is_uniform(seed):
    """p < 0.05 comes in a tenth of draws, half on either side; with degrees of freedom of another d it does not."""
    rng = np.random.default_rng(seed)
    found, wrong = [], []
    for _ in range(600):
        ml = {5: likelihood_errors(5, 10, rng)}
        found.append(draws(made_up({"vb": ml}, ml), "corrected")[0].p)
        wrong.append(min(f(ml[5].sum(), 10 * 6) for f in (stats.chi2.cdf, stats.chi2.sf)))
    error = np.sqrt(0.1 * 0.9 / len(found))
    assert abs(np.mean(np.array(found) < 0.05) - 0.1) < 4.5 * error
    assert abs(np.mean(np.array(wrong) < 0.05) - 0.1) > 4.5 * error


def test_the_figures_own_unlikely_draw_is_told():
    records = load(ROOT / "results" / "figure1")
    by_d = {draw.d: draw for draw in draws(records, "corrected")}
    assert by_d[5].p == pytest.approx(2.3e-4, rel=0.05)
    assert min(draw.p for d, draw in by_d.items() if d != 5) > 0.1
    section = draw_section(records, "corrected")
    assert "**At d = 5 the 10 data sets are an unlikely draw**" in section
    assert "the dip there says nothing of methods" in section
    assert section.count("unlikely draw") == 1
    more = load(ROOT / "results" / "figure1" / "small-d")
    for d in more.dims:  # the first of them are the figure's, as the report says
        both = [r.results("corrected", "vb", "ml_theta_error")[d] for r in (records, more)]
        np.testing.assert_array_equal(both[0], both[1][:10])
    page = (ROOT / "results" / "figure1" / "report.md").read_text()
    assert headline(records, "corrected") in page
    assert "unlikely draw" in page
    assert opening(ROOT / "results" / "figure1").startswith("What the figure shows: at d = 301")


def test_a_likely_draw_is_not_called_unlikely():
    ml = {1: np.full(4, 1.0), 11: np.full(4, 11.0)}
    assert "No size has an unlikely draw" in draw_section(made_up({"vb": ml}, ml), "corrected")


def test_the_headline_is_what_the_records_say():
    ml = {1: np.array([1.0, 2.0, 3.0]), 9: np.array([9.0, 8.0, 10.0])}
    better = {"hvae-k1": ml, "vb": {1: ml[1] - 0.8, 9: ml[9] + [20.0, 21.0, 19.0]}}
    text = headline(made_up(better, ml), "corrected")
    assert "at d = 9, the largest size" in text
    assert "9 for HVAE, K = 1 and 29 for VB; the exact maximum likelihood on the same data has 9. " in text
    assert "HVAE, K = 1 has the smallest error there, as the paper says: 20 ± 2.5 less than VB." in text
    assert "Errors of Δ more than 10 % below the maximum likelihood's (VB at d = 1) are no merit" in text
    assert "Less far below" not in text
    near = {"hvae-k1": {d: e - [0.02, 0.01, 0.02] for d, e in ml.items()}, "vb": better["vb"]}
    assert headline(made_up(near, ml), "corrected").endswith("told apart from it: HVAE, K = 1 at d = 1 and 9.")
    worse = {"hvae-k1": better["vb"], "nf-k1": {1: ml[1], 9: ml[9] + [0.1, 0.0, -0.1]}}
    text = headline(made_up(worse, ml), "corrected")
    assert "HVAE, K = 1 does not have the smallest error there" in text
    same = {"hvae-k1": ml, "vb": {1: ml[1], 9: ml[9] + [5.0, -5.0, 0.1]}}
    assert "cannot be told from the best other method" in headline(made_up(same, ml), "corrected")


def test_more_data_sets_stand_beside_the_figures():
    rng = np.random.default_rng(0)
    few, many = ({5: likelihood_errors(5, n, rng)} for n in (10, 50))
    text = draw_section(made_up({"hvae-k1": few}, few), "corrected", made_up({"hvae-k1": many}, many))
    assert "| d | data sets | exact ML | hvae-k1 |" in text
    assert "| 5 | the figure's, 10 |" in text
    assert f"| 5 | more, 50 | {many[5].mean():.3g} ± " in text


def test_numbers_without_exponents():
    assert [plain(x) for x in (0.967, 308.64, 18068.3)] == ["0.967", "308.6", "18 070"]
