"""The planar flow of Rezende & Mohamed (2015), equations (10)-(13), with one set of parameters for all its layers.

    f(z) = z + u_hat tanh(w.z + b),     log |det| = log |1 + (1 - tanh^2(w.z + b)) u_hat.w|.

Invertible whenever w.u_hat > -1, which their appendix A.1 enforces by
u_hat = u + (m(w.u) - w.u) w / |w|^2 with m(a) = -1 + log(1 + e^a).
"""

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count, check_seed
from hvae_tf.flows.flow import Flow, FlowResult


@keras.saving.register_keras_serializable("hvae_tf")
class PlanarFlow(Flow):
    """K planar layers sharing (u, w, b), as in the comparison of section 4.1 of the HVAE paper.

    Args:
        event_size: l.
        num_layers: K >= 1.
        batch_shape: Shape of independent repeats, each with parameters of its own.
        seed: Seed of the initial u and w, which are truncated normal times 0.1; b starts at 0.1.
        dtype: Floating type of parameters and samples.

    Raises:
        ValueError: If num_layers < 1.

    Example:
        >>> target = hvae_tf.LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), event_size=2)
        >>> hvae_tf.PlanarFlow(event_size=2, num_layers=3).transform(target, tf.ones([5, 2])).log_joint.shape
        TensorShape([5])
    """

    def __init__(self, event_size: int, num_layers: int, *, batch_shape=(), seed: int = 0, dtype=tf.float32):
        super().__init__(event_size, dtype=dtype, name="planar_flow")
        self.num_layers = check_count("num_layers", num_layers)
        self.batch_shape = tuple(batch_shape)
        self.seed = check_seed("seed", seed)
        shape = (2, *self.batch_shape, self.event_size)
        u, w = 0.1 * tf.random.stateless_parameterized_truncated_normal(shape, [seed, 0]).numpy().astype(np.float64)
        numpy_dtype = self.dtype.as_numpy_dtype
        self.u = tf.Variable(u.astype(numpy_dtype), name="u")
        self.w = tf.Variable(w.astype(numpy_dtype), name="w")
        self.b = tf.Variable(np.full(self.batch_shape, 0.1, numpy_dtype), name="b")

    def transform(self, target, z, noise=(), q0=None, context=None):
        self.check_target(target)
        w = tf.convert_to_tensor(self.w)
        w_dot_u = tf.reduce_sum(w * self.u, axis=-1)
        w_squared = tf.reduce_sum(tf.square(w), axis=-1)
        # m(w.u), above -1; w = 0 has no direction to constrain, and a layer that is a shift
        constrained = tf.where(w_squared > 0.0, -1.0 + tf.nn.softplus(w_dot_u), 0.0)
        u_hat = self.u + tf.math.divide_no_nan(constrained - w_dot_u, w_squared)[..., None] * w
        log_det = 0.0
        for _ in range(self.num_layers):
            h = tf.tanh(tf.reduce_sum(w * z, axis=-1) + self.b)
            z = z + u_hat * h[..., None]
            log_det += tf.math.log1p((1.0 - tf.square(h)) * constrained)  # w.u_hat = m(w.u)
        return FlowResult(z, target.log_joint(z), log_det, log_det)

    def get_config(self):
        own = {"num_layers": self.num_layers, "batch_shape": list(self.batch_shape), "seed": self.seed}
        return super().get_config() | own
