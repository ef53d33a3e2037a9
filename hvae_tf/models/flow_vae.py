"""A variational auto-encoder with a flow between its encoder and its decoder, as a Keras model.

    x -> encoder -> q0(z_0|x) -> flow(z_0 | log p(x, .)) -> log weight -> bound -> fit

Every draw is a pure function of seeds: training noise of (model seed, batches seen), evaluation noise of (model seed,
batch of this `evaluate` call), and public methods take seeds of their own. The model holds no generator's state, so a
run that was stopped and resumed is bit for bit the run that was not.
"""

import functools
from typing import Any

import keras
import tensorflow as tf

from hvae_tf.bounds.estimators import Draw, ElboEstimator
from hvae_tf.checks import check_count, check_seed
from hvae_tf.densities import Gaussian, gaussian, standard_normal
from hvae_tf.flows.flow import FlowResult, IdentityFlow
from hvae_tf.models.annealing import Annealing
from hvae_tf.models.batch_count import BatchCount, BatchCounter
from hvae_tf.models.events import check_encoder, fold_in, gaussian_spec, seed_pair
from hvae_tf.models.flow_layer import FlowLayer, ModuleLayer
from hvae_tf.models.inference import Inference
from hvae_tf.models.input_checks import InputChecks, check_scale, refuse_weights
from hvae_tf.models.refinement import Refinement
from hvae_tf.parallel import shard_batch
from hvae_tf.targets.decoder import DecoderTarget, check_decoder, decode
from hvae_tf.targets.likelihoods import Likelihood, get_likelihood

_TRAIN, _EVALUATE = range(2)  # streams of noise; `Inference` has the others


