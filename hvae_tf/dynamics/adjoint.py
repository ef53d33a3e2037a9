"""How K steps are differentiated: what is kept of the way there, and what is computed again on the way back.

    backprop     keeps every evaluation of the target, with all that a decoder computed: memory grows with K.
    checkpoint   keeps the states between the steps and evaluates again: 8/6 of the arithmetic, the same gradients.
    reversible   keeps the last state and walks the steps backwards: the same arithmetic, memory that does not grow with
                 K at all, and rounding that does; a walk that does not end where the flow began is an error.

The last two loop over the steps in the graph, whose size then does not grow with K either; what they save, they save
in graphs, as in `fit`, not in eager mode. Variables that are not trainable get no gradient through them. Each works for
any target and any integrator (`reversible`: any `ReversibleIntegrator`), whatever its state and its parameters. The
last is what Gomez, Ren, Urtasun & Grosse (2017) do with reversible networks, done with reversible dynamics.

Cotangents are named ``d_something``: the gradient of what is differentiated in `something`, of the same structure.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from hvae_tf.configured import Configured, resolve
from hvae_tf.dynamics.integrator import Integrator, ReversibleIntegrator
from hvae_tf.dynamics.recomputation import Weights, after, at, filled, loop, specs
from hvae_tf.targets.target import Target, ValueAndGrad

MAX_DRIFT = 1e-3  # how far from its start the way back may end, relative to the start's largest entries, or to 1


class Adjoint(Configured, abc.ABC):
    """A way to take K steps that can be differentiated."""

    @abc.abstractmethod
    def scan(self, target: Target, integrator: Integrator, start: tuple[tf.Tensor, ...], parameters) -> Any:
        """Takes K steps.

        Args:
            target: What is sampled; tensors and variables that it is made of get gradients too.
            integrator: What a step is.
            start: What `integrator.init` takes, such as (z, rho); of the shapes that a step leaves as they are.
            parameters: Of the steps: a nest of floating tensors ``[K, ...]``, K known, or a list of K nests, one for
                each step.

        Returns:
            The last state.

        Raises:
            ValueError: If K is unknown or not the same in all parameters.
        """


@keras.saving.register_keras_serializable("hvae_tf")
class Direct(Adjoint):
    """Plain automatic differentiation through a loop that is unrolled.

    Example:
        >>> hvae_tf.HamiltonianFlow(event_size=2, num_leapfrog_steps=3, adjoint=hvae_tf.Direct()).num_leapfrog_steps
        3
    """

    def scan(self, target, integrator, start, parameters):
        state = integrator.init(target, *start)
        for of_step in _step_by_step(parameters):
            state = integrator.step(target, state, of_step)
        return state


class _Steps(NamedTuple):
    """K steps that are to be differentiated."""

    target: Target
    integrator: Integrator
    start: tuple[tf.Tensor, ...]
    parameters: Any

    @property
    def num_steps(self) -> int:
        """K."""
        return _count_steps(self.parameters)

    def init(self):
        return self.integrator.init(self.target, *self.start)


class _Recomputing(Adjoint):
    """Takes its gradients itself, from the little that `_forward` keeps."""

    @abc.abstractmethod
    def _forward(self, steps: _Steps) -> tuple[Any, Any]:
        """The last state, and what is kept for the way back."""

    @abc.abstractmethod
    def _backward(self, steps: _Steps, last, kept, d_last, weights: Weights) -> tuple[Any, Any, list]:
        """d_start, d_parameters, and the gradients in the weights."""

    def scan(self, target, integrator, start, parameters):
        parameters = _stacked(parameters)
        _count_steps(parameters)
        structure = tuple(start), parameters
        inputs = tf.nest.flatten(structure)
        # automatic differentiation would stop at this function: what the target is made of is given to it as well
        captured = differentiable_captures(target, integrator, *structure)

        @tf.custom_gradient
        def run(*tensors):
            steps = _Steps(target, integrator, *tf.nest.pack_sequence_as(structure, tensors[: len(inputs)]))
            last, kept = self._forward(steps)

            def gradient(*d_last, variables=()):
                weights = Weights([*captured, *variables])
                d_last = tf.nest.pack_sequence_as(last, d_last)
                *d_inputs, totals = self._backward(steps, last, kept, d_last, weights)
                d_inputs = [*tf.nest.flatten(d_inputs), *totals[: len(captured)]]
                return (d_inputs, totals[len(captured) :]) if variables else d_inputs

            return last, gradient

        return run(*inputs, *captured)


@keras.saving.register_keras_serializable("hvae_tf")
class Checkpoint(_Recomputing):
    """Keeps the states between the steps, and takes each step again when its gradient is due.

    Example:
        >>> hvae_tf.HamiltonianFlow(2, num_leapfrog_steps=50, adjoint=hvae_tf.Checkpoint()).num_leapfrog_steps
        50
    """

    def _forward(self, steps):
        def step(k, state):
            return steps.integrator.step(steps.target, state, at(steps.parameters, k)), state

        start = steps.init()
        return loop(step, start, range(steps.num_steps), specs(start))

    def _backward(self, steps, last, kept, d_last, weights):
        def step_back(k, carried):
            d_state, totals = carried
            sources = after(d_state, at(kept, k)), at(steps.parameters, k)
            step = functools.partial(steps.integrator.step, steps.target)
            found, totals = weights.pull_back(step, sources, d_state, totals)
            d_state, d_parameters = filled(found, sources)
            return (d_state, totals), d_parameters

        (d_state, totals), d_parameters = loop(
            step_back, (d_last, weights.zeros()), range(steps.num_steps)[::-1], specs(steps.parameters, axes=1)
        )
        start = after(d_state, steps.start)
        init = functools.partial(steps.integrator.init, steps.target)
        d_start, totals = weights.pull_back(init, start, d_state, totals)
        return filled(d_start, start), d_parameters, totals


@keras.saving.register_keras_serializable("hvae_tf")
class Reversible(_Recomputing):
    """Keeps the last state and walks back from there, by the steps of a `ReversibleIntegrator`.

    Raises:
        ValueError: By `scan`, if the integrator is no `ReversibleIntegrator`.
        tf.errors.InvalidArgumentError: When differentiated, if the way back of any sample ends further than `MAX_DRIFT`
            from where it began. Under XLA, which drops assertions, all gradients are NaN instead.

    Example:
        >>> hvae_tf.HamiltonianFlow(2, num_leapfrog_steps=50, adjoint=hvae_tf.Reversible()).num_leapfrog_steps
        50
    """

    def scan(self, target, integrator, start, parameters):
        if not isinstance(integrator, ReversibleIntegrator):
            inner = getattr(integrator, "integrator", integrator)
            raise ValueError(f"adjoint 'reversible' needs a ReversibleIntegrator; {inner!r} is none, use 'checkpoint'")
        return super().scan(target, integrator, start, parameters)

    def _forward(self, steps):
        def step(k, state):
            return steps.integrator.step(steps.target, state, at(steps.parameters, k)), ()

        last, _ = loop(step, steps.init(), range(steps.num_steps))
        return last, ()

    def _backward(self, steps, last, kept, d_last, weights):
        way = _WayBack(steps, weights, type(last))
        middle = way.leave_last_point(last, d_last)
        middle, d_others = loop(
            way.cross_point, middle, range(1, steps.num_steps)[::-1], specs(steps.parameters, axes=1)
        )
        start, d_start, d_first, totals = way.reach_first_point(middle)
        d_parameters = tf.nest.map_structure(lambda d: d[None], d_first)
        if steps.num_steps > 1:
            d_parameters = tf.nest.map_structure(lambda *d: tf.concat(d, 0), d_parameters, d_others)
        return _checked((d_start, d_parameters, totals), zip(start, steps.start, strict=True))


ADJOINTS: dict[str, Callable[[], Adjoint]] = {"backprop": Direct, "checkpoint": Checkpoint, "reversible": Reversible}


def get_adjoint(adjoint: str | Adjoint) -> Adjoint:
    """An `Adjoint`, or the one of this name, one of `ADJOINTS`.

    Raises:
        ValueError: If it is neither; the message lists those accepted.
    """
    return resolve("adjoint", adjoint, Adjoint, ADJOINTS, "an Adjoint")


class _Middle(NamedTuple):
    """The way back in the middle of a step: its kick is undone, what came before is not.

    Attributes:
        moving: What moves, ``(z, ...)``: z is where the step began, the rest as it was between the step's two parts.
        d_moving: Cotangents of what `kick_drift` made of it.
        d_parameters: What the kick gave to those of the step.
        totals: Of the weights so far.
    """

    moving: tuple[tf.Tensor, ...]
    d_moving: tuple[tf.Tensor, ...]
    d_parameters: Any
    totals: list[tf.Tensor]


class _Evaluation(NamedTuple):
    """The target at z, on a tape."""

    z: tf.Tensor
    value: ValueAndGrad
    tape: tf.GradientTape


class _WayBack:
    """Walks K reversible steps backwards, from point K to point 0.

    Each gradient of the target ends one step and begins the next: both uses are taken back in one pass through its
    evaluation, which also leads on to the point before.
    """

    def __init__(self, steps: _Steps, weights: Weights, state_type: type):
        self._steps = steps
        self._integrator: Any = steps.integrator
        self._weights = weights
        self._state_type = state_type

    def leave_last_point(self, last, d_last) -> _Middle:
        """From point K into the last step."""
        evaluation = self._evaluate(last.z, once=d_last)
        last = self._state_type(*last[:-2], *evaluation.value)
        return self._undo_kick(self._steps.num_steps - 1, last, d_last, evaluation, self._weights.zeros())

    def cross_point(self, k, middle: _Middle) -> tuple[_Middle, Any]:
        """From step k over point k into the step before; also d_parameters of step k."""
        evaluation = self._evaluate(middle.moving[0], once=middle.d_moving)
        state, d_state, d_parameters, totals = self._undo_kick_drift(k, middle, evaluation)
        return self._undo_kick(k - 1, state, d_state, evaluation, totals), d_parameters

    def reach_first_point(self, middle: _Middle):
        """From step 0 to point 0: where the way back ends, d_start, d_parameters of step 0, and the totals."""
        evaluation = self._evaluate(middle.moving[0], once=())
        state, d_state, d_parameters, totals = self._undo_kick_drift(0, middle, evaluation)
        d_start, totals = self._moving_before(evaluation, state, d_state, totals)
        return state[:-2], d_start, d_parameters, totals

    def _evaluate(self, z, once) -> _Evaluation:
        z = after(once, z)
        with self._weights.tape([z]) as tape:
            value = self._steps.target.value_and_grad(z)
        return _Evaluation(z, value, tape)

    def _undo_kick(self, k, state, d_state, evaluation, totals) -> _Middle:
        parameters = at(self._steps.parameters, k)
        before = self._integrator.kick_drift_back(state, parameters)
        unkicked = self._state_type(state[0], *before[1:-2], *evaluation.value)
        (d_unkicked, d_parameters), totals = self._weights.pull_back(
            self._integrator.kick, (unkicked, parameters), d_state, totals
        )
        d_moving, totals = self._moving_before(evaluation, unkicked, d_unkicked, totals)
        return _Middle(before[:-2], d_moving, filled(d_parameters, parameters), totals)

    def _undo_kick_drift(self, k, middle, evaluation):
        parameters = at(self._steps.parameters, k)
        state = self._integrator.kick_back(self._state_type(*middle.moving, *evaluation.value), parameters)
        (d_state, d_parameters), totals = self._weights.pull_back(
            self._integrator.kick_drift, (state, parameters),
            self._state_type(*middle.d_moving, None, None), middle.totals,
        )  # fmt: skip
        d_parameters = tf.nest.map_structure(tf.add, filled(d_parameters, parameters), middle.d_parameters)
        return state, d_state, d_parameters, totals

    def _moving_before(self, evaluation, state, d_state, totals):
        """Cotangents of what moves, as of before the evaluation: those of the target's value are passed on to z."""
        (d_z,), totals = self._weights.gradient(evaluation.tape, evaluation.value, [evaluation.z], d_state[-2:], totals)
        first, *others = filled(d_state[:-2], state[:-2])
        return (first if d_z is None else first + d_z, *others), totals


