"""How long Table 1's runs may take on this machine: a few timed steps of the VAE, scaled by the work counted.

What is counted are passes through the decoder, and of a run that has started the epochs that are left.
Estimates: they are printed before anything is spent, and never recorded.
"""

import time

import numpy as np

from hvae_tf.data import ImageData, TrainBatches
from hvae_tf.runs import RunStore
from reproduce.configs import TABLE1_CELLS, Evaluation, Table1Config
from reproduce.mnist.cells import Run
from reproduce.mnist.evaluation import ELBO_SAMPLES
from reproduce.mnist.training import build
from reproduce.mnist.work import relative_step

TIMED_STEPS = 10


class Estimator:
    """Times a VAE on this machine, once.

    Args:
        config: The protocol.
        evaluation: How runs are judged.
        data: The images.
    """

    def __init__(self, config: Table1Config, evaluation: Evaluation, data: ImageData):
        self._config, self._evaluation = config, evaluation
        self._test_images = min(len(data.test), evaluation.images or len(data.test))
        batches = TrainBatches(data, config.batch_size, 0)
        self._steps_per_epoch = batches.steps_per_epoch
        model = build(Run("vae", 0), config, data, 1)
        model.fit(batches.dataset(0, 2), shuffle=False, verbose=0)
        began = time.monotonic()
        model.fit(batches.dataset(2, 2 + TIMED_STEPS), shuffle=False, verbose=0)
        self._step_seconds = (time.monotonic() - began) / TIMED_STEPS
        images = np.array(data.binarised("test")[: config.batch_size])
        model.log_likelihood(images, 2, chunk_size=2)
        began = time.monotonic()
        model.log_likelihood(images, 20)
        self._sample_seconds = (time.monotonic() - began) / (20 * len(images))

    def training_hours(self, run: Run, store: RunStore) -> float:
        """Of what is left of a run's training; early stopping may end it sooner."""
        seconds, done = self._step_seconds * relative_step(run.cell) * self._steps_per_epoch, 0
        history = store.folder / "work" / run.name / "history.csv"
        if history.exists():
            done = max(0, len(history.read_text().splitlines()) - 1)
        return (self._config.max_epochs - done) * seconds / 3600

    def evaluation_hours(self, run: Run) -> float:
        """Of a run's whole evaluation."""
        spec = TABLE1_CELLS[run.cell]
        gradients = 3.0 * (spec.num_leapfrog_steps + 1) if spec.kind == "hvae" else 1.0
        samples = self._evaluation.samples + ELBO_SAMPLES
        return self._sample_seconds * gradients * samples * self._test_images * self._evaluation.repeats / 3600
