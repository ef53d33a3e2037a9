"""What the tests of models share: tiny networks and binary images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.networks import conv_decoder, conv_encoder

IMAGE_SHAPE = (6, 5, 1)
LATENT_SIZE = 2


@pytest.fixture(scope="session")
def networks():
    """(encoder, decoder) of a few hundred weights; each call makes new ones. One convolution: quick to trace."""

    def make(dtype=None, outputs_per_channel=1, seed=0, filters=(3,), covariance="diagonal"):
        sizes = {"image_shape": IMAGE_SHAPE, "latent_size": LATENT_SIZE, "hidden_units": 6, "filters": filters}
        encoder = conv_encoder(**sizes, seed=seed, dtype=dtype, covariance=covariance)
        return encoder, conv_decoder(**sizes, outputs_per_channel=outputs_per_channel, seed=seed, dtype=dtype)

    return make


@pytest.fixture(scope="session")
def images(seed):
    """24 binary images, in float32."""
    return (np.random.default_rng(seed).uniform(size=(24, *IMAGE_SHAPE)) < 0.4).astype(np.float32)


class RunCounter(keras.layers.Layer):
    """Passes its input on and counts at run time: how often it ran, and for how many rows at most."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.runs = tf.Variable(0, trainable=False)
        self.rows = tf.Variable(0, trainable=False)

    def call(self, inputs):
        self.runs.assign_add(1)
        self.rows.assign(tf.maximum(self.rows, tf.shape(inputs)[0]))
        return tf.identity(inputs)

    def reset(self):
        self.runs.assign(0)
        self.rows.assign(0)


@pytest.fixture
def counted(networks):
    """(encoder, its counter, decoder, its counter)."""
    models = []
    for network in networks():
        counter = RunCounter()
        inputs = keras.Input(network.input_shape[1:])
        models += [keras.Model(inputs, network(counter(inputs))), counter]
        counter.reset()
    return models
