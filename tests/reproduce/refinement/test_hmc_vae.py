"""Exact problems of refined latents, differences and verdicts, and the script end to end."""

import dataclasses
import json

import numpy as np
import pytest

from reproduce import hmc_vae
from reproduce.differences import Spread
from reproduce.judged.findings import Row, difference, on_common_images
from reproduce.judged.training import active_units
from reproduce.judged.work import Settings
from reproduce.judging import presets as judging_presets
from reproduce.judging.presets import Chains
from reproduce.refinement import cells, work
from reproduce.refinement.factor_analysis import STARTS, Study, gradient_biases, make_target
from reproduce.refinement.report import verdicts

SMALL = Study(moves=(0, 1, 4, 16), leapfrog_steps=(2,), chunks=8, chains=500)


@pytest.fixture(scope="module")
def biases():
    return gradient_biases(SMALL)


def test_the_bias_falls_with_the_moves(biases):
    for start in STARTS:
        line = [row for row in biases if row.start == start]
        assert [row.num_moves for row in line] == list(SMALL.moves)
        values, errors = (np.array([getattr(row, name) for row in line]) for name in ("bias", "standard_error"))
        assert np.all(np.diff(values) < -3 * np.hypot(errors[1:], errors[:-1]))
        assert values[-1] < 0.1 * values[0]
        assert 0.5 < line[-1].acceptance < 0.9


def test_the_bias_without_moves_is_the_elbos(biases):
    target = make_target(SMALL)
    best, exact = target.gradient_under(target.best_mean_field()), target.evidence_gradient()
    expected = np.sqrt(sum(np.sum(np.square(a - b)) for a, b in zip(best, exact, strict=True)))
    assert next(row.bias for row in biases if row.start == STARTS[0]) == pytest.approx(expected)


# ---- findings


def row(cell, seed, ais, units=4):
    values = np.asarray(ais, float)
    return Row(cell, cells.CELLS[cell].label, seed, values, values + 1.0, values, 0.01, 0.005, units, 8, {}, 5)


def test_differences_are_paired_by_seed_where_there_are_seeds():
    random = np.random.default_rng(0)
    images, seeds = random.normal(size=50), random.normal(size=4)
    those = [row("vae", i, 90.0 + images + s) for i, s in enumerate(seeds)]
    these = [row("m1-l5", i, 89.0 + images + s + 0.01 * i) for i, s in enumerate(seeds)]
    found = difference(these, those)
    assert found.value == pytest.approx(-0.985)
    assert found.error == pytest.approx(np.std([0.0, 0.01, 0.02, 0.03], ddof=1) / 2.0)
    assert (found.how, found.verdict) == ("4 pairs of one seed", "lower")
    # one training against four has the spread of the four
    found = difference(these[:1], those)
    assert found.error == pytest.approx(np.std(seeds, ddof=1) * np.sqrt(1.25))
    assert found.verdict == "lower for these trained models; the seeds do not decide"
    # one against one has the images only, and no more images than both have
    found = difference(these[:1], [row("vae", 0, those[0].ais[:20])])
    assert np.isnan(found.half)
    assert found.verdict == "lower for these trained models; the seeds do not decide"
    # unless a spread is known from elsewhere
    assert difference(these[:1], those[:1], spread=Spread(0.1, 8)).verdict == "lower"


def test_rows_are_cut_to_the_images_that_all_have():
    few, many = row("vae", 0, np.arange(3.0)), row("m1-l5", 0, np.arange(5.0))._replace(neg_elbo=np.arange(2.0))
    for found in on_common_images([few, many]):
        assert (len(found.ais), len(found.neg_elbo), len(found.nll)) == (3, 2, 3)


def test_verdicts_say_what_is_missing():
    from reproduce.refinement.findings import Findings

    text = " ".join(verdicts(Findings([row("m1-l5", 0, [1.0, 2.0])], None, None, None, {})).split())
    for claim in ("no VAE on record", "*More moves help*: not trained here", "HMC-VAE, M = 1, L = 5 4 of 8"):
        assert claim in text
    full = [row("vae", 0, [1.0, 2.0], units=8), row("m1-l5", 0, [1.0, 2.5], units=8)]
    assert "cannot be told here" in verdicts(Findings(full, None, None, None, {}))
    seeds = [row("vae", seed, [1.0, 2.0], units=units) for seed, units in enumerate((7, None, 3))]
    for units, told in ((5, True), (8, False)):
        text = verdicts(Findings([*seeds, row("m1-l5", 0, [1.0, 2.5], units=units)], None, None, None, {}))
        assert "VAE 7, 3 of 8 (2 of 3 models)" in " ".join(text.split())
        assert ("nothing can be told" in " ".join(text.split())) == told


