"""How K steps are differentiated: what is kept of the way there, and what is computed again on the way back.

    backprop     keeps every evaluation of the target, with all that a decoder computed: memory grows with K.
    checkpoint   keeps (z_k, rho_k, grad_k) and evaluates again: 8/6 of the arithmetic, the same gradients.
    reversible   keeps (z_K, rho_K) and walks the steps backwards: the same arithmetic, memory that does not grow with
                 K at all, and rounding that does; a walk that does not end where the flow began is an error.

The last two loop over the steps in the graph, whose size then does not grow with K either; what they save, they save
in graphs, as in `fit`, not in eager mode. Variables that are not trainable get no gradient through them. All three take
``(target, step, z, rho, step_sizes, alphas)`` and give the last `PhaseState`; each works for any target. The last is
what Gomez, Ren, Urtasun & Grosse (2017) do with reversible networks, done with reversible dynamics.
"""

import functools

import tensorflow as tf

from hvae_tf.dynamics.leapfrog import PhaseState, ReversibleStep, initial_state

MAX_DRIFT = 1e-3  # how far from (z_0, rho_0) the way back may end, relative to their largest entries, or to 1


def backprop(target, step, z, rho, step_sizes, alphas) -> PhaseState:
    """Plain automatic differentiation; any `step`, ``(target, PhaseState, eps) -> PhaseState``."""
    state = initial_state(target, z, rho)
    for eps, alpha in zip(step_sizes, alphas, strict=True):
        state = _tempered_step(target, step, state, eps, alpha)
    return state


def checkpoint(target, step, z, rho, step_sizes, alphas) -> PhaseState:
    """Keeps the states between steps and runs each step again when its gradient is due; any `step`."""
    num_steps = len(alphas)

    def forward(z, rho, step_sizes, alphas):
        def body(k, state):
            return _tempered_step(target, step, PhaseState(*state), step_sizes[k], alphas[k]), state

        start = initial_state(target, z, rho)
        return _loop(body, start, range(num_steps), [part.shape for part in start])

    def backward(states, last, step_sizes, alphas, cotangent, sums):
        def body(k, carried):
            *cotangent, totals = carried
            state = PhaseState(*_after(cotangent, [part[k] for part in states]))
            *_, eps, alpha = sources = *state, step_sizes[k], alphas[k]
            with sums.tape(sources) as tape:
                following = _tempered_step(target, step, state, eps, alpha)
            found, totals = sums.add(totals, tape, following, sources, cotangent)
            return (*found[:4], totals), found[4:]

        indices = range(num_steps)[::-1]
        (*cotangent, totals), (d_eps, d_alpha) = _loop(
            body, (*cotangent, sums.zeros()), indices, [step_sizes.shape[1:], alphas.shape[1:]]
        )
        z, rho = _after(cotangent, [part[0] for part in states[:2]])
        with sums.tape((z, rho)) as tape:
            state = initial_state(target, z, rho)
        (d_z, d_rho), totals = sums.add(totals, tape, state, (z, rho), cotangent)
        return d_z, d_rho, d_eps, d_alpha, totals

    return _differentiated(forward, backward, target, z, rho, step_sizes, alphas)


