"""The Hamiltonian flow against its shear form and against exact evidence, what it is made of, and what it refuses."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvae_tf.bounds.elbo import elbo_sample, log_weight
from hvae_tf.bounds.importance import importance_log_likelihood
from hvae_tf.densities import DiagonalGaussian, standard_normal, standard_normal_log_prob
from hvae_tf.dynamics.adjoint import Checkpoint, Direct
from hvae_tf.dynamics.leapfrog import Leapfrog
from hvae_tf.dynamics.tempering import (
    TEMPERINGS,
    FixedTempering,
    FreeTempering,
    NoTempering,
    ReleasedFixedTempering,
    TemperingSchedule,
)
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.targets.gaussian import (
    GaussianOffsetTarget,
    evidence,
    exact_hamiltonian_elbo,
    hamiltonian_gap,
    posterior,
    sufficient_statistics,
)
from hvae_tf.targets.target import LogDensityTarget
from reproduce.auxiliary.annealing import unit_problem

SIZE = 3
TARGET = LogDensityTarget(
    lambda z: -0.25 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1)), SIZE
)
TEMPERED = sorted(set(TEMPERINGS) - {"none"})


def make_tempering(name):
    """Far enough from 1 to be seen."""
    arguments = {"none": {}, "free": {"alpha": 0.85}}.get(name, {"inv_sqrt_beta_0": 1.5})
    return TEMPERINGS[name](**arguments)


def shear_form(flow, z, gamma):
    """The same map in gamma_k = rho_k / b_k, b_0 = 1/sqrt(beta_0), b_k = b_{k-1} alpha_k: no tempering is left.

    Every line is a shear, so (z_0, gamma_0) -> (z_K, gamma_K) keeps volume whatever beta_0.
    """
    schedule = flow.schedule()
    b = schedule.inv_sqrt_beta_0
    eps_per_step = tf.broadcast_to(flow.step_sizes, [flow.num_leapfrog_steps, SIZE])
    for eps, alpha in zip(eps_per_step, schedule.alphas, strict=True):
        gamma += eps / (2.0 * b) * TARGET.value_and_grad(z).grad
        z += eps * b * gamma
        gamma += eps / (2.0 * b) * TARGET.value_and_grad(z).grad
        b *= alpha
    return z, gamma


@pytest.mark.parametrize("step_size_per", ["flow", "step"])
@pytest.mark.parametrize("num_steps", [1, 3, 10])
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_tempered_form_equals_shear_form(tempering, num_steps, step_size_per, seed):
    flow = HamiltonianFlow(
        SIZE, num_steps, make_tempering(tempering), step_size=0.1, step_size_per=step_size_per, dtype=tf.float64
    )
    for index, variable in enumerate(flow.trainable_variables):
        variable.assign_add(0.3 * tf.random.stateless_normal(variable.shape, [seed, index], dtype=tf.float64))
    z, gamma = tf.unstack(tf.random.stateless_normal([2, 20, SIZE], [seed, 10], dtype=tf.float64))
    result = flow.transform(TARGET, z, gamma)
    state, _ = flow.move(TARGET, z, flow.schedule().inv_sqrt_beta_0 * gamma)

    z_shear, gamma_shear = shear_form(flow, z, gamma)
    # not one factor of beta_0 stands in this ratio
    log_ratio_shear = standard_normal_log_prob(gamma_shear) - standard_normal_log_prob(gamma)

    np.testing.assert_allclose(result.z, z_shear, rtol=0, atol=1e-11)
    np.testing.assert_allclose(state.z, z_shear, rtol=0, atol=1e-11)
    np.testing.assert_allclose(state.rho, gamma_shear, rtol=0, atol=1e-11)  # b_K = 1
    np.testing.assert_allclose(result.log_joint, TARGET.log_joint(z_shear), rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.log_ratio, log_ratio_shear, rtol=0, atol=1e-10)
    # the ratio as sampled and its expectation differ by |gamma_0|^2/2 - l/2, which holds no parameter
    difference = 0.5 * tf.reduce_sum(gamma**2, -1) - 0.5 * SIZE
    np.testing.assert_allclose(result.log_ratio - result.expected_log_ratio, difference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_log_det_is_half_l_log_beta_0(tempering):
    flow = HamiltonianFlow(SIZE, 4, make_tempering(tempering), dtype=tf.float64)
    z = tf.zeros([SIZE], tf.float64)
    expected = 0.5 * SIZE * np.log(flow.schedule().beta_0)
    np.testing.assert_allclose(flow.move(TARGET, z, z)[1], expected, rtol=1e-12, atol=1e-12)


def test_momentum_starts_at_scale_inv_sqrt_beta_0():
    """With a step too small to change the gradient's part, z moves by eps rho_0."""
    flow = HamiltonianFlow(SIZE, 1, FixedTempering(3.0), step_size=1e-9, dtype=tf.float64)
    z, gamma = tf.zeros([1, SIZE], tf.float64), tf.constant([[1.0, -2.0, 0.5]], tf.float64)
    np.testing.assert_allclose(flow.transform(TARGET, z, gamma).z, 1e-9 * 3.0 * gamma, rtol=1e-6)


