"""The NLL against the epochs of the schedule: trained and judged end to end, read from records, and at equal time."""

import contextlib
import csv
import dataclasses
import json

import numpy as np
import pytest

from hvae_tf.runs import InlineExecutor, RecordError, RunStore, read_record, run_all
from reproduce import configs, training_length
from reproduce.configs import Evaluation, Table1Config, Table1Preset
from reproduce.judging import presets
from reproduce.judging.presets import Chains, JudgePreset
from reproduce.mnist import lengths as of_lengths
from reproduce.mnist.cells import Run
from reproduce.mnist.lengths import LengthTask, by_length, longer_than, read_lengths
from reproduce.mnist.report import load_table, table_markdown, write_report
from reproduce.mnist.times import BENCHMARK, epoch_seconds, is_benchmarked, training_seconds
from reproduce.mnist.work import Settings
from tests.reproduce.mnist_records import TINY, judge_record, run_record


def put(folder, epochs, seed, nll, seconds=3600.0, **changes):
    """A training with its judgement, as the script leaves them."""
    config = dataclasses.replace(TINY, max_epochs=epochs, **changes)
    record = run_record("vae", seed, [nll], config, images=4, per_image=[nll] * 4)
    record["results"]["training"] |= {
        "wall_seconds": 2.0 * seconds, "epochs": epochs, "seconds_per_epoch": seconds / epochs,
    }  # fmt: skip
    store = RunStore(folder / str(epochs))
    store.write(record)
    RunStore(store.folder / "judge").write(judge_record("vae", seed, nll + np.array([-0.1, 0.1, 0.0, 0.0])))


def test_page_and_figure_are_made_from_the_records(tmp_path, capsys):
    for epochs, nll in ((15, 90.0), (60, 87.0), (240, 85.0)):
        put(tmp_path, epochs, 0, nll)
    put(tmp_path, 60, 1, 87.5)
    RunStore(tmp_path / "60" / "judge").write(judge_record("vae", 1, [87.5, 87.5]))  # on fewer images
    trained = read_lengths(tmp_path, "vae")
    lengths, images = by_length(trained)
    assert images == 2
    assert [length.epochs for length in lengths] == [15, 60, 240]
    np.testing.assert_allclose(lengths[1].ais, [87.0, 87.5])
    again = read_lengths(tmp_path, "vae", [(tmp_path / "60", tmp_path / "60" / "judge")])  # Table 1's has them too
    assert [one.record["name"] for one in again] == [one.record["name"] for one in trained]
    (tmp_path / "none").mkdir()
    arguments = ["--report-only", "--out", str(tmp_path), "--table", str(tmp_path / "none")]
    assert training_length.main(arguments) == 0
    text = (tmp_path / "training_length.md").read_text()
    assert "| 240 | 1 | 85.00 | -2.25 | 85.00 | 1.00 |" in text
    assert "first 2 test images" in text
    with (tmp_path / "training_length.csv").open() as file:
        assert [row["epochs"] for row in csv.DictReader(file)] == ["15", "60", "60", "240"]
    assert (tmp_path / "training_length.png").stat().st_size > 5000
    capsys.readouterr()
    put(tmp_path, 30, 0, 89.0, learning_rate=0.5)
    assert training_length.main(arguments) == 1
    assert "unlike protocols" in capsys.readouterr().err
    with pytest.raises(RecordError, match="unlike protocols"):
        read_lengths(tmp_path, "vae")


