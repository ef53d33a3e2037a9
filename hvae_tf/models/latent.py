"""The latent space of a trained model: where events lie, what lies at a point, and which dimensions say anything."""

import numpy as np

from hvae_tf.checks import check_count
from hvae_tf.diagnostics import ACTIVE, Activity, activity
from hvae_tf.models.conditioning import Conditioned, split
from hvae_tf.models.inference import Inference


class LatentSpace(Inference):
    """The methods of a `FlowVAE` that go between events and points z, without any noise."""

    def embed(self, x, batch_size: int = 100, *, y=None) -> np.ndarray:
        """A point z for each event, ``[B, l]``: where the flow takes the centre of q0(z_0|x), with no noise.

        With no flow it is the mean of q0(z|x). ``decode(embed(x))`` is ``reconstruct(x)``.

        Args:
            x: ``[B, *event_shape]``.
            batch_size: Events taken at once.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Raises:
            ValueError: If x or y is not of the model's shape, or batch_size is below 1.
        """
        check_count("batch_size", batch_size)
        return self._in_batches(self._embed_graph, self._data(x, y), batch_size)

    def decode(self, z, batch_size: int = 100, *, y=None) -> np.ndarray:
        """The mean of p(x|z), ``[..., *event_shape]``, for binary pixels probabilities.

        Args:
            z: ``[..., l]``.
            batch_size: Points taken at once.
            y: Contexts of a conditional model: ``[..., *context_shape]``, or one for all.

        Raises:
            ValueError: If z is not of the model's size or not finite, y is not what the model takes, or batch_size is
                below 1.
        """
        check_count("batch_size", batch_size)
        z = np.asarray(z)
        if not z.ndim or z.shape[-1] != self.latent_size or not z.size:
            raise ValueError(f"z has shape {z.shape}; expected [..., {self.latent_size}], the latent size last")
        if z.dtype.kind not in "fiub" or not np.all(np.isfinite(z)):
            raise ValueError("z holds values that are no finite numbers; expected real numbers")
        points = z.reshape(-1, self.latent_size).astype(self.variable_dtype)
        if y is not None and self.context_spec is not None:
            shape = tuple(self.context_spec.shape[1:])
            if np.shape(y) != shape:
                leading = z.shape[:-1] + shape
                if np.shape(y) != leading:
                    raise ValueError(f"y has shape {np.shape(y)}; expected {list(leading)}, or {list(shape)} for all")
                y = np.reshape(y, (-1, *shape))
        decoded = self._decoded(points, self._context(y, len(points)), batch_size)
        return decoded.reshape(*z.shape[:-1], *self.event_shape)

    def interpolate(self, x_a, x_b, n: int = 9, batch_size: int = 100, *, y=None) -> np.ndarray:
        """What lies between pairs of events: the means of p(x|z) along the straight line between their points z.

        Args:
            x_a: ``[B, *event_shape]``.
            x_b: ``[B, *event_shape]``.
            n: Points on the line, both ends included, >= 2.
            batch_size: Events or points taken at once.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all: of both ends.

        Returns:
            ``[B, n, *event_shape]``; the ends are the reconstructions of x_a and x_b.

        Raises:
            ValueError: If there are not as many x_a as x_b, n is below 2, or see `embed`.
        """
        if check_count("n", n) < 2:
            raise ValueError(f"n is {n}; expected an integer of at least 2, both ends included")
        if np.shape(x_a) != np.shape(x_b):
            raise ValueError(f"x_a has shape {np.shape(x_a)}, x_b {np.shape(x_b)}; expected the same, for pairs")
        z_a, z_b = (self.embed(x, batch_size, y=y)[:, None] for x in (x_a, x_b))
        share = np.linspace(0.0, 1.0, n, dtype=z_a.dtype)[:, None]
        return self.decode((1 - share) * z_a + share * z_b, batch_size, y=self._repeated(y, len(z_a), n))

    def traverse(self, x, dimension: int, values, batch_size: int = 100, *, y=None) -> np.ndarray:
        """What a dimension does: the means of p(x|z) as one entry of the events' z takes these values.

        Args:
            x: ``[B, *event_shape]``.
            dimension: Which, from 0 to l - 1.
            values: ``[n]``, such as ``np.linspace(-3, 3, 7)``; the prior has standard deviation 1.
            batch_size: Events or points taken at once.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Returns:
            ``[B, n, *event_shape]``.

        Raises:
            ValueError: If there is no such dimension, values are no list of numbers, or see `embed`.
        """
        if not isinstance(dimension, (int, np.integer)) or not 0 <= dimension < self.latent_size:
            raise ValueError(f"dimension is {dimension!r}; expected an integer from 0 to {self.latent_size - 1}")
        values = np.asarray(values, self.variable_dtype)
        if values.ndim != 1 or not len(values):
            raise ValueError(f"values have shape {values.shape}; expected [n], one number or more")
        embedded = self.embed(x, batch_size, y=y)
        z = np.repeat(embedded[:, None], len(values), axis=1)
        z[..., dimension] = values
        return self.decode(z, batch_size, y=self._repeated(y, len(embedded), len(values)))

    def _repeated(self, y, count, times):
        """Contexts of `count` events, ``[count, times, *context_shape]``."""
        context = self._context(y, count)
        return np.repeat(context[0][:, None], times, axis=1) if context else None

    def active_units(
        self, x, threshold: float = ACTIVE, num_samples: int = 32, seed: int = 0, batch_size: int = 100, *, y=None
    ) -> Activity:
        """Which dimensions of z tell of x: those whose posterior mean varies with x (Burda et al. 2016).

        With no flow the posterior means are the encoder's. With a flow they are estimated by samples of z_K, what their
        noise adds to the variance being taken off.

        Args:
            x: ``[B, *event_shape]``, two events or more; a few hundred make the variance a good one.
            threshold: The variance over events that makes a dimension active.
            num_samples: Of z_K for each event, where a flow moves z; 1 takes the encoder's means there too.
            seed: Of the samples.
            batch_size: Events taken at once.
            y: Contexts of a conditional model, ``[B, *context_shape]``, or one for all.

        Returns:
            `Activity`: variance, active and rate, ``[l]`` each, and `num_active`.

        Raises:
            ValueError: If x is not of the model's shape or one event alone, or a number is below 1.
        """
        check_count("num_samples", num_samples)
        check_count("batch_size", batch_size)
        data = self._data(x, y)
        gaussians = [self._encode_graph(batch) for batch in split(data, batch_size)]
        mean, deviation = (
            np.concatenate([getattr(q0, name) for q0 in gaussians]) for name in ("mean", "standard_deviation")
        )
        samples = mean[None]
        if self.flow.moves_z and num_samples > 1:
            x, *context = data if isinstance(data, Conditioned) else (data,)
            samples = self.sample_posterior(
                x, num_samples, seed, batch_size=batch_size, y=context[0] if context else None
            )
        return activity(samples, mean, deviation, threshold)