@keras.saving.register_keras_serializable("hvae_tf")
class FlowVAE(InputChecks, BatchCount, Inference, Annealing, Refinement, keras.Model):
    """A variational auto-encoder whose posterior is a Gaussian q0(z_0|x) pushed through any flow.

    An event is one example: a row ``[C]``, a sequence ``[T, C]``, an image ``[H, W, C]``. `fit`, `evaluate` and
    `predict` take batches of events ``[B, *event_shape]``, or tuples of which the first is the events (labels are not
    used). The loss is the negative bound in nats per event. `predict` gives the mean of p(x|z) at the event under the
    flow of the centre of q0 (with no noise): a reconstruction without noise.

    The decoder runs in inference mode, also in `fit`, see `DecoderTarget`.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``, or
            (mean, Cholesky factor ``[B, l, l]``): q0 = N(mean, L L^T), of L only the lower triangle being read.
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        flow: A `Flow` of this model's l and dtype, or a function ``(event_size, dtype=) -> Flow``, such as
            ``functools.partial(PlanarFlow, num_layers=8)``; None for no flow.
        num_samples: L, draws for each event in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        kl: Which terms of the ELBO are taken in closed form: ``"analytic"`` (the whole KL(q0, prior), where the flow
            leaves z), ``"prior-sampled"`` (q0's entropy and what the flow knows; the default), ``"sampled"`` (none; the
            default with ``gradient="path"``). The mean is the same, see `hvae_tf.bounds.estimators`.
        gradient: ``"standard"``, or ``"path"``: log q0's own parameters are held ("sticking the landing").
        **kwargs: `name` and `dtype`, as for `keras.Model`.

    Attributes:
        event_shape: Of one event.
        latent_size: l.
        prior: p(z) = N(0, I).

    Raises:
        ValueError: If networks, latent sizes, flow and likelihood do not fit together, or an argument is out of range.
    """

    def __init__(
        self, encoder, decoder, flow=None, *, num_samples: int = 1, likelihood: str | Likelihood = "bernoulli",
        seed: int = 0, kl: str | None = None, gradient: str = "standard", **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.likelihood = get_likelihood(likelihood)
        self.event_shape, self.latent_size = check_encoder(encoder)
        check_scale(encoder)
        check_decoder(decoder, self.likelihood, self.event_shape)
        if decoder.input_shape[-1] != self.latent_size:
            raise ValueError(
                f"the encoder gives latents of size {self.latent_size}, the decoder takes size "
                f"{decoder.input_shape[-1]}; build both with one latent size"
            )
        self.num_samples = check_count("num_samples", num_samples)
        self.seed = check_seed("seed", seed)
        self.encoder = encoder
        self.decoder = decoder
        self.flow_layer = FlowLayer(self._make_flow(flow), dtype=self.dtype_policy, name="flow")
        self.estimator = ElboEstimator(kl, gradient, self.flow)
        self.likelihood.build(self.event_shape, self.variable_dtype)
        self.likelihood_layer = ModuleLayer(self.likelihood, dtype=self.dtype_policy, name="likelihood")
        self.prior = standard_normal(self.latent_size, tf.as_dtype(self.variable_dtype))
        self._loss_metric = keras.metrics.Mean(name="loss", dtype=self.variable_dtype)
        self._elbo_metric = keras.metrics.Mean(name="elbo", dtype=self.variable_dtype)
        self._batch_counter = BatchCounter()

        dtype = tf.as_dtype(self.variable_dtype)
        events = tf.TensorSpec([None, *self.event_shape], dtype)
        latents = tf.TensorSpec([None, self.latent_size], dtype)
        count, pair = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
        batch = events, gaussian_spec(encoder, dtype), count, pair
        self._encode_graph = _graph(self.posterior, events)
        self._reconstruct_graph = _graph(self.call, events)
        self._decode_graph = _graph(self._decode_mean, latents)
        self._decode_sample_graph = _graph(self._decode_sample, latents, pair)
        self._posterior_graph = _graph(self._posterior_samples, *batch)
        self._elbo_graph = _graph(self._elbo_samples, *batch)
        self._log_weight_graph = _graph(self._log_weight_samples, *batch)
        self.build((None, *self.event_shape))

    def _make_flow(self, flow):
        dtype = tf.as_dtype(self.variable_dtype)
        if flow is None:
            flow = IdentityFlow
        if not isinstance(flow, tf.Module) and callable(flow):
            flow = flow(self.latent_size, dtype=dtype)
        for name, wanted in (("event_size", self.latent_size), ("dtype", dtype)):
            found = getattr(flow, name, wanted)
            if found != wanted:
                raise ValueError(f"the flow has {name} {found}; this model needs {wanted}: build the flow with that")
        return flow

    @property
    def flow(self):
        """The `Flow` between encoder and decoder; its variables are this model's weights."""
        return self.flow_layer.flow

    # -- from one batch to bounds -------------------------------------------------------------------------------------

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

    # -- Keras --------------------------------------------------------------------------------------------------------

    def build(self, input_shape):
        """Nothing is left to build; Keras keeps the shape, which `export` asks for."""

    def call(self, x, training=False):
        """The mean of p(x|z_K) ``[B, *event_shape]``, z_K being where the flow takes the centre of q0(z_0|x)."""
        x = self._cast_events(x)
        q0 = self.posterior(x, training)
        flow_noise = self.flow.noise(tf.shape(x)[:1], tf.constant([0, 0], tf.int32))
        centre = tf.nest.map_structure(tf.zeros_like, flow_noise)
        return self._decode_mean(self._transform(x, q0, q0.mean, centre).z)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.event_shape)

    def compile(self, optimizer="adamax", *, jit_compile=False, **kwargs):
        """As `keras.Model.compile`, without loss and metrics: the model brings its bound.

        Args:
            optimizer: A Keras optimiser or its name; None for a model that is only evaluated.
            jit_compile: Whether XLA compiles the steps; off unless asked for, as it changes the noise.
            **kwargs: `run_eagerly`, `steps_per_execution`, `auto_scale_loss`.

        Raises:
            ValueError: If a loss or metrics are given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(f"compile got {name}; the model's loss is its own negative bound, so leave it out")
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        if not self.compiled:
            self.compile(optimizer=None)
        return super().evaluate(*args, **kwargs)

    def export(self, filepath, *args, input_signature=None, **kwargs):
        """As `keras.Model.export`: what `predict` gives, in a file that needs nothing of this library.

        Args:
            filepath: Where to.
            *args: See there.
            input_signature: Batches of events of any size where it is not given.
            **kwargs: See there.
        """
        if input_signature is None:
            input_signature = [tf.TensorSpec([None, *self.event_shape], self.variable_dtype, name="x")]
        super().export(filepath, *args, input_signature=input_signature, **kwargs)

    def summary(self, *args, print_fn=None, **kwargs):
        """Keras's table, and a line with the names and shapes of the flow's (and the likelihood's) own parameters."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        for layer in (self.flow_layer, self.likelihood_layer):
            if shapes := layer.parameter_shapes():
                described = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
                (print_fn or print)(f" {layer.name}: {described}")

    @property
    def metrics(self):
        return [self._loss_metric, self._elbo_metric, self._batch_counter]

    def get_metrics_result(self):
        return {"loss": self._loss_metric.result(), "elbo": self._elbo_metric.result()}

    def _step_seed(self, stream, step):
        """The int32 pair for this step of this stream, and of this replica."""
        seed = fold_in(seed_pair(self.seed, stream), step)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            seed = fold_in(seed, replica)
        return seed

    def _bounds(self, x, seed, training):
        """What is maximised, and the ELBO, both ``[B]``, of a batch of events."""
        # an encoder that keeps a state, such as batch normalisation's, may treat its events together
        q0 = self.posterior(x, training) if self.encoder.non_trainable_variables else None

        def bounds(x, q0, noise, flow_noise):
            return self._bound(self._draw(x, self.posterior(x, training) if q0 is None else q0, noise, flow_noise))

        batches = x, q0, *self._noise(x, self.num_samples, seed)
        return shard_batch(bounds, batches, axes=(0, 0, 1, 1), result_axis=0)

    def _step(self, data, seed, training):
        """Loss of a batch, a scalar; the metrics are updated."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        refuse_weights(sample_weight=sample_weight)
        bound, elbo = self._bounds(self._cast_events(x), seed, training)
        penalty = tf.add_n(
            [tf.zeros([], bound.dtype), *(v.regularizer(v) for v in self.trainable_variables if v.regularizer)]
        )
        self._loss_metric.update_state(penalty - bound)
        self._elbo_metric.update_state(elbo)
        return penalty - tf.reduce_mean(bound)

    def train_step(self, data):
        if self.optimizer is None:
            raise ValueError("fit needs an optimizer; call compile(optimizer=...) first")
        seed = self._step_seed(_TRAIN, self.batches_seen.value)
        with tf.GradientTape() as tape:
            loss = self._step(data, seed, training=True)
            # gradients are summed over replicas
            loss = self.optimizer.scale_loss(loss / tf.distribute.get_strategy().num_replicas_in_sync)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.batches_seen.assign_add(1)
        return self.get_metrics_result()

    def test_step(self, data):
        self._step(data, self._step_seed(_EVALUATE, self._batch_counter.count.value), training=False)
        self._batch_counter.update_state()
        return self.get_metrics_result()

    def _cast_events(self, x):
        """Events given to Keras, their shape checked."""
        x = tf.convert_to_tensor(x)
        if not x.shape.is_compatible_with([None, *self.event_shape]):
            raise ValueError(f"x has shape {x.shape}; expected {self._batch_shape_text()}")
        return tf.cast(tf.ensure_shape(x, [None, *self.event_shape]), self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "flow": keras.saving.serialize_keras_object(self.flow),
            "num_samples": self.num_samples,
            "likelihood": keras.saving.serialize_keras_object(self.likelihood),
            "seed": self.seed,
            "kl": self.estimator.kl,
            "gradient": self.estimator.gradient,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{name: _deserialized(value) for name, value in config.items()})


def _graph(method, *signature):
    """The method as one graph for inputs of any batch size."""
    # TensorFlow warns of retracing where many models have a method in common; a partial is each model's own
    return tf.function(functools.partial(method), input_signature=signature)


def _deserialized(value):
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return value
