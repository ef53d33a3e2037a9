"""Conditional models, of p(x|y): exact answers of a linear-Gaussian one, every method, saving, and what is refused.

x = W z + V y + b + s e, so p(x|y) = N(V y + b, W W^T + s^2 I).
"""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf import HVAE, HVI, IWAE, VAE, FlowVAE, PlanarFlow

SIZE, CONTEXT, LATENT, SCALE = 4, 3, 2, 0.7
DRAWS = 2000


@pytest.fixture(scope="module")
def problem(seed):
    """(networks, x, y, log p(x|y)) in float64; q0 is near the posterior."""
    rng = np.random.default_rng([seed, 5])
    W = np.linalg.qr(rng.normal(size=(SIZE, LATENT)))[0] * [1.5, 0.6]
    V, b = rng.normal(size=(SIZE, CONTEXT)), rng.normal(size=SIZE)
    precision = 1.0 + np.sum(W**2, axis=0) / SCALE**2
    A = W / SCALE**2 / precision
    dense = functools.partial(keras.layers.Dense, dtype="float64")

    z, y = keras.Input([LATENT], dtype="float64"), keras.Input([CONTEXT], dtype="float64")
    outputs = dense(2 * SIZE)
    decoder = keras.Model([z, y], outputs(keras.layers.Concatenate(dtype="float64")([z, y])))
    kernel = np.zeros((LATENT + CONTEXT, 2 * SIZE))
    kernel[:, :SIZE] = np.concatenate([W, V], axis=1).T
    outputs.set_weights([kernel, np.concatenate([b, np.full(SIZE, np.log(SCALE))])])

    x, y = keras.Input([SIZE], dtype="float64"), keras.Input([CONTEXT], dtype="float64")
    mean, deviation = dense(LATENT), dense(LATENT, "exponential")
    both = keras.layers.Concatenate(dtype="float64")([x, y])
    encoder = keras.Model([x, y], [mean(both), deviation(both)])
    mean.set_weights([np.concatenate([A, -V.T @ A]), 0.1 - b @ A])
    deviation.set_weights([np.zeros((SIZE + CONTEXT, LATENT)), np.log(1.2 / np.sqrt(precision))])

    labels = np.eye(CONTEXT)[rng.integers(CONTEXT, size=5)]
    events = rng.normal(size=(5, LATENT)) @ W.T + labels @ V.T + b + SCALE * rng.normal(size=(5, SIZE))
    covariance, residual = W @ W.T + SCALE**2 * np.eye(SIZE), events - labels @ V.T - b
    quadratic = np.sum(residual * np.linalg.solve(covariance, residual.T).T, axis=-1)
    log_p = -0.5 * (quadratic + np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    return (encoder, decoder), events, labels, log_p


MODELS = {
    "vae": VAE,
    "iwae": functools.partial(IWAE, num_samples=3),
    "hvae": lambda *networks, **kwargs: HVAE(*networks, 2, "free", step_size=0.3, **kwargs),
    "hvi": lambda *networks, **kwargs: HVI(*networks, 1, 2, step_size=0.2, **kwargs),
    "planar": lambda *networks, **kwargs: gentle(FlowVAE(*networks, PlanarFlow(LATENT, 2, dtype=tf.float64), **kwargs)),
}


def gentle(model):
    """Where a planar flow starts by itself, its weights have too long a tail to be judged by."""
    model.flow_layer.set_weights([np.array([0.2, 0.1]), np.array([0.8, -0.5]), np.array(0.1)])
    return model


def test_the_fisher_information_of_a_batch_is_that_of_each_event_alone(seed):
    """The decoder's contexts go with its events: also where its Jacobian is taken, for samples or without."""
    sizes = {"event_shape": (SIZE,), "latent_size": LATENT, "context_shape": CONTEXT, "hidden_units": (5,)}
    model = VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes))
    rng = np.random.default_rng([seed, 6])
    x, y = np.ones([4, SIZE], np.float32), 3.0 * rng.normal(size=(4, CONTEXT)).astype(np.float32)
    z = tf.constant(rng.normal(size=(3, 4, LATENT)), tf.float32)
    alone = [model.target(x[[i]], y[[i]]).fisher_information(z[:, i : i + 1]) for i in range(4)]
    together = model.target(x, y)
    np.testing.assert_allclose(together.fisher_information(z), tf.concat(alone, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together.fisher_information(z[0]), tf.concat(alone, axis=1)[0], rtol=1e-4, atol=1e-5)
    shuffled = model.target(x, y[::-1]).fisher_information(z)  # contexts of other events: the comparison sees them
    assert np.max(np.abs(shuffled - tf.concat(alone, axis=1))) > 1e-3


@pytest.mark.parametrize(
    "name", ["hvae", *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "hvae")]
)
def test_the_likelihood_given_y_is_the_exact_one(name, problem, seed):
    networks, x, y, log_p = problem
    model = MODELS[name](*networks, likelihood="normal", dtype="float64")
    estimate = model.log_likelihood(x, DRAWS, seed, chunk_size=500, y=y)
    assert np.max(np.abs(estimate.value - log_p) / estimate.standard_error) < 5
    assert np.all(estimate.standard_error < 0.1)
    wrong = model.log_likelihood(x, DRAWS, seed, chunk_size=500, y=np.roll(y, 1, axis=1))  # another label
    assert np.all(np.abs(wrong.value - log_p) / wrong.standard_error > 5)
    assert np.mean(model.elbo(x, 200, y=y) - log_p) < 0.0


