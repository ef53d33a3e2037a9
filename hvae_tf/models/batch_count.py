"""The numbers of batches that a model was trained on, and evaluated on, which its noise is a function of."""

import keras

from hvae_tf.models.events import ModelParts

KEY = "batches_seen"


class _Count:
    """Holds the variable, so that Keras does not count it among the model's weights."""

    def __init__(self):
        # of the dtype that `optimizer.iterations` has: the noise of a step depends on it
        self.variable = keras.Variable(0, dtype="int", trainable=False, aggregation="only_first_replica", name=KEY)


class BatchCount(ModelParts):
    """A mixin, before `keras.Model`, that gives a model the variable `batches_seen`.

    It is saved with the model's weights, but is no weight: it is not in `weights`, `variables` or `summary()`. A new
    optimiser starts it anew. `optimizer.iterations` would not do: it stands still where loss scaling skips an update,
    and within the batches whose gradients are accumulated.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._batch_count = _Count()

    @property
    def batches_seen(self) -> keras.Variable:
        """How many training batches there were: a scalar integer, advanced by `train_step`."""
        return self._batch_count.variable

    def compile(self, optimizer="rmsprop", **kwargs):
        before = getattr(self, "optimizer", None)
        super().compile(optimizer=optimizer, **kwargs)
        if self.optimizer is not before:
            self.batches_seen.assign(0)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store[KEY] = self.batches_seen.numpy()

    def load_own_variables(self, store):
        super().load_own_variables({key: store[key] for key in store.keys() if key != KEY})  # noqa: SIM118
        if KEY in store.keys():  # noqa: SIM118
            self.batches_seen.assign(store[KEY])  # files of version 0.1 have none


@keras.saving.register_keras_serializable("hvae_tf")
class BatchCounter(keras.metrics.Metric):
    """How many batches there were since the metrics were reset: the step of an evaluation."""

    def __init__(self, name="batches", **kwargs):
        super().__init__(name=name, **kwargs)
        self.count = self.add_variable((), initializer="zeros", dtype="int32", name="count")

    def update_state(self):
        self.count.assign_add(1)

    def result(self):
        return self.count.value
