"""One flow on one target: a training that leaves a record."""

import dataclasses
import math

import numpy as np

from hvae_tf.files import fingerprint
from hvae_tf.runs import RunStore, make_record
from hvae_tf.targets.known import KNOWN_TARGETS
from reproduce.auxiliary.training import Training, train
from reproduce.evidence.flows import FLOWS

BLOCK = 50  # steps of training that one point of the learning curve is the mean of


@dataclasses.dataclass(frozen=True)
class Fit:
    """A task of `run_all`.

    Attributes:
        target: A key of `KNOWN_TARGETS`.
        flow: A key of `FLOWS`.
        training: How; its seed is the run's.
    """

    target: str
    flow: str
    training: Training

    @property
    def name(self) -> str:
        """Of its record."""
        return f"{self.target}-{self.flow}-seed{self.training.seed}"

    @property
    def cost(self) -> float:
        """About: a graph has to be traced, then each gradient takes its time."""
        return 4.0 + self.training.iterations / 1000.0 * (1.0 + FLOWS[self.flow].gradients)

    def configuration(self) -> dict:
        """What a record is a record of."""
        known = KNOWN_TARGETS[self.target]
        settings = dataclasses.asdict(self.training)
        del settings["seed"]
        where = {"mean": known.mean, "standard_deviation": known.standard_deviation}
        return {"target": self.target, "flow": self.flow, **where, **settings}

    def done(self, store: RunStore) -> bool:
        """See `hvae_tf.runs.Task`."""
        return store.done(self.name, self.configuration(), self.training.seed)

    def run(self, store: RunStore, progress, force: bool) -> None:
        """See `hvae_tf.runs.Task`."""
        known, seed = KNOWN_TARGETS[self.target], self.training.seed
        target, scale = known.make(), np.array(known.standard_deviation)
        flow = FLOWS[self.flow].make(target.event_size, scale, seed)
        fit = train(target, flow, (np.array(known.mean), scale), self.training, progress)
        found = {
            "bound": fit.bound,
            "standard_error": fit.standard_error,
            "log_evidence": known.log_evidence,
            "gap": known.log_evidence - fit.bound,
        }
        if not math.isfinite(fit.bound):
            found |= {"steps": len(fit.history), "lost_draws": fit.lost}
        whole = fit.history[: len(fit.history) // BLOCK * BLOCK].reshape(-1, BLOCK)
        history = {"bound": whole.mean(axis=1).round(5)}
        store.write(make_record(
            self.name, configuration=self.configuration(), seed=seed,
            data_fingerprint=fingerprint(np.array([known.log_evidence])),
            history=history, wall_seconds=fit.seconds, results=found,
        ))  # fmt: skip
