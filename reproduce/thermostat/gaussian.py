"""Section 4.1's model with the parameters held: the gap of HVAE at its optimum, and of trained Nosé-Hoover flows."""

import functools
import time
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvae_tf.bounds.elbo import elbo_sample
from hvae_tf.densities import standard_normal
from hvae_tf.files import fingerprint
from hvae_tf.flows.hamiltonian import HamiltonianFlow
from hvae_tf.flows.nose_hoover import NoseHooverFlow
from hvae_tf.models.flow_layer import FlowLayer
from hvae_tf.runs import make_record
from hvae_tf.targets.gaussian import GaussianOffsetTarget, evidence, posterior
from reproduce.gaussian.problem import simulate, true_parameters
from reproduce.thermostat.optimum import MAX_STEP_SIZE, ClosedForm, least_hamiltonian, volume_floor
from reproduce.thermostat.settings import LEARNED, SCHEDULES, Gaussian

CHUNK = 5000
SHOWN = ("thermostat_mass", "temperatures")  # what a record keeps of the trained flow
# eps in units of the posterior's scale is an angle, which has local optima; 2 is where leapfrog becomes unstable, and
# just below it K untempered steps make a quarter of a turn that squeezes
ANGLES = (0.1, 0.3, 0.5, 0.8, 1.1, 1.4, 1.7, 1.9)
RANDOM_STARTS = 12  # with an angle of its own in each dimension


class Held(NamedTuple):
    """The model with its parameters held at the truth.

    Attributes:
        statistics: Of the data.
        delta: ``[d]``.
        log_sigma: ``[d]``.
        log_evidence: log p(D).
        precisions: ``[d]``, of the posterior.
    """

    statistics: tuple
    delta: tf.Tensor
    log_sigma: tf.Tensor
    log_evidence: float
    precisions: np.ndarray


def held(settings: Gaussian) -> Held:
    """The problem."""
    d = settings.dimension
    statistics = simulate(d, 0, settings.observations, settings.seed)
    delta, sigma = true_parameters(d)
    delta, log_sigma = tf.constant(delta, tf.float64), tf.constant(np.log(sigma), tf.float64)
    precisions = 1.0 / posterior(statistics, delta, log_sigma).variance().numpy()
    return Held(statistics, delta, log_sigma, float(evidence(statistics, delta, log_sigma)), precisions)


def best_hamiltonian(of: Held, schedule: str, settings: Gaussian) -> tuple[float, np.ndarray]:
    """Where trainings start: HVAE's best local optimum that L-BFGS finds from 21 starts; and its eps ``[d]``.

    There are better ones, see `least_hamiltonian`.
    """
    form = ClosedForm(of, schedule, settings)
    best = np.inf, np.zeros(0)
    unlike = 2.0 * np.random.default_rng(settings.seed).uniform(0.05, 1.0, size=(RANDOM_STARTS, settings.dimension))
    for angle in (*ANGLES, 2.0 * np.cos(np.pi / (4.0 * settings.steps)), *unlike):
        gap, eps, _ = form.minimise(angle / np.sqrt(of.precisions), form.initial_rest)
        if gap < best[0]:
            best = gap, eps
    return best


def least_of_all(settings: Gaussian, say) -> dict:
    """The record of HVAE's least gaps, and of the floor under them."""
    of, began, found = held(settings), time.perf_counter(), {}
    for schedule in SCHEDULES:
        beside = found["fixed"]["alphas"] if schedule == "free" else None
        found[schedule] = least_hamiltonian(of, schedule, settings, beside)
        say(f"HVAE, {schedule}: least gap {found[schedule]['gap']:.4f}")
    return record(of, settings, "gaussian-least", began, {"least": found, "floor": volume_floor(of.precisions)})


