"""The script on the Nosé-Hoover flow: its closed-form reference, its verdicts from records, its command line."""

import dataclasses

import numpy as np
import pytest

import hvae_tf
from hvae_tf.runs import RecordError, make_record
from reproduce import nose_hoover
from reproduce.thermostat import digits, gaussian
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
            "no_flow": 9.0, "hamiltonian": dict.fromkeys(SCHEDULES, 1.0), "log_evidence": -10.0,
            "nose_hoover": {f"{schedule} {mass}": fit for schedule in SCHEDULES for mass in masses},
            "precisions": [10.0, 1000.0],
        }),
    }  # fmt: skip
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
    told = "ahead" if gap < 1.0 else "behind"
    assert f"has a gap of {gap:.3f} ± 0.020, HVAE 1.000 in closed form and 1.100 trained alike: {told}." in flat
    assert contents["nose_hoover.png"][:4] == b"\x89PNG"


def test_a_missing_record_is_named():
    records = fake_records(1.0, 0.0)
    del records["digits-vae-seed1"]
    with pytest.raises(RecordError, match="1 records are missing"):
        reporting.report(records, SMALL)


def test_the_optimum_of_one_step_on_one_dimension_is_the_known_one(monkeypatch):
    """Tied tempering of a posterior at zero: sqrt(lam) - 1 - log(lam)/2."""
    monkeypatch.setattr(gaussian, "ANGLES", (0.5,))
    monkeypatch.setattr(gaussian, "RANDOM_STARTS", 0)
    settings = Gaussian(dimension=1, observations=50, steps=1)
    of = gaussian.held(settings)
    of = of._replace(statistics=of.statistics._replace(mean=of.delta))
    gap, eps = gaussian.best_hamiltonian(of, "free", settings)
    lam = float(of.precisions[0])
    assert gap == pytest.approx(np.sqrt(lam) - 1.0 - 0.5 * np.log(lam), abs=1e-4)
    assert eps[0] ** 2 * lam == pytest.approx(2.0, rel=1e-2)


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
    assert 0.0 < found["hamiltonian"]["none"] < found["no_flow"]
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
