"""Every flow as a row of one table, from which its tests follow; a new flow costs one row.

Beside the library's flows there are two of the tests' own, which the contract must carry as well: one with a momentum
and a determinant that does not cancel, and one with a Keras network inside.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf import (
    TEMPERINGS,
    AcceptRejectFlow,
    AnnealedFlow,
    BijectorFlow,
    FixedTempering,
    FlowResult,
    FreeTempering,
    HamiltonianFlow,
    HVIFlow,
    IdentityFlow,
    Leapfrog,
    NoseHooverFlow,
    PlanarFlow,
    ReleasedFixedTempering,
    RiemannianFlow,
)
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.dynamics.metrics import Dense, Fisher
from hvae_tf.flows.flow import Flow
from hvae_tf.flows.reverse import LinearReverse, NetworkReverse, StandardReverse
from hvae_tf.flows.score import ScoreReverse
from tests.marks import slow


@keras.saving.register_keras_serializable("tests")
class StretchedFlow(Flow):
    """One leapfrog step with a momentum of its own, then z times exp(stretch): a determinant that does not cancel."""

    def __init__(self, event_size, *, step_size=0.2, stretch=-0.1, dtype=tf.float32):
        super().__init__(event_size, dtype=dtype)
        self.step_size = tf.Variable(step_size, dtype=self.dtype, name="step_size")
        self.stretch = tf.Variable(stretch, dtype=self.dtype, name="stretch")
        self._leapfrog = Leapfrog()

    def noise(self, shape, seed):
        shape = tf.concat([shape, [self.event_size]], axis=0)
        return {"momentum": tf.random.stateless_normal(shape, seed, dtype=self.dtype)}

    def move(self, target, z, rho):
        state = self._leapfrog.step(target, self._leapfrog.init(target, z, rho), self.step_size)
        return state.z * tf.exp(self.stretch), state.rho

    def transform(self, target, z, noise=(), q0=None, context=None):
        self.check_target(target)
        z, rho = self.move(target, z, noise["momentum"])
        log_det = self.event_size * self.stretch
        sampled = standard_normal_log_prob(rho) - standard_normal_log_prob(noise["momentum"])
        expected = 0.5 * (self.event_size - tf.reduce_sum(tf.square(rho), axis=-1))
        return FlowResult(z, target.log_joint(z), sampled + log_det, expected + log_det)


@keras.saving.register_keras_serializable("tests")
class AmortisedFlow(Flow):
    """z times exp(s) plus t, both put out by a Keras network that sees what the encoder says of x."""

    def __init__(self, event_size, *, dtype=tf.float32):
        super().__init__(event_size, dtype=dtype)
        layer = partial(keras.layers.Dense, dtype=self.dtype.name)
        init = keras.initializers.RandomNormal(stddev=0.1, seed=1)
        self.layers = [layer(4, "tanh", kernel_initializer=init, bias_initializer=init)]
        self.heads = {"out": layer(2 * event_size, kernel_initializer=init, bias_initializer=init)}

    def transform(self, target, z, noise=(), q0=None, context=None):
        self.check_target(target)
        scale, shift = tf.split(self.heads["out"](self.layers[0](context)), 2, axis=-1)
        z = z * tf.exp(scale) + shift
        log_det = tf.reduce_sum(scale, axis=-1)
        return FlowResult(z, target.log_joint(z), log_det, log_det)


class Row(NamedTuple):
    """One flow.

    Attributes:
        make: ``(event_size, dtype=) -> Flow``.
        variables: The names of what it trains.
        repeats: Whether it takes `batch_shape`.
        network: Whether its variables are a Keras network's.
        smooth: Whether finite differences and Jacobians make sense: no accept steps.
        planted: ``FlowResult -> FlowResult``, an error that the evidence must show; None where there is nothing to err.
    """

    make: Callable[..., Flow]
    variables: set[str]
    repeats: bool = True
    network: bool = False
    smooth: bool = True
    planted: Callable[[FlowResult], FlowResult] | None = None


def planar(event_size, num_layers, **kwargs):
    """Layers that bend, together as much whatever K: near where m(w.u) is zero and a layer the identity."""
    flow = PlanarFlow(event_size, num_layers, **kwargs)
    w = np.linspace(1.0, 1.5, event_size)
    w_dot_u = np.log(np.expm1(1.0 + 0.4 / num_layers))  # m(w.u) = -1 + log(1 + exp(w.u)) = 0.4/K
    flow.w.assign(tf.broadcast_to(tf.constant(w, flow.dtype), flow.w.shape))
    flow.u.assign(tf.broadcast_to(tf.constant(w_dot_u * w / np.sum(w**2), flow.dtype), flow.u.shape))
    return flow


def planar_beyond_invertible(event_size, num_layers, **kwargs):
    """w.u < -1: the layer would fold space over, were u not constrained."""
    flow = PlanarFlow(event_size, num_layers, **kwargs)
    flow.w.assign(tf.ones_like(flow.w))
    flow.u.assign(-tf.ones_like(flow.u))
    return flow


def autoregressive(event_size, bijectors, **kwargs):
    """It draws q0 in a little in all dimensions, so that its determinant counts."""
    flow = BijectorFlow(event_size, bijectors, hidden_units=(4, 5), seed=1, **kwargs)
    for variable in flow.trainable_variables:
        if "bias" in variable.name and variable.shape[0] == 2 * event_size:
            log_scale = 0.15 if bijectors == "iaf" else -0.15
            variable.assign_add(tf.repeat(tf.constant([0.05, log_scale], flow.dtype), event_size))
    return flow


def without_ratio(result):
    """A planted error: the determinant (and the densities of what was drawn) forgotten."""
    nothing = tf.zeros_like(result.log_joint)
    return result._replace(log_ratio=nothing, expected_log_ratio=nothing)


def expected_for_sampled(result):
    """A planted error: the terms that belong into an ELBO, in an importance weight."""
    return result._replace(log_ratio=result.expected_log_ratio)


TEMPERING_VARIABLES = {
    "none": set(),
    "fixed": {"log_excess_inv_sqrt_beta_0"},
    "fixed-released": {"log_excess_inv_sqrt_beta_0"},
    "free": {"logit_alpha"},
}
TEMPERING_OBJECTS = {
    "none": lambda: "none",
    "fixed": lambda: FixedTempering(1.5),
    "fixed-released": lambda: ReleasedFixedTempering(1.5),
    "free": lambda: FreeTempering(0.85),
}
assert TEMPERING_OBJECTS.keys() == TEMPERINGS.keys()


def hamiltonian(event_size, K, tempering, **kwargs):
    step_size = np.linspace(0.15, 0.25, event_size)
    return HamiltonianFlow(event_size, K, TEMPERING_OBJECTS[tempering](), step_size=step_size, **kwargs)


REVERSE_OBJECTS = {
    "standard": StandardReverse,
    "linear": LinearReverse,
    "network": lambda: NetworkReverse((5, 4), seed=3),
    "score": lambda: ScoreReverse((5,), embedding_units=2, sees=("z", "context", "momentum"), seed=3),
}
REVERSE_VARIABLES = {
    "standard": set(),
    "linear": {"offset", "slope", "log_scale"},
    "network": {"kernel", "bias"},
    "score": {"embedding", "factor", "kernel", "bias"},
}


def hvi(event_size, T, n, reverse, momentum_scale="learned", flow=HVIFlow, **kwargs):
    """Its reverse model is a random one: as it starts, it sees nothing."""
    reverse = REVERSE_OBJECTS[reverse]()
    flow = flow(
        event_size, T, n, reverse=reverse, momentum_scale=momentum_scale, step_size=np.linspace(0.2, 0.3, event_size),
        **kwargs,
    )  # fmt: skip
    _move_off_its_start(reverse)
    return flow


def _move_off_its_start(reverse):
    layers = [*getattr(reverse, "layers", ()), *(layer for own in getattr(reverse, "networks", ()) for layer in own)]
    weights = [weight.value for layer in layers for weight in layer.weights]
    for index, variable in enumerate([*reverse.trainable_variables, *weights]):
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [index, 5], dtype=reverse.dtype))


def annealed(event_size, T, n, reverse, **kwargs):
    """From q0 to the target in T moves, with a random reverse model."""
    reverse = REVERSE_OBJECTS[reverse]()
    flow = AnnealedFlow(event_size, T, n, reverse=reverse, step_size=np.linspace(0.2, 0.3, event_size), **kwargs)
    _move_off_its_start(reverse)
    return flow


ANNEALED_VARIABLES = {"temperatures": "log_temperature_increments", "refreshment": "logit_kept_momentum"}


def riemannian(event_size, metric, tempering="none", dtype=tf.float32, **kwargs):
    """In float64 its equations are solved to the last digits, which derivatives are taken of."""
    metric = {
        "dense": lambda: Dense(np.tril(0.2 * np.ones([event_size] * 2)) + np.eye(event_size)),
        "mean": lambda: Fisher(at="encoder mean"),
        "z": lambda: Fisher(at="z"),
    }[metric]()
    tolerance = 1e-13 if dtype == tf.float64 else None
    return RiemannianFlow(
        event_size, 2, metric, tempering=TEMPERING_OBJECTS[tempering](), tolerance=tolerance, dtype=dtype, **kwargs
    )


CATALOGUE: dict[str, Row] = {
    "identity": Row(lambda event_size, dtype, batch_shape=(): IdentityFlow(event_size, dtype=dtype), set()),
    **{f"planar-K{K}": Row(partial(planar, num_layers=K), {"u", "w", "b"}, planted=without_ratio) for K in (1, 2, 5)},
    **{
        f"hamiltonian-{tempering}-K{K}-{per}": Row(
            partial(hamiltonian, K=K, tempering=tempering, step_size_per=per),
            {"logit_step_size"} | TEMPERING_VARIABLES[tempering],
            planted=expected_for_sampled,
        )
        for tempering in TEMPERINGS
        for K, per in ((1, "flow"), (2, "step"), (5, "flow"), (5, "step"))
    },
    **{
        f"hamiltonian-untied-{tempering}-K{K}-{per}": Row(
            partial(hamiltonian, K=K, tempering=tempering, step_size_per=per, momentum_scale="learned", shift=shift),
            {"logit_step_size", "log_momentum_scale"}
            | ({"momentum_shift"} if shift else set())
            | TEMPERING_VARIABLES[tempering],
            planted=expected_for_sampled,
        )
        for tempering, K, per, shift in (("free", 2, "step", True), ("none", 1, "flow", False))
    },
    **{
        f"hvi-{reverse}-T{T}-n{n}": Row(
            partial(hvi, T=T, n=n, reverse=reverse, momentum_scale=scale, **options),
            {"logit_step_size"}
            | ({"log_momentum_scale"} if scale == "learned" else set())
            | REVERSE_VARIABLES[reverse],
            repeats=False,
            network=reverse == "network",
            planted=expected_for_sampled,
        )
        for reverse, T, n, scale, options in (
            ("standard", 1, 1, 1.3, {}),
            ("standard", 2, 2, "learned", {"adjoint": "checkpoint"}),
            ("linear", 1, 4, "learned", {"step_size_per": "flow"}),
            ("linear", 3, 1, 0.8, {}),
            ("network", 1, 2, "learned", {}),
            ("network", 2, 2, 0.8, {"step_size_per": "step", "adjoint": "checkpoint"}),
        )
    },
    **{
        f"{name}{'-amortised' if amortised else ''}": Row(
            partial(autoregressive, bijectors=name, num_layers=num_layers, amortised=amortised),
            {
                f"layer_{k}_{kind}_{i}"
                for k in range(1, num_layers + 1)
                for i in (1, 2, 3)
                for kind in ("kernel", "bias", *(["context"] if amortised else []))
            },
            repeats=False,
            planted=without_ratio,
        )
        for name, num_layers, amortised in (("iaf", 1, False), ("iaf", 2, True))
    },
    **{
        f"annealed-{title}-{reverse}-T{T}-n{n}": Row(
            partial(annealed, T=T, n=n, reverse=reverse, **options),
            {"logit_step_size"}
            | {name for option, name in ANNEALED_VARIABLES.items() if options[option] == "learned"}
            | REVERSE_VARIABLES[reverse],
            repeats=False,
            network=reverse == "score",
            planted=None if reverse == "score" else expected_for_sampled,  # see tests/bounds/test_evidence.py
        )
        for title, reverse, T, n, options in (
            ("langevin", "standard", 1, 1, {"refreshment": 0.0, "temperatures": "learned", "adjoint": "checkpoint"}),
            ("uha", "standard", 3, 1, {"refreshment": "learned", "temperatures": "learned"}),
            ("uha", "standard", 2, 2, {"refreshment": 0.7, "temperatures": "sigmoid"}),
            ("ldvi", "score", 2, 1, {"refreshment": "learned", "temperatures": "linear", "step_size_per": "flow"}),
            ("uha", "linear", 2, 1, {"refreshment": 0.4, "temperatures": [0.3, 1.0]}),
        )
    },
    **{
        f"accept-reject-T{T}-n{n}": Row(
            lambda event_size, T=T, n=n, options=options, **kwargs: AcceptRejectFlow(
                event_size, T, n, step_size=np.linspace(0.3, 0.4, event_size), **options, **kwargs
            ),
            {"logit_step_size"} | ({"log_temperature_increments"} if options["temperatures"] == "learned" else set()),
            repeats=False,
            smooth=False,
        )
        for T, n, options in (
            (1, 1, {"temperatures": "linear", "adjoint": "checkpoint"}),
            (2, 2, {"temperatures": "learned", "step_size_per": "flow"}),
        )
    },
    **{
        f"riemannian-{metric}": Row(
            partial(riemannian, metric=metric, tempering=tempering, step_size_per=per),
            {"logit_step_size"} | TEMPERING_VARIABLES[tempering] | ({"packed_metric"} if metric == "dense" else set()),
            repeats=False,
            planted=expected_for_sampled,
        )
        for metric, tempering, per in (("dense", "fixed", "step"), ("mean", "none", "flow"), ("z", "free", "flow"))
    },
    "nose-hoover": Row(
        partial(NoseHooverFlow, num_leapfrog_steps=3, thermostat_mass=8.0, tempering="fixed", step_size_per="step"),
        {"logit_step_size", "log_thermostat_mass", "log_excess_inv_sqrt_beta_0"},
        repeats=False,
        planted=expected_for_sampled,
    ),
    "stretched": Row(StretchedFlow, {"step_size", "stretch"}, repeats=False, planted=expected_for_sampled),
    "amortised": Row(AmortisedFlow, {"kernel", "bias"}, repeats=False, network=True, planted=without_ratio),
}


def rows(prefix: str = "") -> list:
    """Names for a test of every row, or of some; those of five steps say little more than of two, and are slow."""
    return slow([name for name in CATALOGUE if name.startswith(prefix)], "K5")


def make(name, event_size, seed, dtype=tf.float64, **kwargs) -> Flow:
    """The row's flow, moved off its initial values, which are alike in all dimensions and steps."""
    flow = CATALOGUE[name].make(event_size, dtype=dtype, **kwargs)
    for index, variable in enumerate(flow.trainable_variables):
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [seed, index], dtype=dtype))
    return flow