def test_active_units_are_those_whose_means_vary():
    class Model:
        def posterior(self, x):
            from hvae_tf import DiagonalGaussian

            return DiagonalGaussian(x * np.array([1.0, 0.05, 0.0]), x)

    x = np.random.default_rng(0).normal(size=(1200, 1)) * np.ones(3)
    assert active_units(Model(), x) == 1


# ---- the script


@pytest.fixture
def small(monkeypatch):
    """Everything in seconds."""
    quick = cells.PRESETS["quick"]
    protocol = dataclasses.replace(quick.protocol, max_epochs=1, latent_size=2, hidden_units=4, warm_up_steps=2)
    judge = dataclasses.replace(
        quick.judge, simulated=4, prior_images=4, importance_images=4, chains=Chains("encoder", 3, 2, 1),
        prior=Chains("prior", 3, 2, 1),
    )  # fmt: skip
    monkeypatch.setitem(cells.PRESETS, "quick", dataclasses.replace(quick, protocol=protocol, judge=judge))
    monkeypatch.setattr(judging_presets, "IMPORTANCE_SAMPLES", 5)
    monkeypatch.setattr("reproduce.judging.work.IMPORTANCE_SAMPLES", 5)
    monkeypatch.setattr("reproduce.refinement.factor_analysis.Study", lambda: SMALL)


@pytest.mark.slow
def test_end_to_end_twice(small, tmp_path, capsys):
    command = ["--out", str(tmp_path), "--cells", "vae,m1-l5-shear", "--limit", "60", "--images", "8", "--verbose", "0"]
    command += ["--processes", "1"]
    assert hmc_vae.main(command) == 0
    report = (tmp_path / "report.md").read_text()
    for text in ("A trial on the first 60 images", "HMC-VAE, M = 1, L = 5, with A less VAE", "yes, exactly"):
        assert text in " ".join(report.split())
    for name in ("samples.png", "likelihood.png", "kl.png", "bias.png"):
        assert (tmp_path / name).stat().st_size > 2000
    record = json.loads((tmp_path / "records" / "m1-l5-shear-seed0.json").read_text())
    assert {"acceptance", "acceptance_low", "step_size", "jump", "val_loss"} <= set(record["history"])
    assert 0 <= record["results"]["active_units"] <= 2
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert hmc_vae.main(command) == 0
    assert {path: path.read_bytes() for path in before} == before
    # without models the records stand
    for path in (tmp_path / "models").iterdir():
        path.unlink()
    assert hmc_vae.main(command) == 0
    assert not list((tmp_path / "models").iterdir())
    capsys.readouterr()
    assert hmc_vae.main([*command, "--epochs", "2"]) == 1
    assert "is of another configuration (max_epochs=1 there, 2 asked)" in capsys.readouterr().err


def test_the_protocol_on_mnist_is_table_1_s():
    from reproduce.configs import TABLE1_PRESETS

    budget, protocol = TABLE1_PRESETS["budget"].config, cells.PRESETS["budget"].protocol
    for name in ("dataset", "max_epochs", "batch_size", "learning_rate", "latent_size", "hidden_units", "filters"):
        assert getattr(protocol, name) == getattr(budget, name), name
    assert budget.schedule == "cosine"


def test_a_folder_without_records_is_named(tmp_path, capsys):
    assert hmc_vae.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert "has no records to report" in capsys.readouterr().err


def test_cells_are_named():
    args = hmc_vae.parse(["--preset", "budget", "--cells", "m1-l5,m5-l5-shear", "--seeds", "0,1"])
    assert [run.name for run in args.runs] == [
        "m1-l5-seed0", "m5-l5-shear-seed0", "m1-l5-seed1", "m5-l5-shear-seed1",
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        hmc_vae.parse(["--cells", "k5"])


def test_table_1_s_models_get_their_active_units(tmp_path, monkeypatch):
    """Once for each file; a new file is counted again."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vae-seed0.keras").write_bytes(b"one")
    counted = []
    monkeypatch.setattr(work, "load_model", lambda path: counted.append(path.name))
    monkeypatch.setattr(work, "active_units", lambda model, x: 7)
    preset = dataclasses.replace(cells.PRESETS["quick"], beside=("vae",))
    settings = Settings(preset, tmp_path / "out")
    for content, expected in ((b"one", 1), (b"one", 1), (b"two", 2)):
        (tmp_path / "models" / "vae-seed0.keras").write_bytes(content)
        work.count_active_units_beside(settings, tmp_path)
        assert len(counted) == expected
    assert json.loads((tmp_path / "out/beside/vae-seed0.json").read_text())["results"] == {"active_units": 7}