def reversible(target, step, z, rho, step_sizes, alphas) -> PhaseState:
    """Keeps the last state and walks back from there; `step` is a `ReversibleStep`.

    Raises:
        ValueError: If `step` is no `ReversibleStep`.
        tf.errors.InvalidArgumentError: When differentiated, if the way back of any sample ends further than `MAX_DRIFT`
            from where it began. Under XLA, which drops assertions, all gradients are NaN instead.
    """
    if not isinstance(step, ReversibleStep):
        raise ValueError(f"differentiation='reversible' needs a ReversibleStep; {step!r} is none, use 'checkpoint'")
    num_steps = len(alphas)

    def forward(z, rho, step_sizes, alphas):
        def body(k, state):
            return _tempered_step(target, step, PhaseState(*state), step_sizes[k], alphas[k]), ()

        last, _ = _loop(body, initial_state(target, z, rho), range(num_steps))
        return last, (z, rho)

    def backward(start, last, step_sizes, alphas, cotangent, sums):
        # Each gradient of the target ends one step and begins the next: both uses are taken back in one pass through
        # its evaluation, which also leads on to the point before.
        def undo_end(k, z, rho, grad, d_rho):
            eps, alpha = step_sizes[k], alphas[k]
            z_before, rho_half = step.open(z, rho / alpha[..., None], grad, -eps)
            sources = rho_half, grad, eps, alpha
            with _WatchingTape(sources) as tape:
                rho = step.close(rho_half, grad, eps) * alpha[..., None]
            return z_before, rho_half, *_gradient(tape, [rho], sources, [d_rho])

        def undo_beginning(k, z, rho_half, grad, d_z, d_rho_half):
            rho = step.close(rho_half, grad, -step_sizes[k])
            sources = z, rho, grad, step_sizes[k]
            with _WatchingTape(sources) as tape:
                opened = step.open(*sources)
            return rho, *_gradient(tape, opened, sources, [d_z, d_rho_half])

        z, rho = last[:2]
        d_z, d_rho, d_log_joint, d_grad = cotangent
        (z,) = _after(cotangent, [z])
        with sums.tape([z]) as tape:
            value = target.value_and_grad(z)
        z_before, rho_half, d_rho_half, d_grad_end, d_eps_end, d_alpha_end = undo_end(
            num_steps - 1, z, rho, value.grad, d_rho
        )
        (found,), totals = sums.add(sums.zeros(), tape, value, [z], [d_log_joint, d_grad + d_grad_end])

        def body(k, carried):
            z, rho_half, d_z, d_rho_half, totals = carried
            (z,) = _after([d_z, d_rho_half], [z])
            with sums.tape([z]) as tape:
                value = target.value_and_grad(z)
            rho, d_z, d_rho, d_grad, d_eps_beginning = undo_beginning(k, z, rho_half, value.grad, d_z, d_rho_half)
            z_before, rho_half, d_rho_half, d_grad_end, d_eps_end, d_alpha = undo_end(k - 1, z, rho, value.grad, d_rho)
            (found,), totals = sums.add(totals, tape, [value.grad], [z], [d_grad + d_grad_end])
            return (z_before, rho_half, d_z + found, d_rho_half, totals), (d_eps_beginning, d_eps_end, d_alpha)

        carried = z_before, rho_half, d_z + found, d_rho_half, totals
        (z, rho_half, d_z, d_rho_half, totals), emitted = _loop(
            body, carried, range(1, num_steps)[::-1], [step_sizes.shape[1:]] * 2 + [alphas.shape[1:]]
        )
        with sums.tape([z]) as tape:
            value = target.value_and_grad(z)
        rho, d_z, d_rho, d_grad, d_eps_beginning = undo_beginning(0, z, rho_half, value.grad, d_z, d_rho_half)
        (found,), totals = sums.add(totals, tape, [value.grad], [z], [d_grad])

        beginnings, ends, d_alphas = [d_eps_beginning[None]], [d_eps_end[None]], [d_alpha_end[None]]
        if emitted:
            beginnings, ends, d_alphas = beginnings + emitted[:1], emitted[1:2] + ends, emitted[2:] + d_alphas
        d_eps = tf.concat(beginnings, 0) + tf.concat(ends, 0)

        gradients = d_z + found, d_rho, d_eps, tf.concat(d_alphas, 0), totals
        return _checked(gradients, zip((z, rho), start, strict=True))

    return _differentiated(forward, backward, target, z, rho, step_sizes, alphas)


DIFFERENTIATIONS = {"backprop": backprop, "checkpoint": checkpoint, "reversible": reversible}


def _tempered_step(target, step, state, eps, alpha):
    state = step(target, state, eps)
    return state._replace(rho=alpha[..., None] * state.rho)


def _checked(gradients, ends):
    """The gradients, if in each of the pairs of ends, ``[..., l]``, sample by sample, there is hardly a difference."""
    drifts = []
    for end, start in ends:
        scale = tf.maximum(tf.reduce_max(tf.abs(start), axis=-1), 1.0)
        drifts.append(tf.reduce_max(tf.reduce_max(tf.abs(end - start), axis=-1) / scale))
    fine = tf.reduce_all(tf.stack(drifts) < MAX_DRIFT)
    message = (
        "the way back through the flow was lost to rounding, or to values that are not finite; "
        "use differentiation='checkpoint' or float64"
    )
    with tf.control_dependencies([tf.debugging.Assert(fine, [message, *drifts])]):
        spoil = tf.where(fine, tf.zeros([], drifts[0].dtype), float("nan"))
    return tf.nest.map_structure(lambda gradient: gradient + tf.cast(spoil, gradient.dtype), gradients)


