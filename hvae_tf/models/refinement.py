"""Latents moved towards the exact posterior: HMC from a model's own posterior on log p(x, z), with an accept step.

Every move leaves p(z|x) as it is, so no move takes the chains' law further from it in Kullback-Leibler divergence. The
price is the law itself: where a chain stands has no density that could be written down, so there is no bound.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvae_tf.checks import check_count
from hvae_tf.dynamics.chains import Moves, hmc_moves, tune_step_size
from hvae_tf.dynamics.metropolis import ChainState, initial_chains
from hvae_tf.models.conditioning import parts
from hvae_tf.models.events import ModelParts, fold_in, gaussian_spec, seed_pair
from hvae_tf.targets.sharded import ShardedTarget

_REFINE = 9  # its stream of noise; `Inference` and `Annealing` have those below
_PILOT_CHAINS, _PILOT, _MOVES = range(3)


class Refined(NamedTuple):
    """Refined latents, as arrays.

    Attributes:
        z: ``[S, B, l]``, where the chains ended.
        log_joint: ``[S, B]``, log p(x, z) there, in nats.
        acceptance: ``[S, B]``, each chain's mean probability of acceptance.
        step_size: ``[B]``, eps in units of the encoder's standard deviations.
    """

    z: np.ndarray
    log_joint: np.ndarray
    acceptance: np.ndarray
    step_size: np.ndarray


class Refinement(ModelParts):
    """The method `refine` of a `FlowVAE`."""

    _refine_graphs: tuple = ()

    def refine(
        self, x, z_0=None, *, num_moves: int = 5, num_leapfrog_steps: int = 5, step_size: float | None = None,
        num_samples: int = 1, seed: int = 0, batch_size: int = 100, y=None,
    ) -> Refined:  # fmt: skip
        """Moves latents by M moves of HMC on log p(x, z), each chain accepting by itself.

        Step sizes are eps times the encoder's standard deviations, which is the mass matrix diag(sigma^-2). The decoder
        is evaluated M L + 1 times, with its gradient.

        Args:
            x: ``[B, *event_shape]``.
            z_0: ``[S, B, l]`` or ``[B, l]``, where chains start; None for draws of the model's posterior.
            num_moves: M, >= 1.
            num_leapfrog_steps: L, >= 1, of each move.
            step_size: eps > 0; None for what the model was trained with, or, where it was not, for one that a pilot of
                other chains finds, for each batch.
            num_samples: S, if `z_0` is not given.
            seed: What is drawn is a function of it (and of batch_size).
            batch_size: Events at once; S * batch_size bounds the memory.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Returns:
            `Refined`.

        Raises:
            ValueError: If x or z_0 is not of the model's shape, z_0 is not finite, or a number is out of range.
        """
        data = self._data(x, y)
        num_events = len(parts(data)[0])
        counts = [
            tf.constant(check_count("num_moves", num_moves)),
            tf.constant(check_count("num_leapfrog_steps", num_leapfrog_steps)),
        ]
        batch_size = check_count("batch_size", batch_size)
        if z_0 is None:
            z_0 = self.sample_posterior(x, num_samples, seed, batch_size=batch_size, y=y)
        z_0 = np.asarray(z_0, self.variable_dtype)
        z_0 = z_0[None] if z_0.ndim == 2 else z_0
        if z_0.ndim != 3 or not len(z_0) or z_0.shape[1:] != (num_events, self.latent_size):
            expected = f"[S, {num_events}, {self.latent_size}], S for each event"
            raise ValueError(f"z_0 has shape {z_0.shape}; expected {expected}")
        if not np.all(np.isfinite(z_0)):
            raise ValueError("z_0 holds values that are no finite numbers; expected where chains can start")
        if step_size is None:
            step_size = self._trained_step_size()
        elif not (np.ndim(step_size) == 0 and np.isfinite(step_size) and step_size > 0):
            raise ValueError(f"step_size is {step_size!r}; expected a positive number, or None")
        if not self._refine_graphs:
            self._refine_graphs = self._make_refine_graphs()
        tune, move = self._refine_graphs
        found = []
        for number, ((batch, q0), pair) in enumerate(self._batches(data, seed_pair(seed, _REFINE), batch_size)):
            eps = tune(batch, q0, counts[1], pair) if step_size is None else tf.constant(step_size, q0.mean.dtype)
            z = tf.convert_to_tensor(z_0[:, number * batch_size : (number + 1) * batch_size])
            found.append((*move(batch, q0, z, eps, *counts, fold_in(pair, _MOVES)), np.full(z.shape[1], eps)))
        z, log_joint, acceptance, eps = zip(*found, strict=True)
        return Refined(
            np.concatenate(z, axis=1), np.concatenate(log_joint, axis=1), np.concatenate(acceptance, axis=1),
            np.concatenate(eps),
        )  # fmt: skip

    def _trained_step_size(self) -> float | None:
        """The step size that came of training; None for a model that has none."""
        return None

    def _make_refine_graphs(self):
        """Two graphs for batches of any size, with any M and L: one that tunes eps, one that moves."""
        dtype = tf.as_dtype(self.variable_dtype)
        batch = self._data_spec, gaussian_spec(self.encoder, dtype)
        latents = tf.TensorSpec([None, None, self.latent_size], dtype)
        count, pair = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)

        def tune(data, q0, num_leapfrog_steps, seed):
            z = self._posterior_samples(data, q0, 1, fold_in(seed, _PILOT_CHAINS))
            state = initial_chains(self._density(data), z)
            return tune_step_size(
                self._density(data), state, q0.standard_deviation, fold_in(seed, _PILOT),
                num_leapfrog_steps=num_leapfrog_steps,
            )  # fmt: skip

        def move(data, q0, z, step_size, num_moves, num_leapfrog_steps, seed):
            state = initial_chains(self._density(data), z)
            moves = self._moves(data, q0, state, seed, step_size, num_moves, num_leapfrog_steps)
            return moves.state.z, moves.state.evaluation.log_joint, moves.acceptance

        return (
            tf.function(tune, input_signature=(*batch, count, pair), autograph=False),
            tf.function(
                move, input_signature=(*batch, latents, tf.TensorSpec([], dtype), count, count, pair), autograph=False
            ),
        )

    def _density(self, data):
        """What chains of z ``[S, B, l]`` evaluate."""
        return ShardedTarget(self.target, tf.nest.flatten(data), self.latent_size).value_and_grad

    def _moves(
        self, data, q0, state: ChainState, seed, step_size, num_moves, num_leapfrog_steps
    ) -> Moves:  # fmt: skip
        """Moves of chains that stand at `state`, with steps in units of q0's standard deviations."""
        return hmc_moves(
            self._density(data), state, seed, num_moves=num_moves, num_leapfrog_steps=num_leapfrog_steps,
            step_size=tf.stop_gradient(step_size * q0.standard_deviation),
        )  # fmt: skip
