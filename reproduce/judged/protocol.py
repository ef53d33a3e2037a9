"""What a table of judged models is made of: a protocol, cells, and how their decoders are judged."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reproduce.judging.presets import JudgePreset

if TYPE_CHECKING:  # a command line that is wrong is answered before TensorFlow is there
    import keras


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How every cell is trained; one protocol for all of a table.

    Attributes:
        dataset: ``"mnist"``, another TFDS image set, or ``"digits"``.
        limit: First images of each split to keep (train, validation, test); None: all.
        max_epochs: Training ends there; the last epoch's weights are judged.
        batch_size: Images a step.
        learning_rate: Of Adamax, along a cosine down to zero.
        latent_size: l.
        hidden_units: Of the fully connected layers.
        filters: Of the convolutions; none for dense networks.
    """

    dataset: str
    max_epochs: int
    batch_size: int
    learning_rate: float
    latent_size: int
    hidden_units: int
    filters: tuple[int, ...]
    limit: tuple[int, int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model, whatever its seed.

    Attributes:
        label: What a reader calls it.
    """

    label: str

    @property
    def evaluations(self) -> int:
        """Of the decoder for an image in a training step, with its gradient in z where one is taken."""
        raise NotImplementedError

    def make(self, encoder, decoder, protocol: Any, seed: int) -> "keras.Model":
        """The model, not compiled."""
        raise NotImplementedError

    def configuration(self) -> dict:
        """All but the label."""
        found = dataclasses.asdict(self)
        del found["label"]
        return found


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell trained from one seed."""

    cell: str
    seed: int

    @property
    def name(self) -> str:
        """Of its record, its model and its pictures."""
        return f"{self.cell}-seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class Preset:
    """A table.

    Attributes:
        protocol: How its cells are trained.
        judge: How their decoders are judged.
        cells: Those that may be trained, by name.
        names: Those that are trained where nobody says which.
        seeds: Of every cell, where nobody says which.
    """

    protocol: Protocol
    judge: JudgePreset
    cells: Mapping[str, Cell]
    names: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)

    def configuration(self, run: Run) -> dict:
        """What a training depends on, and what its record is a record of."""
        return {"cell": run.cell, **self.cells[run.cell].configuration(), **dataclasses.asdict(self.protocol)}
