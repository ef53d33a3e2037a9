"""The funnel: v ~ N(0, s^2), and given v the other dimensions N(0, e^v): scales that change by orders of magnitude.

Log Z = 0. Its Fisher information, diag(1/s^2 + (l-1)/2, e^-v, .., e^-v), has the expectation over the dimensions below
v taken.
"""

import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.densities import LOG_TWO_PI
from hvae_tf.targets.target import Target


class FunnelTarget(Target):
    """log p at z = (v, x_1, .., x_(l-1)), normalised.

    Args:
        event_size: l >= 2.
        scale: s > 0, the standard deviation of v.

    Raises:
        ValueError: If l is below 2 or s not positive.
    """

    def __init__(self, event_size: int = 2, scale: float = 1.5):
        self.event_size = check_count("event_size", event_size)
        if event_size < 2 or not 0.0 < scale < float("inf"):
            raise ValueError(f"event_size is {event_size} and scale {scale}; expected >= 2, and a positive number")
        self.scale = float(scale)

    def _log_joint(self, z):
        v, below = z[..., 0], z[..., 1:]
        squares = tf.square(v / self.scale) + tf.exp(-v) * tf.reduce_sum(tf.square(below), axis=-1)
        logs = self.event_size * LOG_TWO_PI + 2.0 * tf.math.log(tf.constant(self.scale, z.dtype))
        return -0.5 * (squares + logs + (self.event_size - 1) * v)

    def _fisher_information(self, z):
        precision = tf.exp(-z[..., :1]) * tf.ones_like(z[..., 1:])
        top = tf.constant(self.scale**-2.0 + 0.5 * (self.event_size - 1), z.dtype) * tf.ones_like(z[..., :1])
        return tf.linalg.diag(tf.concat([top, precision], axis=-1))

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Exact draws ``[..., l]`` of noise ``[..., l]`` of N(0, I)."""
        v = self.scale * noise[..., :1]
        return tf.concat([v, tf.exp(0.5 * v) * noise[..., 1:]], axis=-1)