# ---- evidence: mean and bound, and errors that the same checks see

D, NUM_STEPS, NUM_SAMPLES = 4, 3, 20_000


class Misweighted(HamiltonianFlow):
    """Gives its log ratios a planted error."""

    def __init__(self, *args, error, **kwargs):
        super().__init__(*args, **kwargs)
        self._error = error

    def transform(self, target, z, noise=(), q0=None, context=None):
        result = super().transform(target, z, noise, q0, context)
        schedule = self.schedule()
        wrong = {
            "log-determinant dropped": -0.5 * D * tf.math.log(schedule.beta_0),
            "beta_0 for its root": 0.5 * D * tf.math.log(schedule.beta_0),
            "sampled twice": result.log_ratio,
        }[self._error]
        return result._replace(log_ratio=result.log_ratio + wrong, expected_log_ratio=result.expected_log_ratio + wrong)


class LostTempering(NoTempering):
    """Starts hot and never cools, though it says so in its weights: its alphas do not multiply to sqrt(beta_0)."""

    def _schedule(self, num_steps):
        one = tf.ones(self._batch_shape, self._dtype)
        return TemperingSchedule(1.5 * one, (one,) * num_steps)


def gaussian_problem(seed):
    """Statistics of data, delta and log sigma, and a q0 that is wrong on purpose."""
    statistics = sufficient_statistics(np.random.default_rng([seed, D]).normal(size=[10, D]))
    delta = tf.linspace(tf.constant(-0.5, tf.float64), 0.5, D)
    log_sigma = tf.linspace(tf.constant(-0.2, tf.float64), 0.2, D)
    exact = posterior(statistics, delta, log_sigma)
    # off-centre and too wide: far enough from the posterior to matter, wide enough for weights of small variance,
    # which alone make a standard error that can be trusted
    q0 = DiagonalGaussian(exact.mean() + 0.3 * exact.stddev(), 1.4 * exact.stddev())
    return (statistics, delta, log_sigma), q0


def make_flow(tempering, flow_class=HamiltonianFlow, **kwargs):
    step_size = np.linspace(0.15, 0.25, D)
    return flow_class(D, NUM_STEPS, tempering, step_size=step_size, dtype=tf.float64, **kwargs)


def draw(flow, problem, q0, num_samples, pair):
    seeds = tf.random.split(pair)
    noise = tf.random.stateless_normal([num_samples, D], seeds[0], dtype=tf.float64)
    result = flow.transform(GaussianOffsetTarget(*problem), q0.sample(noise), flow.noise([num_samples], seeds[1]), q0)
    return result, q0.log_prob_of_noise(noise)


def evidence_deviation(flow, seed) -> float:
    """|p_hat(x) - p(x)| in standard errors: the check that right code passes and wrong code fails."""
    problem, q0 = gaussian_problem(seed)
    estimate = importance_log_likelihood(
        lambda n, pair: log_weight(*draw(flow, problem, q0, n, pair)), NUM_SAMPLES, seed, chunk_size=NUM_SAMPLES
    )
    # an effective sample size above a tenth: the error bar itself is sound
    assert estimate.standard_error < np.sqrt(10.0 / NUM_SAMPLES)
    return float(abs(estimate.value - evidence(*problem)) / estimate.standard_error)


def elbo_deviation(flow, bound, seed, z_score) -> float:
    """How far the bound's mean is from the exact Hamiltonian ELBO, in standard errors."""
    problem, _ = gaussian_problem(seed)
    samples = bound(*draw(flow, problem, standard_normal(D, tf.float64), NUM_SAMPLES, [seed, 7]))
    steps = [flow.step_sizes] * NUM_STEPS
    return z_score(samples, exact_hamiltonian_elbo(*problem, steps, flow.schedule()))


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_mean_of_weights_is_the_evidence(tempering, seed):
    assert evidence_deviation(make_flow(make_tempering(tempering)), seed) < 5.0


