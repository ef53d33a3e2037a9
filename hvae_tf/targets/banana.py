"""The banana: z_1 ~ N(0, s^2) and z_2 given z_1 is N(b (z_1^2 - s^2), 1): a ridge that bends. Log Z = 0.

Its Fisher information is that of z_1's prior and of an observation of z_2 - b (z_1^2 - s^2) with unit noise:
[[1/s^2 + (2 b z_1)^2, -2 b z_1], [-2 b z_1, 1]], whose determinant 1/s^2 is the same everywhere.
"""

import tensorflow as tf

from hvae_tf.densities import LOG_TWO_PI
from hvae_tf.targets.target import Target


class BananaTarget(Target):
    """log p at z ``[..., 2]``, normalised.

    Args:
        scale: s > 0, the standard deviation of z_1.
        bend: b.

    Raises:
        ValueError: If s is not positive.
    """

    event_size = 2

    def __init__(self, scale: float = 2.0, bend: float = 0.5):
        if not 0.0 < scale < float("inf"):
            raise ValueError(f"scale is {scale}; expected a positive number")
        self.scale, self.bend = float(scale), float(bend)

    def _ridge(self, first):
        return self.bend * (tf.square(first) - self.scale**2)

    def _log_joint(self, z):
        first, second = z[..., 0], z[..., 1]
        squares = tf.square(first / self.scale) + tf.square(second - self._ridge(first))
        return -0.5 * squares - LOG_TWO_PI - tf.math.log(tf.constant(self.scale, z.dtype))

    def _fisher_information(self, z):
        slope = 2.0 * self.bend * z[..., 0]
        rows = [[self.scale**-2.0 + tf.square(slope), -slope], [-slope, tf.ones_like(slope)]]
        return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Exact draws ``[..., 2]`` of noise ``[..., 2]`` of N(0, I)."""
        first = self.scale * noise[..., 0]
        return tf.stack([first, self._ridge(first) + noise[..., 1]], axis=-1)
