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

from hvae_tf.bounds.estimators import ElboEstimator
from hvae_tf.checks import check_count, check_seed
from hvae_tf.configured import serialized
from hvae_tf.densities import standard_normal
from hvae_tf.flows.flow import Flow, IdentityFlow
from hvae_tf.models.annealing import Annealing
from hvae_tf.models.batch_count import BatchCount, BatchCounter
from hvae_tf.models.conditioning import Conditioned, DecoderAt, check_networks
from hvae_tf.models.draws import Draws, Terms
from hvae_tf.models.events import (
    check_encoder,
    check_penalties,
    fold_in,
    gaussian_spec,
    seed_pair,
    warn_of_layers_at_rest,
)
from hvae_tf.models.flow_layer import FlowLayer, LikelihoodLayer
from hvae_tf.models.input_checks import InputChecks, check_scale, refuse_weights
from hvae_tf.models.latent import LatentSpace
from hvae_tf.models.refinement import Refinement
from hvae_tf.parallel import shard_batch
from hvae_tf.targets.decoder import check_decoder, warn_of_probabilities
from hvae_tf.targets.likelihoods import Likelihood, get_likelihood

LOGGED = ("loss", "reconstruction", "rate")
_TRAIN, _EVALUATE = range(2)  # streams of noise; `Inference` has the others


