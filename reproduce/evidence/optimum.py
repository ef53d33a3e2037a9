"""What Gaussians can reach on the known targets: the smallest gaps, in closed form or by quadrature."""

import functools
import math

import numpy as np
import tensorflow as tf

from hvae_tf.targets.funnel import FunnelTarget
from hvae_tf.targets.known import KNOWN_TARGETS
from hvae_tf.targets.target import Target
from reproduce.auxiliary.beta_binomial import best_gaussian

NODES, NODES_OF = 24, {"modes": 120}  # in each dimension; between two modes that many, for a fourth digit
FAMILIES = {"mean-field": False, "gaussian": True}  # flows whose z is Gaussian, and whether of any covariance


@functools.cache
def smallest_gap(name: str, full: bool) -> float:
    """Log Z less the best bound of a Gaussian, in nats.

    Args:
        name: A key of `KNOWN_TARGETS`.
        full: Whether of any covariance, or diagonal.

    Raises:
        ValueError: If the target has more than two dimensions, and no closed form is known.
    """
    known = KNOWN_TARGETS[name]
    target = known.make()
    if isinstance(target, FunnelTarget):
        return funnel_gap(target)
    if name == "gaussian":
        return 0.0 if full else mean_field_gap(target, known.mean)
    if target.event_size != 2:
        raise ValueError(f"no best Gaussian is known of {name!r}, which has {target.event_size} dimensions")
    start = np.array(known.mean), np.array(known.standard_deviation)
    return known.log_evidence - best_gaussian(target, full, NODES_OF.get(name, NODES), start)[0]


def funnel_gap(target: FunnelTarget) -> float:
    """1/2 log(1 + (l - 1) s^2 / 2): of any Gaussian, for one that correlates v with x only has more to lose.

    With x = a + b v + noise, b = 0 and a = 0 make E[e^-v x^2] least and leave the entropy as it is. Then the best
    variances are e^(m - r/2) of x and r = 1 / (1/s^2 + (l - 1)/2) of v, whose best mean is m = 0.
    """
    return 0.5 * math.log1p(0.5 * (target.event_size - 1) * target.scale**2)


def mean_field_gap(target: Target, mean) -> float:
    """Of a Gaussian target: 1/2 (sum_i log P_ii - log |P|), P its precision, from gradients at unit steps."""
    steps = np.concatenate([np.zeros([1, len(mean)]), np.eye(len(mean))])
    gradients = target.value_and_grad(tf.constant(np.array(mean) + steps)).grad.numpy()
    precision = gradients[0] - gradients[1:]
    return float(0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1]))