@pytest.mark.slow
def test_the_judge_takes_contexts(problem, seed):
    networks, x, y, log_p = problem
    model = VAE(*networks, likelihood="normal", dtype="float64")
    lengths = {"num_temperatures": 20, "num_chains": 64, "num_leapfrog_steps": 2, "seed": seed}
    found = model.annealed_log_likelihood(x, y=y, **lengths).estimate
    assert np.max(np.abs(found.value - log_p) / found.standard_error) < 5
    bounds = model.bdmc(4, y=y[0], **lengths)
    assert np.all(bounds.gap.value + 5 * bounds.gap.standard_error > 0)


@pytest.fixture(scope="module")
def digits(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=24)
    x = (rng.uniform(size=(24, 4, 3, 1)) < 0.2 + 0.3 * labels[:, None, None, None]).astype(np.float32)
    return x, np.eye(3, dtype=np.float32)[labels]


def conditional(model=HVAE, seed=0, **kwargs):
    sizes = {"image_shape": (4, 3, 1), "latent_size": 2, "hidden_units": 8, "filters": (2,), "context_shape": 3}
    networks = hvae_tf.conv_encoder(**sizes, seed=seed), hvae_tf.conv_decoder(**sizes, seed=seed)
    return model(*networks, **({"num_leapfrog_steps": 1} if model is HVAE else {}), **kwargs)


@pytest.mark.slow
def test_as_keras_trains_it(digits, tmp_path):
    x, y = digits
    model = conditional(VAE)
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(x, y, batch_size=8, epochs=25, validation_data=(x, y), verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][0] - 1.0  # 24 seeds: 1.7 to 2.9 less
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    assert model.evaluate(dataset, verbose=0) == model.evaluate(x, y, batch_size=8, verbose=0)
    np.testing.assert_array_equal(model.predict([x, y], batch_size=24, verbose=0), model.reconstruct(x, y=y))
    # it has learned what y says: brighter images for higher labels
    brightness = [model.sample(40, y=label).mean() for label in np.eye(3)]
    assert brightness[0] < brightness[1] < brightness[2]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.elbo(x, y=y), model.elbo(x, y=y))


@pytest.mark.slow
def test_export_takes_a_pair(digits, tmp_path):
    x, y = digits
    model = conditional()
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve([x, y]), model.reconstruct(x, y=y), rtol=1e-5)


def test_every_method_takes_y(digits):
    x, y = digits
    model = conditional(VAE, seed=1)
    assert model.sample(5, y=y[:5], draw=True, batch_size=2).shape == (5, 4, 3, 1)
    assert model.sample_posterior(x, 2, y=y, batch_size=10).shape == (2, 24, 2)
    assert model.reconstruct(x, seed=1, y=y, batch_size=10).shape == x.shape
    # in parts or whole, each event meets its own y
    whole, parts = (model.reconstruct(x, y=y, batch_size=size) for size in (24, 7))
    np.testing.assert_allclose(whole, parts, rtol=1e-5)
    other = model.reconstruct(x, y=np.roll(y, 1, axis=1))
    assert np.abs(whole - other).max(axis=(1, 2, 3)).min() > 1e-5


@pytest.mark.slow
def test_a_label_as_an_integer(digits):
    """A context without axes, which the networks embed."""
    x, y = digits
    event, label = keras.Input([4, 3, 1]), keras.Input([], dtype="int32")
    embed = keras.layers.Embedding(3, 4)
    h = keras.layers.Concatenate()([keras.layers.Flatten()(event), embed(label)])
    heads = [keras.layers.Dense(2, activation)(h) for activation in ("linear", "softplus")]
    z = keras.Input([2])
    h = keras.layers.Dense(12)(keras.layers.Concatenate()([z, embed(label)]))
    decoder = keras.Model([z, label], keras.layers.Reshape([4, 3, 1])(h))
    model = VAE(keras.Model([event, label], heads), decoder)
    model.compile("adam")
    labels = np.argmax(y, axis=1)
    model.fit(x, labels, batch_size=8, verbose=0)
    assert model.sample(4, y=2).shape == (4, 4, 3, 1)
    assert model.elbo(x, y=labels).shape == (24,)


