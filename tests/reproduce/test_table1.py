"""Table 1: the script end to end on digits, sharing runs out, judging a model, and the table from records."""

import csv
import dataclasses
import json
import threading
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import hvae_tf
from hvae_tf.data import from_arrays
from reproduce import configs, table1
from reproduce.configs import TABLE1_CELLS, TABLE1_PRESETS, Evaluation, Table1Config, Table1Preset
from reproduce.mnist.cells import Run, configuration, make_runs, paper_runs, state_of
from reproduce.mnist.evaluation import evaluate, satisfies
from reproduce.mnist.pictures import posterior_correlation
from reproduce.mnist.report import table_csv, table_markdown, write_report
from reproduce.tables import mean_half_up

TINY = Table1Config(
    dataset="digits", limit=(100, 40, 30), max_epochs=2, patience=None, batch_size=50, latent_size=3, hidden_units=8,
    filters=(4, 4),
)  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    """A preset small enough to train within a test."""
    preset = Table1Preset(TINY, Evaluation(images=None, samples=6, repeats=2), ("vae", "k1-fixed"), {})
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", preset)
    return preset


def test_cells_are_the_papers():
    """Every run of the paper's supplement is a run of some cell, and every cell but IWAE has runs there."""
    counts = {cell: len(paper_runs(cell)) for cell in TABLE1_CELLS}
    assert sum(counts.values()) == 3 + 54
    assert {cell for cell, count in counts.items() if not count} == {"iwae5", "iwae50"}
    assert counts["vae"] == counts["k10-free"] == 3


# -ELBO/NLL as the paper and its supplement print them: free, fixed, none at a shared step size, then one for each step
PRINTED = {
    1: "- 86.51/83.32 86.32/83.17 - - -",
    5: "86.38/83.09 86.55/83.26 86.82/83.68 86.16/83.01 86.09/82.94 86.48/83.35",
    10: "86.39/82.97 86.51/83.26 86.63/83.40 85.92/82.62 86.01/82.87 86.37/83.25",
    15: "86.18/82.78 86.81/83.56 87.00/83.82 85.94/82.62 86.31/83.09 86.07/82.94",
    20: "86.28/82.93 86.31/83.18 86.40/83.33 86.06/82.83 86.02/82.85 86.07/82.93",
}


def test_means_of_the_papers_runs_print_like_its_table():
    printed = {"vae": "86.42/83.20"}
    for steps, row in PRINTED.items():
        names = [f"k{steps}-{t}{s}" for s in ("-shared", "") for t in ("free", "fixed", "none")]
        printed |= {name: text for name, text in zip(names, row.split(), strict=True) if text != "-"}
    printed = {name.replace("k1-fixed-shared", "k1-fixed").replace("k1-none-shared", "k1-none"): text
               for name, text in printed.items()}  # fmt: skip
    means = {
        cell: "/".join(mean_half_up([run[column] for run in runs]) for column in ("neg_elbo", "nll"))
        for cell in TABLE1_CELLS if (runs := paper_runs(cell))
    }  # fmt: skip
    assert len(means) == 27
    assert means == printed
    # floats print some of them otherwise
    floats = {cell: f"{np.mean([float(run['nll']) for run in paper_runs(cell)]):.2f}" for cell in means}
    assert sum(floats[cell] != text.split("/")[1] for cell, text in printed.items()) >= 1


def test_runs_of_the_presets():
    paper = make_runs(TABLE1_PRESETS["paper"])
    assert sum(run.cell == "k10-free" for run in paper) == 3
    assert sum(run.cell == "k5-free" for run in paper) == 2
    budget = make_runs(TABLE1_PRESETS["budget"])
    assert [run.name for run in budget] == ["vae-seed0", "vae-seed1", "vae-seed2", "k1-fixed-seed0", "k5-free-seed0"]
    assert [run.seed for run in make_runs(TABLE1_PRESETS["budget"], ["k20-none"], (3, 4))] == [3, 4]