@pytest.mark.parametrize("bound", [log_weight, elbo_sample])
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_both_ratios_have_the_mean_of_the_exact_elbo(tempering, bound, seed, z_score):
    assert elbo_deviation(make_flow(make_tempering(tempering)), bound, seed, z_score) < 5.0


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_both_ratios_have_one_mean(tempering, seed, z_score):
    problem, q0 = gaussian_problem(seed)
    result, _ = draw(make_flow(make_tempering(tempering)), problem, q0, NUM_SAMPLES, [seed, 3])
    assert z_score(result.log_ratio - result.expected_log_ratio, 0.0) < 5.0
    dropped = 0.5 * D  # planted: (12) without its l/2
    assert z_score(result.log_ratio - (result.expected_log_ratio - dropped), 0.0) > 5.0


@pytest.mark.parametrize("tempering", TEMPERED)
@pytest.mark.parametrize("error", ["log-determinant dropped", "beta_0 for its root", "sampled twice"])
def test_wrong_ratio_is_seen(error, tempering, seed, z_score):
    flow = make_flow(make_tempering(tempering), Misweighted, error=error)
    assert evidence_deviation(flow, seed) > 5.0
    for bound in (log_weight, elbo_sample):
        assert elbo_deviation(flow, bound, seed, z_score) > 5.0


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_unkicked_drift_is_seen(tempering, seed, z_score, unkicked_integrator):
    flow = make_flow(make_tempering(tempering), integrator=unkicked_integrator)
    assert evidence_deviation(flow, seed) > 5.0
    assert elbo_deviation(flow, elbo_sample, seed, z_score) > 5.0


def test_lost_tempering_is_seen(seed, z_score):
    """The closed form of the expected ratio counts on alphas that multiply to sqrt(beta_0)."""
    flow = make_flow(LostTempering())
    problem, q0 = gaussian_problem(seed)
    result, _ = draw(flow, problem, q0, NUM_SAMPLES, [seed, 3])
    assert z_score(result.log_ratio - result.expected_log_ratio, 0.0) > 5.0


# ---- parts and configuration


def test_parts_may_be_objects():
    tempering, integrator, adjoint = FreeTempering(0.7), Leapfrog(), Checkpoint()
    flow = HamiltonianFlow(SIZE, 3, tempering, integrator=integrator, adjoint=adjoint, dtype=tf.float64)
    assert flow.tempering is tempering
    assert flow.integrator is integrator
    assert flow.adjoint is adjoint
    np.testing.assert_allclose(flow.schedule().alphas, [0.7] * 3, rtol=1e-12)
    with pytest.raises(ValueError, match="is built already, for K = 3; make one for each flow"):
        HamiltonianFlow(SIZE, 2, tempering)


def test_defaults_are_those_of_the_paper():
    flow = HamiltonianFlow(SIZE, 2)
    assert isinstance(flow.tempering, FreeTempering)
    assert isinstance(flow.integrator, Leapfrog)
    assert isinstance(flow.adjoint, Direct)
    np.testing.assert_allclose(flow.step_sizes, [0.2] * SIZE, rtol=1e-6)
    np.testing.assert_allclose(flow.schedule().alphas, [0.9] * 2, rtol=1e-6)
    fixed = HamiltonianFlow(SIZE, 2, "fixed")
    np.testing.assert_allclose(fixed.schedule().inv_sqrt_beta_0, np.sqrt(1.5), rtol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        lambda: {},
        lambda: {"tempering": "none", "adjoint": "reversible", "dtype": tf.float64},
        lambda: {"tempering": FixedTempering(2.0), "step_size": np.full([2, SIZE], 0.1), "step_size_per": "step"},
        lambda: {"tempering": ReleasedFixedTempering(2.0), "step_size": [[0.1], [0.3]], "step_size_per": "step"},
        lambda: {"tempering": FreeTempering(0.5), "max_step_size": 0.4, "batch_shape": (2,), "adjoint": Checkpoint()},
        lambda: {"integrator": Leapfrog()},
    ],
    ids=lambda arguments: "-".join(arguments()) or "defaults",
)
def test_comes_back_from_its_configuration(arguments):
    flow = HamiltonianFlow(SIZE, 2, **arguments())
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(flow)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == flow.get_config()
    for part in ("tempering", "integrator", "adjoint"):
        assert type(getattr(again, part)) is type(getattr(flow, part))
    for variable, expected in zip(again.trainable_variables, flow.trainable_variables, strict=True):
        assert variable.name == expected.name
        assert variable.dtype == expected.dtype
        np.testing.assert_array_equal(variable, expected)