@keras.saving.register_keras_serializable("hvae_tf")
class FlowVAE(InputChecks, BatchCount, LatentSpace, Annealing, Refinement, Draws, keras.Model):
    """A variational auto-encoder whose posterior is a Gaussian q0(z_0|x) pushed through any flow.

    An event is one example: a row ``[C]``, a sequence ``[T, C]``, an image ``[H, W, C]``. `fit`, `evaluate` and
    `predict` take batches of events ``[B, *event_shape]``, or tuples of which the first is the events (labels are used
    by conditional models only). `fit` and `evaluate` log, in nats per event, ``loss``, the negative bound (with the
    penalties on the networks' weights), and its parts ``reconstruction``, the mean of -log p(x|z_K), and ``rate``, the
    rest of the negative ELBO: with no flow KL(q0(z|x) || p(z)), with one the divergence of all that it draws, see
    `hvae_tf.models.draws.Terms`. `predict` gives the mean of p(x|z) at the event under the flow of the centre of q0
    (with no noise): a reconstruction without noise.

    The decoder runs in inference mode, also in `fit`, see `DecoderTarget`; one line warns of layers to which that
    matters, and of a decoder that ends in probabilities where the likelihood reads logits.

    A model is conditional, of p(x|y), if encoder and decoder take two inputs, ``keras.Model([x, y], ...)`` and
    ``keras.Model([z, y], ...)``: then `fit` and `evaluate` take ``(x, y)``, `predict` takes ``[x, y]``, and every
    method takes y, one context ``[*context_shape]`` for each event.

    Args:
        encoder: Keras model ``[B, *event_shape] -> (mean, standard deviation)``, both ``[B, l]``, or
            (mean, Cholesky factor ``[B, l, l]``): q0 = N(mean, L L^T), of L only the lower triangle being read.
        decoder: Keras model ``[n, l] -> [n, *axes, outputs]``, what the likelihood reads.
        flow: A `Flow` of this model's l and dtype, or a function ``(event_size, dtype=) -> Flow``, such as
            ``functools.partial(PlanarFlow, num_layers=8)``; None for no flow.
        num_samples: L, draws for each event in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        kl: Which terms of the ELBO are taken in closed form: ``"analytic"`` (KL(q0, prior), and what the flow
            knows), ``"prior-sampled"`` (q0's entropy, and what the flow knows; the default), ``"sampled"`` (none; the
            default with ``gradient="path"``). The mean is the same, see `hvae_tf.bounds.estimators`.
        gradient: ``"standard"``, or ``"path"``: log q0's own parameters are held ("sticking the landing").
        **kwargs: `name` and `dtype`, as for `keras.Model`. Under a policy of float64, Keras hands float32 to `fit`,
            `evaluate` and `predict` unless ``keras.config.set_floatx("float64")`` was called first.

    Attributes:
        event_shape: Of one event.
        latent_size: l.
        context_spec: What y of a conditional model looks like, a `tf.TensorSpec` ``[None, *context_shape]``; else None.
        prior: p(z) = N(0, I).

    Raises:
        ValueError: If networks, latent sizes, flow and likelihood do not fit together, an argument is out of range, or
            the policy's variables are of a half type.
    """

    _flow_kind: Any = Flow  # of a subclass that is named after a flow: that one

    def __init__(
        self, encoder, decoder, flow=None, *, num_samples: int = 1, likelihood: str | Likelihood = "bernoulli",
        seed: int = 0, kl: str | None = None, gradient: str = "standard", **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if self.variable_dtype not in ("float32", "float64"):
            raise ValueError(
                f"under the policy {self.dtype_policy.name!r} variables, and sums over samples and pixels, would be "
                f"{self.variable_dtype}, which is too coarse for nats; take 'mixed_{self.variable_dtype}'"
            )
        self.autocast = False  # of a mixed policy Keras would round x before the likelihood sees it
        self.likelihood = get_likelihood(likelihood)
        self.event_shape, self.latent_size = check_encoder(encoder)
        self.context_spec = check_networks(encoder, decoder, self.latent_size)
        check_penalties(encoder, decoder)
        check_scale(encoder)
        check_decoder(DecoderAt(decoder, None) if self.context_spec else decoder, self.likelihood, self.event_shape)
        warn_of_probabilities(decoder, self.likelihood)
        warn_of_layers_at_rest(decoder)
        self.num_samples = check_count("num_samples", num_samples)
        self.seed = check_seed("seed", seed)
        self.encoder = encoder
        self.decoder = decoder
        self.flow_layer = FlowLayer(self._make_flow(flow), dtype=self.dtype_policy, name="flow")
        self.estimator = ElboEstimator(kl, gradient)
        self.likelihood.build(self.event_shape, self.variable_dtype)
        self.likelihood_layer = LikelihoodLayer(self.likelihood, decoder, dtype=self.dtype_policy, name="likelihood")
        self.prior = standard_normal(self.latent_size, tf.as_dtype(self.variable_dtype))
        self._means = [keras.metrics.Mean(name=name, dtype=self.variable_dtype) for name in LOGGED]
        self._batch_counter = BatchCounter()

        dtype = tf.as_dtype(self.variable_dtype)
        events = tf.TensorSpec([None, *self.event_shape], dtype)
        latents = tf.TensorSpec([None, self.latent_size], dtype)
        count, pair = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
        contexts = [] if self.context_spec is None else [self.context_spec]
        self._data_spec = Conditioned(events, *contexts) if contexts else events
        batch = self._data_spec, gaussian_spec(encoder, dtype), count, pair
        self._encode_graph = _graph(self._q0, self._data_spec)
        self._embed_graph = _graph(self._centre, self._data_spec)
        self._reconstruct_graph = _graph(self._reconstruction, self._data_spec)
        self._decode_graph = _graph(self._decode_mean, latents, *contexts)
        self._decode_sample_graph = _graph(self._decode_sample, latents, pair, *contexts)
        self._posterior_graph = _graph(self._posterior_samples, *batch)
        self._elbo_graph = _graph(self._elbo_samples, *batch)
        self._log_weight_graph = _graph(self._log_weight_samples, *batch)
        shapes = [tuple(spec.shape) for spec in tf.nest.flatten(self._data_spec)]
        self.build(shapes if contexts else shapes[0])

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
        if isinstance(flow, Flow) and not isinstance(flow, self._flow_kind):  # what is no flow, its layer refuses
            raise ValueError(
                f"{type(self).__name__} got the flow {type(flow).__name__}; expected {self._flow_kind.__name__}: "
                "FlowVAE takes any flow"
            )
        return flow

    # -- Keras --------------------------------------------------------------------------------------------------------

    def build(self, input_shape):
        """Nothing is left to build; Keras keeps the shape, which `export` asks for."""

    def call(self, x, training=False):
        """The mean of p(x|z_K) ``[B, *event_shape]``, z_K being where the flow takes the centre of q0(z_0|x).

        Args:
            x: Events ``[B, *event_shape]``; for a conditional model a pair of them and contexts.
            training: Whether the encoder is in training mode.
        """
        x, y = (x, None) if self.context_spec is None else _pair(x)
        return self._reconstruction(self._cast_data(x, y), training)

    def compute_output_shape(self, input_shape):
        return (input_shape[0] if self.context_spec is None else input_shape[0][0], *self.event_shape)

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
            events = tf.TensorSpec([None, *self.event_shape], self.variable_dtype, name="x")
            input_signature = [events]
            if self.context_spec is not None:
                input_signature = [[events, tf.TensorSpec(self.context_spec.shape, self.context_spec.dtype, name="y")]]
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
        return [*self._means, self._batch_counter]

    def get_metrics_result(self):
        return {mean.name: mean.result() for mean in self._means}

    def _step_seed(self, stream, step):
        """The int32 pair for this step of this stream, and of this replica."""
        seed = fold_in(seed_pair(self.seed, stream), step)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            seed = fold_in(seed, replica)
        return seed

    def _batch_terms(self, data, seed, training) -> Terms:
        """What a step reports of a batch."""
        # an encoder that keeps a state, such as batch normalisation's, may treat its events together
        q0 = self._q0(data, training) if self.encoder.non_trainable_variables else None

        def terms(data, q0, noise, flow_noise):
            return self._terms(self._draw(data, self._q0(data, training) if q0 is None else q0, noise, flow_noise))

        batches = data, q0, *self._noise(data, self.num_samples, seed)
        return shard_batch(terms, batches, axes=(0, 0, 1, 1), result_axis=0)

    def _step(self, data, seed, training):
        """Loss of a batch, a scalar; the metrics are updated."""
        refuse_weights(sample_weight=keras.utils.unpack_x_y_sample_weight(data)[2])
        data = self._cast_data(*self._events_and_context(data))
        bound, reconstruction, rate = self._batch_terms(data, seed, training)
        penalties = [v.regularizer(v) for v in self.trainable_variables if v.regularizer]
        if len(self.losses) > len(penalties):
            raise ValueError(
                "a layer calls add_loss, which is not supported: its loss would depend on how often the layer is run; "
                "penalise weights (kernel_regularizer, bias_regularizer) instead"
            )
        penalty = tf.add_n([tf.zeros([], bound.dtype), *penalties])
        for mean, values in zip(self._means, (penalty - bound, reconstruction, rate), strict=True):
            mean.update_state(values)
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

    def predict_step(self, data):
        x, y = self._events_and_context(data)
        return self(x if self.context_spec is None or y is None else [x, y], training=False)

    def test_step(self, data):
        self._step(data, self._step_seed(_EVALUATE, self._batch_counter.count.value), training=False)
        self._batch_counter.update_state()
        return self.get_metrics_result()

    def get_config(self) -> dict[str, Any]:
        # what is frozen is said only where something is: other configurations stay as they were
        frozen = [name for name, layer in self._freezable().items() if not layer.trainable]
        return ({"frozen": frozen} if frozen else {}) | {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "flow": serialized(self.flow),
            "num_samples": self.num_samples,
            "likelihood": serialized(self.likelihood),
            "seed": self.seed,
            "kl": self.estimator.kl,
            "gradient": self.estimator.gradient,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        frozen = config.pop("frozen", [])
        model = cls(**{name: _deserialized(value) for name, value in config.items()})
        layers = model._freezable()
        for name in frozen:
            if layers[name] is not model:
                layers[name].trainable = False
        model._trainable = "model" not in frozen  # the setter would freeze all that is in it, which says so by itself
        return model

    def _freezable(self) -> dict[str, keras.layers.Layer]:
        """What has a flag `trainable` of its own that no other configuration keeps; encoder and decoder keep theirs."""
        return {"model": self, "flow": self.flow_layer, "likelihood": self.likelihood_layer}


def _graph(method, *signature):
    """The method as one graph for inputs of any batch size."""
    # TensorFlow warns of retracing where many models have a method in common; a partial is each model's own. As in
    # Keras's training step nothing is converted by AutoGraph: in a process's first call that takes longest of all.
    return tf.function(functools.partial(method), input_signature=signature, autograph=False)


def _pair(inputs):
    """(x, y) of what a conditional model is called on."""
    if isinstance(inputs, (list, tuple)) and len(inputs) == 2:
        return inputs
    raise ValueError("the model is conditional; call it on a pair [x, y] of events and contexts")


def _deserialized(value):
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return value
