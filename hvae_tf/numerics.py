"""Small numerical functions that have no other home."""

import numpy as np


def logit(p):
    """The inverse of the sigmoid, in float64."""
    p = np.asarray(p, np.float64)
    return np.log(p) - np.log1p(-p)
