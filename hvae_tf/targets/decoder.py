"""The target of a variational auto-encoder: log p(x, z) = log p(x|z) + log p(z), for any Keras decoder."""

import warnings

import keras
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian, standard_normal
from hvae_tf.targets.derivatives import jacobian
from hvae_tf.targets.likelihoods import Likelihood, get_likelihood
from hvae_tf.targets.target import Target


class DecoderTarget(Target):
    """log p(x, z) of examples x under a decoder z -> p(x|z), as a function of z.

    `value_and_grad` costs one forward and one backward pass of the decoder. The decoder runs in inference mode: a
    density must not change between two evaluations, so layers such as dropout and batch normalisation are held.

    Args:
        decoder: Keras model ``[n, l] -> [n, *axes, C * outputs]``, what the likelihood reads per channel.
        x: ``[B, *axes, C]``, the examples: images ``[B, H, W, C]``, sequences, rows; z is then ``[..., B, l]``,
            with any sample axes in front.
        likelihood: A name, ``"bernoulli"`` (on logits), ``"normal"`` or ``"categorical"``, or a `Likelihood`.
        prior: p(z); N(0, I) by default.

    Raises:
        ValueError: If x has no axis beside the batch's, or the decoder's outputs do not suit the examples.

    Example:
        >>> decoder = hvae_tf.dense_decoder((6,), latent_size=2, hidden_units=(8,))
        >>> target = hvae_tf.DecoderTarget(decoder, tf.ones([4, 6]))
        >>> target.log_joint(tf.zeros([10, 4, 2])).shape
        TensorShape([10, 4])
    """

    def __init__(
        self,
        decoder,
        x: tf.Tensor,
        likelihood: str | Likelihood = "bernoulli",
        prior: DiagonalGaussian | None = None,
    ):
        x = tf.convert_to_tensor(x)
        if not x.shape.rank or x.shape.rank < 2:
            raise ValueError(f"x has shape {x.shape}; expected [B, ...], examples of one axis or more")
        self._likelihood = get_likelihood(likelihood)
        self._event_shape = tuple(x.shape[1:])
        check_decoder(decoder, self._likelihood, self._event_shape)
        self._likelihood.build(self._event_shape, x.dtype if x.dtype.is_floating else tf.float32)
        self._decoder = decoder
        self._x = x
        self.event_size = decoder.input_shape[-1]
        self._prior = prior

    def log_likelihood(self, z: tf.Tensor) -> tf.Tensor:
        """Log p(x|z) in nats, ``[..., B, l] -> [..., B]``.

        Raises:
            ValueError: If z has not one row for each example.
        """
        z = self._point(z)
        return self._checked(z, self._log_likelihood(z))

    def _log_likelihood(self, z):
        if z.shape.rank < 2 or not z.shape[-2:-1].is_compatible_with(self._x.shape[:1]):
            raise ValueError(
                f"z has shape {z.shape}; expected [..., {self._x.shape[0]}, {self.event_size}]: one for each x"
            )
        found = self._likelihood.log_prob(decode(self._decoder, z), tf.cast(self._x, z.dtype), self._event_shape)
        if not found.shape.is_compatible_with(z.shape[:-1]):  # the prior's would broadcast over it
            raise ValueError(
                f"the {self._likelihood.name} likelihood gave log p(x|z) of shape {found.shape} at z of shape "
                f"{z.shape}; expected {z.shape[:-1]}: summed over the axes {list(self._event_shape)} of an event"
            )
        return found

    def _log_joint(self, z):
        return self._log_likelihood(z) + self._prior_of(z).log_prob(z)

    def _prior_of(self, z):
        return standard_normal(self.event_size, z.dtype) if self._prior is None else self._prior

    def _fisher_information(self, z):
        """J^T W J + the prior's precision, J being the decoder's Jacobian: about 4 l passes of the decoder."""
        outputs, columns = jacobian(lambda z: decode(self._decoder, z), z)
        information = self._likelihood.fisher_information(outputs, columns, self._event_shape)
        return information + tf.linalg.diag(tf.square(1.0 / self._prior_of(z).standard_deviation))


def decode(decoder, z: tf.Tensor) -> tf.Tensor:
    """The decoder's outputs ``[..., *axes, outputs]`` at ``[..., l]``, in z's dtype."""
    outputs = decoder(tf.reshape(z, [-1, z.shape[-1]]) if z.shape.rank != 2 else z, training=False)
    outputs = tf.cast(outputs, z.dtype)
    if z.shape.rank == 2:
        return outputs
    outputs_shape = tf.TensorShape(decoder.output_shape[1:])
    return tf.ensure_shape(
        tf.reshape(outputs, tf.concat([tf.shape(z)[:-1], outputs_shape], 0)), z.shape[:-1] + outputs_shape
    )


def check_decoder(decoder, likelihood: Likelihood, event_shape) -> None:
    """Raises ValueError unless the decoder maps ``[n, l]`` to what the likelihood reads for events of this shape."""
    try:
        input_shape, output_shape = tuple(decoder.input_shape), tuple(decoder.output_shape)
    except AttributeError:
        raise ValueError(
            f"the decoder {getattr(decoder, 'name', decoder)!r} has no static shapes; make it a functional model: "
            "z = keras.Input([l]); keras.Model(z, decoder(z))"
        ) from None
    event_shape = tuple(event_shape)
    if not event_shape or any(not size for size in event_shape):
        raise ValueError(f"examples have shape {list(event_shape)}; expected one axis or more, all sizes known")
    if len(input_shape) != 2 or not input_shape[-1]:
        raise ValueError(f"the decoder takes inputs of shape {input_shape}; expected (None, l), one latent size l")
    if len(output_shape) != 1 + len(event_shape) or output_shape[1:-1] != event_shape[:-1] or not output_shape[-1]:
        axes = "".join(f"{size}, " for size in event_shape[:-1])
        raise ValueError(
            f"the decoder puts out {output_shape} for examples of shape {list(event_shape)}; "
            f"expected (None, {axes}outputs)"
        )
    likelihood.check_outputs(output_shape[-1], event_shape[-1])


def warn_of_probabilities(decoder, likelihood: Likelihood) -> None:
    """One line where a decoder ends in probabilities, and the likelihood takes them for logits."""
    name = last_activation(decoder)
    if likelihood.reads_logits and name in ("sigmoid", "softmax"):
        warnings.warn(
            f"the decoder ends in a {name}; the {likelihood.name} likelihood takes its outputs for logits, so "
            "leave the activation out",
            stacklevel=4,
        )


def last_activation(network) -> str | None:
    """What a functional network's output ends in, nested networks included; None where that is not known."""
    index = 0
    while True:
        outputs = getattr(network, "outputs", None)
        if not outputs or not hasattr(outputs[index], "_keras_history"):
            return None
        layer, node, index = outputs[index]._keras_history
        while isinstance(layer, (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Permute)):
            layer, node, index = layer._inbound_nodes[node].input_tensors[0]._keras_history
        if not isinstance(layer, keras.Model):
            break
        network = layer
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    # a layer of the user's own may use what it calls its activation for something else
    own = not type(layer).__module__.startswith("keras.")
    return None if own else getattr(getattr(layer, "activation", None), "__name__", None)
