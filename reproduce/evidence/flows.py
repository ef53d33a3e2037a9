"""The flows that are compared: one row each, all in float64, with about as many gradients of the target a draw."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.dynamics.metrics import Dense, Fisher
from hvae_tf.flows.accept_reject import AcceptRejectFlow
from hvae_tf.flows.annealed import AnnealedFlow
from hvae_tf.flows.bijector import BijectorFlow
from hvae_tf.flows.flow import Flow, IdentityFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.hvi import HVIFlow
from hvae_tf.flows.nose_hoover import NoseHooverFlow
from hvae_tf.flows.planar import PlanarFlow
from hvae_tf.flows.reverse import LinearReverse, NetworkReverse
from hvae_tf.flows.riemannian import RiemannianFlow
from hvae_tf.flows.score import ScoreReverse
from hvae_tf.targets.known import KnownTarget

tfb = tfp.bijectors

STEPS = 4
HIDDEN_UNITS = (32, 32)
MAX_SCALED_STEP = 2.0  # in units of the start's standard deviations


class FlowRow(NamedTuple):
    """One flow.

    Attributes:
        title: As the report has it.
        gradients: Of the target, for each draw.
        make: ``(event_size, scale [l], seed) -> Flow``; scale is that of the start.
        fisher: Whether it needs the target's Fisher information.
    """

    title: str
    gradients: int
    make: Callable[[int, np.ndarray, int], Flow]
    fisher: bool = False

    def applies(self, known: KnownTarget) -> bool:
        """Whether the target has what the flow needs."""
        return not self.fisher or has_fisher_information(known)


def has_fisher_information(known: KnownTarget) -> bool:
    """Whether a target says what its Fisher information is."""
    try:
        known.make().fisher_information(tf.constant([known.mean], tf.float64))
    except ValueError:
        return False
    return True


def _sizes(scale):
    scale = np.asarray(scale)
    settings = {"step_size": 0.5 * scale / STEPS, "max_step_size": float(MAX_SCALED_STEP * scale.max())}
    return {**settings, "dtype": tf.float64}


def _hamiltonian(tempering, **options):
    return lambda size, scale, seed: HamiltonianFlow(size, STEPS, tempering, **options, **_sizes(scale))


def _hvi(num_transitions, num_leapfrog_steps, make_reverse):
    def make(size, scale, seed):
        reverse = make_reverse(seed)
        return HVIFlow(size, num_transitions, num_leapfrog_steps, reverse=reverse, **_sizes(scale))

    return make


def _annealed(**options):
    return lambda size, scale, seed: AnnealedFlow(size, STEPS, **options, **_sizes(scale))


def _riemannian(make_metric, way=0.5):
    def make(size, scale, seed):
        return RiemannianFlow(size, STEPS, make_metric(scale), step_size=way / STEPS, dtype=tf.float64)

    return make


def _ldvi(size, scale, seed):
    reverse = ScoreReverse(HIDDEN_UNITS, sees=("z", "grad"), seed=seed)
    return AnnealedFlow(size, STEPS, refreshment="learned", reverse=reverse, **_sizes(scale))


def full_covariance(event_size: int, *, context_size: int, dtype) -> list[tfb.Bijector]:
    """Z to L z, with a lower triangular L that is learned: q0 becomes a Gaussian of any covariance."""
    factor = tfp.util.TransformedVariable(tf.eye(event_size, dtype=dtype), tfb.FillScaleTriL(diag_shift=None))
    return [tfb.ScaleMatvecTriL(factor)]


def _bijectors(bijectors, **options):
    return lambda size, scale, seed: BijectorFlow(size, bijectors, dtype=tf.float64, **options)


def _network(seed):
    return NetworkReverse(HIDDEN_UNITS, sees=("z", "grad"), seed=seed)


FLOWS = {
    "mean-field": FlowRow("none: diagonal Gaussian", 0, lambda size, scale, seed: IdentityFlow(size, dtype=tf.float64)),
    "gaussian": FlowRow("linear: Gaussian of any covariance", 0, _bijectors(full_covariance)),
    "planar-8": FlowRow("planar, 8 layers", 0, lambda size, scale, seed: PlanarFlow(size, 8, dtype=tf.float64)),
    "iaf-2": FlowRow("inverse autoregressive, 2 layers", 0, _bijectors("iaf", num_layers=2, hidden_units=HIDDEN_UNITS)),
    "maf-2": FlowRow("masked autoregressive, 2 layers", 0, _bijectors("maf", num_layers=2, hidden_units=HIDDEN_UNITS)),
    "hvae-none": FlowRow("HVAE, K = 4, no tempering", STEPS + 1, _hamiltonian("none")),
    "hvae-fixed": FlowRow("HVAE, K = 4, fixed tempering", STEPS + 1, _hamiltonian("fixed")),
    "hvae-free": FlowRow("HVAE, K = 4, free tempering", STEPS + 1, _hamiltonian("free")),
    "hvae-untied": FlowRow(
        "HVAE, K = 4, free, untied momentum", STEPS + 1, _hamiltonian("free", momentum_scale="learned", shift=True)
    ),
    "dense": FlowRow(
        "Riemannian, K = 4, dense metric", STEPS + 1, _riemannian(lambda scale: Dense(np.diag(1.0 / scale)))
    ),
    "fisher-mean": FlowRow(
        "Riemannian, K = 4, Fisher at q0's mean", STEPS + 1, _riemannian(lambda scale: Fisher(at="encoder mean")), True
    ),
    # a shorter way at the start: steps of 0.125 leave a draw in a hundred of the banana without a solution
    "fisher-z": FlowRow(
        "Riemannian, K = 4, Fisher at z", STEPS + 1, _riemannian(lambda scale: Fisher(at="z"), 0.2), True
    ),
    "nose-hoover": FlowRow(
        "Nosé–Hoover, K = 4, fixed tempering", STEPS + 1,
        lambda size, scale, seed: NoseHooverFlow(size, STEPS, tempering="fixed", **_sizes(scale)),
    ),
    "hvi-linear": FlowRow("HVI, n = 4, linear reverse", STEPS + 1, _hvi(1, STEPS, lambda seed: LinearReverse())),
    "hvi-network": FlowRow("HVI, n = 4, reverse network", STEPS + 1, _hvi(1, STEPS, _network)),
    "hvi-4x1": FlowRow("HVI, T = 4, n = 1, reverse networks", STEPS + 1, _hvi(STEPS, 1, _network)),
    "uha-4": FlowRow("UHA, T = 4", STEPS + 1, _annealed(refreshment="learned")),
    "langevin-4": FlowRow("Langevin (L-MCVAE), T = 4", STEPS + 1, _annealed(refreshment=0.0)),
    "accept-4": FlowRow(
        "with accept steps (A-MCVAE), T = 4", STEPS + 1,
        lambda size, scale, seed: AcceptRejectFlow(size, STEPS, **_sizes(scale)),
    ),
    "ldvi-4": FlowRow("Langevin diffusion (LDVI), T = 4", STEPS + 1, _ldvi),
}  # fmt: skip
