"""From one batch of events to bounds: the way of a draw through encoder, flow and decoder."""

from typing import Any, NamedTuple

import tensorflow as tf

from hvae_tf.bounds.estimators import Draw, ElboEstimator
from hvae_tf.densities import Gaussian, gaussian
from hvae_tf.flows.flow import FlowResult
from hvae_tf.models.events import ModelParts
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


class Draws(ModelParts):
    """The way of a draw, which all methods of a `FlowVAE` go."""

    encoder: Any
    flow_layer: FlowLayer
    estimator: ElboEstimator

    @property
    def flow(self):
        """The `Flow` between encoder and decoder; its variables are this model's weights."""
        return self.flow_layer.flow

    def posterior(self, x, training=False) -> Gaussian:
        """q0(z_0|x), the encoder's, which the flow starts from: a `DiagonalGaussian` or `FullGaussian` ``[B, l]``."""
        mean, scale = (tf.cast(tensor, self.variable_dtype) for tensor in self.encoder(x, training=training))
        return gaussian(mean, scale if scale.shape.rank == 2 else tf.linalg.band_part(scale, -1, 0))

    def target(self, x) -> DecoderTarget:
        """Log p(x, z) of these events ``[B, *event_shape]``, as a function of z ``[..., B, l]``."""
        return DecoderTarget(self.decoder, x, self.likelihood, self.prior)

    def _transform(self, x, q0, z_0, flow_noise) -> FlowResult:
        context = tf.concat([q0.mean, tf.math.log(q0.standard_deviation)], axis=-1)
        return self.flow.transform(self.target(x), z_0, flow_noise, q0=q0, context=context)

    def _noise(self, x, num_samples, seed):
        """Noise of z_0, ``[S, B, l]``, and the flow's, a nest of tensors ``[S, B, ...]``."""
        seeds = tf.random.experimental.stateless_split(seed, 2)
        leading = tf.stack([num_samples, tf.shape(x)[0]])
        shape = tf.concat([leading, [self.latent_size]], axis=0)
        noise = tf.random.stateless_normal(shape, seeds[0], dtype=self.variable_dtype)
        return tf.nest.map_structure(
            lambda tensor: tf.ensure_shape(tensor, [None, x.shape[0], *tensor.shape[2:]]),
            (noise, self.flow.noise(leading, seeds[1])),
        )

    def _draw(self, x, q0, noise, flow_noise) -> Draw:
        """A draw for each row of noise."""
        z_0 = q0.sample(noise)
        return Draw(q0, noise, z_0, self._transform(x, q0, z_0, flow_noise))

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

    def _of_draws(self, function, x, q0, num_samples, seed):
        """What `function` makes, ``[S, B, ...]``, of `num_samples` draws for each event; `seed` is an int32 pair."""
        batches = x, q0, *self._noise(x, num_samples, seed)
        return shard_batch(lambda *batches: function(self._draw(*batches)), batches, axes=(0, 0, 1, 1), result_axis=1)

    def _elbo_samples(self, *batch):
        return self._of_draws(self._draw_elbo, *batch)

    def _log_weight_samples(self, *batch):
        return self._of_draws(self._draw_log_weight, *batch)

    def _posterior_samples(self, *batch):
        return self._of_draws(lambda draw: draw.result.z, *batch)

    def _decode_mean(self, z):
        return self.likelihood.mean(decode(self.decoder, z), self.event_shape)

    def _decode_sample(self, z, seed):
        return self.likelihood.sample(decode(self.decoder, z), self.event_shape, seed)