@pytest.mark.parametrize(("tempering", "names"), [
    ("none", ["logit_step_size"]),
    ("fixed", ["logit_step_size", "log_excess_inv_sqrt_beta_0"]),
    ("fixed-released", ["logit_step_size", "log_excess_inv_sqrt_beta_0"]),
    ("free", ["logit_step_size", "logit_alpha"]),
])  # fmt: skip
def test_variables_come_in_the_order_that_saved_models_have(tempering, names):
    flow = HamiltonianFlow(SIZE, 2, tempering)
    assert [variable.name.removesuffix(":0") for variable in flow.variables] == names


def test_integrators_of_ones_own_are_trained_and_take_part():
    class Masses(Leapfrog):
        """Leapfrog with a learned scale of each dimension's steps."""

        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(tf.ones([SIZE], tf.float64))

        def kick_drift(self, state, parameters):
            return super().kick_drift(state, self.scale * parameters)

        def kick(self, state, parameters):
            return super().kick(state, self.scale * parameters)

    gradients = []
    for adjoint in ("backprop", "checkpoint", "reversible"):
        flow = HamiltonianFlow(SIZE, 3, integrator=Masses(), adjoint=adjoint, dtype=tf.float64)
        assert len(flow.trainable_variables) == 3
        z = tf.random.stateless_normal([5, SIZE], [0, 1], dtype=tf.float64)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(flow.transform(TARGET, z, z).log_joint)
        gradients.append(tape.gradient(value, flow.trainable_variables))
    for others in gradients[1:]:
        for gradient, expected in zip(others, gradients[0], strict=True):
            assert np.all(expected.numpy() != 0.0)
            np.testing.assert_allclose(gradient, expected, rtol=1e-10)


def test_diagnostics_name_what_is_learned():
    flow = HamiltonianFlow(SIZE, 2, FreeTempering(0.8), step_size=0.1, dtype=tf.float64)
    diagnostics = flow.diagnostics()
    assert sorted(diagnostics) == ["alphas", "inv_sqrt_beta_0", "step_sizes"]
    np.testing.assert_allclose(diagnostics["alphas"], [0.8, 0.8], rtol=1e-12)
    np.testing.assert_allclose(diagnostics["inv_sqrt_beta_0"], 0.8**-2, rtol=1e-12)
    np.testing.assert_allclose(diagnostics["step_sizes"], [0.1] * SIZE, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (4,), (4, 2), tf.constant([4, 2])], ids=str)
def test_noise_is_a_function_of_its_seed(shape):
    flow = HamiltonianFlow(SIZE, 1, dtype=tf.float64)
    noise = flow.noise(shape, [1, 2])
    assert noise.shape == (*np.asarray(shape, int), SIZE)
    assert noise.dtype == tf.float64
    np.testing.assert_array_equal(noise, flow.noise(shape, [1, 2]))
    assert np.all(noise != flow.noise(shape, [1, 3]))
    # a stream that published numbers are made of
    expected = tf.random.stateless_normal([*np.asarray(shape, int), SIZE], [1, 2], dtype=tf.float64)
    np.testing.assert_array_equal(noise, expected)


@pytest.mark.parametrize(
    ("step_size", "step_size_per", "batch_shape", "expected"),
    [
        (0.1, "flow", (), np.full([SIZE], 0.1)),
        ([0.1, 0.2, 0.3], "flow", (2,), [[0.1, 0.2, 0.3]] * 2),
        (0.1, "step", (), np.full([2, SIZE], 0.1)),
        ([[0.1], [0.2]], "step", (), [[0.1] * 3, [0.2] * 3]),
        ([[[0.1]], [[0.2]]], "step", (2,), [[[0.1] * 3] * 2, [[0.2] * 3] * 2]),
    ],
)
def test_initial_step_sizes_land_where_asked(step_size, step_size_per, batch_shape, expected):
    flow = HamiltonianFlow(
        SIZE, 2, step_size=step_size, step_size_per=step_size_per, batch_shape=batch_shape, dtype=tf.float64
    )
    np.testing.assert_allclose(flow.step_sizes, expected, rtol=1e-12)


