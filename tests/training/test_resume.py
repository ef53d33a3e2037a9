"""A real model, really killed: it resumes bit for bit, and a run is told apart from every other."""

import csv
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import keras
import numpy as np
import pytest

from hvae_tf.data import TrainBatches, load
from hvae_tf.models.hvae import HVAE
from hvae_tf.networks import conv_decoder, conv_encoder
from hvae_tf.training import CheckpointError, DivergenceError, fit, load_checkpoint, save_checkpoint, state_variables
from hvae_tf.training.architecture import architecture
from tests.training.scripted import At, assert_same

SMALL = {"latent_size": 2, "hidden_units": 8, "filters": (2,), "kernel_size": 3}
EPOCHS, STEPS, PATIENCE = 12, 5, 2


def small_model(data, **kwargs):
    networks = conv_encoder(data.image_shape, **SMALL), conv_decoder(data.image_shape, **SMALL, output_bias=-0.8)
    model = HVAE(*networks, num_leapfrog_steps=1, **kwargs)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.5, EPOCHS * STEPS)))
    return model


def small_run(folder, callbacks=(), **kwargs):
    """A run whose validation loss turns up early enough for patience to end it."""
    data = load("digits", limit=(5 * STEPS, 30, 1))
    model = small_model(data)
    settings = {"max_epochs": EPOCHS, "patience": PATIENCE, "checkpoint_steps": 2, "verbose": 0}
    settings |= {"checkpoint_seconds": None, **kwargs}
    batches = TrainBatches(data, 5, seed=4)
    return model, fit(model, batches, data.binarised("validation"), folder, callbacks=callbacks, **settings)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_run(folder, moment, step):
    """A run that is killed at a moment of a step: after its "batch", or while a file is written after it."""
    clock = At(lambda model: moment == "batch" and now() == step, die)
    replace, fsync = os.replace, os.fsync

    def now():
        return int(clock.model.optimizer.iterations) if clock.model else None

    def dying_replace(source, target):  # the new file is whole, but not yet in place
        if Path(target).name == moment and now() == step:
            die()
        replace(source, target)

    def dying_fsync(handle):  # the new file is half written
        if moment == "half" and now() == step:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            die()
        fsync(handle)

    os.replace, os.fsync = dying_replace, dying_fsync
    small_run(folder, [clock])