def train(of: Held, flow, settings: Gaussian) -> dict:
    """The gap log p(D) - bound of a flow, trained from q0 = N(0, I); None where training met no number."""
    target = GaussianOffsetTarget(of.statistics, of.delta, of.log_sigma)
    q0 = standard_normal(settings.dimension, tf.float64)
    variables = FlowLayer(flow, dtype="float64").trainable_weights
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.iterations, alpha=0.01), clipnorm=100.0
    )
    optimizer.build(variables)

    def draw(count, seed):
        seeds = tf.random.experimental.stateless_split(seed, 2)
        noise = tf.random.stateless_normal([count, settings.dimension], seeds[0], dtype=tf.float64)
        result = flow.transform(target, noise, flow.noise((count,), seeds[1]), q0=q0)
        return elbo_sample(result, -q0.entropy())

    @tf.function
    def step(seed):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(draw(settings.batch_size, seed))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    evaluate, began = tf.function(lambda seed: draw(CHUNK, seed)), time.perf_counter()
    for i in range(settings.iterations):
        if not np.isfinite(step(tf.constant([settings.seed, i]))):
            return {"gap": None, "gap_error": None, "seconds": time.perf_counter() - began}
    seconds = time.perf_counter() - began
    chunks = max(settings.draws // CHUNK, 1)
    elbos = np.concatenate([evaluate(tf.constant([settings.seed, -1 - i])) for i in range(chunks)])
    return {
        "gap": of.log_evidence - elbos.mean(),
        "gap_error": elbos.std(ddof=1) / len(elbos) ** 0.5,
        "worst": of.log_evidence - elbos.min(),
        "seconds": seconds,
    }


def best_of_starts(of: Held, make_flow, optimum, settings: Gaussian) -> dict:
    """The smaller gap of two trainings, from HVAE's best step sizes and from an angle of 1/2."""
    found = []
    for eps in (optimum, 0.5 / np.sqrt(of.precisions)):
        flow = make_flow(step_size=np.minimum(eps, 0.99 * MAX_STEP_SIZE), max_step_size=MAX_STEP_SIZE, dtype=tf.float64)
        result = train(of, flow, settings)
        result |= {name: value for name, value in flow.diagnostics().items() if name in SHOWN}
        found.append(result)
    return min(found, key=lambda result: np.inf if result["gap"] is None else result["gap"])


def configuration(settings: Gaussian, name: str = "gaussian") -> dict:
    """What the record of this name is a record of."""
    return {"model": name, **vars(settings)}


def record(of: Held, settings: Gaussian, name: str, began: float, results: dict) -> dict:
    """The record of this name; `began` is when the work did, by `time.perf_counter`."""
    return make_record(
        name,
        configuration=configuration(settings, name),
        seed=settings.seed,
        data_fingerprint=fingerprint(*of.statistics),
        history={},
        wall_seconds=time.perf_counter() - began,
        results=results,
    )


def train_hamiltonian(settings: Gaussian, say) -> dict:
    """The record of HVAE trained as the thermostats are, from the same step sizes."""
    of, began, found = held(settings), time.perf_counter(), {}
    for schedule in SCHEDULES:
        _, eps = best_hamiltonian(of, schedule, settings)
        make_flow = functools.partial(HamiltonianFlow, settings.dimension, settings.steps, schedule)
        found[schedule] = best_of_starts(of, make_flow, eps, settings)
        say(f"HVAE, {schedule}, trained: gap {found[schedule]['gap']}, {found[schedule]['seconds']:.0f} s")
    return record(of, settings, "gaussian-hvae", began, found)


def compare(settings: Gaussian, say) -> dict:
    """The record of all flows on the model."""
    of, began = held(settings), time.perf_counter()
    hamiltonian, thermostats = {}, {}
    for schedule in SCHEDULES:
        gap, eps = best_hamiltonian(of, schedule, settings)
        hamiltonian[schedule] = gap
        say(f"HVAE, K = {settings.steps}, {schedule}: gap {gap:.4f} at its best")
        for mass in (*settings.masses, LEARNED):
            make_flow = functools.partial(
                NoseHooverFlow, settings.dimension, settings.steps, tempering=schedule,
                thermostat_mass=None if mass == LEARNED else mass, learn_mass=mass == LEARNED,
            )  # fmt: skip
            found = best_of_starts(of, make_flow, eps, settings)
            thermostats[f"{schedule} {mass}"] = found
            say(f"Nosé-Hoover, {schedule}, Q {mass}: gap {found['gap']}, {found['seconds']:.0f} s")
    mean, variance = (moment.numpy() for moment in _moments(of))
    no_flow = 0.5 * np.sum(of.precisions * (1.0 + mean**2) - 1.0 - np.log(of.precisions))
    results = {
        "no_flow": no_flow,
        "hamiltonian": hamiltonian,
        "nose_hoover": thermostats,
        "log_evidence": of.log_evidence,
        "precisions": 1.0 / variance,
    }
    return record(of, settings, "gaussian", began, results)


def _moments(of: Held):
    exact = posterior(of.statistics, of.delta, of.log_sigma)
    return exact.mean(), exact.variance()
