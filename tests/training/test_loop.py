"""The training loop: kills and resumes bit for bit, early stopping, the divergence guard, what is refused."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.data import TrainBatches, load
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.networks import conv_decoder, conv_encoder
from hvae_tf.training import CheckpointError, DivergenceError, fit, load_checkpoint, state_variables

# -- a real model, really killed --------------------------------------------------------------------------------------

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
    settings = {"max_epochs": EPOCHS, "patience": PATIENCE, "checkpoint_steps": 2, "verbose": 0, **kwargs}
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


class At(keras.callbacks.Callback):
    """Does something at the end of the batches at which a condition on the model holds."""

    def __init__(self, condition, action):
        super().__init__()
        self.condition = condition
        self.action = action

    def on_train_batch_end(self, batch, logs=None):
        if self.condition(self.model):
            self.action(self.model)


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


def contents(folder):
    """All that a run has written, without times."""
    groups, progress, configuration = load_checkpoint(folder / "checkpoint.bin")
    clock = {"seconds": 0.0, "epoch_seconds": [0.0] * progress.epochs, "partial_seconds": 0.0}
    return groups, dataclasses.replace(progress, **clock), configuration, (folder / "history.csv").read_bytes()


def assert_same(a, b):
    groups_a, *rest_a = contents(a)
    groups_b, *rest_b = contents(b)
    assert rest_a == rest_b
    assert groups_a.keys() == groups_b.keys()
    for group in groups_a:
        for x, y in zip(groups_a[group], groups_b[group], strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, *small_run(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_run_killed_again_and_again_ends_where_the_uninterrupted_one_ends(uninterrupted, tmp_path):
    expected, expected_model, expected_result = uninterrupted
    end = STEPS * expected_result.epochs
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(end)], capture_output=True, text=True, timeout=900, check=False
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
    assert {"loss", "val_loss", "elbo", "val_elbo", "learning_rate"} <= set(rows[0])
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


# -- a model of one weight, whose losses are given --------------------------------------------------------------------


class Scripted(keras.Model):
    """Its weight counts the steps; its validation loss after epoch e is losses[e - 1], its training loss is given."""

    def __init__(self, losses, train_losses=None, steps=4):
        super().__init__(name="scripted")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")
        self.losses_of_epochs = tf.constant(losses, tf.float32)
        self.losses_of_steps = tf.constant(np.ones(1000) if train_losses is None else train_losses, tf.float32)
        self.steps = steps
        self.loss_metric = keras.metrics.Mean(name="loss")
        self.built = True
        self.compile(keras.optimizers.SGD(1.0))

    @property
    def metrics(self):
        return [self.loss_metric]

    def train_step(self, data):
        loss = tf.gather(self.losses_of_steps, self.optimizer.iterations)
        self.optimizer.apply([tf.constant(-1.0)], [self.count])
        self.loss_metric.update_state(loss)
        return {"loss": self.loss_metric.result(), "gradient_norm": loss}

    def test_step(self, data):
        epoch = (tf.cast(self.optimizer.iterations, tf.int32) - 1) // self.steps
        self.loss_metric.update_state(tf.gather(self.losses_of_epochs, epoch))
        return {"loss": self.loss_metric.result()}


class Steps:
    """Batches that are the numbers of their steps."""

    def __init__(self, steps_per_epoch=4, seed=0):
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed

    def dataset(self, start, stop):
        return tf.data.Dataset.range(start, stop).map(lambda step: tf.cast(step, tf.float32)[None])

    def configuration(self):
        return {"seed": self.seed}


VALIDATION = np.zeros([2, 1], np.float32)


def scripted_run(folder, losses, train_losses=None, batches=None, validation=VALIDATION, **kwargs):
    batches = batches or Steps()
    model = Scripted(losses, train_losses, batches.steps_per_epoch)
    settings = {"max_epochs": len(losses), "verbose": 0, **kwargs}
    return model, fit(model, batches, validation, folder, **settings)


@pytest.mark.parametrize(
    ("losses", "patience", "stopped", "epochs", "best"),
    [
        ([5, 4, 3, 2], 1, "max_epochs", 4, 4),
        ([5, 4, 4, 3, 2], 1, "patience", 3, 2),  # an equal loss is no improvement
        ([5, 6, 7, 1, 1], 2, "patience", 3, 1),
        ([5, 6, 4, 6, 3, 6, 6, 2], 2, "patience", 7, 5),  # an improvement starts the count anew
        ([5, 6, 4, 6, 6, 6, 6, 6], None, "max_epochs", 8, 3),
        ([5, 3, 4, 4], 2, "patience", 4, 2),  # both at once
        ([-1, -3, -2], 9, "max_epochs", 3, 2),
    ],
)
def test_patience(losses, patience, stopped, epochs, best, tmp_path):
    model, result = scripted_run(tmp_path, losses, patience=patience)
    assert (result.stopped, result.epochs, result.best_epoch) == (stopped, epochs, best)
    assert result.best_loss == min(losses[:epochs])
    assert result.history["val_loss"] == losses[:epochs]
    assert float(model.count) == 4 * best  # best weights
    assert int(model.optimizer.iterations) == 4 * epochs
    assert result.seconds_per_epoch > 0
    assert result.wall_seconds > 0


def test_last_weights_on_request(tmp_path):
    model, result = scripted_run(tmp_path, [3, 1, 2], restore_best=False)
    assert result.best_epoch == 2
    assert float(model.count) == 12


def stop_at(step, action=None):
    def stop(model):
        model.stop_training = True

    return At(lambda model: int(model.optimizer.iterations) == step, action or stop)


@pytest.mark.parametrize("checkpoint_steps", [None, 1, 3, 4])
def test_mid_epoch_metrics_are_kept(checkpoint_steps, tmp_path):
    losses, train_losses = [4, 3, 2], np.random.default_rng(0).random(12)
    settings = {"checkpoint_steps": checkpoint_steps, "train_losses": train_losses}
    _, whole = scripted_run(tmp_path / "whole", losses, **settings)
    _, part = scripted_run(tmp_path / "part", losses, callbacks=[stop_at(7)], **settings)
    assert part.stopped == "callback"
    assert part.epochs == 1
    step = load_checkpoint(tmp_path / "part/checkpoint.bin")[1].step
    assert step == {None: 4, 1: 7, 3: 6, 4: 4}[checkpoint_steps]
    _, resumed = scripted_run(tmp_path / "part", losses, **settings)
    assert resumed.history == whole.history
    assert_same(tmp_path / "whole", tmp_path / "part")
    np.testing.assert_allclose(resumed.history["loss"], train_losses.reshape(3, 4).mean(axis=1), rtol=1e-6)


def test_interrupt_leaves_a_checkpoint_and_a_line(tmp_path, capsys):
    def interrupt(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scripted_run(tmp_path / "part", [3, 2, 1], callbacks=[stop_at(6, interrupt)])
    line = capsys.readouterr().err
    assert "up to step 4 (1 of at most 3 epochs): the same command goes on" in line
    assert str(tmp_path / "part") in line
    scripted_run(tmp_path / "part", [3, 2, 1])
    scripted_run(tmp_path / "whole", [3, 2, 1])
    assert_same(tmp_path / "part", tmp_path / "whole")


def test_wall_time_adds_up_over_restarts(tmp_path):
    _, part = scripted_run(tmp_path, [3, 2, 1], callbacks=[stop_at(8)])
    _, whole = scripted_run(tmp_path, [3, 2, 1])
    assert part.epochs == 2
    assert whole.wall_seconds > part.wall_seconds > 0


def test_verbose_shows_keras_progress(tmp_path, capsys):
    scripted_run(tmp_path, [3, 2], verbose=2)
    out = capsys.readouterr().out
    assert "Epoch 2/2" in out
    assert "val_loss: 2.0" in out


def test_tensorboard_holds_the_history_once(tmp_path):
    from tensorflow.core.util import event_pb2

    scripted_run(tmp_path, [3, 2, 1], tensorboard=True, callbacks=[stop_at(6)])
    _, result = scripted_run(tmp_path, [3, 2, 1], tensorboard=True)
    points = []
    for path in (tmp_path / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            points += [(v.tag, event.step, float(tf.make_ndarray(v.tensor))) for v in event.summary.value]
    assert [(e, x) for tag, e, x in points if tag == "epoch_val_loss"] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert {tag for tag, *_ in points} == {f"epoch_{name}" for name in result.history}


# -- the divergence guard ---------------------------------------------------------------------------------------------


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


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(DivergenceError, match=r"step 8: val_loss = nan.*\(step 4, 1 epochs\) is kept"):
        scripted_run(tmp_path, [3, np.nan, 1])
    assert (tmp_path / "history.csv").read_text().count("\n") == 2


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


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    scripted_run(folder, [3, 2, 1], configuration={"cell": "vae", "widths": (1, 2)}, patience=5)
    return folder


SAME = {"losses": [3, 2, 1], "configuration": {"cell": "vae", "widths": [1, 2]}, "patience": 5}


def test_the_same_configuration_is_accepted(finished):
    _, result = scripted_run(finished, **SAME)
    assert result.epochs == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"configuration": {"cell": "hvae", "widths": [1, 2]}}, r"configuration\.cell: 'vae' there, 'hvae' asked"),
        ({"configuration": None}, r"configuration\.cell: 'vae' there, None asked"),
        ({"patience": 6}, "patience: 5 there, 6 asked"),
        ({"max_epochs": 4}, "max_epochs: 3 there, 4 asked"),
        ({"validation_batch_size": 10}, "validation_batch_size: 100 there, 10 asked"),
        ({"batches": Steps(seed=1)}, r"batches\.seed: 0 there, 1 asked"),
        ({"validation": VALIDATION + 1}, "validation: "),
        ({"batches": Steps(5)}, "steps_per_epoch: 4 there, 5 asked"),
    ],
)
def test_another_configuration_is_refused(change, message, finished):
    before = (finished / "checkpoint.bin").read_bytes()
    with pytest.raises(CheckpointError, match=rf"of another configuration \(.*{message}.*choose another folder"):
        scripted_run(finished, **{**SAME, **change})
    assert (finished / "checkpoint.bin").read_bytes() == before


def test_another_optimizer_or_network_is_refused(finished):
    model = Scripted([3, 2, 1])
    model.compile(keras.optimizers.SGD(0.5))
    with pytest.raises(CheckpointError, match=r"optimizer\.config\.learning_rate: 1\.0 there, 0\.5 asked"):
        fit(model, Steps(), VALIDATION, finished, max_epochs=3, patience=5, configuration=SAME["configuration"])


def test_networks_are_told_apart_but_not_by_keras_running_names(uninterrupted):
    from hvae_tf.training.configuration import architecture

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


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.9, 0.999])
def test_damaged_checkpoints_are_refused(keep, finished, tmp_path):
    content = (finished / "checkpoint.bin").read_bytes()
    (tmp_path / "checkpoint.bin").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match=r"checkpoint\.bin is .*delete its folder") as error:
        scripted_run(tmp_path, **SAME)
    assert "\n" not in str(error.value)


def test_an_altered_byte_in_a_checkpoint_is_found(uninterrupted, tmp_path):
    content = bytearray((uninterrupted[0] / "checkpoint.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "checkpoint.bin").write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="delete its folder"):
        small_run(tmp_path)


def test_two_runs_in_one_folder_are_refused(finished):
    with (
        filelock.FileLock(finished / ".training.lock"),
        pytest.raises(CheckpointError, match="another process is training in"),
    ):
        scripted_run(finished, **SAME)
    scripted_run(finished, **SAME)


def test_a_trained_model_needs_the_folder_of_its_run(tmp_path):
    model, _ = scripted_run(tmp_path / "a", [3, 2])
    with pytest.raises(ValueError, match=r"the optimizer has made 8 steps and .* holds no run"):
        fit(model, Steps(), VALIDATION, tmp_path / "b", max_epochs=2)


@pytest.mark.parametrize("name", ["max_epochs", "patience", "validation_batch_size", "checkpoint_steps"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_bad_numbers_are_refused(name, value, tmp_path):
    with pytest.raises(ValueError, match=f"{name} is {value!r}; expected an integer of at least 1"):
        scripted_run(tmp_path, [3, 2, 1], **{name: value})
    assert not list(tmp_path.iterdir())


def test_other_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="configuration holds what JSON cannot"):
        scripted_run(tmp_path, [3], configuration={"cell": object()})
    with pytest.raises(ValueError, match=r"validation has shape \(0, 1\)"):
        scripted_run(tmp_path, [3], validation=VALIDATION[:0])
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_at_the_start_are_refused(tmp_path):
    model = Scripted([3])
    model.count.assign(np.nan)
    with pytest.raises(ValueError, match="the model's weights are not finite"):
        fit(model, Steps(), VALIDATION, tmp_path, max_epochs=1)


def test_models_without_a_loss_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Scripted, "test_step", lambda self, data: {"elbo": tf.constant(1.0)})
    with pytest.raises(ValueError, match=r"the model logs .*must return 'loss'"):
        scripted_run(tmp_path, [3])


def test_models_that_are_not_ready_are_refused(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="no optimizer or no weights yet"):
        fit(model, Steps(), VALIDATION, tmp_path, max_epochs=1)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no optimizer or no weights yet"):
        fit(model, Steps(), VALIDATION, tmp_path, max_epochs=1)


if __name__ == "__main__":  # the child of the kill test
    kill_repeatedly(Path(sys.argv[1]), int(sys.argv[2]))
