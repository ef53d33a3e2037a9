"""The decoder's target and its likelihoods, against formulas written out here, in float64."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.targets.decoder import DecoderTarget, decode, last_activation, warn_of_probabilities
from hvae_tf.targets.likelihoods import LIKELIHOODS, Bernoulli, Likelihood, Normal, get_likelihood

SHAPE = (3, 4, 2)
LATENT = 3
OUTPUTS = {"bernoulli": 1, "normal": 2, "categorical": 4}  # for each channel


class CountingDense(keras.layers.Dense):
    calls = 0

    def call(self, inputs):
        self.calls += 1
        return super().call(inputs)


def make_decoder(outputs_per_channel, dtype="float64"):
    maps = SHAPE[-1] * outputs_per_channel
    init = keras.initializers.RandomNormal(stddev=0.5, seed=3)
    z = keras.Input([LATENT], dtype=dtype)
    h = CountingDense(5, "tanh", kernel_initializer=init, dtype=dtype, name="counting")(z)
    h = keras.layers.Dense(SHAPE[0] * SHAPE[1] * maps, kernel_initializer=init, dtype=dtype)(h)
    model = keras.Model(z, keras.layers.Reshape((*SHAPE[:2], maps), dtype=dtype)(h))
    model.get_layer("counting").calls = 0
    return model


def make_images(rng, likelihood, n):
    if likelihood == "normal":
        return rng.normal(size=(n, *SHAPE))
    return rng.integers(0, 2 if likelihood == "bernoulli" else OUTPUTS["categorical"], size=(n, *SHAPE)).astype(float)


def numpy_log_prob(likelihood, outputs, x):
    """log p(x|z) with nothing shared with the library."""
    if likelihood == "bernoulli":
        p = 1.0 / (1.0 + np.exp(-outputs))
        terms = np.log(np.where(x == 1, p, 1.0 - p))
    elif likelihood == "normal":
        mean, log_scale = outputs[..., : SHAPE[-1]], outputs[..., SHAPE[-1] :]
        terms = -0.5 * ((x - mean) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2.0 * np.pi)
    else:
        logits = outputs.reshape(*outputs.shape[:-1], SHAPE[-1], -1)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        index = np.broadcast_to(x.astype(int)[..., None], (*logits.shape[:-1], 1))
        terms = np.take_along_axis(log_p, index, -1)[..., 0]
    return terms.sum(axis=(-3, -2, -1))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_log_joint_is_likelihood_plus_prior_for_any_sample_axes(likelihood, seed):
    rng = np.random.default_rng(seed)
    decoder, x = make_decoder(OUTPUTS[likelihood]), make_images(rng, likelihood, 2)
    z = rng.normal(size=(5, 3, 2, LATENT))
    target = DecoderTarget(decoder, x, likelihood)
    outputs = decoder(z.reshape(-1, LATENT)).numpy().reshape(5, 3, 2, *SHAPE[:2], -1)
    expected = numpy_log_prob(likelihood, outputs, x) - 0.5 * (z**2).sum(-1) - 0.5 * LATENT * np.log(2.0 * np.pi)
    np.testing.assert_allclose(target.log_joint(z), expected, rtol=1e-12)
    np.testing.assert_allclose(target.value_and_grad(tf.constant(z)).log_joint, expected, rtol=1e-12)
    np.testing.assert_allclose(target.log_joint(z[0, 0]), expected[0, 0], rtol=1e-12)
    assert DecoderTarget(decoder, x, get_likelihood(likelihood)).event_size == LATENT


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradient_and_its_gradient_agree_with_finite_differences(likelihood, seed):
    rng = np.random.default_rng(seed)
    target = DecoderTarget(make_decoder(OUTPUTS[likelihood]), make_images(rng, likelihood, 2), likelihood)
    z, direction, weights = rng.normal(size=(3, 4, 2, LATENT))
    z = tf.constant(z)

    with tf.GradientTape() as tape:
        tape.watch(z)
        grad = target.value_and_grad(z).grad
        scalar = tf.reduce_sum(grad * weights)
    second = tape.gradient(scalar, z)

    h = 1e-5
    ahead, behind = target.value_and_grad(z + h * direction), target.value_and_grad(z - h * direction)
    np.testing.assert_allclose(
        tf.reduce_sum(grad * direction, -1), (ahead.log_joint - behind.log_joint) / (2 * h), rtol=1e-6, atol=1e-7
    )
    difference = tf.reduce_sum((ahead.grad - behind.grad) * weights) / (2 * h)
    np.testing.assert_allclose(tf.reduce_sum(second * direction), difference, rtol=1e-6)


def test_one_decoder_pass_for_each_evaluation(seed):
    rng = np.random.default_rng(seed)
    decoder = make_decoder(1)
    target = DecoderTarget(decoder, make_images(rng, "bernoulli", 2))
    target.value_and_grad(tf.constant(rng.normal(size=(7, 2, LATENT))))
    assert decoder.get_layer("counting").calls == 1
    target.log_joint(rng.normal(size=(2, LATENT)))
    assert decoder.get_layer("counting").calls == 2


def test_extreme_logits_give_finite_values_and_gradients():
    bernoulli = get_likelihood("bernoulli")
    logits = tf.constant([-1e4, -200.0, -50.0, 0.0, 50.0, 200.0, 1e4])[:, None, None, None]
    for pixel in (0.0, 1.0):
        with tf.GradientTape() as outer:
            outer.watch(logits)
            with tf.GradientTape() as inner:
                inner.watch(logits)
                value = bernoulli.log_prob(logits, tf.constant([[[pixel]]]), (1, 1, 1))
            grad = inner.gradient(value, logits)
        curvature = outer.gradient(grad, logits)
        flat = np.ravel(logits)
        np.testing.assert_allclose(value, -np.logaddexp(0.0, np.where(pixel, -flat, flat)), rtol=1e-6, atol=1e-12)
        assert np.all(np.isfinite(grad))
        assert np.all(np.isfinite(curvature))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_draws_have_the_mean_and_lie_in_the_support(likelihood, seed, z_score):
    model = get_likelihood(likelihood)
    outputs = np.random.default_rng(seed).normal(size=(*SHAPE[:2], SHAPE[-1] * OUTPUTS[likelihood]))
    draws = model.sample(tf.constant(np.broadcast_to(outputs, (4000, *outputs.shape))), SHAPE, (seed, 1)).numpy()
    assert draws.shape == (4000, *SHAPE)
    model.check_values(draws, outputs.shape[-1])
    mean = model.mean(tf.constant(outputs), SHAPE).numpy()
    assert z_score(draws, mean) < 5
    assert z_score(draws + 0.2, mean) > 5
    distribution = model.distribution(tf.constant(outputs), SHAPE)
    assert distribution.event_shape == SHAPE
    np.testing.assert_allclose(
        distribution.log_prob(draws[:3]),
        model.log_prob(tf.constant(outputs), tf.constant(draws[:3]), SHAPE),
        rtol=1e-10,
    )


def test_the_decoder_is_held_in_inference_mode():
    z = keras.Input([LATENT])
    h = keras.layers.Dense(int(np.prod(SHAPE)))(keras.layers.Dropout(0.5)(z))
    decoder = keras.Model(z, keras.layers.Reshape(SHAPE)(h))
    point = tf.ones([1, LATENT])
    np.testing.assert_array_equal(decode(decoder, point), decode(decoder, point))


def test_a_likelihood_of_ones_own_is_used(seed):
    class Laplace(Likelihood):
        def check_outputs(self, num_outputs, num_channels):
            assert num_outputs == num_channels

        def distribution(self, outputs, event_shape):
            raise NotImplementedError

        def log_prob(self, outputs, x, event_shape):
            return -tf.reduce_sum(tf.abs(x - outputs), axis=(-3, -2, -1))

        def check_values(self, x, num_outputs):
            pass

    rng = np.random.default_rng(seed)
    decoder, x, z = make_decoder(1), rng.normal(size=(2, *SHAPE)), rng.normal(size=(2, LATENT))
    expected = -np.abs(x - decoder(z)).sum(axis=(1, 2, 3)) - 0.5 * (z**2).sum(-1) - 0.5 * LATENT * np.log(2 * np.pi)
    np.testing.assert_allclose(DecoderTarget(decoder, x, Laplace()).log_joint(z), expected, rtol=1e-12)


@pytest.mark.parametrize("axes", [None, (-4, -3, -2, -1), (-2, -1)])
def test_a_likelihood_that_sums_over_other_axes_is_refused(axes):
    """Over the batch too, a sum would broadcast with the prior's density and be taken for that of each event."""

    class Wrong(Bernoulli):
        def log_prob(self, outputs, x, event_shape):
            return tf.reduce_sum(x * outputs, axis=axes)

    z = np.zeros([2, LATENT])
    target = DecoderTarget(make_decoder(1), np.zeros([2, *SHAPE]), Wrong())
    with pytest.raises(ValueError, match=r"the wrong likelihood gave log p\(x\|z\) of shape .*; expected \(2,\)"):
        target.log_joint(z)
    with pytest.raises(ValueError, match=r"summed over the axes .* of an event"):
        tf.function(target.log_joint)(tf.zeros([5, 2, LATENT], tf.float64))