def test_the_figure_shows_the_paper_at_its_own_epochs(tmp_path, monkeypatch):
    monkeypatch.setattr(of_lengths, "png", lambda figure, _: figure)
    for epochs in (15, 240, 300):
        put(tmp_path, epochs, 0, 90.0, dataset="mnist")
    trained = read_lengths(tmp_path, "vae")
    trained = [one._replace(ais=one.ais - 0.5) for one in trained]  # the paper's value is by importance sampling
    assert "+6.80 nats from that by the same estimator" in " ".join(of_lengths.page(trained, "vae").split())
    figure = of_lengths.figure(trained, "vae")
    (axis,) = figure.axes
    ticks = [text.get_text() for text in axis.get_xticklabels()]
    assert ticks == ["15", "240", "\n300", "1400"]  # 300 would touch 240
    star = next(line for line in axis.lines if line.get_marker() == "*")
    assert star.get_xydata().tolist() == [[pytest.approx((1524 + 1301 + 1381) / 3), 83.2]]
    assert "about 1400 epochs" in figure.legends[0].get_texts()[1].get_text()
    of_lengths.plt.close(figure)


def test_time_is_the_benchmarks_where_it_has_these_steps():
    """Recorded seconds passed beside unlike other work; those of other networks are all that there is."""
    mnist = [run_record(cell, 0, [86.0], Table1Config(max_epochs=60)) for cell in ("vae", "k5-free", "iwae5")]
    assert all(map(is_benchmarked, mnist))
    vae, hvae, iwae = map(epoch_seconds, mnist)
    turns = {k: np.array(v["one core"]) for k, v in json.loads(BENCHMARK.read_text())["seconds_per_step"].items()}
    assert vae == pytest.approx(500 * np.median(turns["0"]))
    assert hvae / vae == pytest.approx(np.median(turns["5"] / turns["0"]))  # round by round
    assert training_seconds(mnist[0]) == 2 * vae  # epochs of the training, not of the protocol
    assert np.isnan(iwae)
    tiny = run_record("vae", 0, [86.0])
    assert (is_benchmarked(tiny), epoch_seconds(tiny)) == (False, 0.5)


def test_a_vae_given_the_time_of_the_others_is_beside_them(tmp_path):
    """Where it is ahead in their time the report says so; where it took far longer, it says that alone."""
    table, longer, judge = tmp_path / "table", tmp_path / "longer", tmp_path / "judge"
    for cell, nll in (("vae", 87.0), ("k5-free", 86.0)):
        record = run_record(cell, 0, [nll], images=4, per_image=[nll] * 4)
        record["results"]["training"] |= {"epochs": 4, "seconds_per_epoch": 900.0, "wall_seconds": 1.0}
        RunStore(table).write(record)
        RunStore(judge).write(judge_record(cell, 0, nll + np.array([0.0, 0.1, -0.1, 0.0])))
    assert "is not decided here" in table_markdown(load_table(table, judge, longer))
    put(longer, 2, 0, 86.5)  # no longer than the table's: no curve
    put(longer, 30, 0, 83.0, 30000.0)
    behind = "Not sure against a VAE of 10 epochs (one seed), which took {} times as long (nats in brackets): HVAE"
    open_ = (
        "Nothing is decided against a VAE of 10 epochs (one seed), for it took {} times as long (nats in brackets): HV"
    )
    for seconds, said in ((3700.0, behind), (900.0, behind), (9000.0, open_)):
        put(longer, 10, 0, 85.0, seconds)
        loaded = load_table(table, judge, longer)
        assert [one.epochs for one in loaded.longer] == [10, 30]
        text = table_markdown(loaded)
        assert said.format(f"{seconds / 3600:.2g}") in text
        assert text.count("(+1.00") == 1
        assert f"| VAE, 10 epochs | {seconds / 3600:.2g} | AIS | +1.00 |" in text  # the nearer in time, and no other
        assert "30 epochs" not in text
    assert all(path.stat().st_size for path in write_report(table, judge, longer))
    put(longer, 20, 0, 84.0, latent_size=9)
    with pytest.raises(RecordError, match="unlike protocols"):
        load_table(table, judge, longer)
    assert longer_than([], longer) == []


