"""The work besides trainings: exact problems, and what is asked of Table 1's models that stand beside."""

import dataclasses
from pathlib import Path

from hvae_tf.runs import RecordError, RunStore, make_record
from hvae_tf.runs.record import as_json
from reproduce.judged.training import active_units
from reproduce.judged.work import Settings
from reproduce.judging.models import JudgedModel
from reproduce.mnist.training import load_model
from reproduce.refinement.exact import MoveOperator, kl_to_target, normal_law
from reproduce.refinement.factor_analysis import Study, gradient_biases

EXACT = "factor-analysis"
KL_START = (1.5, 0.4)  # mean and standard deviation of q0, where the posterior is N(0, 1)
KL_LENGTHS = ((0.7, 1), (1.2, 1), (1.2, 2), (0.7, 5))  # eps, L
KL_MOVES = 12


# ---- what has exact answers


def exact_configuration(study: Study) -> dict:
    """What the record of the exact problems is a record of."""
    return as_json({
        "study": dataclasses.asdict(study), "kl_start": KL_START, "kl_lengths": KL_LENGTHS, "kl_moves": KL_MOVES,
    })  # fmt: skip


def make_exact(folder: Path, study: Study, force: bool = False, say=lambda text: None) -> None:
    """The record of the exact problems, unless it stands."""
    store = RunStore(folder / "exact")
    if not force and store.done(EXACT, exact_configuration(study), study.seed):
        return
    lines = []
    for step_size, num_steps in KL_LENGTHS:
        law, move, line = normal_law(*KL_START), MoveOperator(step_size, num_steps), {"kl": [], "acceptance": []}
        for _ in range(KL_MOVES + 1):
            line["kl"].append(kl_to_target(law))
            line["acceptance"].append(move.acceptance(law))
            law = move(law)
        lines.append({"step_size": step_size, "num_leapfrog_steps": num_steps, **line})
    say("KL against M: done")
    rows = [row._asdict() for row in gradient_biases(study)]
    say("bias of the decoder's gradient against M: done")
    store.write(make_record(
        EXACT, configuration=exact_configuration(study), seed=study.seed, data_fingerprint="none", history={},
        wall_seconds=0.0, results={"kl": lines, "bias": rows},
    ))  # fmt: skip


# ---- Table 1's models beside them


def count_active_units_beside(settings: Settings, table1: Path) -> None:
    """Records of the active units of Table 1's models, for those whose files are there."""
    store = RunStore(settings.folder / "beside")
    paths = [path for cell in settings.preset.beside for path in (table1 / "models").glob(f"{cell}-seed*.keras")]
    for model in map(JudgedModel, sorted(paths)):
        name = model.path.stem
        wanted = {"file": model.digest(), "dataset": settings.preset.protocol.dataset}
        try:
            if store.done(name, wanted, model.seed):
                continue
        except RecordError:  # of another file
            store.path(name).unlink()
        data = settings.data()
        units = active_units(load_model(model.path), data.binarised("test"))
        store.write(make_record(
            name, configuration=wanted, seed=model.seed, data_fingerprint=data.fingerprint, history={},
            wall_seconds=0.0, results={"active_units": units},
        ))  # fmt: skip
