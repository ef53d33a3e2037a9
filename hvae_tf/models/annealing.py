"""The judge of a model: log p(x) of its decoder by annealed importance sampling, and both sides of it by BDMC.

Importance sampling from a model's own posterior falls short by an amount that hangs on how good that posterior is; long
annealed chains fall short by much less, and for data that the model simulates the shortfall is bounded (BDMC). Nothing
but the decoder is judged: an encoder only says where the chains start. See `hvae_tf.bounds.annealing`.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.bounds.annealer import Annealer
from hvae_tf.bounds.annealing import AISResult, Bounds, bidirectional_bounds, warn_of_few_chains
from hvae_tf.bounds.importance import Estimate
from hvae_tf.checks import check_count
from hvae_tf.densities import DiagonalGaussian, FullGaussian, Gaussian, standard_normal
from hvae_tf.models.conditioning import Conditioned, parts, split
from hvae_tf.models.events import ModelParts, fold_in, seed_pair

_ANNEAL, _SIMULATE = 7, 8  # streams of noise; `Inference` has those below
_TUNE, _FORWARD, _REVERSE = range(3)

STARTS = ("encoder", "prior")


class AnnealingSettings(NamedTuple):
    """How long the chains are.

    Attributes:
        num_chains: C, for each event.
        num_temperatures: T.
        num_leapfrog_steps: L, between two temperatures.
        tune_every: The pilot stops at every so manieth temperature, see `tune_step_sizes`.
    """

    num_chains: int
    num_temperatures: int
    num_leapfrog_steps: int
    tune_every: int

    def check(self) -> "AnnealingSettings":
        """Itself, or ValueError if a number is below 1."""
        for name, value in self._asdict().items():
            check_count(name, value)
        return self


class Annealing(ModelParts):
    """The methods of a `FlowVAE` that judge its decoder."""

    _annealing_graphs: tuple[Annealer, ...] = ()  # one for each kind of start

    def annealed_log_likelihood(
        self, x, start: str = "encoder", *, num_chains: int = 8, num_temperatures: int = 100,
        num_leapfrog_steps: int = 5, tune_every: int = 2, seed: int = 0, batch_size: int = 100, verbose: int = 0,
        y=None,
    ) -> AISResult:  # fmt: skip
        """Log p(x) of each event in nats by annealed importance sampling, a lower bound in expectation.

        Step sizes are tuned for each event and temperature on a pilot of as many chains, then frozen; the chains that
        count have noise of their own. The evaluations of the decoder for each event: C ((T - 1) L + 1), and for the
        pilot that over `tune_every`.

        Args:
            x: ``[B, *event_shape]``.
            start: ``"encoder"`` begins at q0(z|x); ``"prior"`` at N(0, I), which needs some ten times as many
                temperatures, but cannot share a blind spot with the encoder, and is far nearer where that is untrained.
            num_chains: C, for each event.
            num_temperatures: T, on the sigmoid schedule.
            num_leapfrog_steps: L, between two temperatures.
            tune_every: The pilot stops at every so manieth temperature only.
            seed: What is drawn is a function of it (and of batch_size).
            batch_size: Events at once; C * batch_size bounds the memory, which does not grow with T.
            verbose: 1 shows a progress bar, 0 nothing.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Returns:
            `AISResult` of arrays: log_weights ``[C, B]``, estimate of ``[B]``, acceptance ``[T - 1, B]``, ess ``[B]``.

        Raises:
            ValueError: If x is not of the model's shape, `start` is unknown, or a number is below 1.
        """
        data = self._data(x, y)
        if start not in STARTS:
            raise ValueError(f"unknown start {start!r}; accepted: {', '.join(STARTS)}")
        settings = AnnealingSettings(num_chains, num_temperatures, num_leapfrog_steps, tune_every).check()
        check_count("batch_size", batch_size)
        pair, results = seed_pair(seed, _ANNEAL), []
        bar = keras.utils.Progbar(-(-len(parts(data)[0]) // batch_size), verbose=verbose, unit_name="batch")
        for index, batch in enumerate(split(data, batch_size)):
            results.append(self._annealed(batch, start, settings, fold_in(pair, index * batch_size)))
            bar.add(1)
        found = _joined(results)
        if num_chains > 1:
            warn_of_few_chains(found.ess)
        return found

    def bdmc(
        self, num_simulated: int = 100, start: str = "encoder", *, num_chains: int = 8, num_temperatures: int = 100,
        num_leapfrog_steps: int = 5, tune_every: int = 2, seed: int = 0, batch_size: int = 100, verbose: int = 0,
        y=None,
    ) -> Bounds:  # fmt: skip
        """Bounds on log p(x) from both sides, for events that the model simulates: z ~ p(z), x ~ p(x|z).

        Bidirectional Monte Carlo (Grosse, Ghahramani & Adams 2015; Wu et al. 2017): z is an exact draw of p(z|x), from
        which chains run back. The gap, non-negative in expectation, is at least the error of both bounds together; for
        data that are not simulated it is a sign, not a bound.

        Args:
            num_simulated: How many events.
            start: See `annealed_log_likelihood`, also for what follows.
            num_chains: C.
            num_temperatures: T.
            num_leapfrog_steps: L.
            tune_every: Of the pilot.
            seed: What is drawn is a function of it (and of batch_size).
            batch_size: Events at once.
            verbose: 1 shows a progress bar, 0 nothing.
            y: Contexts of a conditional model, ``[num_simulated, *context_shape]``, or one for all.

        Returns:
            `Bounds`, estimates of ``[num_simulated]``: lower, upper, gap.

        Raises:
            ValueError: See `annealed_log_likelihood`.
        """
        check_count("num_simulated", num_simulated)
        if start not in STARTS:
            raise ValueError(f"unknown start {start!r}; accepted: {', '.join(STARTS)}")
        settings = AnnealingSettings(num_chains, num_temperatures, num_leapfrog_steps, tune_every).check()
        check_count("batch_size", batch_size)
        context = self._context(y, num_simulated)
        pair, forward, reverse = seed_pair(seed, _SIMULATE), [], []
        bar = keras.utils.Progbar(-(-num_simulated // batch_size), verbose=verbose, unit_name="batch")
        for index in range(0, num_simulated, batch_size):
            seeds = tf.random.experimental.stateless_split(fold_in(pair, index), 3)
            size = min(batch_size, num_simulated - index)
            noise = tf.random.stateless_normal([size, self.latent_size], seeds[0], dtype=self.variable_dtype)
            z = self.prior.sample(noise)
            of_batch = [tf.convert_to_tensor(array[index : index + size]) for array in context]
            x = self._decode_sample_graph(z, seeds[1], *of_batch)
            both = self._annealed(Conditioned(x, *of_batch) if of_batch else x, start, settings, seeds[2], z)
            forward.append(both[0])
            reverse.append(both[1])
            bar.add(1)
        found = bidirectional_bounds(_joined(forward), _joined(reverse))
        if num_chains > 1:
            warn_of_few_chains(found.gap.effective_sample_size)
        return found

    def _annealed(self, data, start, settings, seed, z_exact=None):
        """The forward chains of a batch, or, from exact posterior draws, forward and reverse chains."""
        pi_0 = self._start(data, start)
        annealer, tensors = self._annealer(pi_0), tf.nest.flatten(data)
        lengths = {
            "temperatures": settings.num_temperatures,
            "num_chains": settings.num_chains,
            "num_leapfrog_steps": settings.num_leapfrog_steps,
        }
        step_sizes = annealer.tune(tensors, pi_0, fold_in(seed, _TUNE), every=settings.tune_every, **lengths)
        lengths["step_sizes"] = step_sizes
        forward = annealer.forward(tensors, pi_0, fold_in(seed, _FORWARD), **lengths)
        if z_exact is None:
            return forward
        return forward, annealer.reverse(tensors, pi_0, z_exact, fold_in(seed, _REVERSE), **lengths)

    def _start(self, data, start) -> Gaussian:
        if start == "encoder":
            return self._encode_graph(data)
        return standard_normal([len(parts(data)[0]), self.latent_size], tf.as_dtype(self.variable_dtype))

    def _annealer(self, start: Gaussian) -> Annealer:
        """The graphs for starts of this kind, made when they are first asked for."""
        for annealer in self._annealing_graphs:
            if isinstance(start, annealer.start):
                return annealer
        kind = FullGaussian if isinstance(start, FullGaussian) else DiagonalGaussian
        dtype = tf.as_dtype(self.variable_dtype)
        annealer = Annealer(self.target, tf.nest.flatten(self._data_spec), self.latent_size, dtype, start=kind)
        self._annealing_graphs = (*self._annealing_graphs, annealer)
        return annealer


def _joined(results: list[AISResult]) -> AISResult:
    """The batches of a result, as arrays; a batch's members stand on the last axis throughout."""
    weights, estimates, acceptances = zip(*results, strict=True)
    estimate = Estimate(*(np.concatenate(parts) for parts in zip(*estimates, strict=True)))
    return AISResult(np.concatenate(weights, axis=-1), estimate, np.concatenate(acceptances, axis=-1))
