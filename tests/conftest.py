"""What all tests share: a quiet TensorFlow, a base seed that the command line can vary, and planted-error tools."""

import gc
import os
import signal
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # begun in a shell's background; tests send Ctrl-C

import keras
import numpy as np
import pytest

gc.freeze()
gc.set_threshold(200_000, 20, 100)  # to trace a graph makes objects by the million, and little garbage


def pytest_addoption(parser):
    parser.addoption("--vary-seed", type=int, default=0, metavar="N", help="base seed of all random tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Keras's, TensorFlow's and NumPy's global generators start equal for each test: what `Model.fit` shuffles and what
    layers without a seed start from is the same in every run, in whatever order and on whatever worker."""
    keras.utils.set_random_seed(item.config.getoption("--vary-seed"))


@pytest.fixture(scope="session")
def seed(request) -> int:
    return request.config.getoption("--vary-seed")


@pytest.fixture(scope="session")
def z_score():
    """How many standard errors the mean of samples ``[S, ...]`` lies from what is expected: the worst entry."""

    def worst(samples, expected) -> float:
        samples = np.asarray(samples, np.float64)
        standard_error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
        return float(np.max(np.abs(samples.mean(axis=0) - expected) / standard_error))

    return worst


@pytest.fixture(scope="session")
def unkicked_integrator():
    """A planted error: leapfrog that drifts with the momentum it had before the half kick."""
    from hvae_tf.dynamics.integrator import Integrator
    from hvae_tf.dynamics.leapfrog import PhaseState

    class Unkicked(Integrator):
        def init(self, target, z, rho):
            return PhaseState(z, rho, *target.value_and_grad(z))

        def step(self, target, state, step_size):
            z = state.z + step_size * state.rho
            log_joint, grad = target.value_and_grad(z)
            rho = state.rho + 0.5 * step_size * (state.grad + grad)
            return PhaseState(z, rho, log_joint, grad)

    return Unkicked()
