"""The bound of flows in different metrics, on digits: each model is trained from the same networks and batches."""

import time

import keras
import numpy as np

import hvae_tf
from hvae_tf.data import ImageData, TrainBatches
from hvae_tf.dynamics.metrics import Dense, Fisher
from hvae_tf.runs import make_record
from reproduce.riemann.settings import (
    BATCH_SIZE,
    FISHER_TURN,
    HIDDEN_UNITS,
    LATENT_SIZE,
    LEARNING_RATE,
    TURN,
    Digits,
    cell_name,
)

MAX_STEP_SIZE = 2.0
SHOWN = ("step_sizes", "thermostat_mass", "temperatures")  # what a record keeps of the trained flow


def flow_of(method: str, steps: int):
    """The flow; None for the plain VAE."""
    if not steps:
        return None
    options = {"step_size": TURN / steps, "max_step_size": MAX_STEP_SIZE}
    if method == "none":
        return hvae_tf.HamiltonianFlow(LATENT_SIZE, steps, "none", **options)
    metric = Dense() if method == "dense" else Fisher(at="encoder mean")
    if method == "fisher":
        options["step_size"] = FISHER_TURN / steps
    return hvae_tf.RiemannianFlow(LATENT_SIZE, steps, metric, **options)


def configuration(method: str, steps: int, digits: Digits) -> dict:
    """What a record is a record of."""
    how = {key: getattr(digits, key) for key in ("epochs", "elbo_samples", "judged", "temperatures")}
    return {"method": method if steps else "vae", "num_leapfrog_steps": steps, "dataset": "digits", **how}


def train(method: str, steps: int, seed: int, data: ImageData, digits: Digits) -> dict:
    """The record of one training."""
    of = configuration(method, steps, digits)
    return train_with(flow_of(method, steps), cell_name(method, steps, seed), of, seed, data, digits)


def train_with(flow, name: str, of: dict, seed: int, data: ImageData, digits: Digits) -> dict:
    """The record, called `name` and of the configuration `of`, of a model with this flow, trained and judged."""
    keras.backend.clear_session()  # of the training before
    sizes = data.event_shape, LATENT_SIZE, HIDDEN_UNITS
    encoder = hvae_tf.dense_encoder(*sizes, seed=seed)
    decoder = hvae_tf.dense_decoder(*sizes, output_bias=data.mean_logit(), seed=seed)
    model = hvae_tf.FlowVAE(encoder, decoder, flow, seed=seed)
    batches = TrainBatches(data, BATCH_SIZE, seed)
    count = digits.epochs * batches.steps_per_epoch
    model.compile(keras.optimizers.Adamax(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, count)))
    began = time.perf_counter()
    first = model.fit(batches.dataset(0, batches.steps_per_epoch), shuffle=False, verbose=0)
    traced = time.perf_counter()
    rest = model.fit(batches.dataset(batches.steps_per_epoch, count), shuffle=False, verbose=0)
    ended = time.perf_counter()
    x = data.binarised("test")
    elbo = model.elbo(x, digits.elbo_samples, seed=1)
    judged = model.annealed_log_likelihood(x[: digits.judged], num_temperatures=digits.temperatures, seed=1).estimate
    return make_record(
        name,
        configuration=of,
        seed=seed,
        data_fingerprint=data.fingerprint,
        history={"elbo": [-first.history["loss"][-1], -rest.history["loss"][-1]]},
        wall_seconds=ended - began,
        results={
            "elbo": float(elbo.mean()),
            "elbo_error": float(elbo.std(ddof=1) / len(elbo) ** 0.5),
            "elbo_judged": float(elbo[: digits.judged].mean()),
            "log_likelihood_judged": float(judged.value.mean()),
            "milliseconds_per_batch": 1e3 * (ended - traced) / max(count - batches.steps_per_epoch, 1),
            **{key: np.asarray(value) for key, value in model.flow.diagnostics().items() if key in SHOWN},
        },
    )
