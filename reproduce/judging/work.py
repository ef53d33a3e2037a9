"""How a trained model becomes a record of the judge: AIS, BDMC and the importance sampler, block by block."""

import dataclasses
import functools
import shutil
import warnings
from pathlib import Path

import numpy as np

from hvae_tf.data import ImageData, load
from hvae_tf.files import fingerprint
from hvae_tf.runs import RecordError, Report, RunStore, make_record
from reproduce.cli import interrupt_comes_through
from reproduce.judging.blocks import Blocks
from reproduce.judging.models import JudgedModel, quoted
from reproduce.judging.presets import ELBO_SAMPLES, IMPORTANCE_SAMPLES, Chains, JudgePreset
from reproduce.mnist.training import load_model

IMAGES_PER_BLOCK = 50
_PRIOR_SEED, _SEEDS = 50_000, 100_000  # the blocks' seeds are apart, and so are those of the presets' seeds


@functools.lru_cache(maxsize=1)
def load_images(dataset: str, data_dir: Path | None) -> ImageData:
    """The images, whole and checked; read once a process."""
    return load(dataset, data_dir)


@dataclasses.dataclass(frozen=True)
class JudgeTask:
    """A model to be judged, as `hvae_tf.runs.run_all` takes it.

    Attributes:
        model: Which.
        preset: How, and on how many images.
        data_dir: Where TFDS keeps its data sets.
        own_importance: Whether -ELBO and the importance NLL are made here even where Table 1 has them by image.
    """

    model: JudgedModel
    preset: JudgePreset
    data_dir: Path | None = None
    own_importance: bool = False

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def cost(self) -> float:
        """Evaluations of the decoder, with its gradient."""
        preset, chains, prior = self.preset, self.preset.chains, self.preset.prior
        return (
            preset.images * (chains.evaluations + chains.pilot_evaluations)
            + preset.prior_images * (prior.evaluations + prior.pilot_evaluations)
            + preset.simulated * (2.0 * chains.evaluations + chains.pilot_evaluations)
            + preset.importance_images * self._importance_evaluations()
        )

    def _importance_evaluations(self) -> float:
        record = self.model.table_record()
        steps = 0 if record is None else record["configuration"].get("num_leapfrog_steps", 0)
        return IMPORTANCE_SAMPLES * (0.4 if steps == 0 else steps + 1.0)

    def done(self, store: RunStore) -> bool:
        if not store.done(self.name, self.preset.configuration(), self.model.seed):
            return False
        results = store.read(self.name)["results"]
        return self._enough(results) and results.get("file") == self.model.digest()

    def _enough(self, results: dict) -> bool:
        """Whether what is on record is at least what is asked for."""
        found, of = results.get("amounts"), results.get("of", 0)
        if not isinstance(found, dict) or (self.own_importance and not results.get("own_importance")):
            return False
        limit = {"simulated": self.preset.simulated}
        return all(
            found.get(name, 0) >= min(asked, limit.get(name, of)) for name, asked in self.preset.amounts().items()
        )

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        work = store.folder / "work" / self.name
        if force:  # the old record stands until the new one is finished
            shutil.rmtree(work, ignore_errors=True)
        data, model = load_images(self.preset.dataset, self.data_dir), load_model(self.model.path)
        if tuple(model.event_shape) != tuple(data.event_shape):
            raise RecordError(
                f"{self.model.path} is a model of events {tuple(model.event_shape)}, {data.name} has "
                f"{tuple(data.event_shape)}; name the data that it was trained on (--dataset)"
            )
        record = self.model.table_record()
        if record is not None and record["data_fingerprint"] != data.fingerprint:
            raise RecordError(
                f"{self.model.path} was trained on other data than {data.name}, as its record of Table 1 has it; name "
                "the data (--dataset)"
            )
        weights = fingerprint(*model.get_weights())
        if not force and store.path(self.name).exists():
            old = store.read(self.name)
            if old["results"].get("weights") == weights and self._enough(old["results"]):  # saved anew, nothing else
                old["results"]["file"] = self.model.digest()
                store.write(old)
                return
        judge = _Judge(
            model, data, self.preset, Blocks(work, {"weights": weights, "data": data.fingerprint}), self, progress
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "AIS: in", RuntimeWarning)  # the record has the effective numbers
            results, history, seconds = judge.all()
        table = quoted(record)
        results = {"weights": weights, "file": self.model.digest(), "cell": self.model.cell, **results, "table1": table}
        store.write(make_record(
            self.name, configuration=self.preset.configuration(), seed=self.model.seed,
            data_fingerprint=data.fingerprint, history=history, wall_seconds=seconds, results=results,
        ))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CurveTask:
    """Both bounds of one model against T, on images that it simulates: the same at every T."""

    model: JudgedModel
    preset: JudgePreset

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def chains(self) -> list[Chains]:
        """Of every T."""
        return [dataclasses.replace(self.preset.chains, num_temperatures=t) for t in self.preset.curve_temperatures]

    @property
    def cost(self) -> float:
        each = sum(2.0 * chains.evaluations + chains.pilot_evaluations for chains in self.chains)
        return self.preset.curve_simulated * each

    def configuration(self) -> dict:
        """What the record is a record of."""
        temperatures, simulated = self.preset.curve_temperatures, self.preset.curve_simulated
        return {**self.preset.configuration(), "temperatures": list(temperatures), "simulated": simulated}

    def done(self, store: RunStore) -> bool:
        if not store.done(self.name, self.configuration(), self.model.seed):
            return False
        return store.read(self.name)["results"].get("file") == self.model.digest()

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        work = store.folder.parent / "work" / f"{self.name}-curve"
        if force:
            shutil.rmtree(work, ignore_errors=True)
        model = load_model(self.model.path)
        weights = fingerprint(*model.get_weights())
        judge = _Judge(model, None, self.preset, Blocks(work, {"weights": weights}), self, progress)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "AIS: in", RuntimeWarning)
            bounds = [judge.bdmc(chains, self.preset.curve_simulated, f"T = {chains.num_temperatures}")
                      for chains in self.chains]  # fmt: skip
        results = {"weights": weights, "file": self.model.digest(), "cell": self.model.cell}
        results |= {name: [found[name] for found in bounds] for name in ("lower", "upper", "gap", "gap_standard_error")}
        results["per_image"] = {name: [found["per_image"][name] for found in bounds] for name in ("lower", "upper")}
        store.write(make_record(
            self.name, configuration=self.configuration(), seed=self.model.seed, data_fingerprint="simulated",
            history={}, wall_seconds=judge.seconds, results=results,
        ))  # fmt: skip


