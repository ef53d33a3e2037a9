"""What the parts of a model share: what its networks must be, and the noise that its draws are functions of."""

import warnings
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_seed
from hvae_tf.densities import DiagonalGaussian, Gaussian, gaussian
from hvae_tf.targets.likelihoods import Likelihood

# a mixin stands before `keras.Model`, whose methods it calls by super(); at run time it is none itself
_KerasModel: Any = keras.Model if TYPE_CHECKING else object


class ModelParts(_KerasModel):
    """What the mixins of `FlowVAE` read of it; no more than names and types."""

    event_shape: tuple[int, ...]
    latent_size: int
    variable_dtype: str
    likelihood: Likelihood
    encoder: keras.Model
    decoder: keras.Model
    prior: DiagonalGaussian
    target: Any
    flow: Any
    _encode_graph: Any
    _embed_graph: Any
    _reconstruct_graph: Any
    _decode_graph: Any
    _decode_sample_graph: Any
    _posterior_graph: Any
    _elbo_graph: Any
    _log_weight_graph: Any
    check_input: Any
    check_context: Any
    context_spec: tf.TensorSpec | None
    _context: Any
    _data: Any
    _data_spec: Any
    sample_posterior: Any
    _posterior_samples: Any
    _batches: Any

    def _batch_shape_text(self) -> str:
        return f"[B, {', '.join(map(str, self.event_shape))}]"

    def _array_of(self, x, name: str = "x") -> np.ndarray:
        """Raises ValueError for a `tf.data` pipeline, of which NumPy would make an array of one object."""
        if isinstance(x, tf.data.Dataset):
            raise ValueError(f"{name} is a tf.data.Dataset; expected an array {self._batch_shape_text()}")
        return np.asarray(x)


def input_shapes(network) -> list[tuple]:
    """The shapes of a network's inputs, one or two; AttributeError where it has no static ones.

    Raises:
        ValueError: If there are more inputs, or they are named ones.
    """
    shapes = network.input_shape
    if isinstance(shapes, tuple) and not (shapes and isinstance(shapes[0], tuple)):
        return [shapes]
    if not isinstance(shapes, (list, tuple)) or len(shapes) != 2:
        raise ValueError(
            f"the network {network.name!r} takes inputs of shapes {shapes}; expected one input, or two: "
            "keras.Model([x, y], ...) and keras.Model([z, y], ...)"
        )
    return [tuple(shape) for shape in shapes]


def check_encoder(encoder) -> tuple[tuple[int, ...], int]:
    """The shape of an event and l of an encoder.

    Raises:
        ValueError: Where it gives neither (mean, standard deviation) nor (mean, Cholesky factor).
    """
    try:
        input_shape, output_shapes = input_shapes(encoder)[0], list(encoder.output_shape)
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
    return input_shape[1:], mean[-1]


def _layers_of(network) -> list:
    """All layers of a network, those of networks inside it too; none where it is no Keras layer."""
    return network._flatten_layers() if isinstance(network, keras.layers.Layer) else []


def check_penalties(*networks: keras.Model) -> None:
    """The penalties of a network are those of its weights: others depend on how often, and on what, a layer is run.

    Raises:
        ValueError: If a layer has an activity regularizer.
    """
    for network in networks:
        for layer in _layers_of(network):
            if getattr(layer, "activity_regularizer", None) is not None:
                raise ValueError(
                    f"the layer {layer.name!r} has an activity_regularizer, which is not supported: penalise its "
                    "weights (kernel_regularizer, bias_regularizer) instead"
                )


_OTHERWISE_IN_TRAINING = (
    keras.layers.BatchNormalization, keras.layers.Dropout, keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D, keras.layers.GaussianDropout, keras.layers.GaussianNoise, keras.layers.AlphaDropout,
)  # fmt: skip


def _is_at_rest(layer) -> bool:
    """Whether a layer would do something else in training: attention has a Dropout that drops nothing."""
    strength = getattr(layer, "rate", getattr(layer, "stddev", layer.trainable))
    return isinstance(layer, _OTHERWISE_IN_TRAINING) and bool(strength)


def warn_of_layers_at_rest(decoder: keras.Model) -> None:
    """One line where a decoder has layers that do something else in training, which here they do not.

    log p(x, z) has to be one function of z along a trajectory, and the same in training as in what is published of it.
    """
    kinds = dict.fromkeys(type(layer).__name__ for layer in _layers_of(decoder) if _is_at_rest(layer))
    if kinds:
        warnings.warn(
            f"the decoder {decoder.name!r} has {' and '.join(kinds)}, which it runs as if not in training, always: "
            "log p(x, z) must be one function of z",
            stacklevel=4,
        )


def gaussian_spec(encoder, dtype) -> Gaussian:
    """What q0 of this encoder looks like to a graph: a Gaussian of tensor specs for batches of any size."""
    return gaussian(*(tf.TensorSpec([None, *shape[1:]], dtype) for shape in encoder.output_shape))


def seed_pair(seed, stream: int) -> tf.Tensor:
    """The int32 pair of a user's seed for one stream of noise; raises ValueError unless the seed is one."""
    return tf.constant([check_seed("seed", seed), stream], tf.int32)


fold_in = tf.random.experimental.stateless_fold_in
