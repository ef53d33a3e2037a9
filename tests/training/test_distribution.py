"""`fit` under strategies, in processes of their own: two virtual CPU devices have to be asked for at the start."""

import json
import subprocess
import sys

import numpy as np
import pytest

COMMON = """
import json, sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf

folder = Path(sys.argv[1])
"""

MIRRORED = (
    COMMON
    + """
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from hvae_tf.data import TrainBatches, load
from hvae_tf.networks import dense_decoder, dense_encoder
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.vae import VAE
from hvae_tf.training import fit, load_checkpoint

data = load("digits", limit=(32, 18, 1))
sizes = {"event_shape": data.event_shape, "latent_size": 2, "hidden_units": (4,)}


class QuietHVAE(HVAE):  # the flow trains too: its step size and its tempering
    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(encoder, decoder, 2, tempering="fixed", **kwargs)

    def _noise(self, x, num_samples, seed):
        shape = [num_samples, tf.shape(x)[0], self.latent_size]
        return tf.zeros(shape), tf.ones(shape)


def make(kind):
    model = kind(dense_encoder(**sizes), dense_decoder(**sizes), seed=3)
    model.compile(keras.optimizers.Adamax(0.05))
    return model


def train(model, name, batch_size=8, validation_batch_size=10, **kwargs):
    return fit(
        model, TrainBatches(data, batch_size, seed=1), data.binarised("validation"), folder / name, max_epochs=2,
        validation_batch_size=validation_batch_size, checkpoint_seconds=None, restore_best=False, verbose=0, **kwargs
    )


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = int(self.model.batches_seen.numpy()) == 7


hamiltonian = make(QuietHVAE)
report = {"one": train(hamiltonian, "one").history}
report["flow one"] = [weight.numpy().tolist() for weight in hamiltonian.flow_layer.weights]
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
report["replicas"] = strategy.num_replicas_in_sync
with strategy.scope():
    whole, part, rest = make(VAE), make(VAE), make(VAE)
    hamiltonian = make(QuietHVAE)
    report["inside"] = train(whole, "whole").history
seeds = tf.function(lambda: strategy.run(lambda: whole._step_seed(1, tf.constant(2))))
report["seeds"] = [seed.numpy().tolist() for seed in strategy.experimental_local_results(seeds())]
report["two"] = train(hamiltonian, "two").history
report["flow"] = [weight.numpy().tolist() for weight in hamiltonian.flow_layer.weights]
assert train(part, "part", callbacks=[Stop()], checkpoint_steps=1).stopped == "callback"
report["step"] = load_checkpoint(folder / "part/checkpoint.bin")[1].step
report["resumed"] = train(rest, "part").history
report["weights"] = [[np.array(w).tolist() for w in model.get_weights()] for model in (whole, rest)]
report["count"] = [int(model.batches_seen.numpy()) for model in (whole, rest)]
foreign = make(VAE)
with strategy.scope():
    for name, *arguments in (("uneven", rest, "a", 9), ("empty", rest, "b", 8, 17), ("foreign", foreign, "c")):
        try:
            train(*arguments)
        except ValueError as error:
            report[name] = str(error)
print("report" + json.dumps(report))
"""
)

MULTI_WORKER = (
    COMMON
    + """
strategy = tf.distribute.MultiWorkerMirroredStrategy()
from hvae_tf.training import fit

with strategy.scope():
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
try:
    fit(model, None, np.zeros([2, 1]), folder, max_epochs=1)
except ValueError as error:
    print("report" + json.dumps(str(error)))
"""
)


def report_of(program, folder):
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("report")]
    assert done.returncode == 0, done.stderr[-3000:]
    assert lines, done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("report"))


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    return report_of(MIRRORED, tmp_path_factory.mktemp("mirrored"))


@pytest.mark.slow
def test_two_devices_are_one_where_the_noise_is_equal(mirrored):
    assert mirrored["replicas"] == 2
    for name, column in mirrored["one"].items():
        np.testing.assert_allclose(mirrored["two"][name], column, rtol=1e-4, err_msg=name)
    for found, wanted in zip(mirrored["flow"], mirrored["flow one"], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.slow
def test_two_devices_resume_bit_for_bit(mirrored):
    assert mirrored["step"] == 7  # amid the second epoch
    assert mirrored["resumed"] == mirrored["inside"]
    assert mirrored["weights"][0] == mirrored["weights"][1]
    assert mirrored["count"] == [8, 8]


@pytest.mark.slow
def test_each_device_has_noise_of_its_own(mirrored):
    first, second = mirrored["seeds"]
    assert first != second


@pytest.mark.slow
def test_what_does_not_go_with_a_strategy_is_named(mirrored):
    assert mirrored["uneven"] == "batches of 9 images do not divide among 2 replicas; take a multiple of 2"
    assert mirrored["empty"].startswith("18 validation images in batches of 17 make one of 1, which leaves nothing")
    assert "made outside the scope of MirroredStrategy; make the model" in mirrored["foreign"]
    assert "\n" not in mirrored["foreign"]


@pytest.mark.slow
def test_several_workers_are_refused(tmp_path):
    message = report_of(MULTI_WORKER, tmp_path)
    assert "MultiWorkerMirroredStrategy does not train any Keras 3 model" in message
    assert "keras#20585" in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())