def test_step_sizes_stay_below_their_bound():
    flow = HamiltonianFlow(SIZE, 1, max_step_size=0.3, dtype=tf.float64)
    for variable in flow.trainable_variables:
        variable.assign(tf.fill(variable.shape, tf.constant(20.0, tf.float64)))
    assert np.all(flow.step_sizes.numpy() < 0.3)


@pytest.mark.parametrize("num_steps", [0, -1, 2.5])
def test_number_of_steps_must_be_a_positive_integer(num_steps):
    with pytest.raises(ValueError, match="num_leapfrog_steps is"):
        HamiltonianFlow(SIZE, num_steps)


@pytest.mark.parametrize("step_size", [0.0, -0.1, 0.5, 0.7, float("nan"), [0.1, 0.1, 0.5]])
def test_step_size_outside_its_range_is_refused(step_size):
    with pytest.raises(ValueError, match=r"step_size is .* \(0, 0.5\)"):
        HamiltonianFlow(SIZE, 1, step_size=step_size, max_step_size=0.5)


@pytest.mark.parametrize(("shape", "step_size_per"), [((2,), "flow"), ((2, SIZE), "flow"), ((2, SIZE), "step")])
def test_step_size_of_another_shape_is_refused(shape, step_size_per):
    with pytest.raises(ValueError, match="step_size has shape"):
        HamiltonianFlow(SIZE, 4, step_size=np.full(shape, 0.1), step_size_per=step_size_per)


def test_unknown_step_size_per_lists_those_accepted():
    with pytest.raises(ValueError, match="'layer'; accepted: flow, step"):
        HamiltonianFlow(SIZE, 1, step_size_per="layer")


def test_unknown_tempering_is_refused():
    with pytest.raises(ValueError, match="unknown tempering"):
        HamiltonianFlow(SIZE, 1, "hot")


@pytest.mark.parametrize("integrator", ["leapfrog", lambda target, state, eps: state])
def test_what_is_no_integrator_is_refused(integrator):
    with pytest.raises(ValueError, match="expected an Integrator, such as Leapfrog"):
        HamiltonianFlow(SIZE, 1, integrator=integrator)


def test_missing_noise_is_refused():
    with pytest.raises(ValueError, match=r"pass noise=flow\.noise"):
        HamiltonianFlow(SIZE, 1).transform(TARGET, tf.zeros([SIZE]))


def test_no_inverse_of_a_step_that_has_none(unkicked_integrator):
    z = tf.zeros([SIZE])
    with pytest.raises(ValueError, match="inverse needs a ReversibleIntegrator"):
        HamiltonianFlow(SIZE, 1, integrator=unkicked_integrator).inverse(TARGET, z, z)


@pytest.mark.parametrize("tempering", TEMPERINGS)
@pytest.mark.parametrize("step_size_per", ["flow", "step"])
def test_inverse_leads_back(tempering, step_size_per, seed):
    flow = HamiltonianFlow(SIZE, 5, make_tempering(tempering), step_size_per=step_size_per, dtype=tf.float64)
    z, rho = tf.unstack(0.7 * tf.random.stateless_normal([2, 8, SIZE], [seed, 4], dtype=tf.float64))
    state, _ = flow.move(TARGET, z, rho)
    assert np.abs(state.z - z).max() > 1e-2
    z_back, rho_back = flow.inverse(TARGET, state.z, state.rho)
    np.testing.assert_allclose(z_back, z, rtol=0, atol=1e-10)
    np.testing.assert_allclose(rho_back, rho, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1, 3])
def test_momentum_of_another_size_is_refused(size):
    target = LogDensityTarget(lambda z: -0.5 * tf.reduce_sum(z**2, -1), 2)
    with pytest.raises(ValueError, match=r"rho has shape \(4, \d\); expected \[..., 2\]"):
        HamiltonianFlow(2, 1).move(target, tf.ones([4, 2]), tf.ones([4, size]))


@pytest.mark.parametrize("size", [2.5, 0, True, "2"])
def test_event_size_is_an_integer(size):
    with pytest.raises(ValueError, match=r"event_size is .*; expected an integer of at least 1"):
        HamiltonianFlow(size, 1)


# ---- a momentum that is not tied to the tempering


@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_a_learned_scale_starts_where_the_tempering_has_it(tempering, seed):
    tied = make_flow(make_tempering(tempering))
    untied = make_flow(make_tempering(tempering), momentum_scale="learned", shift=True)
    problem, q0 = gaussian_problem(seed)
    expected, _ = draw(tied, problem, q0, 5, [seed, 3])
    found, _ = draw(untied, problem, q0, 5, [seed, 3])
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-10)


