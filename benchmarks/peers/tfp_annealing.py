"""Annealed chains of TensorFlow Probability, with a kernel of their own at every temperature, so that they are right.

`tfp.mcmc.sample_annealed_importance_chain` keeps its kernel's log-density and gradient of the temperature before, and
is biased by it; `tests/bounds/test_annealing.py` shows that. Made anew and bootstrapped at each temperature, TFP's
kernel leaves the right density invariant, for an evaluation more each time; the weight takes another.
"""

import tensorflow as tf
import tensorflow_probability as tfp


def annealed_log_weights(log_start, log_target, z, seed, b, step_sizes, num_leapfrog_steps):
    """Log w of chains along temperatures b, up or down.

    Args:
        log_start: ``[C, B, l] -> [C, B]``, log pi_0.
        log_target: ``[C, B, l] -> [C, B]``, log pi_1 = log p(x, z).
        z: ``[C, B, l]``, where the chains start.
        seed: An int32 pair.
        b: ``[T + 1]``, from 0 to 1 or from 1 to 0.
        step_sizes: ``[T - 1, B, l]``, in the order of b.
        num_leapfrog_steps: L.

    Returns:
        ``[C, B]``.
    """
    increments = b[1:] - b[:-1]

    def log_ratio(z):
        return log_target(z) - log_start(z)

    def body(t, z, log_weights):
        at = b[t + 1]
        kernel = tfp.mcmc.HamiltonianMonteCarlo(
            lambda z: (1.0 - at) * log_start(z) + at * log_target(z),
            step_size=step_sizes[t], num_leapfrog_steps=num_leapfrog_steps,
        )  # fmt: skip
        z, _ = kernel.one_step(z, kernel.bootstrap_results(z), seed=tf.random.experimental.stateless_fold_in(seed, t))
        return t + 1, z, log_weights + increments[t + 1] * log_ratio(z)

    state = tf.constant(0), z, increments[0] * log_ratio(z)
    *_, log_weights = tf.while_loop(lambda t, *_: t < tf.shape(b)[0] - 2, body, state, parallel_iterations=1)
    return log_weights
