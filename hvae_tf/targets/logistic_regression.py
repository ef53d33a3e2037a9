"""Bayesian logistic regression: y_n ~ Bernoulli(sigmoid(x_n . z)), z ~ N(0, s^2 I).

The five observations in two dimensions that come with it have an evidence by quadrature: log Z = -2.57071 for s = 1.
"""

import numpy as np
import tensorflow as tf

from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.targets.target import Target

FEATURES = ((1.0, 2.0), (-1.0, 1.0), (2.0, -1.0), (-0.5, -2.0), (1.5, 0.3))
LABELS = (1, 0, 1, 0, 1)


class LogisticRegressionTarget(Target):
    """Log p(y, z) at z ``[..., l]``.

    Args:
        features: x, ``[N, l]``, a column of ones being the intercept; by default the five observations above.
        labels: y, ``[N]``, 0 or 1.
        prior_scale: s > 0.

    Raises:
        ValueError: If shapes do not agree, a label is neither 0 nor 1, or s is not positive.
    """

    def __init__(self, features=FEATURES, labels=LABELS, prior_scale: float = 1.0):
        features, labels = np.asarray(features, np.float64), np.asarray(labels, np.float64)
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(f"features have shape {features.shape}, labels {labels.shape}; expected [N, l] and [N]")
        if not np.all((labels == 0) | (labels == 1)):
            raise ValueError("labels hold values other than 0 and 1; give classes")
        if not 0.0 < prior_scale < float("inf"):
            raise ValueError(f"prior_scale is {prior_scale}; expected a positive number")
        self.event_size = features.shape[1]
        self._features, self._labels, self._scale = features, labels, float(prior_scale)

    def _log_joint(self, z):
        features, labels = (tf.constant(values, z.dtype) for values in (self._features, self._labels))
        logits = tf.linalg.matvec(features, z)
        log_likelihood = tf.reduce_sum(labels * logits - tf.math.softplus(logits), axis=-1)
        log_scale = self.event_size * tf.math.log(tf.constant(self._scale, z.dtype))
        return log_likelihood + standard_normal_log_prob(z / self._scale) - log_scale

    def _fisher_information(self, z):
        features = tf.constant(self._features, z.dtype)
        logits = tf.linalg.matvec(features, z)
        weights = tf.sigmoid(logits) * tf.sigmoid(-logits)
        information = tf.einsum("...n,ni,nj->...ij", weights, features, features)
        return information + tf.eye(self.event_size, dtype=z.dtype) / self._scale**2
