"""HVAE and Nosé-Hoover flows of equal K on digits."""

import hvae_tf
from hvae_tf.data import ImageData
from reproduce.riemann.digits import MAX_STEP_SIZE, train_with
from reproduce.riemann.settings import LATENT_SIZE, TURN, Digits
from reproduce.thermostat.settings import METHODS, digits_name


def configuration(method: str, digits: Digits) -> dict:
    """What a record is a record of."""
    how = {key: getattr(digits, key) for key in ("epochs", "elbo_samples", "judged", "temperatures")}
    flow, schedule = METHODS[method]
    steps = digits.steps[0] if flow else 0
    return {"flow": flow, "schedule": schedule, "num_leapfrog_steps": steps, "dataset": "digits", **how}


def train(method: str, seed: int, data: ImageData, digits: Digits) -> dict:
    """The record of one training."""
    kind, schedule = METHODS[method]
    flow = None
    if kind:
        flows = {"hamiltonian": hvae_tf.HamiltonianFlow, "nose-hoover": hvae_tf.NoseHooverFlow}
        flow = flows[kind](
            LATENT_SIZE,
            digits.steps[0],
            tempering=schedule,
            step_size=TURN / digits.steps[0],
            max_step_size=MAX_STEP_SIZE,
        )
    return train_with(flow, digits_name(method, seed), configuration(method, digits), seed, data, digits)
