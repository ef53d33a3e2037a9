"""The Nosé-Hoover flow: its limit, its step, its evidence, and the errors that its weight invites."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf import (
    DiagonalGaussian,
    FixedTempering,
    FlowVAE,
    HamiltonianFlow,
    LogDensityTarget,
    LogMeanExp,
    NoseHooverFlow,
    dense_decoder,
    dense_encoder,
    log_weight,
)
from hvae_tf.densities import standard_normal_log_prob
from hvae_tf.dynamics.nose_hoover import NoseHoover

SIZE, COUNT = 2, 40_000
PRECISION = np.array([4.0, 9.0])
CENTRE = np.array([0.3, -0.2])


def gaussian(z):
    log_normaliser = 0.5 * np.sum(np.log(PRECISION)) - np.log(2.0 * np.pi)
    return -0.5 * tf.reduce_sum(PRECISION * tf.square(z - CENTRE), axis=-1) + log_normaliser


def quartic(z):
    return -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


TARGET = LogDensityTarget(gaussian, SIZE)
Q0 = DiagonalGaussian(tf.constant(CENTRE + 0.1), tf.constant([0.7, 0.5], tf.float64))


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [seed, len(shape)], dtype=tf.float64)


def make_flow(mass, tempering="none", kind=NoseHooverFlow, steps=6):
    return kind(SIZE, steps, thermostat_mass=mass, tempering=tempering, step_size=[0.3, 0.2], dtype=tf.float64)


def test_a_heavy_thermostat_does_nothing(seed):
    """Q without bound is the untempered Hamiltonian flow: z, and every term of the weight."""
    options = {"step_size": [0.1, 0.2], "dtype": tf.float64}
    flow = NoseHooverFlow(SIZE, 4, thermostat_mass=1e24, **options)
    other = HamiltonianFlow(SIZE, 4, "none", **options)
    z, (gamma, eta) = normal(5, SIZE, seed=seed), flow.noise((5,), tf.constant([seed, 3]))
    target = LogDensityTarget(quartic, SIZE)
    found, expected = flow.transform(target, z, (gamma, eta)), other.transform(target, z, gamma)
    for value, wanted in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-9)
    of_thermostat = 0.5 * (1.0 - np.square(eta[:, 0]))
    np.testing.assert_allclose(found.expected_log_ratio, expected.expected_log_ratio + of_thermostat, atol=1e-9)


def step_with(eps, coupling, state, tau=1.3):
    target = LogDensityTarget(quartic, SIZE)
    eps, coupling = tf.constant(eps, tf.float64), tf.constant(coupling, tf.float64)
    integrator = NoseHoover()
    return integrator.step(target, integrator.init(target, *state), (eps, coupling, coupling * tau))


def start_at(seed):
    return (
        normal(6, SIZE, seed=seed),
        normal(6, SIZE, seed=seed + 1),
        normal(6, 1, seed=seed + 2),
        tf.zeros([6, 1], tf.float64),
    )


def test_the_step_is_undone_by_itself_with_momenta_reversed(seed):
    """Under (rho, eta) -> -(rho, eta), the determinant included."""
    end = step_with(0.3, 0.4, start_at(seed))
    back = step_with(0.3, 0.4, (end.z, -end.rho, -end.eta, end.log_det))
    z, rho, eta, nothing = start_at(seed)
    for value, expected in zip(back[:4], (z, -rho, -eta, nothing), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-14)


def test_the_step_is_of_second_order(seed):
    def end_after(steps):
        state = start_at(seed)
        for _ in range(steps):
            state = step_with(0.5 / steps, 0.8 / steps, state)[:4]
        return np.concatenate([*state], axis=-1)

    exact = end_after(96)
    errors = [np.abs(end_after(steps) - exact).max() for steps in (6, 12)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.2)


class WithoutThermostat(NoseHooverFlow):
    """A planted error: the thermostat's densities left out of the weight."""

    def transform(self, target, z, noise=(), q0=None, context=None):
        result = super().transform(target, z, noise, q0, context)
        state = self.move(target, z, self.schedule().inv_sqrt_beta_0 * noise[0], noise[1])
        extra = standard_normal_log_prob(state.eta) - standard_normal_log_prob(noise[1])
        return result._replace(log_ratio=result.log_ratio - extra)


