"""What the tests of training share: a model of one weight whose losses are given, and ways to compare runs."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.training import fit, load_checkpoint


class Scripted(keras.Model):
    """Its weight counts the steps; its validation loss after epoch e is losses[e - 1], its training loss is given."""

    def __init__(self, losses, train_losses=None, steps=4):
        super().__init__(name="scripted")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")
        self.losses_of_epochs = tf.constant(losses, tf.float32)
        self.losses_of_steps = tf.constant(np.ones(1000) if train_losses is None else train_losses, tf.float32)
        self.steps = steps
        self.loss_metric = keras.metrics.Mean(name="loss")
        self.built = True
        self.compile(keras.optimizers.SGD(1.0))

    @property
    def metrics(self):
        return [self.loss_metric]

    def train_step(self, data):
        loss = tf.gather(self.losses_of_steps, self.optimizer.iterations)
        self.optimizer.apply([tf.constant(-1.0)], [self.count])
        self.loss_metric.update_state(loss)
        return {"loss": self.loss_metric.result(), "gradient_norm": loss}

    def test_step(self, data):
        epoch = (tf.cast(self.optimizer.iterations, tf.int32) - 1) // self.steps
        self.loss_metric.update_state(tf.gather(self.losses_of_epochs, epoch))
        return {"loss": self.loss_metric.result()}


class Steps:
    """Batches that are the numbers of their steps."""

    def __init__(self, steps_per_epoch=4, seed=0):
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed

    def dataset(self, start, stop):
        return tf.data.Dataset.range(start, stop).map(lambda step: tf.cast(step, tf.float32)[None])

    def configuration(self):
        return {"seed": self.seed}


VALIDATION = np.zeros([2, 1], np.float32)


def scripted_run(folder, losses, train_losses=None, batches=None, validation=VALIDATION, **kwargs):
    batches = batches or Steps()
    model = Scripted(losses, train_losses, batches.steps_per_epoch)
    settings = {"max_epochs": len(losses), "verbose": 0, **kwargs}
    return model, fit(model, batches, validation, folder, **settings)


class At(keras.callbacks.Callback):
    """Does something at the end of the batches at which a condition on the model holds."""

    def __init__(self, condition, action):
        super().__init__()
        self.condition = condition
        self.action = action

    def on_train_batch_end(self, batch, logs=None):
        if self.condition(self.model):
            self.action(self.model)


def stop_at(step, action=None):
    def stop(model):
        model.stop_training = True

    return At(lambda model: int(model.optimizer.iterations) == step, action or stop)


def contents(folder):
    """All that a run has written, without times."""
    groups, progress, configuration = load_checkpoint(folder / "checkpoint.bin")
    clock = {"seconds": 0.0, "epoch_seconds": [0.0] * progress.epochs, "partial_seconds": 0.0}
    return groups, dataclasses.replace(progress, **clock), configuration, (folder / "history.csv").read_bytes()


def assert_same(a, b):
    groups_a, *rest_a = contents(a)
    groups_b, *rest_b = contents(b)
    assert rest_a == rest_b
    assert groups_a.keys() == groups_b.keys()
    for group in groups_a:
        for x, y in zip(groups_a[group], groups_b[group], strict=True):
            np.testing.assert_array_equal(x, y)
