"""The target of a variational auto-encoder: log p(x, z) = log p(x|z) + log N(z | 0, I), for any Keras decoder."""

import tensorflow as tf

from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.targets.likelihoods import Likelihood, get_likelihood
from hvae_tf.targets.target import Target


class DecoderTarget(Target):
    """log p(x, z) of images x under a decoder z -> p(x|z), as a function of z.

    `value_and_grad` costs one forward and one backward pass of the decoder. The decoder runs in inference mode: a
    density must not change between two evaluations, so layers such as dropout and batch normalisation are held.

    Args:
        decoder: Keras model ``[n, l] -> [n, H, W, C * outputs]``, what the likelihood reads per channel.
        x: ``[B, H, W, C]``, the images; z is then ``[..., B, l]``, with any sample axes in front.
        likelihood: A name, ``"bernoulli"`` (on logits), ``"normal"`` or ``"categorical"``, or a `Likelihood`.

    Raises:
        ValueError: If x is not of rank 4, or the decoder's outputs do not suit the images.
    """

    def __init__(self, decoder, x: tf.Tensor, likelihood: str | Likelihood = "bernoulli"):
        x = tf.convert_to_tensor(x)
        self._likelihood = get_likelihood(likelihood)
        if x.shape.rank != 4:
            raise ValueError(f"x has shape {x.shape}; expected [B, H, W, C]")
        check_decoder(decoder, self._likelihood, x.shape[1:])
        self._decoder = decoder
        self._x = x
        self.event_size = decoder.input_shape[-1]

    def _log_joint(self, z):
        if z.shape.rank < 2 or not z.shape[-2:-1].is_compatible_with(self._x.shape[:1]):
            raise ValueError(
                f"z has shape {z.shape}; expected [..., {self._x.shape[0]}, {self.event_size}]: one for each x"
            )
        outputs = decode(self._decoder, z)
        return self._likelihood.log_prob(outputs, tf.cast(self._x, z.dtype)) + standard_normal_log_prob(z)


def decode(decoder, z: tf.Tensor) -> tf.Tensor:
    """The decoder's outputs ``[..., H, W, outputs]`` at ``[..., l]``, in z's dtype."""
    outputs = decoder(tf.reshape(z, [-1, z.shape[-1]]) if z.shape.rank != 2 else z, training=False)
    outputs = tf.cast(outputs, z.dtype)
    if z.shape.rank == 2:
        return outputs
    outputs_shape = tf.TensorShape(decoder.output_shape[1:])
    return tf.ensure_shape(
        tf.reshape(outputs, tf.concat([tf.shape(z)[:-1], outputs_shape], 0)), z.shape[:-1] + outputs_shape
    )


def check_decoder(decoder, likelihood: Likelihood, image_shape) -> None:
    """Raises ValueError unless the decoder maps ``[n, l]`` to what the likelihood reads for ``[H, W, C]`` images."""
    try:
        input_shape, output_shape = tuple(decoder.input_shape), tuple(decoder.output_shape)
    except AttributeError:
        raise ValueError(
            f"the decoder {getattr(decoder, 'name', decoder)!r} has no static shapes; make it a functional model: "
            "z = keras.Input([l]); keras.Model(z, decoder(z))"
        ) from None
    image_shape = tuple(image_shape)
    if len(image_shape) != 3 or any(not size for size in image_shape):
        raise ValueError(f"images have shape {list(image_shape)}; expected [height, width, channels], all known")
    if len(input_shape) != 2 or not input_shape[-1]:
        raise ValueError(f"the decoder takes inputs of shape {input_shape}; expected (None, l), one latent size l")
    if len(output_shape) != 4 or output_shape[1:3] != image_shape[:2]:
        raise ValueError(
            f"the decoder puts out {output_shape} for images of shape {list(image_shape)}; "
            f"expected (None, {image_shape[0]}, {image_shape[1]}, maps)"
        )
    likelihood.check_outputs(output_shape[-1], image_shape[-1])