def _step_by_step(parameters) -> list:
    """The parameters of each step; a list stays what it is, so that its gradients take no way round through a stack."""
    if isinstance(parameters, list):
        return parameters
    _count_steps(parameters)
    leaves = zip(*(tf.unstack(leaf) for leaf in tf.nest.flatten(parameters)), strict=True)
    return [tf.nest.pack_sequence_as(parameters, of_step) for of_step in leaves]


def _stacked(parameters):
    """The parameters as a nest of tensors ``[K, ...]``."""
    if isinstance(parameters, list):
        return tf.nest.map_structure(lambda *leaves: tf.stack(leaves), *parameters)
    return parameters


def _count_steps(parameters) -> int:
    counts = {leaf.shape[0] for leaf in tf.nest.flatten(parameters)}
    if len(counts) != 1 or None in counts:
        raise ValueError(f"the steps' parameters have first axes {sorted(map(str, counts))}; expected one K for all")
    return counts.pop()


def differentiable_captures(target, integrator, start, parameters):
    """The tensors from outside, such as images or weights, that the target's evaluations or the steps depend on.

    The parameters are stacked, as `Adjoint.scan` takes them, or a list of one nest for each step.
    """

    def init_and_step(start, parameters):
        return integrator.step(target, integrator.init(target, *start), parameters)

    of_step = specs(parameters[0]) if isinstance(parameters, list) else specs(parameters, axes=1)
    traced = tf.function(init_and_step, autograph=False).get_concrete_function(specs(tuple(start)), of_step)
    return [tensor for tensor in traced.captured_inputs if tensor.dtype.is_floating or tensor.dtype.is_complex]


def _checked(gradients, ends):
    """The gradients, if in each of the pairs of ends, ``[..., m]``, sample by sample, there is hardly a difference."""
    drifts = []
    for end, start in ends:
        scale = tf.maximum(tf.reduce_max(tf.abs(start), axis=-1), 1.0)
        drifts.append(tf.reduce_max(tf.reduce_max(tf.abs(end - start), axis=-1) / scale))
    fine = tf.reduce_all(tf.stack(drifts) < MAX_DRIFT)
    message = (
        "the way back through the flow was lost to rounding, or to values that are not finite; "
        "use adjoint='checkpoint' or float64"
    )
    with tf.control_dependencies([tf.debugging.Assert(fine, [message, *drifts])]):
        spoil = tf.where(fine, tf.zeros([], drifts[0].dtype), float("nan"))
    return tf.nest.map_structure(lambda gradient: gradient + tf.cast(spoil, gradient.dtype), gradients)
