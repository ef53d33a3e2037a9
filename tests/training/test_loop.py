"""The training loop: early stopping, history, interruptions, what is refused."""

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.training import CheckpointError, fit, load_checkpoint
from tests.training.scripted import VALIDATION, Scripted, Steps, assert_same, scripted_run, stop_at


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


@pytest.mark.parametrize("checkpoint_steps", [None, 1, 3, 4])
def test_mid_epoch_metrics_are_kept(checkpoint_steps, tmp_path):
    losses, train_losses = [4, 3, 2], np.random.default_rng(0).random(12)
    settings = {"checkpoint_steps": checkpoint_steps, "train_losses": train_losses, "checkpoint_seconds": None}
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


def test_interrupt_leaves_a_checkpoint_and_a_line(tmp_path):
    def interrupt(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        scripted_run(tmp_path / "part", [3, 2, 1], callbacks=[stop_at(6, interrupt)], checkpoint_seconds=None)
    line = str(caught.value)
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


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.9, 0.999])
def test_damaged_checkpoints_are_refused(keep, finished, tmp_path):
    content = (finished / "checkpoint.bin").read_bytes()
    (tmp_path / "checkpoint.bin").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match=r"checkpoint\.bin is .*delete its folder") as error:
        scripted_run(tmp_path, **SAME)
    assert "\n" not in str(error.value)


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
    with pytest.raises(ValueError, match=r"validation is no array .* give the tuple \(x, y\)"):
        scripted_run(tmp_path, [3], validation=[np.zeros([3, 4]), np.zeros([3])])
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
