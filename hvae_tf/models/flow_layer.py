"""The Keras layers that own the variables of `tf.Module`s, so that Keras trains, counts, saves and loads them.

Keras sees no `tf.Variable` of a `tf.Module`: such variables would be neither trained nor saved, silently. A
`ModuleLayer` adopts them: each becomes the value of a Keras variable, and Keras layers that the module holds become
sublayers. What a flow uses and Keras cannot be shown is refused.
"""

import weakref

import keras
import tensorflow as tf

from hvae_tf.densities import DiagonalGaussian
from hvae_tf.flows.flow import Flow, FlowResult
from hvae_tf.targets.likelihoods import Likelihood
from hvae_tf.targets.target import LogDensityTarget


class _Adopted(keras.Variable):
    """A Keras variable around a `tf.Variable` that stands already."""

    def __init__(self, variable: tf.Variable):
        self._adopted = variable
        name = variable.name.split(":")[0].split("/")[-1]
        super().__init__(variable, dtype=variable.dtype.name, trainable=variable.trainable, autocast=False, name=name)

    def _initialize(self, value):
        super()._initialize(self._adopted)


class ModuleLayer(keras.layers.Layer):
    """A Keras layer around a `tf.Module`, of whose state nothing is left out.

    Args:
        module: It may hold `tf.Variable`s, further `tf.Module`s (TFP's bijectors are such), and Keras layers or models,
            as attributes or in lists, tuples and dicts.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        networks: The Keras layers found in the module.
    """

    def __init__(self, module: tf.Module, **kwargs):
        super().__init__(**kwargs)
        variables, self.networks = _state_of(module)
        with keras.name_scope(self.name):
            for variable in variables:
                self._track_variable(_Adopted(variable))
        self.built = True

    def call(self, inputs):
        """The layer only holds what it was given; it computes nothing."""
        raise NotImplementedError(f"{type(self).__name__} holds variables; call what it holds instead")

    def parameter_shapes(self) -> dict[str, list[int]]:
        """The shapes of all weights, by name."""
        return {weight.path.removeprefix(f"{self.name}/"): list(weight.shape) for weight in self.weights}


class FlowLayer(ModuleLayer):
    """Owns the variables of a `Flow`.

    Args:
        flow: The flow.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        flow: The `Flow`; what it reads is what Keras trains.

    Raises:
        ValueError: If `flow` is no `Flow`, gives results of other shapes than `FlowResult`'s, or uses variables that
            cannot be found on it.
    """

    def __init__(self, flow: Flow, **kwargs):
        if not isinstance(flow, Flow):
            raise ValueError(f"flow is {flow!r}; expected a hvae_tf.Flow, or a function (event_size, dtype=) -> Flow")
        used = _variables_used(flow)
        super().__init__(flow, **kwargs)
        self.flow = flow
        held = {id(part) for weight in self.weights for part in _parts(weight.value)}
        if unseen := sorted({variable.name for variable in used if id(variable) not in held}):
            raise ValueError(
                f"{type(flow).__name__} uses variables that it does not hold ({', '.join(unseen)}), so they could be "
                "neither trained nor saved; make them, or the module or layer they are in, attributes of the flow"
            )


class LikelihoodLayer(ModuleLayer):
    """Owns the variables of a `Likelihood`, which say what one decoder's outputs mean.

    Args:
        likelihood: The likelihood, built.
        decoder: The decoder, a Keras model.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: If the likelihood has variables and serves another decoder, one with none of this one's weights.
    """

    def __init__(self, likelihood: Likelihood, decoder: keras.Model, **kwargs):
        super().__init__(likelihood, **kwargs)
        served = getattr(likelihood, "_served", lambda: decoder)()
        if self.weights and not _share_weights(served, decoder):
            raise ValueError(
                f"this {likelihood.name} likelihood has variables, which another model, perhaps one that is gone, "
                "trains with its own decoder; make a likelihood for each model"
            )
        likelihood._served = weakref.ref(decoder)  # weakly: what a module holds, it owns


def _share_weights(served: keras.Model | None, decoder: keras.Model) -> bool:
    """Whether the two, of which the first may be gone, are one network or have one in common."""
    known = set() if served is None else {id(weight) for weight in served.weights}
    return served is decoder or any(id(weight) in known for weight in decoder.weights)


def _parts(variable) -> tuple:
    """The variable itself and, under a `tf.distribute` strategy, that of each replica: those are what a tape sees."""
    return (variable, *(variable.values if isinstance(variable, tf.distribute.DistributedValues) else ()))


def _state_of(module: tf.Module) -> tuple[list[tf.Variable], list[keras.layers.Layer]]:
    """The variables on a module and the modules in it, in order of creation of the attributes, and its Keras layers."""
    variables: dict[int, tf.Variable] = {}
    layers: dict[int, keras.layers.Layer] = {}
    for part in (module, *module.submodules):
        for name, value in vars(part).items():
            if name.startswith("_self_") or name.startswith("_tf_api"):
                continue
            for leaf in tf.nest.flatten(value):
                if isinstance(leaf, keras.layers.Layer):
                    layers[id(leaf)] = leaf
                elif isinstance(leaf, tf.Variable):
                    variables[id(leaf)] = leaf
                elif isinstance(leaf, keras.Variable):
                    variables[id(leaf.value)] = leaf.value
    in_layers = {id(weight.value) for layer in layers.values() for weight in layer.weights}
    return [variable for key, variable in variables.items() if key not in in_layers], list(layers.values())


def _variables_used(flow: Flow):
    """The trainable variables that a flow reads, seen by running it once on a standard normal; builds its networks."""
    size, dtype = flow.event_size, flow.dtype

    def unit(z):
        return tf.eye(size, dtype=dtype) + tf.zeros_like(z)[..., None]

    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(tf.square(z), axis=-1), size, unit)
    count = 3  # events, and two samples of each: axes that nothing can mistake for each other
    q0 = DiagonalGaussian(tf.zeros([count, size], dtype), tf.ones([count, size], dtype))
    noise = flow.noise((2, count), tf.constant([0, 0], tf.int32))
    z, context = tf.zeros([2, count, size], dtype), tf.zeros([count, 2 * size], dtype)
    with tf.GradientTape() as tape:
        found = flow.transform(target, z, noise, q0=q0, context=context)
    _check_result(flow, found, z.shape)
    return tape.watched_variables()


def _check_result(flow: Flow, found: FlowResult, z_shape: tf.TensorShape) -> None:
    """Raises ValueError unless what came of z ``[S, B, l]`` has the shapes of `FlowResult`."""
    for name, value in found._asdict().items():
        shape, expected = tf.convert_to_tensor(value).shape, z_shape if name == "z" else z_shape[:-1]
        if name in ("z", "log_joint"):
            right = shape.is_compatible_with(expected)
        else:  # or broadcasting with it
            sizes = zip(reversed(shape), reversed(expected), strict=False) if shape.rank is not None else ()
            right = (shape.rank or 0) <= 2 and all(size in (None, 1, wanted) for size, wanted in sizes)
        if not right:
            raise ValueError(
                f"{type(flow).__name__} gave {name} of shape {shape} at z of shape {z_shape}; expected {expected}"
                f"{'' if name == 'z' else ': one number a sample, summed over the last axis'}"
            )
