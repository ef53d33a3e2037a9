"""The planar flow of Rezende & Mohamed (2015), equations (10)-(13), with one set of parameters for all its layers.

    f(z) = z + u_hat tanh(w.z + b),     log |det| = log |1 + (1 - tanh^2(w.z + b)) u_hat.w|.

Invertible whenever w.u_hat > -1, which their appendix A.1 enforces by
u_hat = u + (m(w.u) - w.u) w / |w|^2 with m(a) = -1 + log(1 + e^a).
"""

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.targets.target import Target
from hvae_tf.variables import AddVariable, tf_variable


class PlanarFlow(Flow):
    """K planar layers sharing (u, w, b), as in the comparison of section 4.1 of the HVAE paper.

    Args:
        event_size: l.
        num_layers: K >= 1.
        batch_shape: Shape of independent repeats, each with parameters of its own.
        seed: Seed of the initial u and w, which are truncated normal times 0.1; b starts at 0.1.
        dtype: Floating type of parameters and samples.
        add_variable: Creates the variables, see `hvae_tf.variables`.

    Raises:
        ValueError: If num_layers < 1.
    """

    def __init__(
        self, event_size: int, num_layers: int, batch_shape=(), seed=0, dtype=tf.float32,
        add_variable: AddVariable = tf_variable,
    ):  # fmt: skip
        super().__init__(event_size, name="planar_flow")
        self.num_layers = check_count("num_layers", num_layers)
        self.dtype = tf.as_dtype(dtype)
        shape = (2, *batch_shape, self.event_size)
        u, w = 0.1 * tf.random.stateless_parameterized_truncated_normal(shape, [seed, 0]).numpy().astype(np.float64)
        numpy_dtype = self.dtype.as_numpy_dtype
        self.u = add_variable("u", u.astype(numpy_dtype))
        self.w = add_variable("w", w.astype(numpy_dtype))
        self.b = add_variable("b", np.full(batch_shape, 0.1, numpy_dtype))

    def __call__(self, target: Target, z: tf.Tensor, rho: tf.Tensor | None = None) -> FlowResult:
        """Moves z, ``[..., l]``; rho has no part in it and is passed through."""
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
        return FlowResult(z, rho, target.log_joint(z), log_det)
