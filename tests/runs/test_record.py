"""Run records: whole or not there, and checked when read."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from hvae_tf.runs import RecordError, read_record, write_record
from hvae_tf.runs import environment as environment_of_this_process
from hvae_tf.runs.environment import device
from hvae_tf.runs.record import FIELDS
from tests.runs.example_record import record


def test_a_record_comes_back(tmp_path):
    write_record(tmp_path / "deep/run.json", record())
    read = read_record(tmp_path / "deep/run.json")
    assert read == record() | {"environment": read["environment"]}
    assert read["configuration"] == {"epochs": 3, "widths": [1, 2]}
    assert read["wall_seconds"] == 1.235
    assert {"revision", "packages", "python", "machine", "device", "cores", "written"} == set(read["environment"])
    assert {"hvae_tf", "tensorflow", "keras", "numpy"} <= set(read["environment"]["packages"])


def test_arrays_become_lists_and_what_is_not_finite_null(tmp_path):
    results = {
        "array": np.arange(3, dtype=np.float32),
        "scalar": np.float32(1.5),
        "nan": np.array([1.0, np.nan]),
        "infinite": float("inf"),
        "flag": np.bool_(True),
        3: "key",
    }
    write_record(tmp_path / "run.json", record(results=results))
    assert read_record(tmp_path / "run.json")["results"] == {
        "array": [0.0, 1.0, 2.0],
        "scalar": 1.5,
        "nan": [1.0, None],
        "infinite": None,
        "flag": True,
        "3": "key",
    }


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ["missing", None, True, object])
def test_each_field_is_checked(field, value, tmp_path):
    broken = record()
    broken[field] = value
    if value == "missing":
        del broken[field]
    with pytest.raises(RecordError, match=rf"run.json: field '{field}' is missing or of the wrong type; delete it"):
        write_record(tmp_path / "run.json", broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "\x00" * 10])
def test_what_is_not_json_is_refused(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RecordError, match=r"run.json is not JSON .*delete it to have the run done again"):
        read_record(tmp_path / "run.json")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match=r"run.json is not JSON"):
        read_record(tmp_path / "run.json")


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("[1, 2]")
    with pytest.raises(RecordError, match="holds a list; expected a record"):
        read_record(tmp_path / "run.json")


def test_another_schema_version_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(record() | {"schema_version": 99}))
    with pytest.raises(RecordError, match="has schema version 99; this code reads 1: run it again"):
        read_record(tmp_path / "run.json")


@pytest.mark.parametrize("curve", [None, 1.0, "1.0", {"0": 1.0}, [1.0, "2"], [True], [[1.0]]])
def test_a_learning_curve_is_a_list_of_numbers(curve, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(record() | {"history": {"loss": curve}}))
    with pytest.raises(RecordError, match=r"run.json: history\['loss'\] is no list of numbers; delete it"):
        read_record(tmp_path / "run.json")


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": Infinity}', "[" * 100_000])
def test_what_json_does_not_have_is_refused(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RecordError, match=r"run.json is not JSON"):
        read_record(tmp_path / "run.json")


# -- the environment --------------------------------------------------------------------------------------------------


def test_the_device_is_named(monkeypatch):
    assert device().startswith("CPU: ")
    assert len(device()) > len("CPU: ")
    assert environment_of_this_process()["device"] == device()

    def planted(kind):
        return ["a", "b"] if kind == "GPU" else []

    config = SimpleNamespace(
        get_visible_devices=planted,
        experimental=SimpleNamespace(get_device_details=lambda gpu: {"device_name": f"Model {gpu}"}),
    )
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    assert device() == "GPU: Model a, Model b"


def test_records_written_before_there_was_a_device_are_read(tmp_path):
    old = record()
    del old["environment"]["device"]
    write_record(tmp_path / "run.json", old)
    assert read_record(tmp_path / "run.json") == old
