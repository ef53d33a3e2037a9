"""From one batch of events to bounds: the way of a draw through encoder, flow and decoder."""

from typing import Any, NamedTuple

import tensorflow as tf

from hvae_tf.bounds.estimators import Draw, ElboEstimator
from hvae_tf.densities import Gaussian, gaussian
from hvae_tf.flows.flow import FlowResult
from hvae_tf.models.conditioning import Conditioning, DecoderAt, parts
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.parallel import shard_batch
from hvae_tf.targets.decoder import DecoderTarget, decode


class Terms(NamedTuple):
    """What a training step reports of a batch; in nats, ``[B]`` each.

    Attributes:
        bound: What is maximised.
        reconstruction: -E log p(x|z_K), over the draws.
        rate: E [log q0(z_0|x) - log_ratio - log p(z_K)], so that ELBO = -(reconstruction + rate), with the terms in
            closed form that the model's `kl` takes so. With no flow it is KL(q0(z|x) || p(z)). With a flow it is the
            divergence of all that the flow draws, KL(q(z_K, v|x) || p(z_K) r(v|z_K, x)), v being its momenta: at least
            KL(q(z_K|x) || p(z)), and equal to it where nothing beside z is drawn.
    """

    bound: tf.Tensor
    reconstruction: tf.Tensor
    rate: tf.Tensor


class Draws(Conditioning):
    """The way of a draw, which all methods of a `FlowVAE` go."""

    encoder: Any
    flow_layer: FlowLayer
    estimator: ElboEstimator

    @property
    def flow(self):
        """The `Flow` between encoder and decoder; its variables are this model's weights."""
        return self.flow_layer.flow

    def posterior(self, x, y=None, *, training=False) -> Gaussian:
        """q0(z_0|x), the encoder's, which the flow starts from: a `DiagonalGaussian` or `FullGaussian` ``[B, l]``.

        Args:
            x: ``[B, *event_shape]``.
            y: ``[B, *context_shape]``, for a conditional model.
            training: Whether the encoder is in training mode.

        Raises:
            ValueError: If y is missing, or given to a model that takes none.
        """
        self._check_whether(y)
        inputs = x if y is None else [tf.convert_to_tensor(x), tf.convert_to_tensor(y)]
        outputs = self.encoder(inputs, training=training)
        mean, scale = (tf.cast(tensor, self.variable_dtype) for tensor in outputs)
        return gaussian(mean, scale if scale.shape.rank == 2 else tf.linalg.band_part(scale, -1, 0))

    def target(self, x, y=None) -> DecoderTarget:
        """Log p(x, z) of these events ``[B, *event_shape]``, given y, as a function of z ``[..., B, l]``.

        Raises:
            ValueError: If y is missing, or given to a model that takes none.
        """
        self._check_whether(y)
        return DecoderTarget(self._decoder_at(y), x, self.likelihood, self.prior)

    def _decoder_at(self, y):
        return self.decoder if y is None else DecoderAt(self.decoder, y)

    def _q0(self, data, training=False) -> Gaussian:
        x, y = parts(data)
        return self.posterior(x, y, training=training)

    def _transform(self, data, q0, z_0, flow_noise) -> FlowResult:
        context = tf.concat([q0.mean, tf.math.log(q0.standard_deviation)], axis=-1)
        return self.flow.transform(self.target(*parts(data)), z_0, flow_noise, q0=q0, context=context)

    def _noise(self, data, num_samples, seed):
        """Noise of z_0, ``[S, B, l]``, and the flow's, a nest of tensors ``[S, B, ...]``."""
        x, _ = parts(data)
        seeds = tf.random.experimental.stateless_split(seed, 2)
        leading = tf.stack([num_samples, tf.shape(x)[0]])
        shape = tf.concat([leading, [self.latent_size]], axis=0)
        noise = tf.random.stateless_normal(shape, seeds[0], dtype=self.variable_dtype)
        return tf.nest.map_structure(
            lambda tensor: tf.ensure_shape(tensor, [None, x.shape[0], *tensor.shape[2:]]),
            (noise, self.flow.noise(leading, seeds[1])),
        )

    def _draw(self, data, q0, noise, flow_noise) -> Draw:
        """A draw for each row of noise; the data are events, or events with contexts."""
        z_0 = q0.sample(noise)
        return Draw(q0, noise, z_0, self._transform(data, q0, z_0, flow_noise))

    def _draw_elbo(self, draw: Draw):
        """``[S, B]``: samples whose mean is the ELBO, by the model's `kl`."""
        return self.estimator.elbo(draw)

    def _draw_log_weight(self, draw: Draw):
        """``[S, B]``, the sampled log weights log p_hat(x): equation (6)."""
        return self.estimator.log_weight(draw)

    def _bound(self, draw: Draw):
        """What is maximised, and the ELBO, both ``[B]``."""
        elbo = tf.reduce_mean(self._draw_elbo(draw), axis=0)
        return elbo, elbo

    def _terms(self, draw: Draw) -> Terms:
        """Of draws ``[S, B]``; the decoder is not run again: log p(x|z_K) = log p(x, z_K) - log p(z_K)."""
        bound, elbo = self._bound(draw)
        log_likelihood = draw.result.log_joint - self.prior.log_prob(draw.result.z)
        reconstruction = -tf.reduce_mean(log_likelihood, axis=0)
        return Terms(bound, reconstruction, -elbo - reconstruction)

    def _of_draws(self, function, data, q0, num_samples, seed):
        """What `function` makes, ``[S, B, ...]``, of `num_samples` draws for each event; `seed` is an int32 pair."""
        batches = data, q0, *self._noise(data, num_samples, seed)
        return shard_batch(lambda *batches: function(self._draw(*batches)), batches, axes=(0, 0, 1, 1), result_axis=1)

    def _elbo_samples(self, *batch):
        return self._of_draws(self._draw_elbo, *batch)

    def _log_weight_samples(self, *batch):
        return self._of_draws(self._draw_log_weight, *batch)

    def _posterior_samples(self, *batch):
        return self._of_draws(lambda draw: draw.result.z, *batch)

    def _centre(self, data, training=False):
        """z_K ``[B, l]``, where the flow takes the centre of q0, without noise."""
        q0 = self._q0(data, training)
        x, _ = parts(data)
        flow_noise = self.flow.noise(tf.shape(x)[:1], tf.constant([0, 0], tf.int32))
        centre = tf.nest.map_structure(tf.zeros_like, flow_noise)
        return self._transform(data, q0, q0.mean, centre).z

    def _reconstruction(self, data, training=False):
        """The mean of p(x|z_K) ``[B, *event_shape]`` at the centre."""
        _, y = parts(data)
        return self._decode_mean(self._centre(data, training), y)

    def _decode_mean(self, z, y=None):
        return self.likelihood.mean(decode(self._decoder_at(y), z), self.event_shape)

    def _decode_sample(self, z, seed, y=None):
        return self.likelihood.sample(decode(self._decoder_at(y), z), self.event_shape, seed)
