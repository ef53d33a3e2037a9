"""The networks that the derivation is checked on: small variational auto-encoders of the bundled digits."""

from collections.abc import Callable

import keras

import hvae_tf
from reproduce.epochs import FitProgress

BATCH_SIZE, HIDDEN, LEARNING_RATE = 50, (128,), 5e-3


def make(data, latent_size: int, seed: int, *, covariance="diagonal", **choices) -> hvae_tf.VAE:
    """A VAE with one hidden layer on each side; `choices` are `kl` and `gradient`."""
    encoder = hvae_tf.dense_encoder(data.event_shape, latent_size, HIDDEN, covariance=covariance, seed=seed)
    decoder = hvae_tf.dense_decoder(data.event_shape, latent_size, HIDDEN, seed=seed)
    model = hvae_tf.VAE(encoder, decoder, seed=seed, **choices)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    return model


def train(model, data, start: int, stop: int, seed: int, tell: Callable[[float], None] = lambda fraction: None) -> None:
    """Trains from epoch `start` to epoch `stop`; in pieces or at once, it comes to the same. `tell` hears how far."""
    if stop == start:
        return
    batches = hvae_tf.TrainBatches(data, batch_size=BATCH_SIZE, seed=seed)
    first, last = (epoch * batches.steps_per_epoch for epoch in (start, stop))
    model.fit(batches.dataset(first, last), epochs=1, verbose=0, shuffle=False, callbacks=[FitProgress(tell)])
