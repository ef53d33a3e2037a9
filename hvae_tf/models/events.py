"""What the networks of a model must be, and the noise that its draws are functions of."""

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_seed
from hvae_tf.densities import Gaussian, gaussian


def check_encoder(encoder) -> tuple[tuple[int, ...], int]:
    """The shape of an event and l of an encoder.

    Raises:
        ValueError: Where it gives neither (mean, standard deviation) nor (mean, Cholesky factor), or a factor whose
            diagonal is not positive.
    """
    try:
        input_shape, output_shapes = tuple(encoder.input_shape), list(encoder.output_shape)
    except AttributeError:
        raise ValueError(
            f"the encoder {getattr(encoder, 'name', encoder)!r} has no static shapes; make it a functional model: "
            "x = keras.Input([H, W, C]); keras.Model(x, encoder(x))"
        ) from None
    shapes = [tuple(shape) if isinstance(shape, (tuple, list)) else shape for shape in output_shapes]
    mean = shapes[0]
    kinds = (mean, (*mean, mean[-1])) if isinstance(mean, tuple) and len(mean) == 2 else ()
    if len(shapes) != 2 or shapes[1] not in kinds:
        raise ValueError(
            f"the encoder gives outputs of shape {encoder.output_shape}; expected a mean and a standard deviation, "
            "both (None, l), or a mean and a Cholesky factor (None, l, l)"
        )
    if len(input_shape) < 2 or None in input_shape[1:]:
        raise ValueError(f"the encoder takes inputs of shape {input_shape}; expected (None, ...), all sizes known")
    if len(shapes[1]) == 3:
        _check_factor(encoder, input_shape[1:])
    return input_shape[1:], mean[-1]


def _check_factor(encoder, event_shape):
    """Runs the encoder on four events of noise, to catch a factor without a positive diagonal."""
    if not tf.executing_eagerly():
        return
    events = np.random.default_rng(0).uniform(size=(4, *event_shape)).astype(np.float32)
    diagonal = np.diagonal(np.asarray(tf.cast(encoder(events, training=False)[1], tf.float32)), axis1=1, axis2=2)
    if not np.all(diagonal > 0):
        raise ValueError(
            f"the encoder gives Cholesky factors with diagonals from {diagonal.min():.3g} to {diagonal.max():.3g}; "
            "expected positive numbers: let the diagonal end in hvae_tf.positive_softplus"
        )


def gaussian_spec(encoder, dtype) -> Gaussian:
    """What q0 of this encoder looks like to a graph: a Gaussian of tensor specs for batches of any size."""
    return gaussian(*(tf.TensorSpec([None, *shape[1:]], dtype) for shape in encoder.output_shape))


def seed_pair(seed, stream: int) -> tf.Tensor:
    """The int32 pair of a user's seed for one stream of noise; raises ValueError unless the seed is one."""
    return tf.constant([check_seed("seed", seed), stream], tf.int32)


fold_in = tf.random.experimental.stateless_fold_in