def test_a_model_of_no_context_is_trained_where_there_are_some(digits, tmp_path):
    """A split of labelled data as validation: the labels are ignored, as those of its batches are."""
    x, y = (np.tile(part, (6, *[1] * (part.ndim - 1))) for part in digits)  # enough to ask for a collapse
    sizes = {"event_shape": x.shape[1:], "latent_size": 2, "hidden_units": (4,)}
    model = VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes))
    model.compile("adamax")
    data = hvae_tf.from_arrays("mine", x, x[:4], max_value=1, contexts=(y, y[:4]))
    batches = hvae_tf.TrainBatches(data, batch_size=8, seed=0)
    validation = data.binarised("validation"), data.contexts["validation"]
    result = hvae_tf.fit(model, batches, validation, tmp_path, max_epochs=np.int64(1), patience=np.int64(3), verbose=0)
    assert result.epochs == 1


def test_counts_and_seeds_of_numpy_are_as_good(digits):
    x, _ = digits
    sizes = {"event_shape": x.shape[1:], "latent_size": np.int64(2), "hidden_units": np.array([4])}
    model = VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes))
    two = np.int64(2)
    np.testing.assert_array_equal(model.elbo(x, two, two, two, two), model.elbo(x, 2, 2, 2, 2))
    found, same = (model.log_likelihood(x, n, chunk_size=n).value for n in (two, 2))
    np.testing.assert_array_equal(found, same)
    moved, same = (model.refine(x, num_moves=n, num_leapfrog_steps=n, step_size=0.1).z for n in (two, 2))
    np.testing.assert_array_equal(moved, same)
    data = hvae_tf.from_arrays("mine", x, x[:4], max_value=1, split_seed=two, binarise_seed=two)
    assert json.loads(json.dumps(data.configuration()))["split_seed"] == 2


@pytest.mark.slow
def test_the_resumable_loop_takes_pairs(digits, tmp_path):
    x, y = digits

    class Pairs:
        steps_per_epoch = 3

        def dataset(self, start, stop):
            return tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat().take(stop - start)

        def configuration(self):
            return {}

    model = conditional(VAE)
    model.compile("adam")
    result = hvae_tf.fit(model, Pairs(), (x, y), tmp_path, max_epochs=2, verbose=0)
    assert result.epochs == 2
    assert result.history["val_loss"][-1] == pytest.approx(model.evaluate(x, y, batch_size=100, verbose=0)[0])
    with pytest.raises(ValueError, match="y of validation is no context, but the model takes one"):
        hvae_tf.fit(model, Pairs(), x, tmp_path / "other", max_epochs=2, verbose=0)


