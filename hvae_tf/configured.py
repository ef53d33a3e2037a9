"""Objects that a model is made of: what a saved model keeps of them, and the names that stand for them."""

from collections.abc import Callable, Mapping
from typing import Any


class Configured:
    """An object that is made again from its constructor's arguments; a mixin.

    To be saved with a model, a class is registered with `keras.saving.register_keras_serializable`.
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON can hold them."""
        return {}

    @classmethod
    def from_config(cls, config):
        """A new object of this configuration: its variables start anew, or are not made yet."""
        return cls(**config)


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
