"""One move of Riemannian Hamiltonian Monte Carlo (Girolami & Calderhead 2011), with Metropolis acceptance.

p ~ N(0, G(z));  (z', p') = L steps from (z, p);  z' is taken with probability min(1, exp(H(z, p) - H(z', p'))),
H(z, p) = -log pi(z) + 1/2 log |G(z)| + 1/2 p^T G(z)^-1 p.

A chain accepts by itself. A proposal whose equations could not be solved is refused. That leaves pi invariant only if
the way back from there would be refused too, which the solver does not promise: keep such proposals rare.
"""

from typing import Any

import tensorflow as tf

from hvae_tf.dynamics.metric_leapfrog import MetricIntegrator
from hvae_tf.dynamics.metropolis import Move, accept, kinetic_energy
from hvae_tf.targets.target import Target


def metric_move(
    target: Target, integrator: MetricIntegrator, state: Any, seed, *, step_size, num_leapfrog_steps
) -> Move:
    """Moves every chain once; nothing is differentiated through it.

    Args:
        target: pi, unnormalised.
        integrator: The step, and with it the metric.
        state: Where the chains stand: ``integrator.init(target, z, rho)``, whatever rho, or what a move gave.
        seed: An int32 pair; the move is a function of it.
        step_size: eps > 0, a scalar. It must not depend on where the chains have been.
        num_leapfrog_steps: L >= 1.

    Returns:
        `Move`, its state being the integrator's.
    """
    momentum_seed, uniform_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    rho = tf.random.stateless_normal(tf.shape(state.z), momentum_seed, dtype=state.z.dtype)
    start = state._replace(rho=tf.ensure_shape(rho, state.z.shape))

    def step(i, current):
        new = integrator.step(target, current, step_size)
        return i + 1, tf.nest.map_structure(lambda part, like: tf.ensure_shape(part, like.shape), new, current)

    _, end = tf.while_loop(lambda i, _: i < num_leapfrog_steps, step, (tf.constant(0), start), parallel_iterations=1)
    # in rho = L^-1 p, of which N(0, I) is the law whatever z, the quotient of |G| is part of the Jacobian
    proposed = end.log_joint - kinetic_energy(end.rho) + integrator.log_det(end)
    current = start.log_joint - kinetic_energy(start.rho) + integrator.log_det(start)
    proposed = tf.where(integrator.failed(end), tf.constant(-float("inf"), proposed.dtype), proposed)
    return accept(uniform_seed, end, start, proposed, current)