class FixedThermostat(WithoutThermostat):
    """Another: xi_0 = 0, and (z, rho) taken for all that there is."""

    def noise(self, shape, seed):
        gamma, eta = super().noise(shape, seed)
        return gamma, tf.zeros_like(eta)


def deviation(flow, seed, least=50) -> float:
    noise = normal(COUNT, SIZE, seed=seed)
    result = flow.transform(TARGET, Q0.sample(noise), flow.noise((COUNT,), tf.constant([seed, 7])), q0=Q0)
    estimate = LogMeanExp.of(log_weight(result, Q0.log_prob_of_noise(noise))).estimate()
    assert estimate.effective_sample_size > COUNT / least
    return float(abs(estimate.value) / estimate.standard_error)


@pytest.mark.parametrize("mass", [1.0, 8.0])
@pytest.mark.parametrize("tempering", ["none", "fixed"])
def test_the_evidence(mass, tempering, seed):
    tempering = FixedTempering(1.3) if tempering == "fixed" else tempering
    assert deviation(make_flow(mass, tempering), seed) < 5.0


@pytest.mark.parametrize("wrong", [WithoutThermostat, FixedThermostat])
def test_a_forgotten_thermostat_is_seen(wrong, seed):
    assert deviation(make_flow(1.0, kind=wrong), seed, least=200) > 5.0  # it makes weights wilder too


def test_temperatures_fall_to_one():
    flow = make_flow(2.0, FixedTempering(2.0), steps=3)
    temperatures = np.array(flow.temperatures())
    assert temperatures[0] == pytest.approx(4.0)
    assert temperatures[-1] == pytest.approx(1.0)
    assert np.all(np.diff(temperatures) < 0.0)


def test_the_reversible_adjoint_has_the_gradients_of_backprop(seed):
    gradients = []
    for adjoint in ("backprop", "reversible"):
        flow = NoseHooverFlow(SIZE, 4, tempering="free", step_size=0.1, adjoint=adjoint, dtype=tf.float64)
        z, noise = normal(4, SIZE, seed=seed), flow.noise((4,), tf.constant([seed, 1]))
        with tf.GradientTape() as tape:
            result = flow.transform(LogDensityTarget(quartic, SIZE), z, noise)
            value = tf.reduce_sum(result.log_joint + result.log_ratio)
        gradients.append(tape.gradient(value, flow.trainable_variables))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.slow
def test_a_model_is_trained_saved_and_loaded(tmp_path):
    rows = (np.random.default_rng(0).uniform(size=(60, 6)) < 0.4).astype(np.float32)
    flow = NoseHooverFlow(2, 2, tempering="free")
    model = FlowVAE(dense_encoder((6,), 2, (5,)), dense_decoder((6,), 2, (5,)), flow)
    model.compile(keras.optimizers.Adamax(0.05))
    before = [weight.numpy() for weight in model.flow_layer.trainable_weights]
    model.fit(rows, batch_size=20, verbose=0)
    for weight, value in zip(model.flow_layer.trainable_weights, before, strict=True):
        assert not np.array_equal(weight, value), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.elbo(rows), model.elbo(rows))
    np.testing.assert_array_equal(loaded.flow.thermostat_mass, model.flow.thermostat_mass)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_leapfrog_steps": 0}, "num_leapfrog_steps is 0"),
        ({"thermostat_mass": 0.0}, "thermostat_mass is 0.0; expected a positive"),
        ({"thermostat_mass": float("nan")}, "thermostat_mass is nan"),
        ({"tempering": "hot"}, "unknown tempering 'hot'"),
        ({"step_size": 0.7}, r"expected values in \(0, max_step_size\)"),
        ({"step_size_per": "epoch"}, "unknown step_size_per 'epoch'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NoseHooverFlow(SIZE, **{"num_leapfrog_steps": 1} | arguments)


def test_noise_of_another_flow_is_refused():
    flow = NoseHooverFlow(SIZE, 1)
    z = tf.zeros([3, SIZE])
    target = LogDensityTarget(quartic, SIZE)
    with pytest.raises(ValueError, match="noise is no pair"):
        flow.transform(target, z, z)
    with pytest.raises(ValueError, match=r"eta has shape \(3, 2\); expected \[..., 1\]"):
        flow.transform(target, z, (z, z))
