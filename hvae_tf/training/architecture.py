"""A digest of what a model is, so that a folder is not continued with another one.

A model that can be saved has a configuration, which tells all. One that cannot (a part has no configuration, or is made
by a function that is not registered) is told by what its constructor and those of its parts took, as far as attributes
of the same names show it.
"""

import contextlib
import hashlib
import inspect
import json
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.training.checkpoint import state_variables

_FAILURES = (NotImplementedError, TypeError, ValueError)  # of a part that cannot be saved
_DEPTH = 8  # parts of parts that are looked at


def architecture(model: keras.Model) -> str:
    """A digest of the model's configuration and variables, whatever running numbers Keras put into names."""
    try:
        config = json.dumps(model.get_config(), sort_keys=True, default=str)
    except _FAILURES:
        config = json.dumps(_told(model, _DEPTH), sort_keys=True)
    return _digest(config, model)


def digest_of_variables(model: keras.Model) -> str:
    """What `architecture` once gave for any model that cannot be saved: a digest of its variables alone."""
    return _digest("", model)


def _digest(config: str, model: keras.Model) -> str:
    config = re.sub(r'_\d+"', '"', config)
    shapes = [(variable.dtype, tuple(variable.shape)) for variable in state_variables(model)]
    return hashlib.sha256(f"{config}{shapes}".encode()).hexdigest()[:16]


def _told(value: Any, depth: int) -> Any:
    """What can be told of a value, as plain JSON: the same in every process, and before and after training."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = type(value).__name__
    if isinstance(value, (keras.Variable, tf.Variable, tf.Tensor, np.ndarray)):
        return [kind, str(value.dtype), str(tuple(value.shape))]
    if depth == 0:
        return kind
    if isinstance(value, dict):
        return {str(name): _told(part, depth - 1) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(part, depth - 1) for part in value]
    if isinstance(value, tf.DType):
        return value.name
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__qualname__
    with contextlib.suppress(Exception):  # most have none, or one that fails
        return [kind, json.loads(json.dumps(value.get_config()))]
    return [kind, {name: _told(part, depth - 1) for name, part in _arguments(value).items()}]


def _arguments(made: Any) -> dict[str, Any]:
    """What the constructor took, where attributes show it; of a network its layers too."""
    makers = [maker for kind in type(made).__mro__ if inspect.isfunction(maker := vars(kind).get("__init__"))]
    names = {name for maker in makers for name in inspect.signature(maker).parameters}
    found = {"layers": made.layers} if isinstance(made, keras.Model) else {}
    for name in sorted(names - {"self", "args", "kwargs", "name", "inputs", "outputs"}):
        # an initial value is kept beside what is trained, and the two arguments of an ELBO by its estimator
        for holder, attribute in ((made, f"initial_{name}"), (made, name), (getattr(made, "estimator", None), name)):
            with contextlib.suppress(Exception):  # a property may raise anything
                found[name] = getattr(holder, attribute)
                break
    return found
