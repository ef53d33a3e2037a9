"""Flows of TensorFlow Probability's bijectors: the inverse autoregressive flow, and any other.

    z_K = f_K(.. f_1(z_0)),    log_ratio = sum_k log |det df_k/dz|.

The inverse autoregressive flow (Kingma et al. 2016) is the inverse of a masked autoregressive one (Papamakarios,
Pavlakou & Murray 2017), f(z)_i = (z_i - m_i) exp(-s_i) with m_i and s_i functions of the dimensions before i, so that
one pass of a network gives all dimensions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.checks import check_count
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.networks.masked import MaskedNetwork

tfb: Any = tfp.bijectors
Bijectors = list[Any]  # of tfb.Bijector
MakeBijectors = Callable[..., Sequence[Any]]


def inverse_autoregressive(event_size: int, *, num_layers: int = 2, **options) -> Bijectors:
    """The layers of an inverse autoregressive flow, of which every other one counts the dimensions backwards.

    Args:
        event_size: l.
        num_layers: K >= 1.
        **options: `hidden_units`, `context_size`, `seed` and `dtype` of each layer's `MaskedNetwork`.

    Raises:
        ValueError: If a size is below 1.
    """
    return [tfb.Invert(layer) for layer in masked_autoregressive(event_size, num_layers=num_layers, **options)]


def masked_autoregressive(event_size: int, *, num_layers: int = 2, seed: int = 0, **options) -> Bijectors:
    """The layers of a masked autoregressive flow; as a flow it costs l passes of the network for each layer.

    Arguments and errors are those of `inverse_autoregressive`.
    """
    networks = [
        MaskedNetwork(event_size, backwards=k % 2 == 0, seed=seed + k, name=f"layer_{k}", **options)
        for k in range(1, check_count("num_layers", num_layers) + 1)
    ]
    return [tfb.MaskedAutoregressiveFlow(network, unroll_loop=True) for network in networks]


BIJECTORS: dict[str, MakeBijectors] = {"iaf": inverse_autoregressive, "maf": masked_autoregressive}


@keras.saving.register_keras_serializable("hvae_tf")
class BijectorFlow(Flow):
    """z pushed through bijectors of `tensorflow_probability`, one after the other.

    Args:
        event_size: l.
        bijectors: ``"iaf"`` or ``"maf"``, or a function of your own ``(event_size, *, context_size, dtype, **options)``
            that gives a list of bijectors of vectors, such as ``[tfb.Scale(tf.Variable(..)), ..]``. To be saved with a
            model it is registered with `keras.saving.register_keras_serializable`.
        amortised: Whether the bijectors depend on x: each then gets ``conditional_input``, the numbers ``[.., 2 l]``
            that the encoder says of x, and the function ``context_size=2 l`` instead of 0.
        dtype: Floating type of parameters and samples.
        **options: What else the function takes, as JSON can hold it: for ``"iaf"`` `num_layers` (2), `hidden_units`
            ((64, 64)) and `seed` (0).

    Raises:
        ValueError: If the name is unknown, what the function gives is no list of bijectors, or a size is below 1.
    """

    def __init__(
        self, event_size: int, bijectors: str | MakeBijectors = "iaf", *, amortised: bool = False, dtype=tf.float32,
        **options,
    ):  # fmt: skip
        super().__init__(event_size, dtype=dtype, name="bijector_flow")
        if not callable(bijectors) and bijectors not in BIJECTORS:
            raise ValueError(f"unknown bijectors {bijectors!r}; accepted: {', '.join(BIJECTORS)}, or a function")
        self.amortised = bool(amortised)
        self._given = bijectors
        self._options = options
        make = bijectors if callable(bijectors) else BIJECTORS[bijectors]
        context_size = 2 * self.event_size if self.amortised else 0
        self.bijectors = list(make(self.event_size, context_size=context_size, dtype=self.dtype, **options))
        for bijector in self.bijectors:
            if not isinstance(bijector, tfb.Bijector):
                raise ValueError(f"the bijectors hold {bijector!r}; expected tensorflow_probability's bijectors")

    def transform(self, target, z, noise=(), q0=None, context=None):
        self.check_target(target)
        if self.amortised and context is None:
            raise ValueError(
                f"the bijectors were given no context; pass context [..., {2 * self.event_size}] to transform, or "
                "build BijectorFlow(amortised=False)"
            )
        given = {"conditional_input": context} if self.amortised else {}
        # a bijector remembers what it made of a tensor, and would give it again after its variables have changed
        z = tf.identity(z)
        log_det = tf.zeros(tf.shape(z)[:-1], z.dtype)
        for bijector in self.bijectors:
            log_det += bijector.forward_log_det_jacobian(z, event_ndims=1, **given)
            z = bijector.forward(z, **given)
        return FlowResult(z, target.log_joint(z), log_det, log_det)

    def get_config(self) -> dict[str, Any]:
        bijectors = self._given
        if callable(bijectors):
            name = keras.saving.get_registered_name(bijectors)
            if keras.saving.get_registered_object(name) is not bijectors:
                raise ValueError(
                    f"the bijectors' function {bijectors!r} is not registered, so no file can name it; decorate it "
                    "with keras.saving.register_keras_serializable"
                )
            bijectors = keras.saving.serialize_keras_object(bijectors)
        return super().get_config() | {"bijectors": bijectors, "amortised": self.amortised, **self._options}
