"""What is found of one model, in pieces: AIS, BDMC and the importance sampler, on some images each.

A piece is a function of the model, the data and its key alone, so pieces may be made in any order, by any process.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hvae_tf.data import ImageData
from hvae_tf.runs import Report
from reproduce.cli import interrupt_comes_through
from reproduce.judging.blocks import Blocks
from reproduce.judging.presets import ELBO_SAMPLES, IMPORTANCE_SAMPLES, Chains, JudgePreset

IMAGES_PER_BLOCK = 50
_PRIOR_SEED, _SEEDS = 50_000, 100_000  # the blocks' seeds are apart, and so are those of the presets' seeds


class Piece(NamedTuple):
    """A block of images that is to be judged in one way.

    Attributes:
        what: For the display.
        name: Of its file.
        key: What it depends on beside the model and the data.
        count: How many images.
        cost: Evaluations of the decoder.
        make: Makes it.
    """

    what: str
    name: str
    key: dict
    count: int
    cost: float
    make: Callable[[], dict[str, np.ndarray]]


def share(pieces: Sequence[Piece], part: int, parts: int) -> list[Piece]:
    """One part of the pieces when they are dealt out into so many of about equal cost, each at least a piece.

    Args:
        pieces: All.
        part: From 0.
        parts: At most as many as there are pieces.
    """
    loads, hands = [0.0] * parts, [[] for _ in range(parts)]
    for number in sorted(range(len(pieces)), key=lambda i: (-pieces[i].cost, i)):
        least = loads.index(min(loads))
        loads[least] += pieces[number].cost
        hands[least].append(number)
    return [pieces[number] for number in sorted(hands[part])]


class Judge:
    """One model with its blocks.

    Args:
        model: Loaded.
        data: What it is judged on; None where all of it is simulated.
        preset: How.
        blocks: Where what is done is kept.
        name: Of the task, for the display.
        total: The evaluations of the decoder that all of the work is.
        progress: What is told how far it is.
        weights: The model's fingerprint.
        table: -ELBO and importance NLL by image that are on record, to be taken over; None: they are made here.
        importance_evaluations: Of the decoder, that an image's importance samples cost.
    """

    def __init__(
        self, model, data: ImageData | None, preset: JudgePreset, blocks: Blocks, *, name: str, total: float,
        progress: Report, weights: str, table: dict[str, np.ndarray] | None = None, importance_evaluations: float = 1.0,
    ):  # fmt: skip
        self._model, self._preset, self._blocks, self._table = model, preset, blocks, table
        self._name, self._total, self._progress, self._evaluations = name, total, progress, 0.0
        self._importance_evaluations = importance_evaluations
        self._x = None if data is None else data.binarised("test")
        self.weights, self.seconds = weights, 0.0
        self.data_fingerprint = "simulated" if data is None else data.fingerprint

    def share_out(self, pieces: Sequence[Piece]) -> None:
        """From now on these pieces are all of the work, as the display has it."""
        self._total = sum(piece.cost for piece in pieces)

    def get(self, piece: Piece) -> dict[str, np.ndarray]:
        """What the piece finds: kept, or made now."""
        with interrupt_comes_through():
            block = self._blocks.get(piece.name, piece.key, piece.count, piece.make)
        self.seconds += block.seconds
        self._evaluations += piece.cost
        done = min(self._evaluations / self._total, 1.0)
        self._progress(done, f"{self._name}, {piece.what}", kept=not block.made)
        return block.arrays

    # ------------------------------------------------------------------------------------------ what a record holds

    def pieces(self) -> list[Piece]:
        """All of a record."""
        preset, images, prior_images = self._preset, *self._images()
        return [
            *self._ais_pieces(images, preset.chains, "AIS"), *self.bdmc_pieces(preset.chains, preset.simulated, "BDMC"),
            *self._ais_pieces(prior_images, preset.prior, "AIS from the prior"), *self._importance_pieces(),
        ]  # fmt: skip

    def all(self) -> tuple[dict, dict, float]:
        """Results, history and seconds of a record."""
        preset, images, prior_images = self._preset, *self._images()
        assert self._x is not None
        found = self._ais(self._ais_pieces(images, preset.chains, "AIS"))
        bounds = self.bdmc(self.bdmc_pieces(preset.chains, preset.simulated, "BDMC"))
        prior = self._ais(self._ais_pieces(prior_images, preset.prior, "AIS from the prior"))
        importance, own = self._importance()
        results = {
            "amounts": {
                "images": images, "simulated": preset.simulated, "prior_images": prior_images,
                "importance_images": len(importance["nll"]),
            },
            "of": len(self._x),
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

    def _images(self) -> tuple[int, int]:
        """How many there are of those asked for: judged from the encoder, and from the prior."""
        assert self._x is not None
        return min(self._preset.images, len(self._x)), min(self._preset.prior_images, len(self._x))

    # ----------------------------------------------------------------------------------------------------------- AIS

    def _ais_pieces(self, images: int, chains: Chains, what: str) -> list[Piece]:
        """NLL of the first so many images, with errors, effective numbers of chains, and acceptance ``[T - 1]``."""
        pieces = []
        for first, size in _cut(images):
            seed = self._preset.seed * _SEEDS + first + (_PRIOR_SEED if chains.start == "prior" else 0)

            def make(first=first, size=size, seed=seed):
                found = self._model.annealed_log_likelihood(
                    self._x[first : first + size], seed=seed, batch_size=size, **dataclasses.asdict(chains)
                )
                value, error, ess = found.estimate
                return {"ais": -value, "error": error, "ess": ess, "acceptance": found.acceptance.mean(axis=-1)}

            key = {"chains": dataclasses.asdict(chains), "seed": seed}
            cost = size * (chains.evaluations + chains.pilot_evaluations)
            pieces.append(
                Piece(f"{what} {first + size}/{images}", f"ais-{chains.start}-{first}", key, size, cost, make)
            )
        return pieces

    def _ais(self, pieces: list[Piece]) -> dict[str, np.ndarray]:
        parts, weights = [self.get(piece) for piece in pieces], [piece.count for piece in pieces]
        found = {name: np.concatenate([part[name] for part in parts]) for name in ("ais", "error", "ess")}
        return {**found, "acceptance": np.average([part["acceptance"] for part in parts], axis=0, weights=weights)}

    def bdmc_pieces(self, chains: Chains, simulated: int, what: str) -> list[Piece]:
        """Bounds on log p(x) of images that the model simulates."""
        pieces = []
        for first, size in _cut(simulated):
            seed = self._preset.seed * _SEEDS + first

            def make(size=size, seed=seed):
                found = self._model.bdmc(size, seed=seed, batch_size=size, **dataclasses.asdict(chains))
                return {"lower": found.lower.value, "upper": found.upper.value}

            key = {"chains": dataclasses.asdict(chains), "seed": seed}
            cost = size * (2.0 * chains.evaluations + chains.pilot_evaluations)
            name = f"bdmc-{chains.num_temperatures}-{first}"
            pieces.append(Piece(f"{what} {first + size}/{simulated}", name, key, size, cost, make))
        return pieces

    def bdmc(self, pieces: list[Piece]) -> dict:
        """The bounds' means, and each image's."""
        parts = [self.get(piece) for piece in pieces]
        lower, upper = (np.concatenate([part[name] for part in parts]) for name in ("lower", "upper"))
        return {
            "lower": lower.mean(), "upper": upper.mean(), "gap": (upper - lower).mean(),
            "gap_standard_error": _error(upper - lower), "gap_largest": (upper - lower).max(),
            "per_image": {"lower": lower.tolist(), "upper": upper.tolist()},
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------- importance sampling

    def _kept_importance(self) -> dict[str, np.ndarray] | None:
        """-ELBO and importance NLL of the first images that are on record, if they are enough."""
        if self._table is None or self._x is None:
            return None
        values = {name: np.asarray(self._table[name], float)[: self._preset.images] for name in ("neg_elbo", "nll")}
        return values if len(values["nll"]) >= min(self._preset.importance_images, len(self._x)) else None

    def _importance_pieces(self) -> list[Piece]:
        """-ELBO and importance NLL of the first images, where they are to be made here."""
        assert self._x is not None
        if self._kept_importance() is not None:
            return []
        pieces, images = [], min(self._preset.importance_images, len(self._x))
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
            cost = size * self._importance_evaluations
            pieces.append(Piece(f"IS {first + size}/{images}", f"importance-{first}", key, size, cost, make))
        return pieces

    def _importance(self) -> tuple[dict[str, np.ndarray], bool]:
        """-ELBO and importance NLL: Table 1's, or made here, which the second value says."""
        kept = self._kept_importance()
        if kept is not None:
            return kept, False
        parts = [self.get(piece) for piece in self._importance_pieces()]
        return {name: np.concatenate([part[name] for part in parts]) for name in ("neg_elbo", "nll")}, True


def _cut(count: int) -> list[tuple[int, int]]:
    """The blocks of so many images: the first of each, and how many."""
    return [(first, min(IMAGES_PER_BLOCK, count - first)) for first in range(0, count, IMAGES_PER_BLOCK)]


def _error(values: np.ndarray) -> float:
    """The standard error of the mean; NaN for one value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
