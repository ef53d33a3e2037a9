"""What `fit`, `evaluate` and `predict` are given, checked before it is used.

Arrays are checked whole. A `tf.data` pipeline is checked in its first batch, inside the pipeline: looking ahead would
change the order that a shuffled one gives. The steps themselves are not touched.
"""

import functools
import inspect
import itertools
import types
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.models.conditioning import without_column
from hvae_tf.models.events import ModelParts, input_shapes


class InputChecks(ModelParts):
    """A mixin, before `keras.Model`."""

    def check_input(self, x, name: str = "x") -> None:
        """Checks events ``[B, *event_shape]``: their shape, and their values by the likelihood.

        Raises:
            ValueError: If they are not what the model accepts; one line, which begins with `name`.
        """
        x = self._array_of(x, name)
        if x.ndim < 1 or x.shape[1:] != self.event_shape or not len(x):
            raise ValueError(f"{name} has shape {x.shape}; expected {self._batch_shape_text()}")
        if x.dtype.kind not in "fiub":
            raise ValueError(f"{name} is of dtype {x.dtype}; expected real numbers")
        try:
            self.likelihood.check_values(x, self.decoder.output_shape[-1])
        except ValueError as error:
            raise ValueError(str(error) if name == "x" else f"{name}: {error}") from None

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        given = _arguments(keras.Model.fit, self, args, kwargs)
        validation = given.get("validation_data")
        if validation is not None:
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(validation)
            refuse_weights(sample_weight=sample_weight)
            if isinstance(x, tf.data.Dataset):  # it comes first after an epoch, which a wrong one would cost
                self._check_elements(x, "validation_data")
                for element in x.take(1):
                    self._check_batch(*self._events_and_context(element), "validation_data")
            elif _is_array(x):
                self._check_batch(x, y, "validation_data")
        if getattr(self, "optimizer", None) is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():  # else within a graph, which a refused first batch leaves half made
                self.optimizer.build(self.trainable_variables)
        return self._checked(super().fit, given)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        if kwargs.get("_use_cached_eval_dataset"):  # called by `fit`, which has checked
            return super().evaluate(*args, **kwargs)
        return self._checked(super().evaluate, _arguments(keras.Model.evaluate, self, args, kwargs))

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **kwargs):
        return self._checked(super().predict, _arguments(keras.Model.predict, self, args, kwargs))

    def _events_and_context(self, data) -> tuple[Any, Any]:
        """(x, y) of what Keras is given or a pipeline yields; a conditional model may get both as one input, a pair."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        if self.context_spec is not None and y is None and isinstance(x, (tuple, list)) and len(x) == 2:
            x, y = x
        return x, y

    def _check_batch(self, x, y, name="x"):
        """Events, and the contexts of a conditional model; what another is given as y does not matter."""
        self.check_input(x, name)
        if self.context_spec is not None:
            y = y if y is None else without_column(np.asarray(y), self.context_spec)
            self.check_context(y, len(x), "y" if name == "x" else f"y of {name}")

    def _checked(self, method, given: dict):
        """Calls a method of Keras; its data are checked before, or when the first batch comes."""
        refuse_weights(**{name: given.get(name) for name in ("sample_weight", "class_weight")})
        errors: list[ValueError] = []
        x = given.get("x")
        if isinstance(x, tf.data.Dataset):
            given["x"] = self._watched(x, errors)
        elif isinstance(x, types.GeneratorType):
            first = next(x, None)
            if first is None:
                raise ValueError("x is a generator that yields nothing; expected batches of events")
            self._check_batch(*self._events_and_context(first))
            given["x"] = _joined(first, x)
        elif isinstance(x, keras.utils.PyDataset):
            self._check_batch(*self._events_and_context(x[0]))
        else:
            x, y = self._events_and_context((x, given.get("y")))
            if _is_array(x):
                self._check_batch(x, y)
        try:
            return method(**given)
        except tf.errors.OpError:
            if errors:
                # what Keras has traced may be half made, with an optimiser that has no variables yet
                self.train_function = self.test_function = self.predict_function = None
                raise errors[0] from None
            raise

    def _check_elements(self, dataset: tf.data.Dataset, name: str = "x") -> None:
        """Raises ValueError where a pipeline yields anything but tensors of events, or pairs."""
        events, _ = self._events_and_context(dataset.element_spec)
        if not isinstance(events, tf.TensorSpec):
            raise ValueError(
                f"{name} yields {type(events).__name__}s; expected batches of events, one tensor, or pairs (x, y)"
            )

    def _watched(self, dataset: tf.data.Dataset, errors: list) -> tf.data.Dataset:
        """The same batches; the first is checked when it passes, and an error kept: TensorFlow's own is many lines."""
        self._check_elements(dataset)

        def check_first(x, y=None):
            try:
                self._check_batch(x, y)
            except ValueError as error:
                errors.append(error)
                raise
            return np.True_

        def look(index, element):
            x, y = self._events_and_context(element)
            tensors = [x] if y is None or self.context_spec is None else [x, y]
            tf.cond(index == 0, lambda: tf.numpy_function(check_first, tensors, tf.bool), lambda: True)
            return element

        return dataset.enumerate().map(look)


def refuse_weights(**weights) -> None:
    """Raises ValueError where a weight is given, whatever its kind."""
    for name, value in weights.items():
        if value is not None:
            raise ValueError(
                f"{name} is given, but weights are not supported: the bound is a mean over events; leave it out"
            )


def check_scale(encoder: keras.Model) -> None:
    """Runs an encoder on events of noise, to catch one that gives log variances.

    An encoder that looks numbers up, as an embedding does, has no row for noise; it gets events of zeros. Deviations of
    zero are let through unless they are many: a trained encoder may underflow where it has seen no data.

    Raises:
        ValueError: If a standard deviation, or an entry of a Cholesky factor's diagonal, is negative, or more than a
            quarter of them are zero.
    """
    if not tf.executing_eagerly():
        return
    zeros = [np.zeros((64, *shape[1:]), np.float32) for shape in input_shapes(encoder)]
    noise = [np.asarray(np.random.default_rng(0).normal(size=zeros[0].shape), np.float32), *zeros[1:]]
    whole = not keras.backend.is_float_dtype(encoder.inputs[0].dtype)
    try:
        outputs = _run(encoder, zeros if whole else noise)
    except tf.errors.InvalidArgumentError:  # a layer inside makes whole numbers
        outputs = _run(encoder, zeros)
    scale = np.asarray(tf.cast(outputs[1], tf.float32))
    what = "standard deviations"
    if scale.ndim == 3:
        what, scale = "diagonals of Cholesky factors", np.diagonal(scale, axis1=1, axis2=2)
    if np.any(scale < 0) or np.mean(scale == 0) > 0.25:
        raise ValueError(
            f"the encoder gives {what} from {scale.min():.3g} to {scale.max():.3g}; expected positive numbers: of a "
            "log variance v give keras.ops.exp(0.5 * v), or let the layer end in hvae_tf.positive_softplus"
        )


def _run(network, inputs):
    return network(inputs if len(inputs) > 1 else inputs[0], training=False)


def _arguments(method, model, args, kwargs) -> dict:
    """The arguments of a call by their names."""
    given = inspect.signature(method).bind(model, *args, **kwargs).arguments
    return {name: value for name, value in given.items() if name not in ("self", "kwargs")} | given.get("kwargs", {})


def _is_array(x) -> bool:
    return isinstance(x, (np.ndarray, tf.Tensor, tf.Variable)) or hasattr(x, "__array__")


def _joined(first, rest):
    """A generator again, which Keras wants."""
    yield from itertools.chain([first], rest)
