"""The divergence guard: what stops a run, what it says, and what it leaves."""

import json

import numpy as np
import pytest

from hvae_tf.training import DivergenceError, load_checkpoint
from tests.training.scripted import VALIDATION, Scripted, Steps, fit, scripted_run, stop_at


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bound_that_is_not_finite_stops_the_run(bad, tmp_path):
    train_losses = np.ones(12)
    train_losses[6] = bad
    told = r"diverged at step 7: .*loss = (-?inf|nan); loss before it 1 nats; parameters before it: scripted/count 6"
    with pytest.raises(DivergenceError, match=told) as error:
        scripted_run(tmp_path, [3, 2, 1], train_losses)
    assert error.value.step == 7
    assert error.value.parameters["scripted/count"] == 6  # as it was before the step
    assert load_checkpoint(tmp_path / "checkpoint.bin")[1].step == 4
    assert json.loads((tmp_path / "divergence.json").read_text())["parameters"]["scripted/count"] == 6


def test_a_first_batch_that_is_not_finite_asks_for_the_scale_of_x(tmp_path):
    """No weight had moved, so no learning rate is to blame."""
    told = r"diverged at step 1: .*; it is the first, so look at the scale of x: .*output_bias"
    with pytest.raises(DivergenceError, match=told):
        scripted_run(tmp_path / "first", [3, 2, 1], [np.nan, *np.ones(11)])


def test_a_run_that_goes_on_is_not_told_of_a_first_batch(tmp_path):
    scripted_run(tmp_path, [3, 2, 1], np.ones(12), callbacks=[stop_at(5)], checkpoint_steps=1)
    spoiled = np.ones(12)
    spoiled[5] = np.nan
    with pytest.raises(DivergenceError) as error:
        scripted_run(tmp_path, [3, 2, 1], spoiled, checkpoint_steps=1)
    assert error.value.step == 6
    assert "scale of x" not in str(error.value)
    assert "nan nats" not in str(error.value)


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(DivergenceError, match=r"step 8: val_loss = nan.*\(step 4, 1 epochs\) is kept"):
        scripted_run(tmp_path, [3, np.nan, 1])
    assert (tmp_path / "history.csv").read_text().count("\n") == 2


@pytest.mark.slow
def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    def spoil(model):
        model.count.assign(np.inf)  # as a gradient does whose loss was still finite

    settings = {"checkpoint_steps": 3, "callbacks": [stop_at(6, spoil)]}
    with pytest.raises(DivergenceError, match=r"step 6: not finite after it: scripted/count.*\(step 4, 1 epochs\)"):
        scripted_run(tmp_path, [3, 2, 1], **settings)
    _, result = scripted_run(tmp_path, [3, 2, 1], checkpoint_steps=3)
    assert result.epochs == 3


def test_after_divergence_the_model_holds_the_last_good_checkpoint(tmp_path):
    model = Scripted([3, np.nan, 1])
    with pytest.raises(DivergenceError):
        fit(model, Steps(), VALIDATION, tmp_path, max_epochs=3, verbose=0)
    assert float(model.count) == int(model.optimizer.iterations) == 4


def test_limits_stop_the_run(tmp_path):
    train_losses = np.ones(12)
    train_losses[9] = 1e7
    with pytest.raises(DivergenceError, match=r"step 10: gradient_norm = 1e\+07 \(limit 1e\+06\)"):
        scripted_run(tmp_path / "a", [3, 2, 1], train_losses, limits={"gradient_norm": 1e6})
    _, result = scripted_run(tmp_path / "b", [3, 2, 1], train_losses, limits={"gradient_norm": 1e8})
    assert result.epochs == 3


def test_a_limit_of_a_name_that_is_not_logged_is_an_error_after_the_first_epoch(tmp_path):
    limits = {"gradient_nrom": 1e6, "val_loss": 1e6}
    with pytest.raises(ValueError, match=r"limits has 'gradient_nrom', .*logged: .*gradient_norm.*val_loss") as error:
        scripted_run(tmp_path, [3, 2, 1], limits=limits)
    assert "\n" not in str(error.value)
    assert load_checkpoint(tmp_path / "checkpoint.bin")[1].step == 4  # the epoch is not lost
    _, result = scripted_run(tmp_path, [3, 2, 1], limits={"gradient_norm": 1e6, "val_loss": 1e6})
    assert result.epochs == 3
    np.testing.assert_array_equal(result.history["val_loss"], [3.0, 2.0, 1.0])
