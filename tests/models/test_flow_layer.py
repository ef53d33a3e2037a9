"""Whatever a flow is made of is trained, counted, saved and loaded with the model, or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from hvae_tf.flows.flow import Flow, FlowResult, IdentityFlow
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.models.flow_vae import FlowVAE
from hvae_tf.models.hvae import HVAE
from tests.catalogue import CATALOGUE
from tests.marks import slow

# one row of each class of flow, and of each tempering
ROWS = ["planar-K2", "hamiltonian-fixed-K2-step", "hamiltonian-free-K5-flow", "stretched", "amortised"]


@pytest.mark.parametrize("name", slow(ROWS, "hamiltonian"))
def test_every_parameter_is_trained_counted_saved_and_loaded(name, networks, images, tmp_path):
    model = FlowVAE(*networks(), CATALOGUE[name].make(2, dtype=tf.float32))
    assert {weight.name for weight in model.flow_layer.trainable_weights} == CATALOGUE[name].variables
    before = [weight.numpy() for weight in model.flow_layer.weights]
    counted = sum(value.size for value in before)
    assert model.count_params() == model.encoder.count_params() + model.decoder.count_params() + counted
    model.compile(keras.optimizers.Adamax(0.05))
    model.fit(images, batch_size=12, verbose=0)
    for weight, value in zip(model.flow_layer.weights, before, strict=True):
        assert not np.array_equal(weight, value), weight.path
    lines = []
    model.summary(print_fn=lines.append)
    described = next(line for line in lines if line.startswith(" flow: "))
    assert all(f"{weight.name} {list(weight.shape)}" in described for weight in model.flow_layer.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for weight, again in zip(model.flow_layer.weights, loaded.flow_layer.weights, strict=True):
        np.testing.assert_array_equal(weight, again, err_msg=weight.path)
    np.testing.assert_array_equal(loaded.elbo(images), model.elbo(images))
    np.testing.assert_array_equal(loaded.log_likelihood(images, 3).value, model.log_likelihood(images, 3).value)


@pytest.mark.parametrize("part", FlowResult._fields)
@pytest.mark.parametrize("latent", [1, 2])
def test_results_of_another_shape_are_refused(part, latent, networks):
    """With one latent, a forgotten sum over it would broadcast, and train something else."""

    class Unsummed(IdentityFlow):
        def transform(self, target, z, noise=(), q0=None, context=None):
            found = super().transform(target, z, noise, q0, context)
            wrong = found.z[..., None] if part == "z" else tf.zeros_like(z)
            return found._replace(**{part: wrong})

    with pytest.raises(ValueError, match=rf"Unsummed gave {part} of shape \(2, 3, {latent}"):
        FlowLayer(Unsummed(latent))


@pytest.mark.parametrize("ratio", [0.0, tf.zeros([]), tf.zeros([3]), tf.zeros([2, 1])])
def test_a_ratio_may_broadcast(ratio):
    class Constant(IdentityFlow):
        def transform(self, target, z, noise=(), q0=None, context=None):
            return super().transform(target, z, noise, q0, context)._replace(log_ratio=ratio, expected_log_ratio=ratio)

    assert FlowLayer(Constant(1)).flow.event_size == 1


@pytest.mark.parametrize("ratio", [tf.zeros([2]), tf.zeros([3, 2])])
def test_a_ratio_along_another_axis_is_refused(ratio):
    class Turned(IdentityFlow):
        def transform(self, target, z, noise=(), q0=None, context=None):
            return super().transform(target, z, noise, q0, context)._replace(log_ratio=ratio)

    with pytest.raises(ValueError, match=r"Turned gave log_ratio of shape .* at z of shape \(2, 3, 1\)"):
        FlowLayer(Turned(1))


def test_a_flow_is_handed_over_as_an_object(networks, images):
    """With its tempering, integrator and adjoint; the short form is the same model."""
    from hvae_tf import Checkpoint, FreeTempering, Leapfrog

    flow = HamiltonianFlow(2, 3, tempering=FreeTempering(0.8), integrator=Leapfrog(), adjoint=Checkpoint())
    model, short = HVAE(*networks(), flow=flow), HVAE(*networks(), 3, FreeTempering(0.8))
    assert model.flow is flow
    np.testing.assert_allclose(model.elbo(images), short.elbo(images), rtol=1e-6)
    again = HVAE.from_config(model.get_config())
    assert again.flow.get_config() == flow.get_config()
    assert isinstance(again.flow, HamiltonianFlow)


class Unseen(IdentityFlow):
    """Its shift is on an object that is no module: nothing can find it."""

    def __init__(self, event_size, dtype=tf.float32):
        super().__init__(event_size, dtype=dtype)
        shift = tf.Variable(tf.zeros([event_size]), name="hidden_shift")
        self.move = lambda z: z + shift

    def transform(self, target, z, noise=(), q0=None, context=None):
        return super().transform(target, self.move(z))


def test_a_variable_that_cannot_be_found_is_refused(networks):
    with pytest.raises(ValueError, match=r"Unseen uses variables that it does not hold \(hidden_shift:0\)"):
        FlowVAE(*networks(), Unseen)


class Bijected(Flow):
    """A tfp bijector, a `tf.Module` with a variable, inside a list."""

    def __init__(self, event_size, dtype=tf.float32):
        super().__init__(event_size, dtype=dtype)
        self.bijectors = [tfp.bijectors.Shift(tf.Variable(tf.ones([event_size]), name="shift"))]

    def transform(self, target, z, noise=(), q0=None, context=None):
        moved = self.bijectors[0].forward(z)
        nothing = tf.zeros_like(z[..., 0])
        return FlowResult(moved, target.log_joint(moved), nothing, nothing)


def test_modules_inside_a_flow_are_searched():
    flow = Bijected(3)
    layer = FlowLayer(flow)
    assert [weight.name for weight in layer.trainable_weights] == ["shift"]
    layer.trainable_weights[0].assign(2.0 * tf.ones([3]))
    np.testing.assert_array_equal(flow.bijectors[0].forward(tf.zeros([3])), 2.0 * np.ones(3))


def test_what_is_no_flow_is_named():
    with pytest.raises(ValueError, match=r"expected a hvae_tf.Flow, or a function \(event_size, dtype=\) -> Flow"):
        FlowLayer(tf.Module())
