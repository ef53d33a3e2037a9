"""The trained models of results/table1 load, and are what an independent network makes of the same weights."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import hvae_tf  # registers what the files name
from tests.networks.numpy_network import NumpyNetwork

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "results/table1/budget/models").glob("*.keras"))
QUICK = "vae-seed0", "k1-fixed-seed0", "k5-free-seed0"
LOG_LIKELIHOOD_STREAM = 6  # of a model's noise

pytestmark = pytest.mark.skipif(not FILES, reason="needs the trained models under results/table1/budget/models")


@pytest.fixture(scope="module")
def x():
    """Five binary 28 x 28 images with strokes as smooth and as wide as those of digits."""
    rng = np.random.default_rng(8)
    pattern = np.fft.ifft2(np.fft.fft2(rng.normal(size=(5, 28, 28))) * _smoothing()).real
    window = np.exp(-(((np.arange(28) - 13.5) / 9.0) ** 4))
    pattern *= window[:, None] * window
    inked = pattern > np.quantile(pattern, 0.85, axis=(1, 2), keepdims=True)
    return inked[..., None].astype(np.float32)


def _smoothing(width=1.5):
    frequency = 2 * np.pi * np.fft.fftfreq(28)
    return np.exp(-0.5 * width**2 * (frequency[:, None] ** 2 + frequency**2))


@pytest.fixture(
    scope="module",
    params=[pytest.param(f, marks=() if f.stem in QUICK else pytest.mark.slow, id=f.stem) for f in FILES],
)
def stored(request):
    """The path of a trained model and the model."""
    return request.param, keras.models.load_model(request.param)


def distance(found, known):
    """The largest error, in units of the largest known value."""
    return float(np.max(np.abs(np.asarray(found) - known)) / np.max(np.abs(known)))


def distances(model, network, x):
    """Of mean, standard deviation and logits at the mean."""
    mean, deviation = network.encode(x.astype(np.float64))
    logits, _ = network.decode(mean)
    found = (*model.encoder(x), model.decoder(mean.astype(np.float32)))
    return [distance(f, known) for f, known in zip(found, (mean, deviation, logits), strict=True)]


def noise_of_log_likelihood(shape, seed):
    """The noise of z_0 and of rho_0 in ``model.log_likelihood(x, num_samples=1, seed=seed)``, ``[B, l]`` each."""
    key = tf.constant([seed, LOG_LIKELIHOOD_STREAM], tf.int32)
    for index in (0, 0):  # the first batch, its first chunk
        key = tf.random.experimental.stateless_fold_in(key, index)
    keys = tf.random.experimental.stateless_split(key, 2)
    return [np.float64(tf.random.stateless_normal([1, *shape], k)[0]) for k in tf.unstack(keys)]


def weight_error(model, network, x, seed=3):
    """The largest difference of log weights in nats, for each 100 nats: float32 holds -300 to 3e-5."""
    noise, gamma = noise_of_log_likelihood([len(x), model.latent_size], seed)
    moved = isinstance(model, hvae_tf.HVAE)
    known = network.log_weight(x.astype(np.float64), noise, gamma if moved else None)
    found = model.log_likelihood(x, num_samples=1, seed=seed).value
    return float(np.max(np.abs(found - known) / np.maximum(1.0, np.abs(known) / 100))), known


def test_mean_scale_and_logits_are_those_of_the_independent_network(stored, x):
    path, model = stored
    assert max(distances(model, NumpyNetwork(path), x)) < 1e-5


@pytest.mark.parametrize("error", [{"flipped": False}, {"shift": 1}, {"shift": -1}])
def test_planted_errors_in_the_upsampling_are_seen(stored, x, error):
    path, model = stored
    assert distances(model, NumpyNetwork(path, **error), x)[2] > 1e-2


def test_log_weights_are_those_of_the_independent_network(stored, x):
    path, model = stored
    error, known = weight_error(model, NumpyNetwork(path), x)
    assert error < 1e-4, known


def test_planted_errors_in_the_log_weights_are_seen(stored, x):
    path, model = stored
    assert weight_error(model, NumpyNetwork(path, shift=1), x)[0] > 1.0


def test_the_independent_gradient_is_that_of_its_own_values(x):
    network, z, step = NumpyNetwork(FILES[0]), np.random.default_rng(0).normal(size=(5, 64)), 1e-5
    direction = np.random.default_rng(1).normal(size=z.shape)
    x = x.astype(np.float64)
    slope = (network.log_joint(x, z + step * direction)[0] - network.log_joint(x, z - step * direction)[0]) / (2 * step)
    np.testing.assert_allclose(np.sum(network.log_joint(x, z)[1] * direction, axis=1), slope, rtol=1e-7)