class Gated(keras.layers.Layer):
    """Logits, though what it calls its activation is a sigmoid."""

    def __init__(self):
        super().__init__()
        self.dense, self.activation = keras.layers.Dense(4), keras.activations.sigmoid

    def call(self, h):
        return h[:, :1] * self.activation(h[:, :1]) * self.dense(h)


def ends(form, activation):
    """A decoder that ends in the activation, and whether that can be seen."""
    z = keras.Input([3])
    probabilities, logits = keras.layers.Dense(4, activation=activation)(z), keras.layers.Dense(4)(z)
    shared = keras.layers.Reshape([2, 2])
    first = shared(probabilities)
    heads = keras.Model(z, [probabilities, logits])
    return keras.Model(z, {
        "dense": lambda: probabilities,
        "layer": lambda: keras.layers.Activation(activation)(logits),
        "softmax layer": lambda: keras.layers.Softmax()(logits),
        "nested": lambda: keras.Sequential([keras.layers.Dense(4, activation=activation)])(z),
        "reshaped": lambda: first,
        "head": lambda: heads(z)[0],
        "logits": lambda: logits,
        "other head": lambda: heads(z)[1],
        "shared reshape": lambda: shared(logits),
        "gated": lambda: Gated()(z),
    }[form]())  # fmt: skip


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("form", ["dense", "layer", "softmax layer", "nested", "reshaped", "head"])
def test_a_decoder_of_probabilities_is_told_where_logits_are_read(activation, form):
    decoder = ends(form, activation)
    expected = "softmax" if form == "softmax layer" else activation
    assert last_activation(decoder) == expected
    with pytest.warns(
        UserWarning, match=f"ends in a {expected}; the bernoulli likelihood takes its outputs for logits"
    ):
        warn_of_probabilities(decoder, get_likelihood("bernoulli"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_probabilities(decoder, Normal(scale=1.0))  # means in [0, 1] are means


@pytest.mark.parametrize("form", ["logits", "other head", "shared reshape", "gated"])
def test_a_decoder_of_logits_is_none_of_probabilities(form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_probabilities(ends(form, "sigmoid"), get_likelihood("bernoulli"))


@pytest.mark.parametrize(
    ("x_shape", "likelihood", "outputs", "message"),
    [
        ((2,), "bernoulli", 1, r"x has shape \(2,\); expected \[B, ...\]"),
        (
            (2, 3, 4),
            "bernoulli",
            1,
            r"puts out .* for examples of shape \[3, 4\]; expected \(None, 3, outputs\)",
        ),
        ((2, 4, 4, 2), "bernoulli", 1, r"puts out \(None, 3, 4, 2\) for examples of shape \[4, 4, 2\]"),
        ((2, *SHAPE), "bernoulli", 2, "expects one logit per channel: 2"),
        ((2, *SHAPE), "normal", 1, "expects a mean and a log standard deviation per channel: 4"),
        ((2, *SHAPE), "categorical", 1, "two or more: a multiple of 2"),
        ((2, *SHAPE), "poisson", 1, "unknown likelihood 'poisson'; accepted: bernoulli, normal, categorical"),
        ((2, *SHAPE), 3, 1, "unknown likelihood 3"),
    ],
)
def test_what_does_not_fit_is_named(x_shape, likelihood, outputs, message):
    with pytest.raises(ValueError, match=message):
        DecoderTarget(make_decoder(outputs), np.zeros(x_shape), likelihood)


def test_a_decoder_without_shapes_is_named():
    class Subclassed(keras.Model):
        def call(self, z):
            return z

    with pytest.raises(ValueError, match="has no static shapes; make it a functional model"):
        DecoderTarget(Subclassed(), np.zeros((2, *SHAPE)))
    z = keras.Input([None])
    with pytest.raises(ValueError, match=r"takes inputs of shape \(None, None\)"):
        DecoderTarget(keras.Model(z, keras.layers.Reshape(SHAPE)(z)), np.zeros((2, *SHAPE)))


@pytest.mark.parametrize("z_shape", [(LATENT,), (3, LATENT), (5, 1, LATENT)])
def test_z_must_line_up_with_x(z_shape):
    target = DecoderTarget(make_decoder(1), np.zeros((2, *SHAPE)))
    with pytest.raises(ValueError, match=r"z has shape .*; expected \[..., 2, 3\]: one for each x"):
        target.log_joint(np.zeros(z_shape))


@pytest.mark.parametrize(
    ("likelihood", "values", "message"),
    [
        ("bernoulli", [0.0, 255.0], r"from 0.0 to 255.0; .* values in \[0, 1\]"),
        ("bernoulli", [0.0, np.nan], "x holds 1 values that are not finite"),
        ("normal", [0.0, np.inf], "1 values that are not finite"),
        ("categorical", [0.0, 4.0], "whole numbers from 0 to 3"),
        ("categorical", [0.0, 0.5], "whole numbers from 0 to 3"),
    ],
)
def test_values_outside_the_support_are_named(likelihood, values, message):
    with pytest.raises(ValueError, match=message):
        get_likelihood(likelihood).check_values(np.array(values)[:, None], OUTPUTS[likelihood])
