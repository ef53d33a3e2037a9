"""Which models are judged: `.keras` files, with what Table 1 has on record of them."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from hvae_tf.runs import RecordError
from reproduce.configs import TABLE1_CELLS
from reproduce.mnist.cells import label
from reproduce.mnist.evaluation import read_run_record

QUOTED = ("neg_elbo", "nll")
OTHER_CELLS = {"hvae-k3": "HVAE, K = 3\nfree tempering"}


@dataclasses.dataclass(frozen=True)
class JudgedModel:
    """A trained model in a file of its own.

    Attributes:
        path: Of the ``.keras`` file; its stem is the model's name.
    """

    path: Path

    @property
    def name(self) -> str:
        """Of its record."""
        return self.path.stem

    @property
    def cell(self) -> str:
        """The name without the seed: what models trained from several seeds have in common."""
        return split_name(self.name)[0]

    @property
    def seed(self) -> int:
        """As its name says it; 0 where it says none."""
        return split_name(self.name)[1]

    def digest(self) -> str:
        """A short digest of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]

    def table_record(self) -> dict | None:
        """Its record of Table 1, which stands beside the folder of models; None where there is none.

        Raises:
            RecordError: If it is damaged.
        """
        path = self.path.parent.parent / f"{self.name}.json"
        return read_run_record(path) if self.path.parent.name == "models" and path.exists() else None


def split_name(name: str) -> tuple[str, int]:
    """Cell and seed: ``k5-free-seed1`` is ``("k5-free", 1)``; a name without a seed is a cell with seed 0."""
    cell, found, seed = name.rpartition("-seed")
    return (cell, int(seed)) if found and cell and seed.isdigit() else (name, 0)


def cell_label(cell: str, lines: bool = False) -> str:
    """What a reader calls a cell, short; on two lines for figures; a name of the user's own stays as it is."""
    name = label(cell, short=True) if cell in TABLE1_CELLS else OTHER_CELLS.get(cell, cell)
    return name if lines else name.replace("\n", ", ")


def find_models(paths: Sequence[Path]) -> list[JudgedModel]:
    """The models that the paths name: ``.keras`` files, or folders of them, the VAE's first there.

    Raises:
        RecordError: If a path is neither, a folder has none, or two have one name.
    """
    found: list[JudgedModel] = []
    for path in paths:
        if path.is_dir():
            inside = [JudgedModel(file) for file in path.glob("*.keras") if not file.name.startswith(".")]
            if not inside:
                raise RecordError(f"{path} has no .keras files; name models or a folder that has them")
            found += sorted(inside, key=lambda model: (model.cell != "vae", model.name))
        elif path.is_file() and path.suffix == ".keras":
            found.append(JudgedModel(path))
        else:
            raise RecordError(f"{path} is no .keras file and no folder of them")
    places = {}
    for model in found:
        if places.setdefault(model.name, model.path) != model.path:
            raise RecordError(
                f"{places[model.name]} and {model.path} have one name, and a record is called after it; judge them "
                "into folders of their own (--out)"
            )
    return list(dict.fromkeys(found))


def quoted(record: dict | None) -> dict:
    """What Table 1 has on record of a model, as the judge's record keeps it; empty without one."""
    if record is None:
        return {}
    results = record["results"]
    return {
        "training": {"epochs": results["training"]["epochs"]},
        "evaluation": results["evaluation"],
        **{name: results[name] for name in QUOTED},
    }
