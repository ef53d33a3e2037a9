"""What a run's bits depend on, written down so that a folder is never continued as another run."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import keras

from hvae_tf.files import fingerprint
from hvae_tf.training.checkpoint import CheckpointError, state_variables


def describe_run(model: keras.Model, batches, validation) -> dict[str, Any]:
    """Model, optimiser, batches and validation images, as far as they can be seen, as plain JSON."""
    described = {
        "model": type(model).__name__,
        "model_seed": getattr(model, "seed", None),
        "model_architecture": architecture(model),
        "optimizer": _without_names(keras.saving.serialize_keras_object(model.optimizer)),
        "jit_compile": bool(getattr(model, "jit_compile", False)),
        "batches": batches.configuration(),
        "steps_per_epoch": batches.steps_per_epoch,
        "validation": fingerprint(*validation) if isinstance(validation, tuple) else fingerprint(validation),
    }
    return json.loads(json.dumps(described))


def architecture(model: keras.Model) -> str:
    """A digest of the model's configuration and variables, whatever running numbers Keras put into names."""
    try:
        config = json.dumps(model.get_config(), sort_keys=True, default=str)
    except (NotImplementedError, TypeError, ValueError):  # a model that cannot be saved
        config = ""
    config = re.sub(r'_\d+"', '"', config)
    shapes = [(variable.dtype, tuple(variable.shape)) for variable in state_variables(model)]
    return hashlib.sha256(f"{config}{shapes}".encode()).hexdigest()[:16]


def check_configuration(folder: Path, found: dict, wanted: dict) -> None:
    """Compares what a folder's run is with what is asked for.

    Raises:
        CheckpointError: If they differ; the line names up to five differences.
    """
    unlike = _differences(found, wanted)
    if unlike:
        detail = "; ".join(unlike[:5])
        raise CheckpointError(f"{folder} holds a run of another configuration ({detail}); choose another folder")


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
