"""The Keras layer that owns a flow's weights, so that Keras trains, counts and saves what the flow reads."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.flows.flow import Flow, IdentityFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.planar import PlanarFlow


def _identity_flow(event_size, dtype, add_variable):
    return IdentityFlow(event_size)


FLOWS: dict[str, Callable[..., Flow]] = {
    "identity": _identity_flow,
    "hamiltonian": HamiltonianFlow,
    "planar": PlanarFlow,
}


@keras.saving.register_keras_serializable("hvae_tf")
class FlowLayer(keras.layers.Layer):
    """Holds a `Flow` built over this layer's own weights.

    Keras sees no `tf.Variable` of a `tf.Module`: such variables are neither trained nor saved, silently. So the flow is
    given the variables behind `add_weight`.

    Args:
        factory: A name in `FLOWS`, or a function ``(event_size, dtype=, add_variable=, **flow_config) -> Flow``. A
            function must be registered with `keras.saving.register_keras_serializable` for the model to be saved.
        event_size: l.
        flow_config: Keyword arguments of the factory; plain values that JSON can hold.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        flow: The `Flow`.

    Raises:
        ValueError: If the factory's name is unknown, or it gives no `Flow` of this size.
    """

    def __init__(self, factory, event_size: int, flow_config: dict | None = None, **kwargs):
        super().__init__(**kwargs)
        if not callable(factory) and factory not in FLOWS:
            raise ValueError(f"unknown flow {factory!r}; accepted: {', '.join(FLOWS)}, or a function that makes a Flow")
        self.factory = factory
        self.event_size = int(event_size)
        plain = {k: v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in (flow_config or {}).items()}
        self.flow_config = plain
        make_flow = factory if callable(factory) else FLOWS[factory]
        dtype = tf.as_dtype(self.variable_dtype)
        flow = make_flow(self.event_size, dtype=dtype, add_variable=self._add_variable, **dict(self.flow_config))
        if not isinstance(flow, Flow) or flow.event_size != self.event_size:
            raise ValueError(f"the flow's factory gave {flow!r}; expected a hvae_tf Flow with event_size {event_size}")
        self.flow = flow
        self.built = True

    def _add_variable(self, name, initial_value):
        weight = self.add_weight(
            shape=initial_value.shape,
            initializer=lambda shape, dtype=None: tf.constant(initial_value, dtype),
            dtype=initial_value.dtype.name,
            name=name,
        )
        return weight.value

    def get_config(self):
        return super().get_config() | {
            "factory": self.factory
            if isinstance(self.factory, str)
            else keras.saving.serialize_keras_object(self.factory),
            "event_size": self.event_size,
            "flow_config": dict(self.flow_config),
        }

    @classmethod
    def from_config(cls, config):
        factory = config.pop("factory")
        if not isinstance(factory, str):
            factory = keras.saving.deserialize_keras_object(factory)
        return cls(factory, **config)
