"""Wrong input to `fit`, `evaluate`, `predict` and `hvae_tf.fit`: one line before anything is trained."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf.models.hvae import HVAE
from hvae_tf.models.vae import VAE


@pytest.fixture(scope="module")
def model(networks):
    model = VAE(*networks())
    model.compile(keras.optimizers.SGD(1.0))
    return model


def spoiled(images, kind):
    if kind == "nan":
        images = images.copy()
        images[3, 0, 0] = np.nan
    if kind == "uint8":
        return (255 * images).astype(np.uint8)
    return {"range": 2 * images - 1, "shape": images[:, :, :4]}.get(kind, images)


MESSAGES = {
    "nan": r"x holds 1 values that are not finite; remove them first",
    "uint8": r"x has values from 0 to 255; the bernoulli likelihood expects",
    "range": r"x has values from -1.0 to 1.0; the bernoulli likelihood expects",
    "shape": r"x has shape \(.*, 6, 4, 1\); expected \[B, 6, 5, 1\]",
}


def generator(x):
    yield (x,)
    yield (x,)


class Sequence(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.x, np.zeros(len(self.x))


FORMS = {
    "array": lambda x: x,
    "tensor": tf.constant,
    "dataset": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(12),
    "dataset with labels": lambda x: tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)))).batch(12).prefetch(2),
    "generator": generator,
    "sequence": Sequence,
}


def assert_refused(model, call, message):
    before = model.get_weights()
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_wrong_arrays_are_named(method, kind, model, images):
    x = spoiled(images, kind)
    assert_refused(model, lambda: getattr(model, method)(x, verbose=0), MESSAGES[kind])


@pytest.mark.parametrize("form", FORMS)
def test_the_first_batch_of_every_form_of_data_is_checked(form, model, images):
    assert_refused(model, lambda: model.fit(FORMS[form](spoiled(images, "range")), verbose=0), MESSAGES["range"])


@pytest.mark.parametrize("form", ["array", "dataset", "dataset with labels"])
def test_validation_data_are_checked_before_the_first_epoch(form, model, images):
    data = FORMS[form](spoiled(images, "nan"))
    data = (data, None) if form == "array" else data
    told = "validation_data: x holds 1 values that are not finite"
    assert_refused(model, lambda: model.fit(images, validation_data=data, verbose=0), told)
    with pytest.raises(ValueError, match=r"validation_data has shape \(.*, 6, 4, 1\); expected \[B, 6, 5, 1\]"):
        model.fit(images, validation_data=FORMS[form](spoiled(images, "shape")), verbose=0)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "sequence"])
def test_right_data_are_let_through(form, model, images):
    history = model.fit(FORMS[form](images), epochs=1 if form == "generator" else 2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


def test_checking_does_not_change_the_order_of_a_shuffled_pipeline(model):
    orders = []
    for fit in (keras.Model.fit, type(model).fit):
        order = []

        def see(x, order=order):
            order.append(x.tolist())
            return np.True_

        def recorded(i, see=see):
            tf.numpy_function(see, [i], tf.bool)
            return tf.zeros([4, 6, 5, 1])

        fit(model, tf.data.Dataset.range(8).shuffle(8, seed=5).batch(4).map(recorded), epochs=2, verbose=0)
        orders.append(order)
    assert orders[0] == orders[1]
    assert len(orders[0]) == 4


@pytest.mark.parametrize("kind", MESSAGES)
def test_validation_images_of_the_training_loop_are_checked_first(kind, networks, images, tmp_path):
    model = VAE(*networks())
    model.compile(keras.optimizers.SGD(0.1))
    data = hvae_tf.from_arrays("tiny", images, images)
    batches = hvae_tf.TrainBatches(data, 5, seed=0)
    message = (
        MESSAGES[kind].replace("x has values", "validation: x has values").replace("x has sh", "validation has sh")
    )
    with pytest.raises(ValueError, match=message):  # a DivergenceError is none
        hvae_tf.fit(model, batches, spoiled(images, kind), tmp_path, max_epochs=1, verbose=0)
    assert not list(tmp_path.iterdir())


def test_any_values_that_the_likelihood_takes_are_let_through(networks, images):
    model = VAE(*networks(outputs_per_channel=2), likelihood="normal")
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(255 * images, verbose=0)
    model.fit(tf.data.Dataset.from_tensors((255 * images).astype(np.uint8)), verbose=0)
    with pytest.raises(ValueError, match="x holds 1 values that are not finite"):
        model.evaluate(spoiled(images, "nan"), verbose=0)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda m, x: m.fit(x, sample_weight=np.ones(len(x)), verbose=0), "sample_weight"),
        (lambda m, x: m.evaluate(x, sample_weight=np.ones(len(x)), verbose=0), "sample_weight"),
        (lambda m, x: m.fit(x, np.zeros(len(x)), class_weight={0: 1.0}, verbose=0), "class_weight"),
        (lambda m, x: m.fit(x, validation_data=(x, x, np.ones(len(x))), verbose=0), "sample_weight"),
        (lambda m, x: m.train_on_batch(x, sample_weight=np.ones(len(x))), "sample_weight"),
    ],
)
def test_weights_of_images_are_refused(call, name, model, images):
    assert_refused(model, lambda: call(model, images), f"{name} is given, but weights are not supported")


@pytest.mark.parametrize("x", [np.zeros([2, 6, 5, 1], complex), np.full([2, 6, 5, 1], "a")])
def test_what_is_no_number_is_refused(x, model):
    with pytest.raises(ValueError, match=r"x is of dtype .*; expected real numbers"):
        model.elbo(x)
    with pytest.raises(ValueError, match=r"x is of dtype .*; expected real numbers"):
        model.predict(x, verbose=0)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
@pytest.mark.parametrize("activation", ["softplus", "linear"])
def test_an_encoder_of_few_tokens_is_run_on_what_it_knows(activation, dtype):
    """An embedding has no row for noise, whether its input or a layer makes whole numbers of it."""
    x = keras.Input((4, 1), dtype=dtype)
    h = keras.layers.Flatten()(keras.layers.Embedding(2, 3)(keras.ops.cast(x, "int32")))
    spread = keras.layers.Dense(2, activation, bias_initializer=keras.initializers.Constant(-1.0))(h)
    encoder = keras.Model(x, [keras.layers.Dense(2)(h), spread])
    decoder = hvae_tf.dense_decoder((4, 1), 2, (8,), outputs_per_channel=2)
    if activation == "linear":
        with pytest.raises(ValueError, match="expected positive numbers: of a log variance"):
            VAE(encoder, decoder, likelihood="categorical")
        return
    model = VAE(encoder, decoder, likelihood="categorical")
    assert model.elbo(np.random.default_rng(0).integers(0, 2, size=(5, 4, 1))).shape == (5,)


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_an_encoder_that_gives_log_variances_is_named(activation, networks):
    encoder, decoder = networks()
    x = keras.Input(encoder.input_shape[1:])
    h = keras.layers.Flatten()(x)
    log_variances = keras.Model(x, [keras.layers.Dense(2)(h), keras.layers.Dense(2, activation)(h)])
    with pytest.raises(ValueError, match=r"standard deviations from .*; expected positive numbers: of a log variance"):
        HVAE(log_variances, decoder, 1)
    HVAE(keras.Model(x, [keras.layers.Dense(2)(h), keras.layers.Dense(2, "exponential")(h)]), decoder, 1)


def test_a_refused_pipeline_leaves_a_model_that_can_be_trained(networks, images):
    model = VAE(*networks())
    model.compile(keras.optimizers.Adam(1e-3))
    wrong = tf.data.Dataset.from_tensor_slices(images)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"x has shape \(6, 5, 1\); expected \[B, 6, 5, 1\]"):
            call(wrong, verbose=0)
    history = model.fit(wrong.batch(12), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(model.evaluate(wrong.batch(12), verbose=0)).all()


def test_what_is_no_array_of_events_is_named(model, images):
    pipeline = tf.data.Dataset.from_tensor_slices(images).batch(12)
    with pytest.raises(ValueError, match=r"x yields dicts; expected batches of events"):
        model.fit(tf.data.Dataset.from_tensor_slices({"x": images}).batch(12))
    with pytest.raises(ValueError, match=r"validation_data yields dicts; expected batches of events"):
        model.fit(images, validation_data=tf.data.Dataset.from_tensor_slices({"x": images}).batch(12))
    for method in (model.elbo, model.log_likelihood, model.check_input):
        with pytest.raises(ValueError, match=r"x is a tf.data.Dataset; expected an array \[B, 6, 5, 1\]"):
            method(pipeline)


def test_all_training_data_are_checked(networks, tmp_path):
    """A value that the likelihood does not take, in whatever batch it would have come."""
    sizes = {"event_shape": (4,), "latent_size": 2, "hidden_units": (3,)}
    model = VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes))
    model.compile("adam")
    table = np.random.default_rng(0).uniform(size=(40, 4)).astype(np.float32)
    table[-1, 2] = 5.0
    data = hvae_tf.from_arrays("own", table, table[:9], None, validation=table[:9])
    batches = hvae_tf.TrainBatches(data, 5, seed=0)
    with pytest.raises(ValueError, match=r"the training data: x has values from .* to 5.0; the bernoulli"):
        hvae_tf.fit(model, batches, table[:9], tmp_path, max_epochs=1, verbose=0)
    for wrong in (table, tf.data.Dataset.from_tensor_slices(table).batch(5), data):
        with pytest.raises(ValueError, match=rf"batches is {type(wrong).__name__}; expected hvae_tf.TrainBatches"):
            hvae_tf.fit(model, wrong, table[:9], tmp_path, max_epochs=1, verbose=0)

    class Clipped(hvae_tf.TrainBatches):
        def batch(self, step, indices):
            return tf.clip_by_value(super().batch(step, indices), 0.0, 1.0)

    with pytest.raises(ValueError, match=r"validation is a tf.data.Dataset; expected an array"):
        hvae_tf.fit(model, Clipped(data, 5, seed=0), tf.data.Dataset.from_tensor_slices(table), tmp_path, max_epochs=1)
    assert not list(tmp_path.iterdir())
    hvae_tf.fit(model, Clipped(data, 5, seed=0), table[:9], tmp_path, max_epochs=1, verbose=0)


@pytest.mark.parametrize("binarised", [True, False, None])
def test_binarised_batches_beside_intensities_are_told(binarised, tmp_path):
    sizes = {"event_shape": (4,), "latent_size": 2, "hidden_units": (3,)}
    likelihood = hvae_tf.likelihoods.Normal(scale="learned")
    model = VAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes), likelihood=likelihood)
    model.compile("adam")
    table = np.random.default_rng(0).uniform(size=(40, 4))
    data = hvae_tf.from_arrays("own", table[:30], table[30:])
    batches = hvae_tf.TrainBatches(data, 5, seed=0, binarised=binarised)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hvae_tf.fit(model, batches, data.values("validation"), tmp_path, max_epochs=1, verbose=0)
    told = [str(one.message) for one in caught if "binarised" in str(one.message)]
    assert len(told) == (binarised is not False)


def test_layers_that_the_decoder_runs_as_if_not_in_training_are_told(networks):
    encoder, plain = networks()
    z = keras.Input([plain.input_shape[-1]])
    h = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(plain(z)))
    with pytest.warns(UserWarning, match="has BatchNormalization and Dropout, which it runs as if not in training"):
        HVAE(encoder, keras.Model(z, h), 1)
    frozen = keras.layers.BatchNormalization(trainable=False)
    attention = keras.layers.MultiHeadAttention(1, 2)  # which has a dropout of nothing
    sequence = keras.layers.Reshape([1, -1])(keras.layers.Flatten()(plain(z)))
    h = keras.layers.Reshape(plain.output_shape[1:])(attention(sequence, sequence))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HVAE(encoder, plain, 1)
        HVAE(encoder, keras.Model(z, keras.layers.Dropout(0.0)(frozen(plain(z)))), 1)
        HVAE(encoder, keras.Model(z, h), 1)