class _Judge:
    """One model with its blocks.

    Args:
        model: Loaded.
        data: What it is judged on; None where all of it is simulated.
        preset: How.
        blocks: Where what is done is kept.
        task: The task that this is.
        progress: What is told how far it is.
    """

    def __init__(self, model, data: ImageData | None, preset: JudgePreset, blocks: Blocks, task, progress: Report):
        self._model, self._preset, self._blocks, self._task = model, preset, blocks, task
        self._progress, self._evaluations = progress, 0.0
        self._x = None if data is None else data.binarised("test")
        self.seconds = 0.0

    def all(self) -> tuple[dict, dict, float]:
        """Results, history and seconds of a record."""
        preset, x = self._preset, self._x
        assert x is not None
        images, prior_images = (min(n, len(x)) for n in (preset.images, preset.prior_images))
        found = self._ais(images, preset.chains, "AIS")
        bounds = self.bdmc(preset.chains, preset.simulated, "BDMC")
        prior = self._ais(prior_images, preset.prior, "AIS from the prior")
        importance, own = self._importance()
        count = len(importance["nll"])
        results = {
            "amounts": {
                "images": images, "simulated": preset.simulated, "prior_images": prior_images,
                "importance_images": count,
            },
            "of": len(x),
            "own_importance": own,
            "ais": found["ais"].mean(),
            "ais_standard_error": _error(found["ais"]),
            "ais_chains_standard_error": np.sqrt(np.mean(found["error"] ** 2) / images),
            "effective_chains": {"lowest": found["ess"].min(), "median": np.median(found["ess"])},
            "acceptance": [found["acceptance"].min(), found["acceptance"].max()],
            "prior": {"ais": prior["ais"].mean(), "per_image": prior["ais"].tolist()},
            **{name: value for name, value in bounds.items() if name != "per_image"},
            "per_image": {"ais": found["ais"].tolist(), **{name: v.tolist() for name, v in importance.items()}},
            "simulated_per_image": bounds["per_image"],
            "seconds": round(self.seconds, 1),
        }  # fmt: skip
        return results, {"acceptance": np.round(found["acceptance"], 4).tolist()}, self.seconds

    def _block(self, what: str, name: str, key: dict, count: int, cost: float, make) -> dict[str, np.ndarray]:
        with interrupt_comes_through():
            block = self._blocks.get(name, key, count, make)
        self.seconds += block.seconds
        self._evaluations += cost * count
        done = min(self._evaluations / self._task.cost, 1.0)
        self._progress(done, f"{self._task.name}, {what}", kept=not block.made)
        return block.arrays

    def _ais(self, images: int, chains: Chains, what: str) -> dict[str, np.ndarray]:
        """NLL of the first so many images, with errors, effective numbers of chains, and acceptance ``[T - 1]``."""
        parts, weights = [], []
        for first, size in _cut(images):
            seed = self._preset.seed * _SEEDS + first + (_PRIOR_SEED if chains.start == "prior" else 0)

            def make(first=first, size=size, seed=seed):
                found = self._model.annealed_log_likelihood(
                    self._x[first : first + size], seed=seed, batch_size=size, **dataclasses.asdict(chains)
                )
                value, error, ess = found.estimate
                return {"ais": -value, "error": error, "ess": ess, "acceptance": found.acceptance.mean(axis=-1)}

            key = {"chains": dataclasses.asdict(chains), "seed": seed}
            cost = chains.evaluations + chains.pilot_evaluations
            parts.append(
                self._block(f"{what} {first + size}/{images}", f"ais-{chains.start}-{first}", key, size, cost, make)
            )
            weights.append(size)
        found = {name: np.concatenate([part[name] for part in parts]) for name in ("ais", "error", "ess")}
        return {**found, "acceptance": np.average([part["acceptance"] for part in parts], axis=0, weights=weights)}

    def bdmc(self, chains: Chains, simulated: int, what: str) -> dict:
        """Bounds on log p(x) of images that the model simulates: means, and each image's."""
        parts = []
        for first, size in _cut(simulated):
            seed = self._preset.seed * _SEEDS + first

            def make(size=size, seed=seed):
                found = self._model.bdmc(size, seed=seed, batch_size=size, **dataclasses.asdict(chains))
                return {"lower": found.lower.value, "upper": found.upper.value}

            key = {"chains": dataclasses.asdict(chains), "seed": seed}
            cost = 2.0 * chains.evaluations + chains.pilot_evaluations
            name = f"bdmc-{chains.num_temperatures}-{first}"
            parts.append(self._block(f"{what} {first + size}/{simulated}", name, key, size, cost, make))
        lower, upper = (np.concatenate([part[name] for part in parts]) for name in ("lower", "upper"))
        return {
            "lower": lower.mean(), "upper": upper.mean(), "gap": (upper - lower).mean(),
            "gap_standard_error": _error(upper - lower), "gap_largest": (upper - lower).max(),
            "per_image": {"lower": lower.tolist(), "upper": upper.tolist()},
        }  # fmt: skip

    def _importance(self) -> tuple[dict[str, np.ndarray], bool]:
        """-ELBO and importance NLL of the first images: Table 1's, or made here, which the second value says."""
        record = self._task.model.table_record()
        kept = None if record is None or self._task.own_importance else record["results"].get("per_image")
        if kept is not None:
            values = {name: np.array(kept[name], float)[: self._preset.images] for name in ("neg_elbo", "nll")}
            if len(values["nll"]) >= min(self._preset.importance_images, len(self._x)):
                return values, False
        parts, images = [], min(self._preset.importance_images, len(self._x))
        for first, size in _cut(images):
            seed = self._preset.seed * _SEEDS + first

            def make(first=first, size=size, seed=seed):
                x = self._x[first : first + size]
                elbo = self._model.elbo(x, num_samples=ELBO_SAMPLES, seed=seed)
                return {
                    "neg_elbo": -np.asarray(elbo),
                    "nll": -np.asarray(self._model.log_likelihood(x, IMPORTANCE_SAMPLES, seed=seed).value),
                }

            key = {"samples": [ELBO_SAMPLES, IMPORTANCE_SAMPLES], "seed": seed}
            cost = self._task._importance_evaluations()
            parts.append(self._block(f"IS {first + size}/{images}", f"importance-{first}", key, size, cost, make))
        return {name: np.concatenate([part[name] for part in parts]) for name in ("neg_elbo", "nll")}, True


def _cut(count: int) -> list[tuple[int, int]]:
    """The blocks of so many images: the first of each, and how many."""
    return [(first, min(IMAGES_PER_BLOCK, count - first)) for first in range(0, count, IMAGES_PER_BLOCK)]


def _error(values: np.ndarray) -> float:
    """The standard error of the mean; NaN for one value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
