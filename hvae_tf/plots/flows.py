"""What a flow is, and what it does to one event: tempering, step sizes, energy on the way."""

from typing import Any

import numpy as np
import tensorflow as tf

from hvae_tf.flows.chain import StochasticFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.plots.drawing import figure


def tempering(flow) -> Any:
    """The inverse temperatures beta_0..beta_K of a Hamiltonian flow's momentum, as they stand.

    Args:
        flow: A `HamiltonianFlow`, or a model of one.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If the flow is another.
    """
    flow = getattr(flow, "flow", flow)
    if not isinstance(flow, HamiltonianFlow) or flow.batch_shape:
        raise ValueError(f"{type(flow).__name__} has no tempering to draw; expected a HamiltonianFlow without repeats")
    inv_sqrt_beta_0, alphas = flow.schedule()
    # alpha_k = sqrt(beta_{k-1} / beta_k)
    beta = float(inv_sqrt_beta_0) ** -2 / np.cumprod([1.0, *(float(alpha) ** 2 for alpha in alphas)])
    fig = figure(4.6, 3.2)
    axis = fig.subplots()
    axis.plot(beta, "o-", ms=4)
    axis.axhline(1.0, color="black", lw=0.8, ls="--")
    axis.set(xlabel="leapfrog steps done, k", ylabel=r"inverse temperature $\beta_k$", ylim=(0.0, 1.05))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.set_title(f"Tempering: {type(flow.tempering).__name__}", fontsize=10)
    return fig


def step_sizes(flow) -> Any:
    """The step sizes of a flow, for each dimension, and for each step where it has them so.

    Args:
        flow: A flow whose `diagnostics` have ``step_sizes`` ``[..., l]``, or where all dimensions share them a number
            or, with a `step_size_per` other than ``"flow"``, ``[K]``; or a model of one.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If the flow has none.
    """
    flow = getattr(flow, "flow", flow)
    found = flow.diagnostics().get("step_sizes") if hasattr(flow, "diagnostics") else None
    if found is None:
        raise ValueError(f"{type(flow).__name__} has no step sizes to draw")
    values, per = np.asarray(found), getattr(flow, "step_size_per", "flow")
    shared = values.ndim < (1 if per == "flow" else 2)  # by all dimensions
    along = "dimension of z"
    if shared:
        along = "leapfrog step" if values.ndim else "one for all dimensions and steps"
    values = values.reshape(-1, *values.shape[-1:] or (1,))
    steps, size = values.shape
    fig = figure(max(4.6, min(10.0, 0.16 * size + 2.0)), 3.2)
    axis = fig.subplots()
    if steps == 1:
        axis.bar(np.arange(1, size + 1), values[0], width=0.8 if size > 1 else 0.3)
        axis.set(xlabel=along, ylabel="step size")
        if size == 1:
            axis.set(xticks=[1] if np.ndim(found) else [], xlim=(0.0, 2.0))
    else:
        extent = (0.5, size + 0.5, 0.5, steps + 0.5)
        drawn = axis.imshow(values, aspect="auto", origin="lower", interpolation="nearest", extent=extent, vmin=0.0)
        axis.set(xlabel=along, ylabel="repeat" if per == "flow" else per)
        axis.yaxis.get_major_locator().set_params(integer=True)
        fig.colorbar(drawn, ax=axis, label="step size")
    if steps > 1 or size > 1:
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_title("Step sizes", fontsize=10)
    return fig


def energy(model, x, num_draws: int = 16, seed: int = 0, *, y=None) -> Any:
    """Energy along the flow's way from q0, for one event: potential, kinetic, and what their sum gained.

    U = -log p(x, z), kinetic |rho|^2 / 2, in nats. Without tempering the sum stays as it was up to the error of
    leapfrog; tempering takes energy out after each step; new momenta of a stochastic flow are gaps in the lines.

    Args:
        model: A model with a `HamiltonianFlow` or a `StochasticFlow`.
        x: ``[*event_shape]``.
        num_draws: Ways, each from a draw of q0 with momenta of its own.
        seed: Of the draws.
        y: The context of a conditional model, ``[*context_shape]``.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ValueError: If the flow has no momentum, or x is not of the model's shape.
    """
    steps, log_joint, rho = _way(
        model, np.asarray(x)[None], None if y is None else np.asarray(y)[None], num_draws, seed
    )
    potential, kinetic = -log_joint, 0.5 * np.sum(np.square(rho), axis=-1)
    total = potential + kinetic
    fig = figure(10.0, 3.3)
    named = (
        (potential, r"potential $-\log p(x, z)$, nats"),
        (kinetic, r"kinetic $|\rho|^2/2$, nats"),
        (total - total[0], "their sum, less that of the start, nats"),
    )
    for axis, (values, title) in zip(fig.subplots(1, 3), named, strict=True):
        axis.plot(steps, values, color="C0", alpha=0.35, lw=0.8)
        axis.plot(steps, values.mean(axis=1), color="black", lw=1.6, marker=".")
        axis.set(xlabel="leapfrog steps done")
        axis.set_title(title, fontsize=10)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    fig.suptitle(f"Energy along the flow: {num_draws} draws for one event, and their mean", fontsize=10)
    return fig


def _way(model, x, y, num_draws, seed):
    """(steps done ``[n]``, log p(x, z) ``[n, S]``, momentum ``[n, S, l]``); NaN stands between two transitions."""
    model.check_input(x)
    x = tf.cast(x, model.variable_dtype)
    q0, target, flow = model.posterior(x, y), model.target(x, y), model.flow
    seeds = tf.random.experimental.stateless_split(tf.constant([seed, 0], tf.int32), 2)
    noise = tf.random.stateless_normal([num_draws, 1, model.latent_size], seeds[0], dtype=model.variable_dtype)
    z, noise = q0.sample(noise), flow.noise((num_draws, 1), seeds[1])
    if isinstance(flow, HamiltonianFlow):
        rho, _ = flow.momentum.draw(noise, flow.schedule())
        states: list[Any] = flow.trajectory(target, z, rho)
        steps = [float(k) for k in range(len(states))]
    elif isinstance(flow, StochasticFlow):
        states, steps = [], []
        context = tf.concat([q0.mean, tf.math.log(q0.standard_deviation)], axis=-1)
        for t, transition in enumerate(flow.transitions(target, z, noise, q0=q0, context=context)):
            states += [transition.start, transition.end, None]
            steps += [t * flow.num_leapfrog_steps, (t + 1) * flow.num_leapfrog_steps, float("nan")]
        states, steps = states[:-1], steps[:-1]
    else:
        raise ValueError(f"{type(flow).__name__} has no momentum, so no energy to draw; expected a HamiltonianFlow")
    nothing = np.full((num_draws, 1), np.nan), np.full((num_draws, 1, model.latent_size), np.nan)
    pairs = [nothing if state is None else (state.log_joint.numpy(), state.rho.numpy()) for state in states]
    log_joint, rho = (np.stack(parts) for parts in zip(*pairs, strict=True))
    return steps, log_joint[..., 0], rho[..., 0, :]
