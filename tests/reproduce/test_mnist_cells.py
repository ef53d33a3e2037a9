"""Table 1's cells: the paper's, their names, and what records say of them."""

import dataclasses

import numpy as np
import pytest

from hvae_tf import ReleasedFixedTempering
from hvae_tf.data import load
from reproduce.configs import ANALYTIC_CELLS, TABLE1_CELLS, TABLE1_PRESETS
from reproduce.mnist.cells import Run, comparable, configuration, label, make_runs, paper_runs, training_configuration
from reproduce.mnist.training import build, train
from reproduce.tables import mean_half_up
from tests.reproduce.mnist_records import TINY


def test_cells_are_the_papers():
    """Every run of the paper's supplement is a run of some cell, and every cell but those beside it has some there."""
    counts = {cell: len(paper_runs(cell)) for cell in TABLE1_CELLS}
    assert sum(counts.values()) == 3 + 54
    assert {cell for cell, count in counts.items() if not count} == {"iwae5", "iwae50", *ANALYTIC_CELLS}
    assert counts["vae"] == counts["k10-free"] == 3


# -ELBO/NLL as the paper and its supplement print them: free, fixed, none at a shared step size, then one for each step
PRINTED = {
    1: "- 86.51/83.32 86.32/83.17 - - -",
    5: "86.38/83.09 86.55/83.26 86.82/83.68 86.16/83.01 86.09/82.94 86.48/83.35",
    10: "86.39/82.97 86.51/83.26 86.63/83.40 85.92/82.62 86.01/82.87 86.37/83.25",
    15: "86.18/82.78 86.81/83.56 87.00/83.82 85.94/82.62 86.31/83.09 86.07/82.94",
    20: "86.28/82.93 86.31/83.18 86.40/83.33 86.06/82.83 86.02/82.85 86.07/82.93",
}


def test_means_of_the_papers_runs_print_like_its_table():
    printed = {"vae": "86.42/83.20"}
    for steps, row in PRINTED.items():
        names = [f"k{steps}-{t}{s}" for s in ("-shared", "") for t in ("free", "fixed", "none")]
        printed |= {name: text for name, text in zip(names, row.split(), strict=True) if text != "-"}
    printed = {name.replace("k1-fixed-shared", "k1-fixed").replace("k1-none-shared", "k1-none"): text
               for name, text in printed.items()}  # fmt: skip
    means = {
        cell: "/".join(mean_half_up([run[column] for run in runs]) for column in ("neg_elbo", "nll"))
        for cell in TABLE1_CELLS if (runs := paper_runs(cell))
    }  # fmt: skip
    assert len(means) == 27
    assert means == printed
    # floats print some of them otherwise
    floats = {cell: f"{np.mean([float(run['nll']) for run in paper_runs(cell)]):.2f}" for cell in means}
    assert sum(floats[cell] != text.split("/")[1] for cell, text in printed.items()) >= 1


def test_runs_of_the_presets():
    paper = make_runs(TABLE1_PRESETS["paper"])
    assert sum(run.cell == "k10-free" for run in paper) == 3
    assert sum(run.cell == "k5-free" for run in paper) == 2
    budget = make_runs(TABLE1_PRESETS["budget"])
    assert len(budget) == 20
    assert {run.cell for run in budget if run.seed == 2} == {"vae", "k1-fixed", "k5-free", "vae-analytic"}
    once = {f"k{steps}-{kind}" for steps in (1, 5, 10) for kind in ("free", "fixed", "none")} - {"k1-free"}
    assert {run.cell for run in budget} == {"vae"} | once | ANALYTIC_CELLS.keys()
    assert [run.seed for run in make_runs(TABLE1_PRESETS["budget"], ["k20-none"], (3, 4))] == [3, 4]
    released = make_runs(TABLE1_PRESETS["released"])
    assert {run.cell for run in released} == {run.cell for run in paper} - {"vae"} | {"vae-analytic"}
    config = TABLE1_PRESETS["released"].config
    model = build(Run("k5-fixed", 0), dataclasses.replace(config, filters=()), load("digits", limit=(30, 10, 10)), 10)
    assert isinstance(model.flow.tempering, ReleasedFixedTempering)
    assert float(model.optimizer.learning_rate) == pytest.approx(5e-4)


@pytest.mark.parametrize("cell", ["vae", "k1-fixed"])
@pytest.mark.parametrize(("behind", "kl"), [("", "prior-sampled"), ("-analytic", "analytic")])
def test_the_closed_forms_differ_in_the_divergence_alone(cell, behind, kl):
    data = load("digits", limit=(30, 10, 10))
    config = dataclasses.replace(TINY, filters=())
    model = build(Run(f"{cell}{behind}", 0), config, data, 10)
    assert model.estimator.kl == kl
    other = build(Run(cell, 0), config, data, 10)
    assert all(map(np.array_equal, model.get_weights(), other.get_weights()))


def test_a_run_is_built_as_its_cell_and_seed_say():
    data, config = load("digits", limit=(30, 10, 10)), dataclasses.replace(TINY, filters=())
    first, again, other = (build(Run("k5-free", seed), config, data, 10) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first.get_weights(), again.get_weights()))
    assert (first.seed, other.seed) == (0, 1)
    assert not np.array_equal(first.encoder.get_weights()[0], other.encoder.get_weights()[0])
    assert not np.array_equal(first.decoder.get_weights()[0], other.decoder.get_weights()[0])
    assert first.flow.step_sizes.shape[0] == 5
    assert build(Run("k5-free-shared", 0), config, data, 10).flow.step_sizes.shape[0] != 5


def test_early_stopping_looks_at_the_validation_images(monkeypatch, tmp_path):
    data, config = load("digits", limit=(30, 10, 10)), dataclasses.replace(TINY, filters=(), batch_size=10)
    given = []
    monkeypatch.setattr("hvae_tf.fit", lambda model, batches, validation, *_, **__: given.append((batches, validation)))
    train(Run("vae", 3), config, data, tmp_path)
    ((batches, validation),) = given
    np.testing.assert_array_equal(validation, data.binarised("validation"))
    assert (batches.seed, batches.batch_size, batches.data) == (3, 10, data)


def test_every_cell_has_a_name_of_its_own():
    for short in (False, True):
        names = [label(cell, short) for cell in TABLE1_CELLS]
        assert len(set(names)) == len(names)
        assert not any("-" in name for name in names)
    assert label("k5-free") == "HVAE, K = 5, free tempering, a step size for each step"
    assert label("k1-none") == "HVAE, K = 1, no tempering"


@pytest.mark.parametrize(("cell", "kind"), [("k5-free", "per_step"), ("k5-free-shared", "shared"), ("vae", "")])
def test_a_record_has_both_meanings_of_step_size(cell, kind):
    found = configuration(Run(cell, 0), TINY)
    assert (found["step_size"], found["step_size_per"]) == (0.2, kind)
    # records and checkpoints from before stand as they are
    old = training_configuration(Run(cell, 0), TINY)
    assert "step_size_per" not in old
    assert comparable(found, old) == old
    assert comparable(found, found) == found
