"""Dynamic binarisation: a pixel of intensity x in [0, 1] is 1 with probability x.

All random draws of `hvae_tf.data` are stateless, with keys (seed, step) for the binarisation of training batches,
(seed, -1) and (seed, -2) for validation and test events, and (seed, -3 - epoch) for the order of an epoch.
"""

import tensorflow as tf

_STREAM = 0x64617461 << 32  # keeps these draws apart from a model's noise at the same (seed, step)


def draw_key(seed: int, index) -> tf.Tensor:
    """The ``[2]`` int64 key of draw number `index`, an integer or an int64 scalar, of a data set's seed."""
    return tf.stack([tf.constant(_STREAM + seed, tf.int64), tf.cast(index, tf.int64)])


def binarise(intensities, key) -> tf.Tensor:
    """Pixels that are 1 with probability equal to their intensity, else 0.

    Args:
        intensities: ``[...]`` float32 in [0, 1].
        key: ``[2]`` int64, what the draw is a function of.

    Returns:
        ``[...]`` float32 of zeros and ones.
    """
    uniform = tf.random.stateless_uniform(tf.shape(intensities), key, dtype=tf.float32, alg="philox")
    # uniform is in [0, 1): intensity 0 is never 1, intensity 1 always
    return tf.cast(uniform < intensities, tf.float32)
