"""Figure 1's report: what it says of differences, which records it takes, and where it can be made."""

import json

import numpy as np
import pytest

from hvae_tf.runs import RecordError, RunStore
from reproduce import figure1_gaussian
from reproduce.gaussian.differences import difference
from reproduce.gaussian.records import load
from tests.reproduce.gaussian.examples import quiet, tiny_job
from tests.unprivileged import unprivileged


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A record's file."""
    job, store = tiny_job(variant="corrected", method="vb", dims=(1,)), RunStore(tmp_path_factory.mktemp("records"))
    job.run(store, quiet)
    return store.path(job.record_name(1)).read_text()


@pytest.fixture
def folder(text, tmp_path):
    """A folder with that record in it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "corrected-vb-d1.json").write_text(text)
    return tmp_path / "out"


def report_only(folder, *arguments):
    return figure1_gaussian.main(["--report-only", "--out", str(folder), *arguments])


def test_difference_is_paired():
    a = np.array([10.0, 20.0, 30.0])
    assert difference(a, a + np.array([1.0, 1.1, 0.9]), "corrected").verdict == "lower"
    assert difference(a, a[::-1], "corrected").verdict == "not told apart"
    assert difference(a[:1], a[:1] + 1.0, "corrected").verdict == "not told apart"
    # a chain of warm starts has no interval: a verdict needs every data set
    assert difference(a, a + np.array([1.0, 1.1, -0.1]), "as-released").verdict == "not told apart"
    lower = difference(a, a + 1.0, "as-released")
    assert (lower.verdict, str(lower)) == ("lower", "-1")


def changed(record, path, value):
    """The record with what stands at the path replaced, or left out where the value is `...`."""
    record = json.loads(json.dumps(record))
    *outer, last = path
    inner = record
    for name in outer:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("configuration", "variant"), "correct", "is no record of Figure 1"),
        (("configuration", "method"), ..., "is no record of Figure 1"),
        (("configuration", "method"), ["vb"], "is no record of Figure 1"),
        (("configuration", "bound"), ..., "is of a bound of vb that is sampled, where it is closed form now; delete"),
        (("configuration", "d"), "1", r"configuration\['d'\] is '1'"),
        (("configuration", "datasets"), 0, r"configuration\['datasets'\] is 0"),
        (("configuration", "num_observations"), ..., r"configuration\['num_observations'\] is None"),
        (("results", "theta_error"), ..., r"results\['theta_error'\] is damaged; expected 2 numbers"),
        (("results", "theta_error"), [1.0], r"results\['theta_error'\] is damaged"),
        (("results", "sigma_error"), [1.0, "2"], r"results\['sigma_error'\] is damaged"),
        (("results", "delta_error"), [1.0, None], r"results\['delta_error'\] has an error that is not finite"),
        (("results", "maximum_evidence"), {}, r"results\['maximum_evidence'\] is damaged"),
        (("history", "elbo"), [1.0], r"history\['elbo'\] is damaged"),
        (("history", "iteration"), [], r"history\['iteration'\] is damaged"),
        (("history", "iteration"), ..., r"history\['iteration'\] is damaged"),
    ],
)
def test_a_record_with_the_right_frame_and_wrong_insides_is_one_line(path, value, said, folder, text, capsys):
    file = folder / "corrected-vb-d1.json"
    file.write_text(json.dumps(changed(json.loads(text), path, value)))
    with pytest.raises(RecordError, match=rf"^{file}.*{said}"):
        load(folder)
    assert report_only(folder) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}")
    assert error.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == {file.name}


def test_records_of_other_runs_are_no_part_of_the_figure(folder, text):
    other = changed(json.loads(text), ("seed",), 1) | {"name": "corrected-vb-d3"}
    (folder / "corrected-vb-d3.json").write_text(json.dumps(changed(other, ("configuration", "d"), 3)))
    with pytest.raises(RecordError, match="are of unlike protocols or seeds"):
        load(folder)


@pytest.mark.slow
def test_a_finished_run_is_reported_where_nothing_can_be_written(folder, tmp_path, capsys):
    with unprivileged(folder):
        assert report_only(folder) == 1  # no report stands there yet
        assert str(folder) in capsys.readouterr().err
        assert report_only(folder, "--report-to", str(tmp_path / "report")) == 0
    assert not (folder / "report.md").exists()
    assert report_only(folder) == 0
    with unprivileged(folder):
        assert report_only(folder) == 0
    for path in (tmp_path / "report").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
