"""A saved model, loaded in a fresh process that imports hvae_tf and nothing else of this project."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.dynamics.tempering import FixedTempering
from hvae_tf.flows.flow import IdentityFlow
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.iwae import IWAE
from hvae_tf.models.vae import VAE
from hvae_tf.targets.likelihoods import Bernoulli, Normal

MODELS = {
    "vae": lambda e, d: VAE(e, d, num_samples=2, seed=3),
    "iwae": lambda e, d: IWAE(e, d, 3, flow=PlanarFlow(2, 2), seed=4),
    "hvae": lambda e, d: HVAE(e, d, 2, "free", step_size=[[0.1, 0.2], [0.3, 0.4]], step_size_per="step", seed=5),
    "full": lambda e, d: VAE(e, d, kl="sampled", gradient="path", seed=6),
}
FIT = {"batch_size": 10, "shuffle": False, "verbose": 0}

CHILD = """
import sys
import keras
import numpy as np
import hvae_tf

folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
for name in sys.argv[2:]:
    model = keras.models.load_model(f"{folder}/{name}.keras")
    numbers = {"elbo": model.elbo(images, 3)}
    model.fit(images, batch_size=10, shuffle=False, verbose=0)
    weights = {f"weight_{i}": w for i, w in enumerate(model.get_weights())}
    np.savez(f"{folder}/{name}.npz", **numbers, **weights, type=type(model).__name__)
"""


@pytest.mark.slow
def test_loaded_in_a_fresh_process_it_goes_on_bit_for_bit(networks, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    expected = {}
    names = ["iwae", "hvae", "full"]
    for name in names:
        model = MODELS[name](*networks(covariance="full" if name == "full" else "diagonal"))
        model.compile(keras.optimizers.Adamax(0.05))
        model.fit(images, **FIT)
        model.save(tmp_path / f"{name}.keras")
        expected[name] = {"elbo": model.elbo(images, 3)}
        model.fit(images, **FIT)
        expected[name] |= {f"weight_{i}": w for i, w in enumerate(model.get_weights())}
        expected[name]["type"] = type(model).__name__
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), *names], check=True, timeout=240)
    for name, numbers in expected.items():
        with np.load(tmp_path / f"{name}.npz") as loaded:
            assert set(loaded) == set(numbers)
            for key, value in numbers.items():
                np.testing.assert_array_equal(loaded[key], value, err_msg=f"{name}: {key}")


@keras.saving.register_keras_serializable("tests")
class Shift(IdentityFlow):
    def __init__(self, event_size, shift=0.5, dtype=tf.float32):
        super().__init__(event_size, dtype=dtype)
        self.shift = tf.Variable(tf.fill([event_size], tf.cast(shift, dtype)), name="shift")

    def transform(self, target, z, noise=(), q0=None, context=None):
        return super().transform(target, z + self.shift, noise)


def test_a_flow_of_ones_own_is_trained_and_saved(networks, images, tmp_path):
    model = FlowVAE(*networks(), Shift)
    model.compile(keras.optimizers.Adamax(0.05))
    model.fit(images, **FIT)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.flow, Shift)
    assert not np.any(loaded.flow.shift.numpy() == 0.5)
    np.testing.assert_array_equal(loaded.flow.shift, model.flow.shift)
    np.testing.assert_array_equal(loaded.elbo(images), model.elbo(images))
    copy = keras.models.clone_model(model)
    assert copy.encoder is not model.encoder
    np.testing.assert_array_equal(copy.flow.shift, [0.5, 0.5])


@keras.saving.register_keras_serializable("tests")
class Exposed(Bernoulli):
    def __init__(self, exposure=1.0):
        super().__init__()
        self.exposure = exposure


def test_an_argument_that_would_be_lost_is_refused(networks, tmp_path, monkeypatch):
    model = VAE(*networks(), likelihood=Exposed(exposure=5.0))
    with pytest.raises(ValueError, match=r"Exposed.get_config\(\) leaves out exposure, which its constructor takes"):
        model.save(tmp_path / "model.keras")
    monkeypatch.setattr(Exposed, "get_config", lambda self: {"exposure": self.exposure})
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").likelihood.exposure == 5.0


@pytest.mark.parametrize("name", MODELS)
def test_configurations_come_back(name, networks):
    model = MODELS[name](*networks())
    config = model.get_config()
    again = type(model).from_config(config).get_config()
    assert again.keys() == config.keys()
    for key in config.keys() - {"encoder", "decoder"}:
        assert again[key] == config[key], key


@pytest.mark.parametrize("frozen", [("flow_layer",), ("encoder", "likelihood_layer"), ("model",)])
def test_what_is_frozen_stays_frozen(frozen, networks, tmp_path):
    """And the optimiser, whose variables are those of what is trained, comes back with its count."""
    model = HVAE(*networks(), 1, likelihood=Normal("learned"))
    for name in frozen:
        getattr(model, name, model).trainable = False
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(3)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # "Skipping variable loading for optimizer"
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    assert int(loaded.optimizer.iterations) == 3
    for name in ("encoder", "decoder", "flow_layer", "likelihood_layer", "trainable"):
        flags = [getattr(getattr(m, name), "trainable", m.trainable) for m in (loaded, model)]
        assert flags[0] == flags[1] == (name not in frozen and frozen != ("model",)), name
    if frozen == ("model",):
        model.trainable = loaded.trainable = True
        assert len(loaded.trainable_variables) == len(model.trainable_variables) > 0


def test_a_configuration_that_says_nothing_of_estimators_means_the_first_ones(networks):
    config = VAE(*networks()).get_config()
    for name in ("kl", "gradient"):
        del config[name]
    model = VAE.from_config(config)
    assert (model.estimator.kl, model.estimator.gradient) == ("prior-sampled", "standard")


def test_weights_alone_move_between_models(networks, images, tmp_path):
    model, other = (HVAE(*networks(seed=seed), 2, FixedTempering(1.5 + seed)) for seed in (0, 1))
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.elbo(images), model.elbo(images))


@pytest.mark.slow
def test_export_needs_no_arguments_and_reconstructs(networks, images, tmp_path):
    """In a fresh process that has TensorFlow and nothing of this project."""
    model = HVAE(*networks(), 2)
    model.export(tmp_path / "exported", verbose=False)
    np.save(tmp_path / "images.npy", images)
    code = """
import sys
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
served = tf.saved_model.load(f"{folder}/exported")
np.save(f"{folder}/served.npy", served.serve(np.load(f"{folder}/images.npy")))
assert "hvae_tf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=240)
    np.testing.assert_allclose(np.load(tmp_path / "served.npy"), model.reconstruct(images), rtol=1e-6)


@pytest.mark.parametrize("name", ["vae", "hvae"])
def test_a_model_keeps_its_precision_whatever_the_policy_where_it_is_loaded(name, networks, images, tmp_path):
    model = MODELS[name](*networks())
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float64")
    try:
        loaded = keras.models.load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert {weight.dtype for weight in loaded.weights} == {"float32"}
    np.testing.assert_array_equal(loaded.elbo(images), model.elbo(images))
