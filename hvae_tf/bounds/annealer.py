"""The graphs of annealed importance sampling for one model: traced once, whatever the batch and the settings."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from hvae_tf.bounds.annealing import AISResult, ais, reverse_ais, tune_step_sizes
from hvae_tf.densities import DiagonalGaussian, FullGaussian, Gaussian
from hvae_tf.targets.sharded import ShardedTarget
from hvae_tf.targets.target import Target
from hvae_tf.targets.temperatures import temperature_schedule


class Annealer:
    """`tune_step_sizes`, `ais` and `reverse_ais` for batches of data of any size, with any C, T and L.

    The noise of a batch is a function of the seed and of the batch's size. Evaluations are shared out among the cores
    (`hvae_tf.use_cores`).

    Args:
        make_target: ``(*data) -> Target`` whose z is ``[C, B, l]``, such as a model's ``lambda x: DecoderTarget(...)``.
        data_signature: A `tf.TensorSpec` ``[None, ...]`` for each of the data.
        event_size: l.
        dtype: Of z.
        start: The kind of Gaussian that chains start from: `DiagonalGaussian` or `FullGaussian`.
    """

    def __init__(
        self,
        make_target: Callable[..., Target],
        data_signature: Sequence[tf.TensorSpec],
        event_size: int,
        dtype=tf.float32,
        *,
        start: type[Gaussian] = DiagonalGaussian,
    ):
        self.event_size = event_size
        self.dtype = tf.as_dtype(dtype)
        self.start = start
        data = tuple(data_signature)
        latents = tf.TensorSpec([None, event_size], self.dtype)
        vector, matrix = tf.TensorSpec([None], self.dtype), tf.TensorSpec([None, None], self.dtype)
        count, pair = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
        matrices = tf.TensorSpec([None, event_size, event_size], self.dtype)
        start_signature = start(latents, matrices if start is FullGaussian else latents)

        def graph(function, *more):
            def run(data, start, seed, temperatures, num_chains, num_leapfrog_steps, *more):
                target = ShardedTarget(make_target, data, event_size)
                settings = {"temperatures": temperatures, "num_chains": num_chains}
                return function(target, start, *more, seed, num_leapfrog_steps=num_leapfrog_steps, **settings)

            signature = (data, start_signature, pair, vector, count, count, *more)
            return tf.function(run, input_signature=signature, autograph=False)

        def with_step_sizes(function):
            def run(target, start, step_sizes, *args, **kwargs):
                return function(target, start, *args, step_sizes=step_sizes, **kwargs)

            return run

        self._tune = graph(lambda target, start, every, *args, **kwargs: tune_step_sizes(
            target, start, *args, every=every, **kwargs), count)  # fmt: skip
        self._forward = graph(with_step_sizes(ais), matrix)
        self._reverse = graph(with_step_sizes(reverse_ais), matrix, latents)

    @property
    def num_traces(self) -> dict[str, int]:
        """How many graphs there are of each kind."""
        graphs = {"tune": self._tune, "forward": self._forward, "reverse": self._reverse}
        return {kind: graph.experimental_get_tracing_count() for kind, graph in graphs.items()}

    def _settings(self, data, start, seed, temperatures, num_chains, num_leapfrog_steps):
        if isinstance(temperatures, (int, np.integer)):
            temperatures = temperature_schedule(int(temperatures))
        seed = tf.convert_to_tensor([0, seed] if isinstance(seed, (int, np.integer)) else seed, tf.int32)
        start = self.start(*(tf.cast(tensor, self.dtype) for tensor in start))
        counts = (tf.constant(count, tf.int32) for count in (num_chains, num_leapfrog_steps))
        return tuple(data), start, seed, tf.cast(np.asarray(temperatures), self.dtype), *counts

    def tune(self, data, start, seed, *, temperatures=100, num_chains=8, num_leapfrog_steps=5, every=1) -> tf.Tensor:
        """See `tune_step_sizes`: ``[T - 1, B]``.

        Args:
            data: The tensors that `make_target` takes, ``[B, ...]``.
            start: A Gaussian of ``[B, l]``, of this annealer's kind; `standard_normal` for the prior.
            seed: An int, or an int32 pair.
            temperatures: T, or b_0..b_T.
            num_chains: C.
            num_leapfrog_steps: L.
            every: See there.
        """
        settings = self._settings(data, start, seed, temperatures, num_chains, num_leapfrog_steps)
        return self._tune(*settings, tf.constant(every, tf.int32))

    def forward(
        self, data, start, seed, *, step_sizes, temperatures=100, num_chains=8, num_leapfrog_steps=5
    ) -> AISResult:
        """See `ais`; data and start as in `tune`. No warning is given: see `warn_of_few_chains`."""
        settings = self._settings(data, start, seed, temperatures, num_chains, num_leapfrog_steps)
        return self._forward(*settings, step_sizes)

    def reverse(
        self, data, start, z_exact, seed, *, step_sizes, temperatures=100, num_chains=8, num_leapfrog_steps=5
    ) -> AISResult:
        """See `reverse_ais`; data and start as in `tune`."""
        settings = self._settings(data, start, seed, temperatures, num_chains, num_leapfrog_steps)
        return self._reverse(*settings, step_sizes, z_exact)
