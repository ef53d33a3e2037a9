"""Objects that a model is made of: what a saved model keeps of them, and the names that stand for them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf


class Configured:
    """An object that is made again from its constructor's arguments; a mixin.

    A class whose constructor takes arguments gives them in `get_config`, added to those of its base class. To be saved
    with a model, a class is registered with `keras.saving.register_keras_serializable`.
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON can hold them."""
        return {}

    @classmethod
    def from_config(cls, config):
        """A new object of this configuration: its variables start anew, or are not made yet."""
        return cls(**config)


def serialized(part: Any) -> dict[str, Any]:
    """What Keras saves of a part of a model.

    Raises:
        ValueError: If its constructor takes an argument that its `get_config` leaves out: what is loaded would silently
            have the default. The initial value of a variable of that name may be left out, for the variable is saved.
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    taken = [p.name for p in inspect.signature(type(part).__init__).parameters.values() if p.kind in named][1:]
    kept = {"name"} | part.get_config().keys()
    lost = [n for n in taken if n not in kept and not isinstance(getattr(part, n, None), (tf.Variable, keras.Variable))]
    if lost:
        raise ValueError(
            f"{type(part).__name__}.get_config() leaves out {', '.join(lost)}, which its constructor takes: a saved "
            f"model would come back with the default; return super().get_config() | {{{lost[0]!r}: ...}} there"
        )
    return keras.saving.serialize_keras_object(part)


def resolve(what: str, given: Any, kind: type, names: Mapping[str, Callable[[], Any]], or_else: str) -> Any:
    """An object of this kind as it is given, or a new one of the name that is given.

    Args:
        what: What the user calls it.
        given: The object, or one of the names.
        kind: Its class.
        names: Name -> what makes one.
        or_else: What is accepted beside the names, for the message.

    Raises:
        ValueError: If it is neither; the message lists the names accepted.
    """
    if isinstance(given, kind):
        return given
    if not isinstance(given, str) or given not in names:
        raise ValueError(f"unknown {what} {given!r}; accepted: {', '.join(names)}, or {or_else}")
    return names[given]()