def _loop(body, state, indices, shapes=()):
    """``state, emitted = body(k, state)`` for each k of a range.

    Returns:
        The last state, and the emitted tensors, of these shapes, stacked in order of k; none where the range is empty.
    """
    if not indices:
        return state, []
    state_shapes = tf.nest.map_structure(lambda part: part.shape, state)
    dtype = tf.nest.flatten(state)[0].dtype
    arrays = [tf.TensorArray(dtype, len(indices), element_shape=shape) for shape in shapes]

    def step(i, state, arrays):
        k = indices[0] + indices.step * i
        state, emitted = body(k, state)
        state = tf.nest.map_structure(tf.ensure_shape, state, state_shapes)
        return i + 1, state, [a.write(k - min(indices), e) for a, e in zip(arrays, emitted, strict=True)]

    _, state, arrays = tf.while_loop(
        lambda i, *_: i < len(indices), step, (0, state, arrays), parallel_iterations=1, maximum_iterations=len(indices)
    )
    return state, [array.stack() for array in arrays]


class _Sums:
    """The gradients in what the target is made of, summed over its evaluations."""

    def __init__(self, parameters):
        self.parameters = list(parameters)

    def zeros(self):
        return [tf.zeros(p.shape if p.shape.is_fully_defined() else tf.shape(p), p.dtype) for p in self.parameters]

    def tape(self, sources):
        return _WatchingTape([*sources, *self.parameters])

    def add(self, totals, tape, results, sources, cotangents):
        """The cotangents of the sources, and the totals with those of the parameters added."""
        found = _gradient(tape, results, [*sources, *self.parameters], cotangents)
        parts = [tf.convert_to_tensor(part) for part in found[len(sources) :]]
        return found[: len(sources)], [total + part for total, part in zip(totals, parts, strict=True)]


class _WatchingTape(tf.GradientTape):
    """A tape that watches these tensors and variables, and no others."""

    def __init__(self, sources):
        super().__init__(watch_accessed_variables=False)
        self._sources = list(sources)

    def __enter__(self):
        tape = super().__enter__()
        tape.watch(self._sources)
        return tape


def _gradient(tape, results, sources, cotangents):
    return tape.gradient(list(results), list(sources), output_gradients=list(cotangents), unconnected_gradients="zero")


def _after(events, tensors):
    """The tensors, for use only when the events have happened.

    A graph runs whatever it can: it would compute all evaluations again at once and hold them all.
    """
    with tf.control_dependencies(list(events)):
        return [tf.identity(tensor) for tensor in tensors]


def _differentiated(forward, backward, target, z, rho, step_sizes, alphas):
    """The last state of `forward`, with the gradient that `backward` gives it."""
    z, rho = _alike(z, rho, step_sizes[0], alphas[0])
    # automatic differentiation would stop at this function: what the target is made of is given to it as well
    captured = _differentiable_captures(target, z)

    @tf.custom_gradient
    def run(z, rho, step_sizes, alphas, *_):
        last, kept = forward(z, rho, step_sizes, alphas)

        def gradient(*cotangent, variables=()):
            sums = _Sums([*captured, *variables])
            *inputs, totals = backward(kept, last, step_sizes, alphas, cotangent, sums)
            inputs += totals[: len(captured)]
            return (inputs, totals[len(captured) :]) if variables else inputs

        return tuple(last), gradient

    return PhaseState(*run(z, rho, tf.stack(step_sizes), tf.stack(alphas), *captured))


def _differentiable_captures(target, z):
    """The tensors from outside, such as images or parameters, that the target's value or gradient depends on."""
    evaluation = tf.function(target.value_and_grad, autograph=False)
    captured = evaluation.get_concrete_function(tf.TensorSpec(z.shape, z.dtype)).captured_inputs
    return [tensor for tensor in captured if tensor.dtype.is_floating or tensor.dtype.is_complex]


def _alike(z, rho, eps, alpha):
    """The two, both of the shape that broadcasting gives the state after a step."""
    tensors = z, rho, eps, alpha[..., None]
    known = functools.reduce(tf.broadcast_static_shape, [t.shape for t in tensors])
    shape = functools.reduce(tf.broadcast_dynamic_shape, [tf.shape(t) for t in tensors])
    return [t if t.shape == known else tf.ensure_shape(tf.broadcast_to(t, shape), known) for t in (z, rho)]
