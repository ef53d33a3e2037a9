"""The models as a Keras user meets them: compile, fit, evaluate, predict, callbacks, summary."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.iwae import IWAE
from hvae_tf.models.vae import VAE

MODELS = {
    "vae": (lambda e, d: VAE(e, d), 0),
    "iwae": (lambda e, d: IWAE(e, d, 3), 0),
    "free": (lambda e, d: HVAE(e, d, 2, "free", step_size_per="step"), 2 * 2 + 2),
    "fixed": (lambda e, d: HVAE(e, d, 1, "fixed"), 2 + 1),
    "planar": (lambda e, d: FlowVAE(e, d, PlanarFlow(2, 2)), 2 + 2 + 1),
}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, networks, images):
    """(name, model after two epochs, its weights before, history)."""
    model = MODELS[request.param][0](*networks())
    model.compile(keras.optimizers.Adamax(0.05))
    before = model.get_weights()
    history = model.fit(images, batch_size=10, epochs=2, shuffle=False, validation_data=(images,), verbose=0).history
    return request.param, model, before, history


def test_every_weight_is_listed_and_moves(fitted):
    name, model, before, history = fitted
    assert len(model.trainable_variables) == len(before) == len(model.weights)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        assert np.all(np.isfinite(variable)), variable.path
        assert not np.array_equal(variable, value), variable.path
    flow_weights = [v for v in model.trainable_variables if v.path.startswith("flow/")]
    assert sum(int(np.prod(v.shape)) for v in flow_weights) == MODELS[name][1]
    # the flow reads the very variables that Keras trains
    assert {id(v) for v in model.flow.trainable_variables} == {id(v.value) for v in flow_weights}
    logged = {"loss", "reconstruction", "rate"}
    assert set(history) == logged | {f"val_{name}" for name in logged}
    assert history["val_loss"][1] < history["val_loss"][0]
    minus_elbo = np.add(history["reconstruction"], history["rate"])
    if name == "iwae":
        assert np.all(history["loss"] < minus_elbo)
    else:
        np.testing.assert_allclose(history["loss"], minus_elbo, rtol=1e-5)


def test_summary_counts_the_flow(fitted):
    name, model, _, _ = fitted
    lines = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert all(layer in text for layer in ("encoder", "decoder", "flow"))
    flow_params = MODELS[name][1]
    assert model.flow_layer.count_params() == flow_params
    assert model.count_params() == model.encoder.count_params() + model.decoder.count_params() + flow_params


def test_evaluation_is_a_function_of_weights_and_data(fitted, images):
    _, model, _, history = fitted
    first = model.evaluate(images, batch_size=10, verbose=0, return_dict=True)
    assert model.evaluate(images, batch_size=10, verbose=0, return_dict=True) == first
    assert first["loss"] == history["val_loss"][-1]  # and it is what fit reported
    model.test_on_batch(images[:3])
    assert model.evaluate(images, batch_size=10, verbose=0) == [
        first[key] for key in ("loss", "reconstruction", "rate")
    ]


def test_predict_is_the_reconstruction_without_noise(fitted, images):
    _, model, _, _ = fitted
    probabilities = model.predict(images, batch_size=24, verbose=0)
    np.testing.assert_array_equal(probabilities, model.reconstruct(images))
    np.testing.assert_allclose(probabilities, model(images), rtol=1e-5)
    assert probabilities.shape == images.shape
    assert 0 < probabilities.min() < probabilities.max() < 1


def compiled(networks, optimizer, **kwargs):
    model = VAE(*networks(), **kwargs)
    model.compile(optimizer)
    return model


def test_under_a_mixed_policy_the_events_are_not_rounded(networks, images):
    """They are what the likelihood scores; float16 ends at 65504."""
    model = VAE(*networks(dtype="float32", outputs_per_channel=2), likelihood="normal", dtype="mixed_float16")
    x = (70_000.0 * (images + 0.1234)).astype(np.float32)
    assert np.all(np.isfinite(model(x)))
    np.testing.assert_array_equal(model(x), model._reconstruction(tf.constant(x)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_variables_of_half_types_are_refused(networks, dtype):
    with pytest.raises(ValueError, match=f"too coarse for nats; take 'mixed_{dtype}'"):
        VAE(*networks(), dtype=dtype)


@pytest.mark.slow
def test_training_is_a_function_of_seed_and_step(networks, images):
    weights = []
    for validation, seed in ((None, 0), ((images,), 0), (None, 1)):
        model = compiled(networks, keras.optimizers.Adamax(0.05), seed=seed)
        model.fit(images, batch_size=8, epochs=2, shuffle=False, validation_data=validation, verbose=0)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    assert np.array_equal(weights[0], weights[1])  # validation has no part in it
    assert not np.array_equal(weights[0], weights[2])


def test_noise_differs_between_steps_and_between_batches(networks, images):
    model = compiled(networks, keras.optimizers.SGD(0.0))
    twice = np.concatenate([images, images])
    n = len(images)
    history = model.fit(twice, batch_size=n, shuffle=False, epochs=2, verbose=0, validation_data=(images,)).history
    one, two = (model.evaluate(x, batch_size=n, verbose=0)[0] for x in (images, twice))
    assert one != two  # the same images in two batches
    assert history["loss"][0] != history["loss"][1]
    assert history["val_loss"] == [one, one]  # with equal weights every epoch sees the same
    assert compiled(networks, None, seed=1).evaluate(images, batch_size=n, verbose=0)[0] != one


def test_data_in_the_forms_that_keras_takes(networks, images):
    model = compiled(networks, keras.optimizers.SGD(0.0))
    expected = model.evaluate(images, batch_size=12, verbose=0)
    assert model.evaluate(images, np.zeros(len(images)), batch_size=12, verbose=0) == expected  # labels are not used
    dataset = tf.data.Dataset.from_tensor_slices(images.astype(np.uint8)).batch(12)
    assert model.evaluate(dataset, verbose=0) == expected
    assert model.evaluate(dataset.map(lambda x: (x > 0, 3)), verbose=0) == expected
    # a last batch that is not full counts by its images
    assert model.evaluate(images[:13], batch_size=12, verbose=0)[0] == pytest.approx(
        (12 * model.evaluate(images[:12], verbose=0)[0] + model_on_second_batch(model, images[12:13])) / 13, rel=1e-5
    )


def model_on_second_batch(model, x):
    """The loss of x as the second batch of an evaluation, by its difference from the first alone."""
    first = np.zeros((12, *x.shape[1:]), x.dtype)
    both = model.evaluate(np.concatenate([first, x]), batch_size=12, verbose=0)[0]
    return 13 * both - 12 * model.evaluate(first, verbose=0)[0]


def test_resumed_is_uninterrupted_bit_for_bit(networks, images, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def train(epochs, *callbacks):
        model = compiled(networks, keras.optimizers.Adamax(0.05))
        model.fit(images, batch_size=8, epochs=epochs, shuffle=False, callbacks=list(callbacks), verbose=0)
        return model

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)

    uninterrupted = train(3)
    with pytest.raises(KeyboardInterrupt):
        train(3, backup(), Stop())
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True)
    resumed = train(3, backup(), checkpoint, keras.callbacks.EarlyStopping("loss", patience=5))
    for a, b in zip(uninterrupted.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    best = keras.models.load_model(tmp_path / "best.keras")
    assert best.elbo(images).tolist() == resumed.elbo(images).tolist()


def test_a_training_step_runs_the_decoder_once_more_than_k(counted, images):
    encoder, encoder_counter, decoder, decoder_counter = counted
    K = 3
    model = HVAE(encoder, decoder, K, num_samples=2)
    encoder_counter.reset()  # of the check that its standard deviations are positive
    model.compile("adamax")
    model.train_on_batch(images)
    assert (int(encoder_counter.runs), int(decoder_counter.runs)) == (1, K + 1)
    assert int(decoder_counter.rows) == 2 * len(images)
    model.test_on_batch(images)
    assert (int(encoder_counter.runs), int(decoder_counter.runs)) == (2, 2 * (K + 1))


def test_every_decoder_run_has_one_backward_run_and_no_more(networks, images):
    """Without training there is no second-order pass: K + 1 runs forward, K + 1 backward."""
    forward, backward = [], []

    @tf.custom_gradient
    def count(x):
        forward.append(1)

        def gradient(dy):
            backward.append(1)
            return dy

        return tf.identity(x), gradient

    class Count(keras.layers.Layer):
        def call(self, inputs):
            return count(inputs)

    encoder, decoder = networks()
    z = keras.Input(decoder.input_shape[1:])
    model = HVAE(encoder, keras.Model(z, decoder(Count()(z))), 3)
    forward.clear()
    model.log_likelihood(images, 2)
    assert (len(forward), len(backward)) == (4, 4)


def test_compilation_is_off_unless_asked_for(networks):
    assert compiled(networks, "adam").jit_compile is False


def test_penalties_of_the_networks_join_the_loss(networks, images):
    encoder, decoder = networks()
    encoder.get_layer("mean").kernel.regularizer = keras.regularizers.L2(0.5)
    loss, reconstruction, rate = VAE(encoder, decoder).evaluate(images, verbose=0)
    penalty = 0.5 * np.sum(np.square(encoder.get_layer("mean").kernel))
    assert loss - (reconstruction + rate) == pytest.approx(penalty, rel=1e-4)
    assert penalty > 0.1


class Penalised(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs))
        return inputs


@pytest.mark.parametrize("place", [0, 1])
def test_penalties_that_would_be_lost_are_refused(place, networks, images):
    """A decoder runs many times in a step, and parts of a batch run apart."""

    def wrapped(layer):
        both = list(networks())
        inputs = keras.Input(both[place].input_shape[1:])
        both[place] = keras.Model(inputs, both[place](layer(inputs)))
        return both

    with pytest.raises(ValueError, match="has an activity_regularizer, which is not supported: penalise its weights"):
        VAE(*wrapped(keras.layers.ActivityRegularization(l2=10.0)))
    model = VAE(*wrapped(Penalised()))
    with pytest.raises(ValueError, match="a layer calls add_loss, which is not supported"):
        model.evaluate(images, verbose=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.compile("adam", loss="mse"), "compile got loss; the model's loss is its own negative bound"),
        (lambda m, x: m.compile("adam", metrics=["mae"]), "compile got metrics"),
        (lambda m, x: m.fit(x[..., 0], verbose=0), r"x has shape \(24, 6, 5\); expected \[B, 6, 5, 1\]"),
        (lambda m, x: m.fit(x, x, sample_weight=np.ones(len(x)), verbose=0), "weights are not supported"),
        (lambda m, x: m.evaluate(x[:, :4], verbose=0), r"x has shape .*4, 5, 1\); expected \[B, 6, 5, 1\]"),
        (lambda m, x: m.predict(x[:, :4], verbose=0), r"expected \[B, 6, 5, 1\]"),
    ],
)
def test_misuse_of_keras_is_named(call, message, networks, images):
    model = compiled(networks, "adam")
    with pytest.raises(ValueError, match=message):
        call(model, images)


def test_fit_without_an_optimizer_is_named(networks, images):
    model = VAE(*networks())
    model.evaluate(images, verbose=0)  # needs none
    with pytest.raises(ValueError, match=r"fit needs an optimizer; call compile\(optimizer=...\) first"):
        model.fit(images, verbose=0)
