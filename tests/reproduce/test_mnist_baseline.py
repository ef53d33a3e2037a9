"""What a model must beat: independent pixels, computed from the images, as a row of the table."""

import dataclasses

import numpy as np
import pytest

import hvae_tf
from reproduce.configs import TABLE1_PRESETS
from reproduce.mnist.baseline import baseline_path, keep_baseline, no_latent_nll, read_baseline
from reproduce.mnist.cells import Run, training_configuration
from reproduce.mnist.report import load_table, table_markdown
from reproduce.mnist.summary import summary
from reproduce.mnist.training import networks
from tests.reproduce.mnist_records import TINY, judge_record, run_record


@pytest.fixture
def data():
    """Two pixels, one always on in training and one never; all four images of them in the test."""
    train, test = np.zeros((12, 1, 2, 1), np.uint8), np.array([[1, 1], [1, 0], [0, 1], [0, 0]], np.uint8)
    train[:, 0, 0, 0] = 1
    return hvae_tf.from_arrays("pixels", train, test.reshape(4, 1, 2, 1))


def test_it_is_the_likelihood_of_independent_pixels(data):
    n = len(data.train)
    always, never = (n + 0.5) / (n + 1.0), 0.5 / (n + 1.0)
    on, off = np.log([always, never]), np.log1p([-always, -never])
    expected = -np.array([on[0] + on[1], on[0] + off[1], off[0] + on[1], off[0] + off[1]])
    np.testing.assert_allclose(no_latent_nll(data), expected, rtol=1e-6)
    assert not np.allclose(no_latent_nll(data), expected[::-1])


def test_its_record_is_kept_and_made_again_for_other_data(data, tmp_path):
    keep_baseline(tmp_path, data)
    before = baseline_path(tmp_path).stat().st_mtime_ns
    keep_baseline(tmp_path, data)
    assert baseline_path(tmp_path).stat().st_mtime_ns == before
    np.testing.assert_allclose(read_baseline(tmp_path)["results"]["per_image"]["nll"], no_latent_nll(data), atol=1e-3)
    keep_baseline(tmp_path, dataclasses.replace(data, binarise_seed=1, test=data.test[:2]))
    assert len(read_baseline(tmp_path)["results"]["per_image"]["nll"]) == 2
    record = hvae_tf.runs.read_record(baseline_path(tmp_path))
    record["results"]["per_image"] = {"nll": [None]}
    hvae_tf.runs.write_record(baseline_path(tmp_path), record)
    with pytest.raises(hvae_tf.runs.RecordError, match="made again"):
        load_table(tmp_path)


def with_baseline(folder, data, cells, images=2):
    store = hvae_tf.runs.RunStore(folder)
    keep_baseline(folder, data)
    for cell, nll in cells.items():
        record = run_record(cell, 0, [nll], images=images, of=len(data.test))
        record["data_fingerprint"] = data.fingerprint
        store.write(record)
    return load_table(folder)


def test_it_is_a_row_of_the_table_on_as_many_images(data, tmp_path):
    table = with_baseline(tmp_path, data, {"vae": 1.0, "k5-free": 9.0})
    value = f"{no_latent_nll(data)[:2].mean():.2f}"
    text = table_markdown(table)
    assert f"| no latent variable |  |  |  | {value} | {value} |" in text
    assert "**k5-free did not learn: not below it.**" in text
    rows = summary(table).splitlines()
    assert rows[1].split() == ["no", "latent", "variable", value, value]
    assert [row.split()[0] for row in rows[2:4]] == ["vae", "k5-free"]
    assert max(map(len, rows)) < 80


def test_it_is_left_out_of_tables_of_other_data(data, tmp_path):
    store = hvae_tf.runs.RunStore(tmp_path)
    keep_baseline(tmp_path, data)
    store.write(run_record("vae", 0, [2.0]))
    assert "no latent variable" not in table_markdown(load_table(tmp_path))


def test_a_judged_table_is_as_narrow(data, tmp_path):
    with_baseline(tmp_path / "table", data, {"vae": 2.0})
    judged = judge_record("vae", 0, [1.0, 2.0]) | {"data_fingerprint": data.fingerprint}
    hvae_tf.runs.write_record(tmp_path / "judge" / "vae-seed0.json", judged)
    rows = summary(load_table(tmp_path / "table", tmp_path / "judge")).splitlines()
    assert rows[0].split()[-1] == "AIS"
    assert max(map(len, rows)) < 80


def test_networks_without_filters_are_dense():
    config, digits = TABLE1_PRESETS["smoke"].config, hvae_tf.load("digits")
    encoder, decoder = networks(0, config, digits)
    assert not any("conv" in layer.name for network in (encoder, decoder) for layer in network.layers)
    assert [v.shape[-1] for v in encoder.trainable_variables][:2] == [128, 128]
    assert decoder.output_shape[1:] == (8, 8, 1)
    assert any("conv" in layer.name for layer in networks(0, TINY, digits)[0].layers)
    assert training_configuration(Run("vae", 0), TINY).keys() == training_configuration(Run("vae", 0), config).keys()
