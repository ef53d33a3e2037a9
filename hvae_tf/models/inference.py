"""What a trained model is asked for: samples, reconstructions, latents, bounds and likelihoods, batch by batch."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.bounds.importance import Estimate, LogMeanExp
from hvae_tf.checks import check_count
from hvae_tf.models.events import ModelParts, fold_in, seed_pair

# one stream of noise for each use, so that equal seeds do not make them alike; 0 and 1 are training and evaluation
_SAMPLE, _RECONSTRUCT, _POSTERIOR, _ELBO, _LOG_LIKELIHOOD = range(2, 7)


class Inference(ModelParts):
    """The public methods of a `FlowVAE` that take arrays and give arrays.

    Results are functions of the seed (and of chunk_size and batch_size). Events are checked for the model's shape and
    for what its likelihood accepts: ValueError says in one line what was expected.
    """

    def sample(self, n: int, seed: int = 0, draw: bool = False, batch_size: int = 100) -> np.ndarray:
        """New events ``[n, *event_shape]``: z from the prior, then the mean of p(x|z), for binary pixels probabilities.

        Args:
            n: How many, >= 1.
            seed: What is drawn is a function of it.
            draw: Whether to draw x from p(x|z) instead of giving its mean.
            batch_size: Events decoded at once, >= 1.

        Raises:
            ValueError: If n or batch_size is below 1.
        """
        check_count("n", n)
        check_count("batch_size", batch_size)
        z_seed, x_seed = tf.unstack(tf.random.experimental.stateless_split(seed_pair(seed, _SAMPLE), 2))
        noise = tf.random.stateless_normal([n, self.latent_size], z_seed, dtype=self.variable_dtype)
        z = self.prior.sample(noise)
        starts = range(0, n, batch_size)
        if draw:
            parts = [self._decode_sample_graph(z[i : i + batch_size], fold_in(x_seed, i)) for i in starts]
        else:
            parts = [self._decode_graph(z[i : i + batch_size]) for i in starts]
        return np.concatenate(parts)

    def sample_posterior(
        self, x, num_samples: int = 1, seed: int = 0, chunk_size: int = 10, batch_size: int = 100
    ) -> np.ndarray:
        """Samples of the flow's posterior, z_K given x: ``[num_samples, B, l]``.

        Args:
            x: ``[B, *event_shape]``.
            num_samples: For each event, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each event taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Events taken at once.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        batches = self._draws(self._posterior_graph, x, _POSTERIOR, num_samples, seed, chunk_size, batch_size)
        return np.concatenate([np.concatenate(list(chunks)) for chunks in batches], axis=1)

    def reconstruct(self, x, seed: int | None = None, batch_size: int = 100) -> np.ndarray:
        """The mean of p(x'|z_K), ``[B, *event_shape]``, for binary pixels probabilities.

        Args:
            x: ``[B, *event_shape]``.
            seed: None starts the flow from the centre of q0(z_0|x), without noise, as `predict` does; a number draws
                z_K from the flow's posterior instead.
            batch_size: Events taken at once.

        Raises:
            ValueError: If x is not of the model's shape, or batch_size is below 1.
        """
        x = self._events(x)
        check_count("batch_size", batch_size)
        if seed is None:
            return np.concatenate(
                [self._reconstruct_graph(x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
            )
        z = [
            self._posterior_graph(*batch, tf.constant(1), batch_seed)[0]
            for batch, batch_seed in self._batches(x, seed_pair(seed, _RECONSTRUCT), batch_size)
        ]
        return np.concatenate([self._decode_graph(z_batch) for z_batch in z])

    def elbo(self, x, num_samples: int = 1, seed: int = 0, chunk_size: int = 10, batch_size: int = 100) -> np.ndarray:
        """The ELBO of each event in nats, ``[B]``: a mean over samples, of the Hamiltonian ELBO (12) where it applies.

        Args:
            x: ``[B, *event_shape]``.
            num_samples: For each event, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each event taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Events taken at once.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        batches = self._draws(self._elbo_graph, x, _ELBO, num_samples, seed, chunk_size, batch_size)
        return np.concatenate([np.concatenate(list(chunks)).mean(axis=0) for chunks in batches])

    def log_likelihood(
        self, x, num_samples: int = 1000, seed: int = 0, chunk_size: int = 10, batch_size: int = 100, verbose: int = 0
    ) -> Estimate:
        """Log p(x) of each event in nats by importance sampling from the flow's posterior, with standard errors.

        Args:
            x: ``[B, *event_shape]``.
            num_samples: S, for each event, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each event taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Events taken at once; the encoder runs once for each.
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            `Estimate` of arrays ``[B]``; in expectation the value is a lower bound of log p(x). Read there when its
            standard error can be trusted.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        batches = self._draws(
            self._log_weight_graph, x, _LOG_LIKELIHOOD, num_samples, seed, chunk_size, batch_size, verbose
        )
        estimates = [LogMeanExp.over(chunks).estimate() for chunks in batches]
        return Estimate(*(np.concatenate(parts) for parts in zip(*estimates, strict=True)))

    def _draws(self, graph, x, stream, num_samples, seed, chunk_size, batch_size, verbose=0) -> Iterator:
        """For each batch of events an iterator of what `graph` gives for each chunk of samples, ``[S, B, ...]``."""
        check_count("num_samples", num_samples)
        check_count("chunk_size", chunk_size)
        sizes = [tf.constant(min(chunk_size, num_samples - start)) for start in range(0, num_samples, chunk_size)]
        check_count("batch_size", batch_size)
        x = self._events(x)
        bar = keras.utils.Progbar(-(-len(x) // batch_size) * len(sizes), verbose=verbose, unit_name="chunk")

        def chunks(batch, batch_seed):
            for chunk, size in enumerate(sizes):
                yield graph(*batch, size, fold_in(batch_seed, chunk))
                bar.add(1)

        return (chunks(*batch) for batch in self._batches(x, seed_pair(seed, stream), batch_size))

    def _batches(self, x, seed, batch_size):
        """Yields ((x, q0), seed) for each batch of events, which are checked already."""
        for start in range(0, len(x), batch_size):
            batch = tf.convert_to_tensor(x[start : start + batch_size])
            yield (batch, self._encode_graph(batch)), fold_in(seed, start)

    def _events(self, x) -> np.ndarray:
        """Events given to a public method, checked."""
        x = np.asarray(x)
        self.check_input(x)
        return x.astype(self.variable_dtype)
