"""What a run's bits depend on, written down so that a folder is never continued as another run."""

import json
from pathlib import Path
from typing import Any

import keras

from hvae_tf.files import fingerprint
from hvae_tf.training.architecture import architecture
from hvae_tf.training.checkpoint import CheckpointError

_MEMORY = "_hvae_tf_compiled"  # of an optimiser: its configuration as it was compiled, and as the last `fit` left it


def describe_run(model: keras.Model, batches, validation) -> dict[str, Any]:
    """Model, optimiser, batches and validation images, as far as they can be seen, as plain JSON."""
    described = {
        "model": type(model).__name__,
        "model_seed": getattr(model, "seed", None),
        "model_architecture": architecture(model),
        "optimizer": optimizer_configuration(model.optimizer),
        "jit_compile": bool(getattr(model, "jit_compile", False)),
        "batches": batches.configuration(),
        "steps_per_epoch": batches.steps_per_epoch,
        "validation": fingerprint(*validation) if isinstance(validation, tuple) else fingerprint(validation),
    }
    return _plain(described)


def optimizer_configuration(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """How an optimiser was compiled, as plain JSON; what a callback of `fit` has set since is no part of it."""
    now = _plain(_without_names(keras.saving.serialize_keras_object(optimizer)))
    compiled, left = getattr(optimizer, _MEMORY, (now, now))
    return compiled if now == left else now


def remember_compiled(optimizer: keras.optimizers.Optimizer, compiled: dict[str, Any]) -> None:
    """Makes the optimiser remember how it was compiled, as long as nobody changes what it is left with now.

    Keras keeps no rate beside the one in use, and `fit` sets that too, to a checkpoint's.
    """
    left = _plain(_without_names(keras.saving.serialize_keras_object(optimizer)))
    setattr(optimizer, _MEMORY, (compiled, left))


def refuse_averages(optimizer: keras.optimizers.Optimizer) -> None:
    """Raises ValueError where an optimiser, or one inside it, averages weights.

    Keras puts the averages into the model at the end of each of its passes over the data, so a run that was stopped
    amid an epoch would end elsewhere; validation, and the best weights, would not be those of the averages.
    """
    while optimizer is not None:
        if getattr(optimizer, "use_ema", False):
            raise ValueError(
                "the optimizer has use_ema=True, which neither resumes exactly nor reaches the best weights; compile "
                "it without"
            )
        optimizer = getattr(optimizer, "inner_optimizer", None)


def check_configuration(folder: Path, found: dict, wanted: dict) -> None:
    """Compares what a folder's run is with what is asked for.

    Raises:
        CheckpointError: If they differ; the line names up to five differences.
    """
    unlike = _differences(found, wanted)
    if unlike:
        detail = "; ".join(unlike[:5])
        raise CheckpointError(f"{folder} holds a run of another configuration ({detail}); choose another folder")


def _plain(value):
    return json.loads(json.dumps(value))


def _without_names(optimizer: dict) -> dict:
    """The configuration of an optimiser, and of one inside it, without their running names."""
    config = {k: v for k, v in optimizer["config"].items() if k != "name"}
    if "inner_optimizer" in config:
        config["inner_optimizer"] = _without_names(config["inner_optimizer"])
    return {**optimizer, "config": config}


def _differences(found, wanted, path="") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted({*found, *wanted})
        return [d for k in keys for d in _differences(found.get(k), wanted.get(k), f"{path}.{k}" if path else str(k))]
    return [] if found == wanted else [f"{path}: {found!r} there, {wanted!r} asked"]
