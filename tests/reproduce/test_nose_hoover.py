"""The script on the Nosé-Hoover flow: its closed-form reference, its verdicts from records, its command line."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from hvae_tf.dynamics.tempering import TemperingSchedule
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.runs import RecordError, make_record
from hvae_tf.targets.gaussian import hamiltonian_gap, posterior
from reproduce import nose_hoover
from reproduce.thermostat import digits, gaussian, optimum
from reproduce.thermostat import report as reporting
from reproduce.thermostat.settings import LEARNED, METHODS, PRESETS, SCHEDULES, Gaussian, Preset, digits_name

QUICK = PRESETS["quick"]
SMALL = Preset(
    dataclasses.replace(QUICK.gaussian, dimension=3, steps=2, masses=(4.0,), iterations=3, draws=5000),
    dataclasses.replace(QUICK.digits, seeds=2),
)


def fake_records(gap, gain) -> dict:
    """Records in which thermostats have this gap where HVAE has 1, and gain so much on digits."""

    def record(name, results):
        return make_record(
            name, configuration={}, seed=0, data_fingerprint="", history={}, wall_seconds=1.0, results=results
        )

    fit = {"gap": gap, "gap_error": 0.01, "seconds": 1.0, "thermostat_mass": 3.0, "worst": 99.0}
    masses = (*SMALL.gaussian.masses, LEARNED)
    found = {
        "gaussian": record("gaussian", {
            "no_flow": 9.0, "log_evidence": -10.0,
            "nose_hoover": {f"{schedule} {mass}": fit for schedule in SCHEDULES for mass in masses},
            "precisions": [10.0, 1000.0],
        }),
    }  # fmt: skip
    least = {schedule: {"gap": 1.0, "starts": [1.0]} for schedule in SCHEDULES}
    found["gaussian-least"] = record("gaussian-least", {"least": least, "floor": 0.8})
    found["gaussian-hvae"] = record("gaussian-hvae", dict.fromkeys(SCHEDULES, fit | {"gap": 1.1}))
    for method, (flow, _) in METHODS.items():
        for seed in range(2):
            elbo = -20.0 - seed + gain * (flow == "nose-hoover") * (1.0 + 0.01 * seed)
            results = {"elbo": elbo, "elbo_judged": elbo, "log_likelihood_judged": -19.0}
            results |= {"thermostat_mass": 8.0} if flow == "nose-hoover" else {}
            found[digits_name(method, seed)] = record(digits_name(method, seed), results)
    return found


@pytest.mark.parametrize(
    ("gap", "gain", "verdict"), [(0.5, 0.3, "yes"), (2.0, -0.3, "no"), (2.0, 0.3, "not in general")]
)
def test_the_verdict_follows_the_records(gap, gain, verdict):
    contents = reporting.report(fake_records(gap, gain), SMALL)
    flat = " ".join(contents["report.md"].split())
    assert f"*A thermostat does better than tempering*: **{verdict}**." in flat
    told = "ahead, and below" if gap < 1.0 else "behind, and not below"
    assert f"a gap of {gap:.3f} ± 0.020, HVAE 1.000 at the least that is found and 1.100 trained alike: {told}" in flat
    assert "Q = 4.0" in flat
    assert "the floor under every tied HVAE, 0.80." in flat
    assert contents["nose_hoover.png"][:4] == b"\x89PNG"


def test_a_missing_record_is_named():
    records = fake_records(1.0, 0.0)
    del records["digits-vae-seed1"]
    with pytest.raises(RecordError, match="1 records are missing"):
        reporting.report(records, SMALL)


def centred(dimension, steps):
    """Settings, and the problem with its posterior moved to zero."""
    settings = Gaussian(dimension=dimension, observations=50, steps=steps)
    of = gaussian.held(settings)
    return settings, of._replace(statistics=of.statistics._replace(mean=of.delta))


def test_the_optimum_of_one_step_on_one_dimension_is_the_known_one(monkeypatch):
    """Tied tempering of a posterior at zero: sqrt(lam) - 1 - log(lam)/2, which is the floor."""
    monkeypatch.setattr(optimum, "STARTS", 4)
    settings, of = centred(1, 1)
    found = optimum.least_hamiltonian(of, "free", settings)
    lam = float(of.precisions[0])
    assert optimum.volume_floor(of.precisions) == pytest.approx(np.sqrt(lam) - 1.0 - 0.5 * np.log(lam), rel=1e-12)
    assert found["gap"] == pytest.approx(optimum.volume_floor(of.precisions), abs=1e-4)
    assert found["step_sizes"][0] ** 2 * lam == pytest.approx(2.0, rel=1e-2)
    assert found["alphas"][0] == pytest.approx(np.sqrt(2.0) * lam**-0.25, rel=1e-2)


def test_each_chunk_of_draws_has_noise_of_its_own(monkeypatch):
    """Else more draws would be the same ones again, and an error too small."""
    monkeypatch.setattr(gaussian, "CHUNK", 100)
    settings = Gaussian(dimension=2, steps=1, iterations=1, batch_size=4, draws=100)
    of = gaussian.held(settings)

    def judged(draws):
        flow = HamiltonianFlow(2, 1, "none", step_size=0.01, dtype=tf.float64)
        return gaussian.train(of, flow, dataclasses.replace(settings, draws=draws))

    one, four, other = judged(100), judged(400), judged(199)
    assert one["gap"] == other["gap"]  # of one chunk too
    assert abs(one["gap"] - four["gap"]) > 1e-3 * one["gap_error"]
    assert four["gap_error"] == pytest.approx(one["gap_error"] / 2.0, rel=0.4)
    assert four["worst"] >= one["worst"]  # the first chunk is the same


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_tied_flow_is_below_the_floor_and_untied_ones_are(schedule, seed):
    """Of random parameters, dimension by dimension; the second are what the proof does not hold for."""
    settings = Gaussian(dimension=3, observations=10, steps=4)
    of, rng = gaussian.held(settings), np.random.default_rng(seed)
    floors = np.array([optimum.volume_floor([lam]) for lam in of.precisions])
    form = optimum.ClosedForm(of, schedule, settings)
    for _ in range(40):
        for variable in form.flow.trainable_variables:
            variable.assign(rng.normal(0.0, 1.5, size=variable.shape))
        steps = list(rng.uniform(0.0, 2.0, size=(4, 500, 3)) / np.sqrt(of.precisions))
        arguments = of.statistics, of.delta, of.log_sigma, steps, form.flow.schedule()
        assert np.all(hamiltonian_gap(*arguments).numpy() > floors)
    # z' = eps rho and rho' ~ z: without the tie each of the two is given the scale that it needs
    lam, mean = of.precisions, posterior(*arguments[:3]).mean().numpy()
    alphas = tf.constant(np.sqrt(2.0 / lam / (1.0 + mean**2)))
    one_step = TemperingSchedule(tf.ones_like(alphas), (alphas,))
    untied = hamiltonian_gap(
        *arguments[:3],
        [np.sqrt(2.0 / lam)],
        one_step,
        momentum_scale=tf.fill([3], tf.sqrt(tf.constant(0.5, tf.float64))),
    )
    assert np.all(np.diag(untied) < floors)
    np.testing.assert_allclose(np.diag(untied), 0.5 * np.log1p(mean**2), atol=1e-9)


def test_all_angles_are_looked_at(monkeypatch):
    """Without tempering, where the search covers everything, no random step sizes are better, nor the L-BFGS start."""
    settings = Gaussian(dimension=3, observations=10, steps=4)
    of = gaussian.held(settings)
    found = optimum.least_hamiltonian(of, "none", settings)
    form = optimum.ClosedForm(of, "none", settings)
    eps = np.random.default_rng(0).uniform(0.0, 2.5, size=(20_000, 3)) / np.sqrt(of.precisions)
    gaps = form._gaps(tf.constant(eps)).numpy()
    assert found["gap"] <= gaps.min(axis=0).sum() + 1e-9
    assert gaps.min(axis=0).sum() < found["gap"] + 0.1
    monkeypatch.setattr(gaussian, "ANGLES", (0.5,))
    monkeypatch.setattr(gaussian, "RANDOM_STARTS", 0)
    assert found["gap"] <= gaussian.best_hamiltonian(of, "none", settings)[0] + 1e-9


@pytest.mark.slow
def test_flows_on_the_gaussian_model_are_compared(monkeypatch):
    monkeypatch.setattr(gaussian, "SCHEDULES", ("none",))
    monkeypatch.setattr(gaussian, "RANDOM_STARTS", 1)
    settings = dataclasses.replace(SMALL.gaussian, iterations=60)
    found = gaussian.compare(settings, lambda text: None)["results"]
    assert set(found["nose_hoover"]) == {"none 4.0", f"none {LEARNED}"}
    of = gaussian.held(settings)
    for fit in (
        *found["nose_hoover"].values(),
        gaussian.train_hamiltonian(settings, lambda text: None)["results"]["none"],
    ):
        assert 0.0 < fit["gap"] < found["no_flow"]
        assert fit["worst"] > fit["gap"]
    least = gaussian.least_of_all(settings, lambda text: None)["results"]
    assert least["floor"] < least["least"]["none"]["gap"] <= found["hamiltonian"]["none"] + 1e-9 < found["no_flow"]
    assert found["log_evidence"] == of.log_evidence


@pytest.mark.slow
def test_a_model_of_digits_is_trained_and_judged():
    how = dataclasses.replace(SMALL.digits, epochs=2, judged=4, elbo_samples=2, temperatures=4)
    record = digits.train("Nosé–Hoover, τ free", 1, hvae_tf.load("digits"), how)
    assert record["name"] == "digits-nose-hoover-free-seed1"
    assert -45.0 < record["results"]["elbo"] < -20.0
    assert record["results"]["thermostat_mass"] == pytest.approx(8.0, rel=0.2)


def test_bad_arguments_are_refused(capsys):
    with pytest.raises(SystemExit):
        nose_hoover.parse(["--preset", "huge"])
    assert "invalid choice" in capsys.readouterr().err
