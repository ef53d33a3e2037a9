"""The flows that are compared: one row each, all in float64, with about as many gradients of the target a draw."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.flows.flow import Flow, IdentityFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.hvi import HVIFlow
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.flows.reverse import LinearReverse, NetworkReverse

STEPS = 4
HIDDEN_UNITS = (32, 32)
MAX_SCALED_STEP = 2.0  # in units of the start's standard deviations


class FlowRow(NamedTuple):
    """One flow.

    Attributes:
        title: As the report has it.
        gradients: Of the target, for each draw.
        make: ``(event_size, scale [l], seed) -> Flow``; scale is that of the start.
    """

    title: str
    gradients: int
    make: Callable[[int, np.ndarray, int], Flow]


def _sizes(scale):
    scale = np.asarray(scale)
    settings = {"step_size": 0.5 * scale / STEPS, "max_step_size": float(MAX_SCALED_STEP * scale.max())}
    return {**settings, "dtype": tf.float64}


def _hamiltonian(tempering):
    return lambda size, scale, seed: HamiltonianFlow(size, STEPS, tempering, **_sizes(scale))


def _hvi(num_transitions, num_leapfrog_steps, make_reverse):
    def make(size, scale, seed):
        reverse = make_reverse(seed)
        return HVIFlow(size, num_transitions, num_leapfrog_steps, reverse=reverse, **_sizes(scale))

    return make


def _network(seed):
    return NetworkReverse(HIDDEN_UNITS, sees=("z", "grad"), seed=seed)


FLOWS = {
    "mean-field": FlowRow("none: diagonal Gaussian", 0, lambda size, scale, seed: IdentityFlow(size, dtype=tf.float64)),
    "planar-8": FlowRow("planar, 8 layers", 0, lambda size, scale, seed: PlanarFlow(size, 8, dtype=tf.float64)),
    "hvae-none": FlowRow("HVAE, K = 4, no tempering", STEPS + 1, _hamiltonian("none")),
    "hvae-fixed": FlowRow("HVAE, K = 4, fixed tempering", STEPS + 1, _hamiltonian("fixed")),
    "hvae-free": FlowRow("HVAE, K = 4, free tempering", STEPS + 1, _hamiltonian("free")),
    "hvi-linear": FlowRow("HVI, n = 4, linear reverse", STEPS + 1, _hvi(1, STEPS, lambda seed: LinearReverse())),
    "hvi-network": FlowRow("HVI, n = 4, reverse network", STEPS + 1, _hvi(1, STEPS, _network)),
    "hvi-4x1": FlowRow("HVI, T = 4, n = 1, reverse networks", STEPS + 1, _hvi(STEPS, 1, _network)),
}
