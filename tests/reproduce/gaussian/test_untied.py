"""The untied momentum beside Figure 1: its exact ELBO, the closed-form optima, and the script."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import dense_decoder, dense_encoder
from reproduce import untied as script
from reproduce.family.cells import UNTIED_PRESET
from reproduce.gaussian.configs import PRESETS
from reproduce.gaussian.problem import make_group
from reproduce.gaussian.trainer import Trainer
from reproduce.gaussian.untied import CENTRES, LAMS, VARIANTS, Fit, Results, Untied, optimum
from reproduce.gaussian.untied_report import page, table

CONFIG = PRESETS["quick"].config


@pytest.mark.parametrize("name", ["untied-k1-shift", "untied-k10"])
def test_the_exact_elbo_is_the_mean_of_the_samples(name, z_score):
    config = dataclasses.replace(CONFIG, num_samples=20_000, initial_log_sigma=1.0)
    group = make_group([(2, 0), (2, 1)], config, 0)
    trainer = Trainer(name, group, config, 0, make=lambda _, *args: Untied(VARIANTS[name], *args))
    for index, variable in enumerate(trainer.variables):
        variable.assign_add(0.2 * np.random.default_rng(index).normal(size=variable.shape))
    target = trainer.method.target_class(trainer._statistics, trainer.delta, trainer.log_sigma)
    samples = trainer.method.elbo(target, *trainer._noise(tf.constant(0))).numpy() - trainer.exact_elbo()
    assert z_score(samples, 0.0) < 5.0
    assert z_score(samples, 0.1 * np.std(samples)) > 5.0  # planted: a tenth of the spread of one sample


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("centre", CENTRES)
def test_the_optimum_is_the_formula(lam, centre):
    assert optimum(lam, centre, shift=False) == pytest.approx(0.5 * np.log1p(centre**2), abs=1e-8)
    assert optimum(lam, centre, shift=True) == pytest.approx(0.0, abs=1e-8)


def test_the_page_holds_what_was_found():
    tied, untied = Fit(np.array([4.0, 6.0]), np.array([0.2, 0.4])), Fit(np.array([1.0, 3.1]), np.array([0.1, 0.5]))
    fits = {"hvae-k1": {2: tied}, "hvae-k10": {}, **{name: {2: untied} for name in VARIANTS}}
    results = Results(CONFIG, (2,), fits, [(1e4, 0.0, 94.394, 0.0, 0.0)])
    text = page(results)
    assert "| 10000 | 0 | 94.39 | 0.0000 | 0.0000 | 0.0000 |" in text
    assert "| K = 1, tied (the paper's) | 2.5 ± 6.4 |" in text
    assert "**K = 1, untied, less tied, d = 2:** gap -2.95 ± 0.64 (lower); error of theta" in text
    assert table(results).splitlines()[1] == "hvae-k1,2,0,4.00000,0.200000"


@pytest.mark.slow
def test_end_to_end(tmp_path, capsys):
    assert script.main(["--iterations", "3", "--dims", "1", "--out", str(tmp_path)]) == 0
    assert str(tmp_path / "report.md") in capsys.readouterr().out
    assert "K = 10, untied | " in (tmp_path / "report.md").read_text()
    assert (tmp_path / "untied.png").stat().st_size > 5000


def test_records_that_are_missing_are_said(tmp_path, capsys):
    (tmp_path / "bad.json").write_text("{")
    assert script.main(["--figure1", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_preset_has_the_tied_and_the_untied_of_each():
    preset = UNTIED_PRESET
    assert preset.names == ("untied-fixed-2", "untied-free-6")
    assert preset.beside == {"vae": "vae", "hvae-fixed-2": "k1-fixed", "hvae-free-6": "k5-free"}
    sizes = {"event_shape": (5,), "latent_size": 2, "hidden_units": (3,)}
    for name in preset.names:
        model = preset.cells[name].make(dense_encoder(**sizes), dense_decoder(**sizes), preset.protocol, 0)
        assert model.flow.momentum_scale == "learned"
        assert model.flow.num_leapfrog_steps + 1 == preset.cells[name].evaluations


def test_options_of_the_other_half_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        script.main(["--preset", "budget", "--dims", "3"])
    assert "--dims: belongs to the Gaussian model" in capsys.readouterr().err
