"""`fit` counts batches: it ends, and resumes exactly, where an optimiser makes fewer updates than there are batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.data import TrainBatches, load
from hvae_tf.models.vae import VAE
from hvae_tf.networks import conv_decoder, conv_encoder
from hvae_tf.training import fit, load_checkpoint
from tests.marks import slow
from tests.training.scripted import VALIDATION, At, Scripted, Steps, assert_same, scripted_run


class Summing(Scripted):
    """Sums up the numbers of its batches, from 1; every third gradient is infinite where `overflow`."""

    def __init__(self, steps, optimizer, overflow=False, **kwargs):
        super().__init__(np.ones(100), steps=steps)
        self.overflow = overflow
        self.total = self.add_weight(shape=(), initializer="zeros", trainable=False, name="total")
        self.compile(optimizer, **kwargs)

    def train_step(self, data):
        number = data[0] + 1.0
        self.total.assign_add(number)
        gradient = np.inf if self.overflow else -1.0
        self.optimizer.apply(
            [tf.where(number % 3.0 == 0.0, gradient, -1.0) * self.optimizer.scale_loss(1.0)], [self.count]
        )
        self.loss_metric.update_state(number)
        return {"loss": self.loss_metric.result()}


def loss_scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=4.0)


CASES = {  # epoch, arguments, updates in 12 batches
    "executions that do not divide an epoch": (4, lambda: (keras.optimizers.SGD(1.0),), {"steps_per_execution": 3}, 12),
    "executions longer than an epoch": (3, lambda: (keras.optimizers.SGD(1.0),), {"steps_per_execution": 50}, 12),
    "executions that divide an epoch": (4, lambda: (keras.optimizers.SGD(1.0),), {"steps_per_execution": 2}, 12),
    "skipped updates": (4, lambda: (loss_scaled(), True), {}, 8),
    "skipped updates in executions": (4, lambda: (loss_scaled(), True), {"steps_per_execution": 3}, 8),
    "accumulated gradients": (4, lambda: (keras.optimizers.SGD(1.0, gradient_accumulation_steps=3),), {}, 4),
}


@pytest.mark.parametrize("case", slow(CASES, "divide an", "longer", "skipped updates in"))
def test_a_run_ends_and_resumes_exactly(case, tmp_path):
    steps, arguments, kwargs, updates = CASES[case]

    def run(folder, *callbacks):
        model = Summing(steps, *arguments(), **kwargs)
        settings = {"max_epochs": 12 // steps, "checkpoint_steps": 2, "checkpoint_seconds": None, "restore_best": False}
        result = fit(model, Steps(steps), VALIDATION, folder, callbacks=callbacks, verbose=0, **settings)
        return model, result

    def stop(model):
        model.stop_training = True

    model, result = run(tmp_path / "whole")
    assert result.stopped == "max_epochs"
    assert load_checkpoint(tmp_path / "whole/checkpoint.bin")[1].step == 12
    assert float(model.total) == sum(range(1, 13))  # every batch once
    assert int(model.optimizer.iterations) == updates
    means = np.arange(1.0, 13.0).reshape(-1, steps).mean(axis=1)
    np.testing.assert_allclose(result.history["loss"], means)
    _, part = run(tmp_path / "part", At(lambda model: float(model.total) > 20, stop))
    assert part.stopped == "callback"
    assert load_checkpoint(tmp_path / "part/checkpoint.bin")[1].step < 12
    run(tmp_path / "part")
    assert_same(tmp_path / "part", tmp_path / "whole")


class Short(Steps):
    """Promises more batches than there are."""

    def __init__(self, there):
        super().__init__()
        self.there = there

    def dataset(self, start, stop):
        return super().dataset(start, min(stop, self.there))


@pytest.mark.parametrize("steps_per_execution", [1, 2])
@pytest.mark.parametrize("there", [3, 7])
def test_missing_batches_are_named(there, steps_per_execution, tmp_path):
    model = Scripted([3, 2, 1])
    model.compile(keras.optimizers.SGD(1.0), steps_per_execution=steps_per_execution)
    with pytest.raises(ValueError, match=r"batches.dataset\(0, 12\) ended before its 12 batches") as error:
        fit(model, Short(there), VALIDATION, tmp_path, max_epochs=3, verbose=0)
    assert "\n" not in str(error.value)
    assert load_checkpoint(tmp_path / "checkpoint.bin")[1].step == there // 4 * 4


def test_a_pass_without_progress_is_an_error(tmp_path):
    keras.config.set_max_steps_per_epoch(2)
    try:
        with pytest.raises(RuntimeError, match=r"no progress: a pass over epoch 1 ended at batch \d+ where 12 was"):
            scripted_run(tmp_path, [3, 2, 1])
    finally:
        keras.config.set_max_steps_per_epoch(None)


# -- the models' noise ------------------------------------------------------------------------------------------------

SIZES = {"image_shape": (8, 8, 1), "latent_size": 2, "hidden_units": 4, "filters": (2,), "kernel_size": 3}


def vae(optimizer):
    model = VAE(conv_encoder(**SIZES), conv_decoder(**SIZES))
    model.compile(optimizer)
    return model


@pytest.fixture(scope="module")
def data():
    return load("digits", limit=(20, 10, 1))


def losses_of_batches(model, data):
    """Losses of one batch seen four times."""
    losses = []
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
    x = data.binarised("validation")
    for _ in range(4):
        model.fit(x, batch_size=len(x), shuffle=False, callbacks=[callback], verbose=0)
    return losses


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.0),
        lambda: keras.optimizers.SGD(0.0, gradient_accumulation_steps=4),
        pytest.param(  # skips them all
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0), initial_scale=3e38),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_batch_has_noise_of_its_own(optimizer, data):
    model = vae(optimizer())
    losses = losses_of_batches(model, data)
    assert len(set(losses)) == 4
    assert int(model.batches_seen) == 4
    assert losses == losses_of_batches(vae(keras.optimizers.SGD(0.0)), data)  # the same for every optimiser


@pytest.mark.slow
def test_accumulated_gradients_resume_exactly(data, tmp_path):
    def run(folder, **kwargs):
        model = vae(keras.optimizers.Adamax(0.05, gradient_accumulation_steps=3))
        batches = TrainBatches(data, 5, seed=1)
        return fit(model, batches, data.binarised("validation"), folder, max_epochs=2, verbose=0, **kwargs)

    def stop(model):
        model.stop_training = True

    run(tmp_path / "whole")
    stopped = At(lambda model: int(model.batches_seen) == 5, stop)
    run(tmp_path / "part", checkpoint_steps=1, callbacks=[stopped])  # amid an epoch and amid an accumulation
    assert load_checkpoint(tmp_path / "part/checkpoint.bin")[1].step == 5
    run(tmp_path / "part")
    assert_same(tmp_path / "part", tmp_path / "whole")


def test_the_count_is_saved_but_is_no_weight(data, tmp_path):
    model = vae(keras.optimizers.SGD(0.0))
    losses_of_batches(model, data)
    assert all(variable is not model.batches_seen for variable in model.variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.batches_seen) == 4
    loaded.compile(keras.optimizers.SGD(0.0))  # a new optimiser begins anew
    assert int(loaded.batches_seen) == 0
    loaded.save_own_variables(store := {})
    del store["batches_seen"]  # as in files of version 0.1
    model.load_own_variables(store)