def kills(end):
    """(moment, step) of each kill of a run that ends at step `end`, and the step of the checkpoint that it leaves."""
    late = end - 2
    moments = [("batch", 3), ("half", 6), ("checkpoint.bin", 10), ("batch", late), ("history.csv", end)]
    return moments, [2, 5, 8, (late - 1) // 2 * 2, end]


def kill_repeatedly(folder, end):
    """Runs and is killed, at each moment of `kills` in turn; each time in a process of its own."""
    for moment, step in kills(end)[0]:
        child = os.fork()  # TensorFlow is imported, but has not started yet: it starts anew in each child
        if not child:
            try:
                killed_run(folder, moment, step)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), (moment, step, status)
        assert os.WTERMSIG(status) == signal.SIGKILL, (moment, step, status)
        progress = load_checkpoint(folder / "checkpoint.bin")[1]
        report = {"kill": [moment, step], "step": progress.step, "best": progress.best_epoch}
        print(json.dumps({**report, "stale": len(list(folder.glob(".*.tmp")))}))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, *small_run(folder)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_run_killed_again_and_again_ends_where_the_uninterrupted_one_ends(uninterrupted, tmp_path):
    expected, expected_model, expected_result = uninterrupted
    end = STEPS * expected_result.epochs
    done = subprocess.run(
        [sys.executable, "-m", __name__.removeprefix("."), str(tmp_path), str(end)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"kill"')]
    moments, left = kills(end)
    assert [tuple(report["kill"]) for report in reports] == moments
    assert [report["step"] for report in reports] == left
    assert [report["stale"] for report in reports] == [0, 1, 1, 0, 1]  # files half written, swept up by the next run
    model, result = small_run(tmp_path)
    assert not list(tmp_path.glob(".*.tmp"))
    assert_same(tmp_path, expected)
    for a, b in zip(state_variables(model), state_variables(expected_model), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.optimizer.variables, expected_model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert result.history == expected_result.history
    # early stopping's memory: patience ended the run, counting from a best epoch that an earlier process saw
    assert result.stopped == "patience"
    assert result.epochs == result.best_epoch + PATIENCE
    assert reports[3]["best"] == result.best_epoch
    assert reports[3]["step"] > STEPS * (result.best_epoch + 1)


def test_history_file_has_one_row_an_epoch(uninterrupted):
    folder, _, result = uninterrupted
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, result.epochs + 1))
    for name, column in result.history.items():
        assert [float(row[name]) for row in rows] == column
    logged = {"loss", "reconstruction", "rate"}
    assert logged | {f"val_{name}" for name in logged} | {"learning_rate"} <= set(rows[0])
    assert result.history["learning_rate"][1] < result.history["learning_rate"][0]


def test_best_weights_give_the_best_loss(uninterrupted):
    _, model, result = uninterrupted
    validation = load("digits", limit=(25, 30, 1)).binarised("validation")
    again = model.evaluate(validation, batch_size=100, verbose=0, return_dict=True)
    assert again["loss"] == result.best_loss == min(result.history["val_loss"])


def test_a_second_call_does_nothing(uninterrupted):
    folder, model, result = uninterrupted
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    counted = []
    again_model, again = small_run(folder, [At(lambda model: True, counted.append)])
    assert not counted
    assert again == result
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    for a, b in zip(again_model.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


def as_it_was(path):
    """Makes a checkpoint what it was when models logged `elbo`."""
    groups, progress, configuration = load_checkpoint(path)
    loss, count, reconstruction, _, rate, _, batches = groups["metrics"]
    groups["metrics"] = [loss, count, -(reconstruction + rate), count, batches]
    history = progress.history
    for prefix in ("", "val_"):
        parts = history.pop(f"{prefix}reconstruction"), history.pop(f"{prefix}rate")
        history[f"{prefix}elbo"] = [-sum(pair) for pair in zip(*parts, strict=True)]
    save_checkpoint(path, groups, progress, configuration)


@pytest.mark.slow
def test_a_run_begun_when_elbo_was_logged_goes_on_bit_for_bit(uninterrupted, tmp_path):
    _, expected_model, expected = uninterrupted

    def interrupt(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_run(tmp_path, [At(lambda model: int(model.optimizer.iterations) == STEPS + 4, interrupt)])
    as_it_was(tmp_path / "checkpoint.bin")
    model, result = small_run(tmp_path)
    for a, b in zip(state_variables(model), state_variables(expected_model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(result.history) == {"loss", "val_loss", "elbo", "val_elbo", "learning_rate"}
    for name in ("loss", "val_loss", "learning_rate"):
        assert result.history[name] == expected.history[name]
    for prefix in ("", "val_"):
        minus_elbo = np.add(expected.history[f"{prefix}reconstruction"], expected.history[f"{prefix}rate"])
        np.testing.assert_allclose(result.history[f"{prefix}elbo"], -minus_elbo, rtol=1e-6)
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + expected.epochs


@pytest.mark.slow
def test_divergence_of_a_flow_is_told_with_its_parameters(uninterrupted, tmp_path):
    def plant(model):
        model.decoder.trainable_variables[0].assign(np.nan * model.decoder.trainable_variables[0])

    with pytest.raises(DivergenceError) as error:
        small_run(tmp_path, [At(lambda model: int(model.optimizer.iterations) == 7, plant)])
    message = str(error.value)
    told = (
        "at step 7:",
        "loss = nan",
        "left not finite",
        "step_sizes",
        "alphas",
        "inv_sqrt_beta_0",
        "(step 6, 1 epochs)",
    )
    for part in told:
        assert part in message, part
    assert "\n" not in message
    assert all(np.all(np.isfinite(value)) for value in error.value.parameters.values())
    assert np.all(error.value.parameters["step_sizes"] > 0)
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert report["step"] == 7
    assert len(report["parameters"]["step_sizes"]) == SMALL["latent_size"]
    small_run(tmp_path)  # the checkpoint was good
    assert_same(tmp_path, uninterrupted[0])


def test_networks_are_told_apart_but_not_by_keras_running_names(uninterrupted):

    data = load("digits", limit=10)
    expected = architecture(uninterrupted[1])
    keras.layers.Dense(3)  # what else was made in this process does not matter
    assert architecture(small_model(data)) == expected
    assert architecture(small_model(data, tempering="fixed")) != expected
    assert architecture(small_model(data, seed=1)) != expected

    def dense(activation):
        return keras.Sequential([keras.Input([2]), keras.layers.Dense(2, activation)])

    assert architecture(dense("relu")) == architecture(dense("relu"))
    assert architecture(dense("relu")) != architecture(dense("softplus"))


def test_an_altered_byte_in_a_checkpoint_is_found(uninterrupted, tmp_path):
    content = bytearray((uninterrupted[0] / "checkpoint.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "checkpoint.bin").write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="delete its folder"):
        small_run(tmp_path)


if __name__ == "__main__":  # the child of the kill test
    kill_repeatedly(Path(sys.argv[1]), int(sys.argv[2]))