@pytest.mark.slow
def test_labels_go_with_their_images(tmp_path):
    """Through splits, limits, and the batches of the loop."""
    data, plain = (hvae_tf.load("digits", limit=(60, 40, 30), labels=labels) for labels in (True, False))
    np.testing.assert_array_equal(data.train, plain.train)
    assert data.fingerprint != plain.fingerprint
    from sklearn.datasets import load_digits

    digits = load_digits()
    known = {image.tobytes(): label for image, label in zip(digits.images.astype(np.uint8), digits.target, strict=True)}
    for split in ("train", "validation", "test"):
        expected = [known[image[..., 0].tobytes()] for image in getattr(data, split)]
        assert np.argmax(data.contexts[split], axis=1).tolist() == expected
    batches = hvae_tf.TrainBatches(data, batch_size=20, seed=0)
    x, y = next(iter(batches.dataset(0, 1)))
    np.testing.assert_array_equal(x, next(iter(hvae_tf.TrainBatches(plain, batch_size=20, seed=0).dataset(0, 1))))
    np.testing.assert_array_equal(y, data.contexts["train"][batches.permutation(0)[0]])
    sizes = {"event_shape": (8, 8, 1), "latent_size": 2, "hidden_units": (8,), "context_shape": 10}
    model = VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes))
    model.compile("adam")
    validation = data.binarised("validation"), data.contexts["validation"]
    result = hvae_tf.fit(model, batches, validation, tmp_path, max_epochs=2, verbose=0)
    assert result.epochs == 2
    with pytest.raises(hvae_tf.DataError, match="2 contexts for 60 training events; expected one for each"):
        hvae_tf.from_arrays("mine", plain.train, plain.test, 16, contexts=(np.eye(2), np.eye(2)))
    with pytest.raises(
        hvae_tf.DataError, match=r"contexts of the test split have shape \(2, 2\); expected .* \[30, 2\]"
    ):
        hvae_tf.from_arrays("mine", plain.train, plain.test, 16, contexts=(np.ones((60, 2)), np.eye(2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: m.elbo(x), "y is no context, but the model takes one; give y"),
        (lambda m, x, y: m.elbo(x, y=y[:3]), r"y has shape \(3, 3\); expected \[24, 3\], a context for each event"),
        (lambda m, x, y: m.sample(2, y=np.zeros(4)), r"y has shape \(4,\); expected \[2, 3\]"),
        (lambda m, x, y: m.sample(2, y=np.full(3, np.nan)), "y holds values that are no finite numbers"),
        (lambda m, x, y: m.evaluate(x, verbose=0), "y is no context, but the model takes one"),
        (lambda m, x, y: m.evaluate(x, y[:, :2], verbose=0), r"y has shape \(24, 2\); expected \[24, 3\]"),
        (lambda m, x, y: m.evaluate(tf.data.Dataset.from_tensors(x), verbose=0), "conditional and got no y"),
        (lambda m, x, y: m(x), r"conditional; call it on a pair \[x, y\]"),
        (lambda m, x, y: m.predict([255.0 * x, y], verbose=0), "x has values from .* the bernoulli likelihood expects"),
        (lambda m, x, y: m.predict([x, y * np.nan], verbose=0), "y holds values that are no finite numbers"),
        (lambda m, x, y: m.evaluate(pairs(x, y * np.nan), verbose=0), "y holds values that are no finite numbers"),
        (lambda m, x, y: m.predict(pairs(x, y * np.nan, as_one=True), verbose=0), "y holds values that are no finite"),
        (lambda m, x, y: m.evaluate(pairs(x, y.astype(str)), verbose=0), "y is of dtype string; expected real numbers"),
        (lambda m, x, y: m.fit(x, y, validation_data=pairs(x, y * np.nan)), "y of validation_data holds values that"),
        (lambda m, x, y: m.target(x), "y is no context, but the model takes one; give y"),
        (lambda m, x, y: m.posterior(x), "y is no context, but the model takes one; give y"),
        (lambda m, x, y: m.evaluate((b for b in ()), verbose=0), "x is a generator that yields nothing"),
    ],
)
def test_misuse_is_named(call, message, digits):
    with pytest.raises(ValueError, match=message):
        call(conditional(VAE), *digits)


def pairs(x, y, as_one=False):
    """A pipeline of pairs; `as_one` as Keras's own models of two inputs take them."""
    return tf.data.Dataset.from_tensor_slices(((x, y),) if as_one else (x, y)).batch(12)


def test_pairs_are_taken_in_every_form_that_keras_takes(digits):
    x, y = digits
    model = conditional(VAE)
    expected = model.reconstruct(x, y=y)
    for given in ([x, y], (x, y), pairs(x, y), pairs(x, y, as_one=True)):
        np.testing.assert_allclose(model.predict(given, verbose=0), expected, rtol=1e-5, atol=1e-6)
    losses = [model.evaluate(*given, batch_size=12, verbose=0)[0] for given in ((x, y), ([x, y],))] + [
        model.evaluate(pairs(x, y, as_one), verbose=0)[0] for as_one in (False, True)
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_networks_that_do_not_fit_are_named(digits):
    x, y = digits
    encoder = hvae_tf.dense_encoder((4, 3, 1), 2, (4,), context_shape=3)
    plain = hvae_tf.dense_decoder((4, 3, 1), 2, (4,))
    with pytest.raises(ValueError, match=r"the encoder takes a context of shape \(3,\), the decoder no context"):
        VAE(encoder, plain)
    with pytest.raises(ValueError, match="the encoder gives latents of size 2, the decoder takes size 3"):
        VAE(encoder, hvae_tf.dense_decoder((4, 3, 1), 3, (4,), context_shape=3))
    model = VAE(hvae_tf.dense_encoder((4, 3, 1), 2, (4,)), plain)
    with pytest.raises(ValueError, match="y is a context, but the model takes none"):
        model.elbo(x, y=y)
    with pytest.raises(ValueError, match=r"context_shape\[0\] is 0"):
        hvae_tf.dense_encoder((4,), 2, context_shape=0)
