"""What a trained model is asked for: samples, reconstructions, latents, bounds and likelihoods, batch by batch."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.bounds.importance import Estimate, LogMeanExp
from hvae_tf.checks import check_count
from hvae_tf.models.conditioning import Conditioned, parts, split
from hvae_tf.models.events import ModelParts, fold_in, seed_pair

# one stream of noise for each use, so that equal seeds do not make them alike; 0 and 1 are training and evaluation
_SAMPLE, _RECONSTRUCT, _POSTERIOR, _ELBO, _LOG_LIKELIHOOD = range(2, 7)


class Inference(ModelParts):
    """The public methods of a `FlowVAE` that take arrays and give arrays.

    Results are functions of the seed (and of chunk_size and batch_size). Events are checked for the model's shape and
    for what its likelihood accepts: ValueError says in one line what was expected.
    """

    def sample(self, n: int, seed: int = 0, draw: bool = False, batch_size: int = 100, *, y=None) -> np.ndarray:
        """New events ``[n, *event_shape]``: z from the prior, then the mean of p(x|z), for binary pixels probabilities.

        Args:
            n: How many, >= 1.
            seed: What is drawn is a function of it.
            draw: Whether to draw x from p(x|z) instead of giving its mean.
            batch_size: Events decoded at once, >= 1.
            y: Contexts of a conditional model, ``[n, *context_shape]``, or one for all.

        Raises:
            ValueError: If n or batch_size is below 1, or y is not what the model takes.
        """
        check_count("n", n)
        check_count("batch_size", batch_size)
        context = self._context(y, n)
        z_seed, x_seed = tf.unstack(tf.random.experimental.stateless_split(seed_pair(seed, _SAMPLE), 2))
        noise = tf.random.stateless_normal([n, self.latent_size], z_seed, dtype=self.variable_dtype)
        z = self.prior.sample(noise)
        if not draw:
            return self._decoded(z, context, batch_size)
        return np.concatenate(
            [
                self._decode_sample_graph(z[i : i + batch_size], fold_in(x_seed, i), *_rows(context, i, batch_size))
                for i in range(0, n, batch_size)
            ]
        )

    def sample_posterior(
        self, x, num_samples: int = 1, seed: int = 0, chunk_size: int = 10, batch_size: int = 100, *, y=None
    ) -> np.ndarray:
        """Samples of the flow's posterior, z_K given x: ``[num_samples, B, l]``.

        Args:
            x: ``[B, *event_shape]``.
            num_samples: For each event, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each event taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Events taken at once.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        batches = self._draws(
            self._posterior_graph, self._data(x, y), _POSTERIOR, num_samples, seed, chunk_size, batch_size
        )
        return np.concatenate([np.concatenate(list(chunks)) for chunks in batches], axis=1)

    def reconstruct(self, x, seed: int | None = None, batch_size: int = 100, *, y=None) -> np.ndarray:
        """The mean of p(x'|z_K), ``[B, *event_shape]``, for binary pixels probabilities.

        Args:
            x: ``[B, *event_shape]``.
            seed: None starts the flow from the centre of q0(z_0|x), without noise, as `predict` does; a number draws
                z_K from the flow's posterior instead.
            batch_size: Events taken at once.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Raises:
            ValueError: If x is not of the model's shape, or batch_size is below 1.
        """
        data = self._data(x, y)
        check_count("batch_size", batch_size)
        if seed is None:
            return self._in_batches(self._reconstruct_graph, data, batch_size)
        z = [
            self._posterior_graph(*batch, tf.constant(1), batch_seed)[0]
            for batch, batch_seed in self._batches(data, seed_pair(seed, _RECONSTRUCT), batch_size)
        ]
        return self._decoded(np.concatenate(z), data[1:] if isinstance(data, Conditioned) else (), batch_size)

    def elbo(
        self, x, num_samples: int = 1, seed: int = 0, chunk_size: int = 10, batch_size: int = 100, *, y=None
    ) -> np.ndarray:
        """The ELBO of each event in nats, ``[B]``: a mean over samples, of the Hamiltonian ELBO (12) where it applies.

        Args:
            x: ``[B, *event_shape]``.
            num_samples: For each event, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each event taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Events taken at once.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        data = self._data(x, y)
        batches = self._draws(self._elbo_graph, data, _ELBO, num_samples, seed, chunk_size, batch_size)
        return np.concatenate([np.concatenate(list(chunks)).mean(axis=0) for chunks in batches])

    def log_likelihood(
        self, x, num_samples: int = 1000, seed: int = 0, chunk_size: int = 10, batch_size: int = 100, verbose: int = 0,
        *, y=None,
    ) -> Estimate:  # fmt: skip
        """Log p(x) of each event in nats by importance sampling from the flow's posterior, with standard errors.

        Args:
            x: ``[B, *event_shape]``.
            num_samples: S, for each event, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each event taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Events taken at once; the encoder runs once for each.
            verbose: 1 shows a progress bar, 0 nothing.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Returns:
            `Estimate` of arrays ``[B]``; in expectation the value is a lower bound of log p(x). Read there when its
            standard error can be trusted.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        batches = self._draws(
            self._log_weight_graph,
            self._data(x, y),
            _LOG_LIKELIHOOD,
            num_samples,
            seed,
            chunk_size,
            batch_size,
            verbose,
        )
        estimates = [LogMeanExp.over(chunks).estimate() for chunks in batches]
        return Estimate(*(np.concatenate(parts) for parts in zip(*estimates, strict=True)))

    def _decoded(self, z, context, batch_size) -> np.ndarray:
        """The means of p(x|z) ``[n, *event_shape]`` at ``[n, l]``."""
        starts = range(0, len(z), batch_size)
        return np.concatenate(
            [self._decode_graph(z[i : i + batch_size], *_rows(context, i, batch_size)) for i in starts]
        )

    def _in_batches(self, graph, data, batch_size) -> np.ndarray:
        """What `graph` makes of data that are checked already, ``[B, ...]``."""
        return np.concatenate([graph(batch) for batch in split(data, batch_size)])

    def _draws(self, graph, data, stream, num_samples, seed, chunk_size, batch_size, verbose=0) -> Iterator:
        """For each batch of events an iterator of what `graph` gives for each chunk of samples, ``[S, B, ...]``."""
        num_samples, chunk_size = check_count("num_samples", num_samples), check_count("chunk_size", chunk_size)
        sizes = [tf.constant(min(chunk_size, num_samples - start)) for start in range(0, num_samples, chunk_size)]
        batch_size = check_count("batch_size", batch_size)
        x, _ = parts(data)
        bar = keras.utils.Progbar(-(-len(x) // batch_size) * len(sizes), verbose=verbose, unit_name="chunk")

        def chunks(batch, batch_seed):
            for chunk, size in enumerate(sizes):
                yield graph(*batch, size, fold_in(batch_seed, chunk))
                bar.add(1)

        return (chunks(*batch) for batch in self._batches(data, seed_pair(seed, stream), batch_size))

    def _batches(self, data, seed, batch_size):
        """Yields ((data, q0), seed) for each batch of data, which are checked already."""
        for index, batch in enumerate(split(data, batch_size)):
            yield (batch, self._encode_graph(batch)), fold_in(seed, index * batch_size)


def _rows(arrays, start, count):
    return [array[start : start + count] for array in arrays]
