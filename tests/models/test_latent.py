"""Between events and latent points, without noise; and which latent dimensions tell anything."""

import warnings

import keras
import numpy as np
import pytest

import hvae_tf
from hvae_tf import HVAE, VAE, ActiveUnits, active_units
from hvae_tf.training.collapse import warn_of_collapse
from tests.models.test_events import EVENTS, networks

LATENT = 2


@pytest.fixture(scope="module")
def rows(seed):
    return np.random.default_rng(seed).normal(size=(30, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return HVAE(*networks((5,), 2), 2, step_size=0.1, likelihood="normal")


def test_embedding_and_decoding_are_the_reconstruction(model, rows):
    z = model.embed(rows, batch_size=20)
    assert z.shape == (30, LATENT)
    np.testing.assert_array_equal(z, model.embed(rows, batch_size=20))
    np.testing.assert_allclose(model.decode(z), model.reconstruct(rows), rtol=1e-5, atol=1e-6)
    # the flow has moved it from the encoder's mean, which is what it is without a flow
    assert np.abs(z - model.posterior(rows).mean).max() > 1e-3
    plain = VAE(model.encoder, model.decoder, likelihood="normal")
    np.testing.assert_allclose(plain.embed(rows), plain.posterior(rows).mean, rtol=1e-5, atol=1e-6)
    grid = model.decode(z[:24].reshape(2, 3, 4, LATENT), batch_size=5)
    np.testing.assert_allclose(grid.reshape(24, 5), model.decode(z[:24]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EVENTS)
def test_interpolations_and_traversals_of_any_event(name, seed):
    event_shape = EVENTS[name]
    x = np.random.default_rng(seed).normal(size=(3, *event_shape)).astype(np.float32)
    model = VAE(*networks(event_shape, 2), likelihood="normal")
    ends = model.reconstruct(x)
    between = model.interpolate(x, x[::-1], 5)
    assert between.shape == (3, 5, *event_shape)
    np.testing.assert_allclose(between[:, 0], ends, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(between[:, -1], ends[::-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(between[0, 2], between[2, 2], rtol=1e-5, atol=1e-6)  # the middle of both ways
    z = model.embed(x)
    moved = model.traverse(x, 1, [-1.0, z[0, 1], 2.0])
    assert moved.shape == (3, 3, *event_shape)
    np.testing.assert_allclose(moved[0, 1], ends[0], rtol=1e-5, atol=1e-6)
    z[:, 1] = 2.0
    np.testing.assert_allclose(moved[:, 2], model.decode(z), rtol=1e-5, atol=1e-6)


def test_with_contexts(seed):
    encoder = hvae_tf.dense_encoder(4, LATENT, (6,), context_shape=3, seed=seed)
    model = VAE(encoder, hvae_tf.dense_decoder(4, LATENT, (6,), context_shape=3, seed=seed))
    x, y = np.random.default_rng(seed).uniform(size=(5, 4)), np.eye(3)[[0, 1, 2, 0, 1]]
    ends = model.reconstruct(x, y=y)
    np.testing.assert_allclose(model.decode(model.embed(x, y=y), y=y), ends, rtol=1e-5)
    np.testing.assert_allclose(model.interpolate(x, x[::-1], 3, y=y)[:, 0], ends, rtol=1e-5)
    np.testing.assert_allclose(model.traverse(x, 0, model.embed(x[:1], y=y[0])[0, :1], y=y)[0, 0], ends[0], rtol=1e-5)
    assert model.decode(np.zeros((2, 7, LATENT)), y=y[0]).shape == (2, 7, 4)
    assert model.active_units(x, y=y).variance.shape == (LATENT,)
    with pytest.raises(ValueError, match=r"y has shape \(5, 3\); expected \[2, 7, 3\], or \[3\] for all"):
        model.decode(np.zeros((2, 7, LATENT)), y=y)


def one_dimension_of_two(model=VAE, **kwargs):
    """The first dimension tells of x, the second is the prior whatever x, and the decoder does not see it."""
    encoder, decoder = networks((1,), 2, "float64")
    decoder.layers[1].kernel.assign(np.abs(decoder.layers[1].kernel) * [[1.0], [0.0]])
    mean, deviation = encoder.layers[-2:]
    for layer, bias in ((mean, 0.0), (deviation, [np.log(np.expm1(0.5)), np.log(np.expm1(1.0))])):
        layer.set_weights([np.zeros_like(layer.kernel), np.zeros(2) + bias])
    mean.kernel.assign(np.ones((6, 1)) * [[1.0, 0.0]])
    return model(encoder, decoder, likelihood="normal", dtype="float64", **kwargs)


@pytest.mark.parametrize("flow", [False, True], ids=["vae", "hvae"])
def test_active_units_are_found_with_a_flow_and_without(flow, seed):
    options = {"model": HVAE, "num_leapfrog_steps": 2, "tempering": "none", "step_size": 0.1} if flow else {}
    model = one_dimension_of_two(**options)
    x = np.random.default_rng(seed).normal(size=(400, 1))
    found = model.active_units(x, seed=seed)
    assert found.active.tolist() == [True, False]
    assert found.num_active == 1
    mean = model.posterior(x).mean[:, 0]
    np.testing.assert_allclose(found.rate[0], np.mean(0.5 * (mean**2 + 0.25 - 1.0)) - np.log(0.5), rtol=1e-6)
    assert found.rate[1] == pytest.approx(0.0, abs=1e-6)
    if flow:
        # what the noise of 32 samples adds, 1/32, would have made the second one active
        z = model.sample_posterior(x, 32, seed)
        assert active_units(z.mean(axis=0)).tolist() == [True, True]
    else:
        np.testing.assert_allclose(found.variance[0], np.var(mean, ddof=1))
        assert found.variance[1] == 0.0


def test_a_collapsed_posterior_is_told_of_in_one_line(seed):
    x = np.random.default_rng(seed).normal(size=(100, 1))
    model = one_dimension_of_two()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_collapse(model, x)
        warn_of_collapse(keras.Model(), x)  # not one of ours
    model.encoder.layers[-2].kernel.assign(np.zeros((6, 2)))
    with pytest.warns(UserWarning, match="posterior has collapsed: 0 of 2 latent dimensions are active on 100") as told:
        warn_of_collapse(model, x)
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    # its flow may tell of x where its encoder does not
    flow = hvae_tf.HamiltonianFlow(2, 1, "none", step_size=0.45, dtype="float64")
    model = hvae_tf.FlowVAE(model.encoder, model.decoder, flow, likelihood="normal", dtype="float64")
    model.decoder.layers[1].set_weights([np.array([[3.0] * 6, [0.0] * 6]), np.zeros(6)])
    model.decoder.layers[2].set_weights([np.full((6, 2), 0.2) * [1.0, 0.0], np.zeros(2)])  # a mean that rises with z_1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_collapse(model, 3.0 * x)
    assert model.active_units(3.0 * x).active.tolist() == [True, False]
    assert not model.active_units(3.0 * x, num_samples=1).active.any()


@pytest.mark.slow
def test_the_loop_warns_and_the_callback_counts(seed, tmp_path):
    data = hvae_tf.load("digits", limit=(50, 40, 1))

    def train(folder, rate, **kwargs):
        encoder, decoder = (make(data.event_shape, 2, (8,)) for make in (hvae_tf.dense_encoder, hvae_tf.dense_decoder))
        if not rate:
            encoder.get_layer("mean").kernel.assign(np.zeros((8, 2)))
        model = VAE(encoder, decoder)
        model.compile(keras.optimizers.Adam(rate))
        x = data.binarised("validation")
        counter = ActiveUnits(x)
        batches = hvae_tf.TrainBatches(data, batch_size=25, seed=seed)
        return hvae_tf.fit(model, batches, x, folder, max_epochs=2, verbose=0, callbacks=[counter]), counter

    with pytest.warns(UserWarning, match="posterior has collapsed: 0 of 2"):
        result, counter = train(tmp_path / "collapsed", 0.0)
    assert result.history["active_units"] == [0.0, 0.0]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the posterior")
        result, counter = train(tmp_path / "learns", 0.02)
    assert result.history["active_units"] == [found.num_active for found in counter.history]
    assert result.history["active_units"][-1] > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.decode(np.zeros((3, 4))), r"z has shape \(3, 4\); expected \[..., 2\]"),
        (lambda m, x: m.decode(np.full((3, 2), np.nan)), "z holds values that are no finite numbers"),
        (lambda m, x: m.interpolate(x, x, 1), "n is 1; expected an integer of at least 2"),
        (lambda m, x: m.interpolate(x, x[:2]), r"x_a has shape \(30, 5\), x_b \(2, 5\)"),
        (lambda m, x: m.traverse(x, 2, [0.0]), "dimension is 2; expected an integer from 0 to 1"),
        (lambda m, x: m.traverse(x, 0, 1.0), r"values have shape \(\); expected \[n\]"),
        (lambda m, x: m.active_units(x[:1]), "x holds 1 events; expected two or more"),
        (lambda m, x: m.embed(x[:, :3]), r"x has shape \(30, 3\)"),
        (lambda m, x: active_units(x[0]), r"means have shape \(5,\)"),
    ],
)
def test_bad_arguments_are_named(model, rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(model, rows)