def untied_flow(lam, centre, scale, shift):
    """One tempered step of a quarter turn on N(centre, 1/lam), with its end's variance at the best (section 5c)."""
    alpha = np.sqrt(2.0 / lam / (1.0 + (0.0 if shift else centre**2)))
    step_size = np.sqrt(2.0 / lam)
    flow = HamiltonianFlow(
        1, 1, FreeTempering(alpha), step_size=step_size, momentum_scale="learned", shift=shift, dtype=tf.float64
    )
    flow.momentum._log_scale.assign(np.log([scale]))
    if shift:
        flow.momentum._shift.assign([alpha * step_size * lam / 2.0 * centre])
    return flow


@pytest.mark.parametrize("centre", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("shift", [False, True])
def test_the_gap_of_an_untied_momentum_does_not_depend_on_the_precision(shift, centre):
    """1/2 log(1 + m*^2), and 0 with a shift; in the flow, draw by draw where it is 0, and in the closed form."""
    lam = 1e4
    problem = unit_problem(lam, centre)
    flow = untied_flow(lam, centre, np.sqrt(0.5), shift)
    expected = 0.0 if shift else 0.5 * np.log(1.0 + centre**2)
    momentum = {"momentum_scale": flow.momentum.scale(flow.schedule()), "shift": flow.momentum._shift}
    gap = hamiltonian_gap(*problem, [flow.step_sizes], flow.schedule(), **momentum)
    np.testing.assert_allclose(gap, [expected], atol=1e-10)
    # the log weight is quadratic in (z_0, gamma): three nodes in each integrate it exactly
    x, weights = np.polynomial.hermite_e.hermegauss(3)
    z, gamma = (tf.constant(part.reshape(-1, 1)) for part in np.meshgrid(x, x))
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2
    result, q0 = flow.transform(GaussianOffsetTarget(*problem), z, gamma), standard_normal(1, tf.float64)
    for samples in (log_weight(result, q0.log_prob(z)), elbo_sample(result, -q0.entropy())):
        assert float(evidence(*problem)) - np.sum(weights * samples) == pytest.approx(expected, abs=1e-8)
    if shift or centre == 0.0:
        np.testing.assert_allclose(log_weight(result, q0.log_prob(z)), float(evidence(*problem)), atol=1e-7)
    # planted: the scale of the first momentum forgotten
    assert np.sqrt(lam) - 1.0 - 0.5 * np.log(lam) == pytest.approx(94.39, abs=5e-3)  # what the tied one takes
    wrong = hamiltonian_gap(*problem, [flow.step_sizes], flow.schedule())
    assert float(wrong[0]) > expected + 10.0


def test_no_other_setting_of_an_untied_momentum_is_better():
    centre, lam, start = 0.8, 1e4, tf.zeros([4], tf.float64)
    problem = unit_problem(lam, centre)
    best = untied_flow(lam, centre, np.sqrt(0.5), shift=False)

    def gap(changes):
        eps, scale = best.step_sizes * tf.exp(changes[0]), tf.exp(changes[1]) * np.sqrt(0.5) * tf.ones([1], tf.float64)
        schedule = TemperingSchedule(tf.ones([], tf.float64), (best.schedule().alphas[0] * tf.exp(changes[2]),))
        return hamiltonian_gap(*problem, [eps], schedule, momentum_scale=scale)[0]

    with tf.GradientTape() as tape:
        tape.watch(start)
        value = gap(start)
    np.testing.assert_allclose(tape.gradient(value, start), np.zeros(4), atol=1e-8)
    for seed in range(5):
        assert float(gap(0.3 * tf.random.stateless_normal([4], [seed, 0], dtype=tf.float64))) > float(value)


def test_an_unknown_momentum_scale_is_refused():
    with pytest.raises(ValueError, match="unknown momentum_scale 'free'; accepted: tied, learned"):
        HamiltonianFlow(SIZE, 1, momentum_scale="free")


def test_a_learned_momentum_scale_is_told():
    flow = HamiltonianFlow(SIZE, 2, FreeTempering(0.8), momentum_scale="learned", dtype=tf.float64)
    np.testing.assert_allclose(flow.diagnostics()["momentum_scale"], [0.8**-2] * SIZE, rtol=1e-12)
