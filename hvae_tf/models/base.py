"""A variational auto-encoder with a flow between its encoder and its decoder, as a Keras model.

    x -> encoder -> q0(z_0|x) -> flow(z_0 | log p(x, .)) -> log weight -> bound -> fit

Every draw is a pure function of seeds: training noise of (model seed, batches seen), evaluation noise of (model seed,
batch of this `evaluate` call), and public methods take seeds of their own. The model holds no generator's state, so a
run that was stopped and resumed is bit for bit the run that was not.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.bounds.elbo import hamiltonian_elbo, hamiltonian_log_weight, log_weight
from hvae_tf.bounds.importance import Estimate, importance_log_likelihood
from hvae_tf.checks import check_count, check_seed
from hvae_tf.cores import in_parts
from hvae_tf.densities import gaussian_entropy, gaussian_log_prob
from hvae_tf.flows.flow import FlowResult
from hvae_tf.models.batch_count import BatchCount
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.models.input_checks import InputChecks, check_standard_deviation, refuse_weights
from hvae_tf.targets.decoder import DecoderTarget, check_decoder, decode
from hvae_tf.targets.likelihoods import Likelihood, get_likelihood

# one stream of noise for each use, so that equal seeds do not make them alike
_TRAIN, _EVALUATE, _SAMPLE, _RECONSTRUCT, _ENCODE, _ELBO, _LOG_LIKELIHOOD = range(7)


class Draw(NamedTuple):
    """Samples of the flow's posterior with all that a bound needs.

    Attributes:
        noise: ``[S, B, l]``, of z_0 = mean + standard deviation * noise.
        log_sigma: ``[B, l]``, log of that standard deviation.
        rho_0: ``[S, B, l]``, or None for a flow without momentum.
        result: What the flow gave.
    """

    noise: tf.Tensor
    log_sigma: tf.Tensor
    rho_0: tf.Tensor | None
    result: FlowResult


@keras.saving.register_keras_serializable("hvae_tf")
class BatchCounter(keras.metrics.Metric):
    """How many batches there were since the metrics were reset: the step of an evaluation."""

    def __init__(self, name="batches", **kwargs):
        super().__init__(name=name, **kwargs)
        self.count = self.add_variable((), initializer="zeros", dtype="int32", name="count")

    def update_state(self):
        self.count.assign_add(1)

    def result(self):
        return self.count.value


@keras.saving.register_keras_serializable("hvae_tf")
class FlowVAE(InputChecks, BatchCount, keras.Model):
    """A variational auto-encoder whose posterior is q0(z_0|x) = N(mean, diag sd^2) pushed through any flow.

    `fit`, `evaluate` and `predict` take images ``[B, H, W, C]``, or tuples of which the first is the images (labels are
    not used). The loss is the negative bound in nats per image. `predict` gives the mean of p(x|z) at the image under
    the flow of the centre of q0 (with no momentum): a reconstruction without noise.

    The decoder runs in inference mode, also in `fit`, see `DecoderTarget`.

    Args:
        encoder: Keras model ``[B, H, W, C] -> (mean, standard deviation)``, both ``[B, l]``.
        decoder: Keras model ``[n, l] -> [n, H, W, outputs]``, what the likelihood reads.
        flow: A name, ``"identity"``, ``"hamiltonian"`` or ``"planar"``, or a function, see `FlowLayer`.
        flow_config: Keyword arguments of the flow.
        num_samples: L, draws for each image in training and evaluation.
        likelihood: ``"bernoulli"`` (on logits), ``"normal"``, ``"categorical"``, or a `Likelihood`.
        seed: Of the noise in `fit` and `evaluate`.
        **kwargs: `name` and `dtype`, as for `keras.Model`.

    Raises:
        ValueError: If networks, latent sizes and likelihood do not fit together, or an argument is out of range.
    """

    def __init__(
        self, encoder, decoder, flow="identity", flow_config=None, num_samples: int = 1,
        likelihood: str | Likelihood = "bernoulli", seed: int = 0, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.likelihood = get_likelihood(likelihood)
        self.image_shape, latent_size = _check_encoder(encoder)
        check_standard_deviation(encoder)
        check_decoder(decoder, self.likelihood, self.image_shape)
        if decoder.input_shape[-1] != latent_size:
            raise ValueError(
                f"the encoder gives latents of size {latent_size}, the decoder takes size {decoder.input_shape[-1]}; "
                "build both with one latent size"
            )
        check_count("num_samples", num_samples)
        self.latent_size = latent_size
        self.num_samples = int(num_samples)
        self.seed = check_seed("seed", seed)
        self.encoder = encoder
        self.decoder = decoder
        self.flow_layer = FlowLayer(flow, latent_size, flow_config, dtype=self.dtype_policy, name="flow")
        self._loss_metric = keras.metrics.Mean(name="loss", dtype=self.variable_dtype)
        self._elbo_metric = keras.metrics.Mean(name="elbo", dtype=self.variable_dtype)
        self._batch_counter = BatchCounter()

        dtype = tf.as_dtype(self.variable_dtype)
        images = tf.TensorSpec([None, *self.image_shape], dtype)
        latents = tf.TensorSpec([None, latent_size], dtype)
        count, pair = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
        batch = images, latents, latents, count, pair
        self._encode_graph = _graph(self._encode, images)
        self._reconstruct_graph = _graph(self.call, images)
        self._decode_graph = _graph(self._decode_mean, latents)
        self._decode_sample_graph = _graph(self._decode_sample, latents, pair)
        self._posterior_graph = _graph(self._posterior, *batch)
        self._elbo_graph = _graph(self._elbos, *batch)
        self._log_weight_graph = _graph(self._log_weights, *batch)
        self.built = True

    @property
    def flow(self):
        """The `Flow` between encoder and decoder; its variables are this model's weights."""
        return self.flow_layer.flow

    # -- from one batch to bounds -------------------------------------------------------------------------------------

    def _encode(self, x, training=False):
        """Mean and standard deviation of q0(z_0|x), both ``[B, l]``."""
        mean, standard_deviation = self.encoder(x, training=training)
        return tf.cast(mean, self.variable_dtype), tf.cast(standard_deviation, self.variable_dtype)

    def _target(self, x):
        return DecoderTarget(self.decoder, x, self.likelihood)

    def _noise(self, x, num_samples, seed):
        """Noise of z_0 and of rho_0, both ``[S, B, l]``, the second None for a flow without momentum."""
        shape = tf.stack([num_samples, tf.shape(x)[0], self.latent_size])
        known = [None, x.shape[0], self.latent_size]

        def normal(seed):
            return tf.ensure_shape(tf.random.stateless_normal(shape, seed, dtype=self.variable_dtype), known)

        seeds = tf.random.experimental.stateless_split(seed, 2)
        return normal(seeds[0]), normal(seeds[1]) if self.flow.has_momentum else None

    def _draw(self, x, mean, standard_deviation, noise, gamma) -> Draw:
        """A draw for each row of noise: Algorithm 1 of the paper."""
        rho_0 = None if gamma is None else self.flow.initial_momentum(gamma)
        result = self.flow(self._target(x), mean + standard_deviation * noise, rho_0)
        return Draw(noise, tf.math.log(standard_deviation), rho_0, result)

    def _draw_elbo(self, draw: Draw):
        """``[S, B]``: samples whose mean is the ELBO, every expectation known in closed form taken; eq. (12)."""
        log_q0 = -gaussian_entropy(draw.log_sigma)
        return hamiltonian_elbo(draw.result, log_q0) if self.flow.has_momentum else log_weight(draw.result, log_q0)

    def _draw_log_weight(self, draw: Draw):
        """``[S, B]``, the sampled log weights log p_hat(x): equation (6)."""
        log_q0 = gaussian_log_prob(draw.noise, draw.log_sigma)
        if self.flow.has_momentum:
            return hamiltonian_log_weight(draw.result, log_q0, draw.rho_0, self.flow.schedule().inv_sqrt_beta_0)
        return log_weight(draw.result, log_q0)

    def _bound(self, draw: Draw):
        """What is maximised, and the ELBO, both ``[B]``."""
        elbo = tf.reduce_mean(self._draw_elbo(draw), axis=0)
        return elbo, elbo

    def _of_draws(self, function, x, mean, standard_deviation, num_samples, seed):
        """What `function` makes, ``[S, B, ...]``, of `num_samples` draws for each image; `seed` is an int32 pair."""
        batches = x, mean, standard_deviation, *self._noise(x, num_samples, seed)
        return in_parts(lambda *batches: function(self._draw(*batches)), batches, axes=(0, 0, 0, 1, 1), result_axis=1)

    def _elbos(self, *batch):
        return self._of_draws(self._draw_elbo, *batch)

    def _log_weights(self, *batch):
        return self._of_draws(self._draw_log_weight, *batch)

    def _posterior(self, *batch):
        return self._of_draws(lambda draw: draw.result.z, *batch)

    def _decode_mean(self, z):
        return self.likelihood.mean(decode(self.decoder, z), self.image_shape[-1])

    def _decode_sample(self, z, seed):
        return self.likelihood.sample(decode(self.decoder, z), self.image_shape[-1], seed)

    # -- Keras --------------------------------------------------------------------------------------------------------

    def call(self, x, training=False):
        """The mean of p(x|z_K) ``[B, H, W, C]``, z_K being where the flow takes the centre of q0(z_0|x)."""
        x = self._cast_images(x)
        z_0, _ = self._encode(x, training)
        rho_0 = tf.zeros_like(z_0) if self.flow.has_momentum else None
        return self._decode_mean(self.flow(self._target(x), z_0, rho_0).z)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.image_shape)

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

    def evaluate(self, x=None, *args, **kwargs):
        if not self.compiled:
            self.compile(optimizer=None)
        return super().evaluate(x, *args, **kwargs)

    @property
    def metrics(self):
        return [self._loss_metric, self._elbo_metric, self._batch_counter]

    def get_metrics_result(self):
        return {"loss": self._loss_metric.result(), "elbo": self._elbo_metric.result()}

    def _step_seed(self, stream, step):
        """The int32 pair for this step of this stream, and of this replica."""
        seed = _fold(_pair(self.seed, stream), step)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            seed = _fold(seed, replica)
        return seed

    def _step(self, data, seed, training):
        """Loss of a batch, a scalar; the metrics are updated."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        refuse_weights(sample_weight=sample_weight)
        x = self._cast_images(x)
        # an encoder that keeps a state, such as batch normalisation's, may treat its images together
        q0 = self._encode(x, training) if self.encoder.non_trainable_variables else (None, None)

        def bounds(x, mean, standard_deviation, noise, gamma):
            q0 = self._encode(x, training) if mean is None else (mean, standard_deviation)
            return self._bound(self._draw(x, *q0, noise, gamma))

        batches = x, *q0, *self._noise(x, self.num_samples, seed)
        bound, elbo = in_parts(bounds, batches, axes=(0, 0, 0, 1, 1), result_axis=0)
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

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "likelihood": keras.saving.serialize_keras_object(self.likelihood),
            "seed": self.seed,
        } | self._flow_config()

    def _flow_config(self):
        """The part of the configuration that subclasses replace by their own arguments."""
        factory = self.flow_layer.get_config()["factory"]
        return {"flow": factory, "flow_config": dict(self.flow_layer.flow_config), "num_samples": self.num_samples}

    @classmethod
    def from_config(cls, config):
        config = {k: keras.saving.deserialize_keras_object(v) if _is_serialized(v) else v for k, v in config.items()}
        return cls(**config)

    # -- for use ------------------------------------------------------------------------------------------------------

    def sample(self, n: int, seed: int = 0, draw: bool = False, batch_size: int = 100) -> np.ndarray:
        """New images ``[n, H, W, C]``: z from the prior, then the mean of p(x|z), for binary pixels probabilities.

        Args:
            n: How many, >= 1.
            seed: What is drawn is a function of it.
            draw: Whether to draw x from p(x|z) instead of giving its mean.
            batch_size: Images decoded at once.

        Raises:
            ValueError: If n < 1.
        """
        check_count("n", n)
        z_seed, x_seed = tf.unstack(tf.random.experimental.stateless_split(_pair(seed, _SAMPLE), 2))
        z = tf.random.stateless_normal([n, self.latent_size], z_seed, dtype=self.variable_dtype)
        return np.concatenate([self._decoded(z[i : i + batch_size], x_seed, i, draw) for i in range(0, n, batch_size)])

    def _decoded(self, z, seed, index, draw):
        if not draw:
            return self._decode_graph(z).numpy()
        return self._decode_sample_graph(z, _fold(seed, index)).numpy()

    def encode(self, x, num_samples: int = 1, seed: int = 0, chunk_size: int = 10, batch_size: int = 100) -> np.ndarray:
        """Samples of the flow's posterior, z_K given x: ``[num_samples, B, l]``.

        Args:
            x: ``[B, H, W, C]``.
            num_samples: For each image, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each image taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Images taken at once.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        chunks = _chunks(num_samples, chunk_size)
        z = []
        for batch, batch_seed in self._batches(x, _pair(seed, _ENCODE), batch_size):
            parts = [self._posterior_graph(*batch, size, _fold(batch_seed, i)) for i, size in enumerate(chunks)]
            z.append(np.concatenate(parts))
        return np.concatenate(z, axis=1)

    def reconstruct(self, x, seed: int | None = None, batch_size: int = 100) -> np.ndarray:
        """The mean of p(x'|z_K), ``[B, H, W, C]``, for binary pixels probabilities.

        Args:
            x: ``[B, H, W, C]``.
            seed: None starts the flow from the centre of q0(z_0|x), without noise, as `predict` does; a number draws
                z_K from the flow's posterior instead.
            batch_size: Images taken at once.

        Raises:
            ValueError: If x is not of the model's shape.
        """
        if seed is None:
            x = self._images(x)
            images = [self._reconstruct_graph(x[i : i + batch_size]).numpy() for i in range(0, len(x), batch_size)]
            return np.concatenate(images)
        z = [
            self._posterior_graph(*batch, tf.constant(1), batch_seed)[0]
            for batch, batch_seed in self._batches(x, _pair(seed, _RECONSTRUCT), batch_size)
        ]
        return np.concatenate([self._decode_graph(z_batch).numpy() for z_batch in z])

    def elbo(self, x, num_samples: int = 1, seed: int = 0, chunk_size: int = 10, batch_size: int = 100) -> np.ndarray:
        """The ELBO of each image in nats, ``[B]``: a mean over samples, of the Hamiltonian ELBO (12) where it applies.

        Args:
            x: ``[B, H, W, C]``.
            num_samples: For each image, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each image taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Images taken at once.

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        chunks = _chunks(num_samples, chunk_size)
        elbos = []
        for batch, batch_seed in self._batches(x, _pair(seed, _ELBO), batch_size):
            parts = [self._elbo_graph(*batch, size, _fold(batch_seed, i)) for i, size in enumerate(chunks)]
            elbos.append(np.concatenate(parts).mean(axis=0))
        return np.concatenate(elbos)

    def log_likelihood(
        self, x, num_samples: int = 1000, seed: int = 0, chunk_size: int = 10, batch_size: int = 100, verbose: int = 0
    ) -> Estimate:
        """Log p(x) of each image in nats by importance sampling from the flow's posterior, with standard errors.

        Args:
            x: ``[B, H, W, C]``.
            num_samples: S, for each image, >= 1.
            seed: What is drawn is a function of it (and of chunk_size and batch_size).
            chunk_size: Samples of each image taken at once; chunk_size * batch_size bounds the memory.
            batch_size: Images taken at once; the encoder runs once for each.
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            `Estimate` of arrays ``[B]``; in expectation the value is a lower bound of log p(x).

        Raises:
            ValueError: If x is not of the model's shape, or a number is below 1.
        """
        num_chunks, x, values, errors = len(_chunks(num_samples, chunk_size)), self._images(x), [], []
        check_count("batch_size", batch_size)
        bar = keras.utils.Progbar(-(-len(x) // batch_size) * num_chunks, verbose=verbose, unit_name="chunk")
        for batch, batch_seed in self._batches(x, _pair(seed, _LOG_LIKELIHOOD), batch_size):

            def sample_log_weights(size, chunk_seed, batch=batch):
                log_weights = self._log_weight_graph(*batch, tf.constant(size), chunk_seed)
                bar.add(1)
                return log_weights

            estimate = importance_log_likelihood(sample_log_weights, num_samples, batch_seed, chunk_size)
            values.append(estimate.value.numpy())
            errors.append(estimate.standard_error.numpy())
        return Estimate(np.concatenate(values), np.concatenate(errors))

    def _batches(self, x, seed, batch_size):
        """Yields ((x, mean, standard deviation), seed) for each batch of images."""
        x = self._images(x)
        check_count("batch_size", batch_size)
        for start in range(0, len(x), batch_size):
            batch = tf.convert_to_tensor(x[start : start + batch_size])
            yield (batch, *self._encode_graph(batch)), _fold(seed, start)

    def _images(self, x) -> np.ndarray:
        """Images given to a public method, checked."""
        x = np.asarray(x)
        self.check_input(x)
        return x.astype(self.variable_dtype)

    def _cast_images(self, x):
        """Images given to Keras, checked."""
        x = tf.convert_to_tensor(x)
        if x.shape.rank != 4 or not x.shape[1:].is_compatible_with(self.image_shape):
            raise ValueError(f"x has shape {x.shape}; expected [B, {', '.join(map(str, self.image_shape))}]")
        return tf.cast(tf.ensure_shape(x, [None, *self.image_shape]), self.variable_dtype)


def _graph(method, *signature):
    """The method as one graph for inputs of any batch size."""
    # TensorFlow warns of retracing where many models have a method in common; a partial is each model's own
    return tf.function(functools.partial(method), input_signature=signature)


def _check_encoder(encoder):
    """(H, W, C) and l of an encoder; raises ValueError where it gives no (mean, standard deviation)."""
    try:
        input_shape, output_shapes = tuple(encoder.input_shape), list(encoder.output_shape)
    except AttributeError:
        raise ValueError(
            f"the encoder {getattr(encoder, 'name', encoder)!r} has no static shapes; make it a functional model: "
            "x = keras.Input([H, W, C]); keras.Model(x, encoder(x))"
        ) from None
    if len(input_shape) != 4 or None in input_shape[1:]:
        raise ValueError(f"the encoder takes inputs of shape {input_shape}; expected (None, H, W, C), all sizes known")
    shapes = [tuple(shape) if isinstance(shape, (tuple, list)) else shape for shape in output_shapes]
    if len(shapes) != 2 or shapes[0] != shapes[1] or not isinstance(shapes[0], tuple) or len(shapes[0]) != 2:
        raise ValueError(
            f"the encoder gives outputs of shape {encoder.output_shape}; "
            "expected a mean and a standard deviation, both (None, l)"
        )
    return input_shape[1:], shapes[0][-1]


def _chunks(num_samples, chunk_size):
    """The sizes, int32 tensors, of the chunks that make up num_samples."""
    check_count("num_samples", num_samples)
    check_count("chunk_size", chunk_size)
    return [tf.constant(min(chunk_size, num_samples - start)) for start in range(0, num_samples, chunk_size)]


def _pair(seed, stream):
    return tf.constant([check_seed("seed", seed), stream], tf.int32)


_fold = tf.random.experimental.stateless_fold_in


def _is_serialized(value):
    return isinstance(value, dict) and "class_name" in value
