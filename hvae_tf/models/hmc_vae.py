"""A VAE whose decoder learns from latents that HMC has refined (Hoffman 2017).

The gradient of log p(x) in the decoder's parameters theta is E_p(z|x) grad log p(x|z) (Fisher's identity, the prior
having no parameters). A VAE takes that expectation under q0, which biases it; here it is taken where M moves of HMC
have brought draws of q0. For a batch x:

    z^0 = mu + sigma xi;                      phi ascends the ELBO of q0, theta held
    z^M = M moves of HMC from z^0, held;      theta and A ascend log p(x | A z^M)
"""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.bounds.estimators import Draw
from hvae_tf.checks import check_count
from hvae_tf.dynamics.metropolis import ChainState
from hvae_tf.flows.flow import FlowResult
from hvae_tf.models.conditioning import parts
from hvae_tf.models.events import fold_in
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.networks.shear import UnitLowerTriangular, shear_of, sheared
from hvae_tf.parallel import shard_batch
from hvae_tf.targets.target import ValueAndGrad

_CHAINS = 2  # keeps the chains' noise from that of z^0
_LOW_PERCENTILE = 5.0


@keras.saving.register_keras_serializable("hvae_tf")
class HMCVAE(FlowVAE):
    """A VAE trained with HMC-refined latents: no bound is maximised, so judge it by `annealed_log_likelihood`.

    The encoder never sees the chains: it ascends the plain ELBO. A training step evaluates the decoder M L + 1 times
    with its gradient in z, and once with its gradient in theta; nothing is differentiated twice. `fit` logs, beside
    loss, reconstruction and rate (of q0):

    - ``acceptance``: the mean probability of acceptance; ``acceptance_low``: its 5th percentile over a batch's chains,
      for a good mean can hide events whose chains stand still;
    - ``step_size``: eps;
    - ``jump``: the mean over dimensions of ((z^M - z^0)/sigma)^2; two independent draws of q0 have 2.

    Where M = 0, while warm-up lasts, the first two and the last are 0. `evaluate`, `elbo` and `log_likelihood` are
    those of q0.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``, or (mean, Cholesky
            factor ``[B, l, l]``).
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        num_moves: M >= 1.
        num_leapfrog_steps: L >= 1, of each move.
        step_size: Initial eps > 0, in units of q0's standard deviations.
        target_acceptance: In (0, 1); after every batch eps grows by the factor 1 + adapt_rate where the batch's mean
            acceptance was above it, else it shrinks by 1 - adapt_rate.
        adapt_rate: In [0, 1); 0 keeps eps.
        warm_up_steps: So many first batches have M = 0, which is a plain VAE: chains need an encoder to start from.
        shear: Whether a `UnitLowerTriangular` A stands in front of the decoder; one that stands there already is taken.
        **kwargs: `num_samples` (chains for each event), `likelihood`, `seed`, `kl`, `gradient`, `name` and `dtype`, see
            `FlowVAE`.

    Attributes:
        step_size: eps, a weight that is saved and not trained by gradients.

    Raises:
        ValueError: See `FlowVAE`; and if a number is out of range.
    """

    def __init__(
        self, encoder, decoder, num_moves=5, num_leapfrog_steps=5, *, step_size=0.1, target_acceptance=0.67,
        adapt_rate=0.02, warm_up_steps=0, shear=True, **kwargs,
    ):  # fmt: skip
        if "flow" in kwargs:
            raise ValueError("HMCVAE refines the draws of a Gaussian, without a flow; FlowVAE's refine takes any model")
        self._check_numbers(step_size, target_acceptance, adapt_rate, warm_up_steps)
        super().__init__(encoder, sheared(decoder) if shear and shear_of(decoder) is None else decoder, **kwargs)
        self.num_moves = check_count("num_moves", num_moves)
        self.num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
        self.initial_step_size = float(step_size)
        self.target_acceptance = float(target_acceptance)
        self.adapt_rate = float(adapt_rate)
        self.warm_up_steps = int(warm_up_steps)
        self.step_size.assign(step_size)

    def build(self, input_shape):
        """Makes what belongs to the chains: their step size and their metrics."""
        if hasattr(self, "step_size"):
            return
        self.step_size = self.add_weight(
            shape=(), initializer="ones", trainable=False, autocast=False, aggregation="mean", name="step_size"
        )
        self._chain_metrics = {
            name: keras.metrics.Mean(name=name, dtype=self.variable_dtype)
            for name in ("acceptance", "acceptance_low", "jump")
        }

    @property
    def shear(self) -> UnitLowerTriangular | None:
        """The layer in front of the decoder that holds A."""
        return shear_of(self.decoder)

    @staticmethod
    def _check_numbers(step_size, target_acceptance, adapt_rate, warm_up_steps):
        for name, value, right, expected in (
            ("step_size", step_size, 0 < step_size < float("inf"), "a positive number"),
            ("target_acceptance", target_acceptance, 0 < target_acceptance < 1, "a number between 0 and 1"),
            ("adapt_rate", adapt_rate, 0 <= adapt_rate < 1, "a number from 0 to below 1"),
            ("warm_up_steps", warm_up_steps, warm_up_steps == 0 or check_count("warm_up_steps", warm_up_steps), ""),
        ):
            if not right:
                raise ValueError(f"{name} is {value!r}; expected {expected}")

    def _trained_step_size(self):
        """eps, where training has moved chains with it; a new optimiser counts batches anew."""
        initial = tf.cast(self.initial_step_size, self.step_size.dtype)
        moved = int(self.batches_seen.value) > self.warm_up_steps or bool(self.step_size.value != initial)
        return float(self.step_size.value) if moved else None

    # -- a training step ----------------------------------------------------------------------------------------------

    def _batch_terms(self, data, seed, training):
        if not training:
            return super()._batch_terms(data, seed, training)
        noise, _ = self._noise(data, self.num_samples, seed)
        q0 = self._q0_of_batch(data)
        z_0 = q0.sample(noise)
        start = tf.stop_gradient(z_0)
        state = ChainState(start, tf.nest.map_structure(tf.stop_gradient, self._density(data)(start)))
        nothing = tf.zeros_like(state.evaluation.log_joint)
        result = FlowResult(z_0, _held(state.evaluation, z_0), nothing, nothing)
        terms = self._terms(Draw(q0, noise, z_0, result))
        refined = self._log_likelihood_of(data, self._refined(data, q0, state, fold_in(seed, _CHAINS)))
        # theta's gradient is that of log p(x|z^M), phi's that of the ELBO; the value is the ELBO
        return terms._replace(bound=terms.bound + (refined - tf.stop_gradient(refined)))

    def _q0_of_batch(self, data):
        if self.encoder.non_trainable_variables:  # see `FlowVAE._batch_terms`
            return self._q0(data, training=True)
        return shard_batch(lambda data: self._q0(data, training=True), [data], axes=(0,), result_axis=0)

    def _refined(self, data, q0, state, seed):
        """z^M ``[S, B, l]``, held; step size and metrics are updated."""
        warm = self.batches_seen.value >= self.warm_up_steps
        moves = self._moves(
            data, q0, state, seed, self.step_size.value, tf.where(warm, self.num_moves, 0), self.num_leapfrog_steps
        )
        acceptance = tf.reduce_mean(moves.acceptance)
        change = self.adapt_rate * tf.where(acceptance > self.target_acceptance, 1.0, -1.0)
        change = tf.cast(tf.where(warm, change, 0.0), self.step_size.dtype)
        self.step_size.assign(self.step_size.value * (1.0 + change))
        jump = tf.reduce_mean(tf.square((moves.state.z - state.z) / q0.standard_deviation))
        found = {
            "acceptance": acceptance,
            "acceptance_low": tfp.stats.percentile(moves.acceptance, _LOW_PERCENTILE),
            "jump": jump,
        }
        for name, value in found.items():
            self._chain_metrics[name].update_state(value, sample_weight=tf.cast(warm, value.dtype))
        return tf.stop_gradient(moves.state.z)

    def _log_likelihood_of(self, data, z):
        """Log p(x|z), the mean over chains, ``[B]``: what theta's gradient is taken of."""

        def log_likelihood(data, z):
            return self.target(*parts(data)).log_likelihood(z)

        return tf.reduce_mean(shard_batch(log_likelihood, (data, z), axes=(0, 1), result_axis=1), axis=0)

    @property
    def metrics(self):
        return [*super().metrics, *self._chain_metrics.values()]

    def train_step(self, data):
        logs = super().train_step(data)
        chains = {name: metric.result() for name, metric in self._chain_metrics.items()}
        return logs | chains | {"step_size": tf.identity(self.step_size.value)}

    def get_config(self):
        config = super().get_config()
        del config["flow"]
        return config | {
            "num_moves": self.num_moves,
            "num_leapfrog_steps": self.num_leapfrog_steps,
            "step_size": self.initial_step_size,
            "target_acceptance": self.target_acceptance,
            "adapt_rate": self.adapt_rate,
            "warm_up_steps": self.warm_up_steps,
            "shear": self.shear is not None,
        }


def _held(evaluation: ValueAndGrad, z: tf.Tensor) -> tf.Tensor:
    """Log p(x, z), ``[S, B]``, whose gradient is the one in z alone: nothing of it reaches theta."""
    way = z - tf.stop_gradient(z)
    return evaluation.log_joint + tf.reduce_sum(evaluation.grad * way, axis=-1)
