"""A record as good as any."""

from hvae_tf.runs import make_record


def record(name="run", **changes):
    fields = {
        "configuration": {"epochs": 3, "widths": (1, 2)},
        "seed": 4,
        "data_fingerprint": "abc",
        "history": {"loss": [2.0, 1.0]},
        "wall_seconds": 1.23456,
        "results": {"nll": 84.0},
    }
    return make_record(name, **{**fields, **changes})