def test_a_pair_of_records_stands_without_its_model(tmp_path):
    """Where it is enough; what needs the model says that it is gone, and deletes nothing."""
    put(tmp_path, 3, 0, 87.0)
    folder, store = tmp_path / "3", RunStore(tmp_path)
    judge = JudgePreset("digits", 4, 2, 0, 0)
    task = LengthTask(Run("vae", 0), Settings(dataclasses.replace(TINY, max_epochs=3), Evaluation(4, 4, 1)), judge)
    record = judge_record("vae", 0, [87.0] * 4, of=30, amounts=judge.amounts())
    RunStore(folder / "judge").write({**record, "configuration": judge.configuration()})
    assert run_all([task], store, InlineExecutor()) == {}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert len(before) == 2
    more = dataclasses.replace(task, judge=dataclasses.replace(judge, images=5))
    assert not more.done(store)
    failures = run_all([more], store, InlineExecutor())
    assert f"its model is not in {folder / 'models'}; --force trains it again" in failures["vae-seed0-3-epochs"]
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "cores", "pool"),
    [
        (["--epochs", "1,3"], 1, (2, 1)),
        (["--epochs", "3"], 4, None),
        (["--epochs", "1,3", "--cores", "2"], 2, None),
        (["--epochs", "1,3", "--cores", "2", "--processes", "2"], 2, (2, 2)),
    ],
)
def test_cores_of_each_training(tmp_path, monkeypatch, arguments, cores, pool):
    """A machine of four cores."""
    given, pools = [], []
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", Table1Preset(TINY, Evaluation(4, 4, 1), ("vae",), {}))
    monkeypatch.setattr("reproduce.workers.available_cores", lambda: 4)
    monkeypatch.setattr("reproduce.table1.take_cores", lambda asked: asked or 4)
    monkeypatch.setattr("reproduce.workers.worker_pool", lambda *a: pools.append(a) or contextlib.nullcontext("a pool"))
    monkeypatch.setattr("reproduce.workers.run_with_display", lambda *args, **_: given.append(args) or {})
    args = training_length.parse(["--preset", "tiny", *arguments, "--quiet"])
    assert training_length.work(args, RunStore(tmp_path)) == {}
    ((tasks, _, executor),) = given
    assert {task.settings.cores for task in tasks} == {cores}
    assert [task.settings.config.max_epochs for task in tasks] == sorted(args.epochs, reverse=True)
    assert (executor, pools) == ((None, []) if pool is None else ("a pool", [pool]))


@pytest.mark.slow
def test_lengths_are_trained_and_judged_and_left_alone_afterwards(tmp_path, monkeypatch, capsys):
    preset = Table1Preset(dataclasses.replace(TINY, limit=None), Evaluation(4, 4, 1), ("vae",), {})
    judge = JudgePreset("digits", 4, 3, 2, 4, chains=Chains("encoder", 4, 3, 2), prior=Chains("prior", 5, 3, 2))
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", preset)
    monkeypatch.setitem(presets.JUDGE_PRESETS, "standard", judge)
    out, arguments = tmp_path / "out", ["--preset", "tiny", "--epochs", "1,3", "--images", "4", "--quiet"]
    (tmp_path / "none").mkdir()
    arguments += ["--processes", "2", "--out", str(out), "--table", str(tmp_path / "none")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reproduce.workers.worker_pool", lambda *_: InlineExecutor())
        assert training_length.main(arguments) == 0
        stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
        assert training_length.main(arguments) == 0
        assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
        # what was judged on too little without its model: that comes back from its checkpoint
        results = read_record(out / "1" / "vae-seed0.json")["results"]
        assert results["training"]["cores"] == 1
        (out / "1" / "models" / "vae-seed0.keras").unlink()
        (out / "1" / "judge" / "vae-seed0.json").unlink()
        assert training_length.main(arguments) == 0
    assert read_record(out / "1" / "judge" / "vae-seed0.json")["results"]["weights"] == results["weights"]
    assert [one.epochs for one in read_lengths(out, "vae")] == [1, 3]