def test_script_end_to_end_twice(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--preset", "tiny", "--out", str(out), "--verbose", "0"]
    assert table1.main([*arguments, "--list"]) == 0
    assert "missing" in capsys.readouterr().out
    assert not list(out.glob("*.json"))
    assert table1.main(arguments) == 0
    with (out / "table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = "cell,K,tempering,step_size,seed,epochs,neg_elbo,neg_elbo_sd,nll,nll_sd,paper_nll"
    assert list(rows[0]) == names.split(",")
    assert [row["cell"] for row in rows] == ["vae", "k1-fixed"]
    for row in rows:
        assert float(row["nll"]) < float(row["neg_elbo"]) + 1.0
        assert row["epochs"] == "2"
        assert row["paper_nll"] == ""  # the paper's numbers are MNIST's
    assert "Cheap look" in (out / "table1.md").read_text()
    for name in ("training_curves.png", "samples.png", "reconstructions.png", "posterior_correlation.png"):
        assert (out / name).stat().st_size > 1000
    model = keras.models.load_model(out / "models" / "k1-fixed-seed0.keras")
    record = hvae_tf.read_record(out / "k1-fixed-seed0.json")
    assert record["results"]["parameters"] == model.count_params()

    stamps = {path: path.stat().st_mtime_ns for path in [*out.glob("*.json"), *out.glob("models/*")]}
    assert table1.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    # more samples are asked for: evaluated again, from the saved model
    before = hvae_tf.read_record(out / "vae-seed0.json")["results"]
    assert table1.main([*arguments, "--cells", "vae", "--eval-samples", "8"]) == 0
    after = hvae_tf.read_record(out / "vae-seed0.json")["results"]
    assert (before["evaluation"]["samples"], after["evaluation"]["samples"]) == (6, 8)
    assert after["training"] == before["training"]
    assert (out / "models" / "vae-seed0.keras").stat().st_mtime_ns == stamps[out / "models" / "vae-seed0.keras"]


def test_records_of_another_protocol_are_left_alone(tiny, tmp_path, capsys, monkeypatch):
    store = hvae_tf.RunStore(tmp_path)
    store.write(fixture_record("vae", 0, [100.0, 100.1], TINY))
    changed = dataclasses.replace(tiny, config=dataclasses.replace(TINY, max_epochs=3))
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", changed)
    assert table1.main(["--preset", "tiny", "--out", str(tmp_path)]) == 1
    assert "max_epochs=2 there, 3 asked" in capsys.readouterr().err


def test_runs_are_shared_out(tmp_path, monkeypatch):
    """A run that another process has is left to the end, waited for, and not done twice."""
    store = hvae_tf.RunStore(tmp_path)
    runs = [Run("vae", 0), Run("vae", 1), Run("k1-fixed", 0)]
    args = SimpleNamespace(config=TINY, evaluation=Evaluation(), force=False, verbose=0, tensorboard=False)
    data = SimpleNamespace(test=np.zeros(3))
    monkeypatch.setattr(table1, "load_data", lambda args: data)
    started, done = threading.Event(), []

    def do_run(run, *_, **__):
        done.append(run)
        started.set()
        store.write(fixture_record(run.cell, run.seed, [1.0, 1.0, 1.0], TINY, images=10_000))

    monkeypatch.setattr("reproduce.mnist.cells.do_run", do_run)
    claimed = threading.Event()

    def other_process():
        with hvae_tf.RunStore(tmp_path).claim("vae-seed0") as mine:
            assert mine
            claimed.set()
            started.wait(10)
            store.write(fixture_record("vae", 0, [1.0, 1.0, 1.0], TINY, images=10_000))

    thread = threading.Thread(target=other_process)
    thread.start()
    claimed.wait(10)
    table1.work(args, runs, store)
    thread.join()
    assert done == runs[1:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cells", "k3-free"], "accepted: vae, k1-fixed"),
        (["--seeds", "one"], "not a list of seeds"),
        (["--preset", "huge"], "invalid choice"),
        (["--eval-samples", "0"], "at least 1"),
        (["--eval-images", "-5"], "at least 1"),
    ],
)
def test_bad_arguments(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        table1.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_missing_data_is_one_clear_line(tmp_path, capsys):
    arguments = ["--preset", "budget", "--data-dir", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert table1.main(arguments) == 1
    error = capsys.readouterr().err
    assert "TFDS_DATA_DIR" in error
    assert "Traceback" not in error


# ------------------------------------------------------------------------------------------------ table from records


def fixture_record(cell, seed, nll, config, images=10_000, samples=1000, of=10_000):
    run = Run(cell, seed)
    return hvae_tf.make_record(
        run.name,
        configuration=configuration(run, config),
        seed=seed,
        data_fingerprint="0",
        history={"val_loss": [90.0, 88.0]},
        wall_seconds=1.0,
        results={
            "evaluation": {"images": images, "samples": samples, "repeats": len(nll), "of": of},
            "neg_elbo": [value + 3.0 for value in nll],
            "nll": nll,
            "neg_elbo_image_sd": 25.0,
            "nll_image_sd": 25.0,
            "evaluation_seconds": 1.0,
            "training": {"epochs": 2, "wall_seconds": 1.0},
            "parameters": 1,
            "posterior_correlation": 0.01,
        },
    )


def test_table_from_records():
    mnist = dataclasses.replace(TINY, dataset="mnist")
    records = [fixture_record("vae", s, [86.0 + s, 86.1 + s, 86.2 + s], mnist) for s in range(3)]
    records.append(fixture_record("k5-free", 0, [85.0, 85.2, 85.4], mnist))
    rows = list(csv.DictReader(table_csv(records).splitlines()))
    assert [row["nll"] for row in rows] == ["86.1000", "87.1000", "88.1000", "85.2000"]
    assert rows[0]["nll_sd"] == "0.1000"  # over evaluations, not over seeds
    assert rows[3]["paper_nll"] == "83.01"
    text = table_markdown(records)
    # over seeds: mean 87.1, standard deviation 1, t-interval 4.303 / sqrt(3)
    assert "87.10 ± 2.48 | 1.00 | 0.100 | 0.25 |" in text
    assert "Cheap look" not in text
    assert "83.20" in text
    cheap = [fixture_record("vae", 0, [86.0], mnist, images=1000)]
    assert "Cheap look" in table_markdown(cheap)


def test_no_records_no_table(tmp_path, capsys):
    assert write_report(tmp_path) == []
    assert table1.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert "no records" in capsys.readouterr().err


def test_cells_of_unlike_protocols_make_no_table(tmp_path):
    store = hvae_tf.RunStore(tmp_path)
    store.write(fixture_record("vae", 0, [1.0], TINY))
    store.write(fixture_record("k1-fixed", 0, [1.0], TINY))
    assert write_report(tmp_path)
    store.write(fixture_record("k5-free", 0, [1.0], dataclasses.replace(TINY, max_epochs=3)))
    with pytest.raises(hvae_tf.RecordError, match="unlike protocols"):
        write_report(tmp_path)


def test_states(tmp_path):
    store, run = hvae_tf.RunStore(tmp_path), Run("vae", 0)
    assert state_of(run, TINY, Evaluation(), store) == "missing"
    (tmp_path / "work" / run.name).mkdir(parents=True)
    assert state_of(run, TINY, Evaluation(), store) == "started"
    store.write(fixture_record("vae", 0, [1.0, 1.0, 1.0], TINY, samples=10))
    assert state_of(run, TINY, Evaluation(), store) == "trained"
    assert state_of(run, TINY, Evaluation(samples=10), store) == "done"
    few = {"images": 5, "samples": 10, "repeats": 3, "of": 6}
    assert not satisfies(few, Evaluation(samples=10))
    assert satisfies(few, Evaluation(images=5, samples=10))
    assert satisfies({**few, "images": 6}, Evaluation(samples=10))


# --------------------------------------------------------------------------------------------------------- evaluation


class CountedModel:
    """Gives known numbers and counts the calls."""

    def __init__(self, stop_at=None):
        self.calls, self._stop_at = 0, stop_at

    def get_weights(self):
        return [np.zeros(1)]

    def elbo(self, x, num_samples, seed):
        return np.full(len(x), -5.0 - 0.01 * (seed % 2))

    def log_likelihood(self, x, num_samples, seed):
        if self.calls == self._stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        return SimpleNamespace(value=np.arange(len(x)) - 4.0)


def test_evaluation_resumes_by_blocks(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2, [300, 4, 4, 1]).astype(np.uint8)
    data = from_arrays("noise", pixels, pixels[:250])
    wanted, path = Evaluation(samples=4, repeats=2), tmp_path / "evaluation.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate(CountedModel(stop_at=4), data, wanted, path)
    second = CountedModel()
    results = evaluate(second, data, wanted, path)
    assert second.calls == 2  # of 6 blocks, 4 were kept
    whole = evaluate(CountedModel(), data, wanted, tmp_path / "other.json")
    assert {k: v for k, v in results.items() if k != "evaluation_seconds"}.keys()
    for name in ("neg_elbo", "nll"):
        np.testing.assert_array_equal(results[name], whole[name])
    expected = 4.0 - np.mean(np.concatenate([np.arange(100), np.arange(100), np.arange(50)]))
    np.testing.assert_allclose(results["nll"], expected)
    assert results["evaluation"]["images"] == 250
    assert json.loads(path.read_text())["evaluation"]["samples"] == 4


def test_posterior_correlation_sees_a_planted_one():
    class Sampler:
        def __init__(self, covariance):
            self.covariance = covariance

        def encode(self, x, num_samples, seed):
            draws = np.random.default_rng(seed).multivariate_normal(np.zeros(4), self.covariance, (num_samples, len(x)))
            return draws

    x = np.zeros((20, 1))
    independent, _ = posterior_correlation(Sampler(np.eye(4)), x)
    planted, matrix = posterior_correlation(Sampler(0.8 * np.eye(4) + 0.2), x)
    assert abs(independent) < 0.02
    assert planted == pytest.approx(0.2, abs=0.02)
    assert matrix.shape == (4, 4)
