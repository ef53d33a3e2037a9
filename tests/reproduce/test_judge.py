"""The judge's script: end to end, resumed, with more images, damaged files, read-only folders, and its errors."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import hvae_tf
from hvae_tf.data import load
from hvae_tf.runs import InlineExecutor, RecordError, RunStore, make_record, read_record, run_all, write_record
from reproduce import judge
from reproduce.judging import figures, presets
from reproduce.judging.blocks import Blocks
from reproduce.judging.digits import make_digits_models
from reproduce.judging.estimates import Piece, share
from reproduce.judging.findings import Findings, Mean, paired, prior_less_encoder
from reproduce.judging.misses import miss_differences, verdict
from reproduce.judging.models import JudgedModel, cell_label, find_models, split_name
from reproduce.judging.presets import Chains, JudgePreset
from reproduce.judging.report import page, write_report
from reproduce.judging.work import CurveTask, JudgeTask, PartTask, RecordTask, parts_of
from reproduce.progress import clock
from reproduce.workers import worker_pool
from tests.reproduce.mnist_records import run_record
from tests.unprivileged import unprivileged

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = JudgePreset(
    "digits", 6, 3, 2, 5, chains=Chains("encoder", 4, 3, 2), prior=Chains("prior", 5, 3, 2),
    curve_temperatures=(2, 4), curve_simulated=3,
)  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    """A preset small enough to judge within a test, in blocks of four images."""
    monkeypatch.setitem(presets.JUDGE_PRESETS, "tiny", TINY)
    monkeypatch.setattr("reproduce.judging.estimates.IMAGES_PER_BLOCK", 4)
    monkeypatch.setattr("reproduce.judging.estimates.IMPORTANCE_SAMPLES", 7)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a VAE and an HVAE for digits, trained for one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    make_digits_models(folder, load("digits"), epochs=1, quiet=True)
    return folder / "models"


def command(models, out, *more):
    return ["--preset", "tiny", "--models", str(models), "--out", str(out), "--quiet", "--processes", "1", *more]


def of_a_block(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "work").rglob("*.json")}


def test_script_end_to_end_twice_and_with_more_images(tiny, models, tmp_path, capsys):
    out = tmp_path / "out"
    assert judge.main(command(models, out)) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed[: printed.index(str(out))].splitlines())) <= 80
    text = (out / "judge.md").read_text()
    for phrase in ("HVAE, K = 3", "Differences to the VAE", "first 6 of 297 test images"):
        assert phrase in " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("|"))
    for name in ("bounds.png", "importance.png"):
        assert (out / name).stat().st_size > 5000
    results = read_record(out / "vae-seed0.json")["results"]
    model, x = keras.models.load_model(models / "vae-seed0.keras"), load("digits").binarised("test")
    found = model.annealed_log_likelihood(x[:4], seed=0, batch_size=4, **dataclasses.asdict(TINY.chains))
    np.testing.assert_allclose(results["per_image"]["ais"][:4], -found.estimate.value, atol=6e-5)
    assert results["ais"] == pytest.approx(np.mean(results["per_image"]["ais"]))
    both = np.array([results["simulated_per_image"][name] for name in ("lower", "upper")])
    assert results["gap"] == pytest.approx((both[1] - both[0]).mean())
    assert [len(results["per_image"][name]) for name in ("ais", "nll", "neg_elbo")] == [6, 5, 5]
    assert results["acceptance"][0] <= results["acceptance"][1] <= 1.0

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert judge.main(command(models, out)) == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    # more images: what was judged is not judged again, but for the block that was cut short
    blocks = of_a_block(out)
    assert judge.main(command(models, out, "--images", "9", "--no-curve")) == 0
    after = read_record(out / "vae-seed0.json")["results"]
    assert after["per_image"]["ais"][:4] == results["per_image"]["ais"][:4]
    assert (len(after["per_image"]["ais"]), after["gap"]) == (9, results["gap"])
    changed = {path.name for path, stamp in of_a_block(out).items() if blocks.get(path) != stamp}
    assert changed == {"ais-encoder-4.json", "ais-encoder-8.json"}


@pytest.mark.slow
def test_a_stopped_call_goes_on_to_the_same_record(tiny, models, tmp_path, monkeypatch, capsys):
    """Ctrl-C after some blocks, and a block that was damaged meanwhile."""
    arguments = command(models / "vae-seed0.keras", tmp_path / "whole", "--no-curve")
    assert judge.main(arguments) == 0
    get, made = Blocks.get, []

    def stopping(self, name, *args):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(name)
        return get(self, name, *args)

    stopped = command(models / "vae-seed0.keras", tmp_path / "stopped", "--no-curve")
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Blocks, "get", stopping)
        assert judge.main(stopped) == 130
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "the same command goes on" in said[0]
    assert not (tmp_path / "stopped" / "vae-seed0.json").exists()
    before = of_a_block(tmp_path / "stopped")
    assert len(before) == 3
    damaged = next(path for path in before if path.name == "ais-encoder-0.json")
    damaged.write_text(damaged.read_text()[:100])
    assert judge.main(stopped) == 0
    assert [p for p, stamp in of_a_block(tmp_path / "stopped").items() if before.get(p) == stamp and p != damaged]
    whole, resumed = (read_record(tmp_path / name / "vae-seed0.json") for name in ("whole", "stopped"))
    for record in (whole, resumed):
        del record["results"]["seconds"]
    assert resumed["results"] == whole["results"]


def test_an_interrupt_that_was_swallowed_is_one_still(tiny, models, tmp_path, monkeypatch, capsys):
    """A bare `except` of Keras's makes an error of it, or nothing."""
    get, mode = Blocks.get, {}

    def swallowing(*args):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)
        except KeyboardInterrupt:
            if mode["error"]:
                raise TypeError("cannot convert") from None
        return get(*args)

    arguments = command(models, tmp_path, "--no-curve")
    for mode["error"] in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(Blocks, "get", swallowing)
            assert judge.main(arguments) == 130
        assert "the same command goes on" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def failing(*_):
        raise TypeError("cannot convert")

    monkeypatch.setattr(Blocks, "get", failing)
    assert judge.main(arguments) == 1
    assert capsys.readouterr().err.count("cannot convert") == 2


@pytest.mark.slow
def test_what_a_killed_call_left_is_taken_up(models, tmp_path):
    """kill -9 between two blocks of the quick preset."""
    arguments = ["--preset", "quick", "--out", str(tmp_path), "--models", str(models / "vae-seed0.keras")]
    arguments += ["--images", "55", "--simulated", "5", "--importance", "5", "--no-curve", "--quiet"]
    script = [sys.executable, str(ROOT / "reproduce" / "judge.py"), *arguments]
    with subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        began = time.monotonic()
        while not list(tmp_path.rglob("ais-encoder-0.json")) and time.monotonic() - began < 120:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    kept = of_a_block(tmp_path)
    assert kept
    assert not (tmp_path / "vae-seed0.json").exists()
    assert judge.main(arguments) == 0
    assert {path: of_a_block(tmp_path)[path] for path in kept} == kept
    assert (tmp_path / "vae-seed0.json").exists()


@pytest.mark.slow
def test_a_finished_folder_can_be_read_only(tiny, models, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = command(models / "vae-seed0.keras", out, "--no-curve")
    assert judge.main(arguments) == 0
    with unprivileged(out, out / "work", out / "work" / "vae-seed0"):
        assert judge.main(arguments) == 0
        assert judge.main([*arguments, "--report-only"]) == 0
        capsys.readouterr()
        assert judge.main([*arguments, "--images", "7"]) == 1
    assert "ermission denied" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_saved_anew_is_not_judged_again(tiny, models, tmp_path):
    path = tmp_path / "models" / "vae-seed0.keras"
    path.parent.mkdir()
    path.write_bytes((models / path.name).read_bytes())
    arguments = command(path, tmp_path / "out", "--no-curve")
    assert judge.main(arguments) == 0
    before = read_record(tmp_path / "out" / "vae-seed0.json")["results"]
    model = keras.models.load_model(path)
    path.unlink()
    time.sleep(2.1)  # an archive's times are in steps of two seconds
    model.save(path)
    assert JudgedModel(path).digest() != before["file"]
    blocks = of_a_block(tmp_path / "out")
    assert judge.main(arguments) == 0
    after = read_record(tmp_path / "out" / "vae-seed0.json")["results"]
    assert {**after, "file": None} == {**before, "file": None}
    assert after["file"] == JudgedModel(path).digest()
    assert of_a_block(tmp_path / "out") == blocks
    # other weights are another model
    model.decoder.set_weights([weight + 0.1 for weight in model.decoder.get_weights()])
    model.save(path)
    assert judge.main(arguments) == 0
    assert read_record(tmp_path / "out" / "vae-seed0.json")["results"]["ais"] != before["ais"]


@pytest.mark.slow
def test_table_1_is_quoted_and_lends_its_values_of_single_images(tiny, models, tmp_path):
    """A record beside the folder of models has what is not made again."""
    (tmp_path / "models").mkdir()
    path, data = tmp_path / "models" / "vae-seed0.keras", load("digits")
    path.write_bytes((models / "vae-seed0.keras").read_bytes())
    record = run_record("vae", 0, [30.0, 31.0], images=8, of=297, per_image=np.arange(8.0))
    RunStore(tmp_path).write({**record, "data_fingerprint": data.fingerprint})
    assert judge.main(command(path, tmp_path / "judge", "--no-curve")) == 0
    results = read_record(tmp_path / "judge" / "vae-seed0.json")["results"]
    assert results["per_image"]["nll"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert (results["table1"]["nll"], results["own_importance"]) == ([30.0, 31.0], False)
    assert "| 30.50 | 8 |" in (tmp_path / "judge" / "judge.md").read_text()
    assert judge.main(command(path, tmp_path / "judge", "--no-curve", "--importance", "3")) == 0
    results = read_record(tmp_path / "judge" / "vae-seed0.json")["results"]
    assert (len(results["per_image"]["nll"]), results["own_importance"]) == (3, True)
    RunStore(tmp_path).write({**record, "data_fingerprint": "other"})
    assert judge.main(command(path, tmp_path / "other", "--no-curve")) == 1


@pytest.mark.slow
def test_what_table_1_has_by_now_takes_the_place_of_fewer_images(tiny, models, tmp_path, monkeypatch):
    """Table 1's values of single images, made after the model was judged: taken over, and nothing sampled again."""
    (tmp_path / "models").mkdir()
    path, data = tmp_path / "models" / "vae-seed0.keras", load("digits")
    path.write_bytes((models / "vae-seed0.keras").read_bytes())
    evaluated = {"images": 8, "of": 297}
    store, asked = RunStore(tmp_path), command(path, tmp_path / "judge", "--no-curve")
    store.write({**run_record("vae", 0, [30.0], **evaluated), "data_fingerprint": data.fingerprint})
    assert judge.main(asked) == 0
    before = read_record(tmp_path / "judge" / "vae-seed0.json")["results"]
    assert before["own_importance"]
    assert before["amounts"]["importance_images"] < 6
    later = run_record("vae", 0, [31.0], per_image=np.arange(8.0), **evaluated)
    store.write({**later, "data_fingerprint": data.fingerprint})
    monkeypatch.setattr(hvae_tf.VAE, "annealed_log_likelihood", None)
    monkeypatch.setattr(hvae_tf.VAE, "log_likelihood", None)
    assert judge.main(asked) == 0
    after = read_record(tmp_path / "judge" / "vae-seed0.json")["results"]
    assert after["per_image"]["nll"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert (after["amounts"]["importance_images"], after["own_importance"]) == (6, False)
    assert after["table1"]["nll"] == [31.0]
    assert after["per_image"]["ais"] == before["per_image"]["ais"]
    other = run_record("vae", 0, [32.0], per_image=np.arange(8.0) + 1.0, **evaluated)
    other["results"]["weights"] = "of another training"
    store.write({**other, "data_fingerprint": data.fingerprint})
    stands = (tmp_path / "judge" / "vae-seed0.json").stat().st_mtime_ns
    assert judge.main(asked) == 0
    assert (tmp_path / "judge" / "vae-seed0.json").stat().st_mtime_ns == stands


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", ""], "name is empty"),
        (["--models", ""], "name is empty"),
        (["--images", "0"], "at least 1"),
        (["--preset", "long"], "quick"),
    ],
)
def test_wrong_arguments_are_answered_at_once(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        judge.main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_wrong_models_are_answered_in_one_line(tiny, models, tmp_path, capsys):
    for path, said in (
        (tmp_path / "none.keras", "no .keras file"),
        (tmp_path, "has no .keras files"),
    ):
        assert judge.main(command(path, tmp_path / "out")) == 1
        assert said in capsys.readouterr().err.strip()
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes((models / "vae-seed0.keras").read_bytes()[:1000])
    assert judge.main(command(damaged, tmp_path / "out", "--no-curve")) == 1
    assert f"failed: damaged: RecordError: {damaged} is damaged" in capsys.readouterr().err
    other = tmp_path / "models" / "vae-seed0.keras"
    other.parent.mkdir()
    other.write_bytes(b"")
    with pytest.raises(RecordError, match="one name"):
        find_models([models, other])
    wide = hvae_tf.VAE(hvae_tf.dense_encoder(3, 2, (4,)), hvae_tf.dense_decoder(3, 2, (4,)))
    wide.save(tmp_path / "wide.keras")
    assert judge.main(command(tmp_path / "wide.keras", tmp_path / "out", "--no-curve")) == 1
    assert "is a model of events (3,)" in capsys.readouterr().err
    assert judge.main(command(models, tmp_path / "empty", "--report-only")) == 1
    assert "no records to report" in capsys.readouterr().err


@pytest.mark.slow
def test_records_of_another_kind_are_left_alone(tiny, models, tmp_path, monkeypatch, capsys):
    arguments = command(models / "vae-seed0.keras", tmp_path, "--no-curve")
    assert judge.main(arguments) == 0
    monkeypatch.setitem(presets.JUDGE_PRESETS, "tiny", dataclasses.replace(TINY, seed=1))
    assert judge.main(arguments) == 1
    assert "noise_seed=0 there, 1 asked" in capsys.readouterr().err
    assert judge.main([*arguments, "--force"]) == 0
    record = read_record(tmp_path / "vae-seed0.json")
    del record["results"]["per_image"]["nll"]
    write_record(tmp_path / "vae-seed0.json", record)
    assert judge.main([*arguments, "--report-only"]) == 1
    said = capsys.readouterr().err
    assert "vae-seed0.json: results.per_image.nll" in said
    assert "delete the file" in said


# ------------------------------------------------------------------------------------------------------- the findings


def judged(name, ais, nll, seed=0, **changes):
    """A record of the judge, made up."""
    ais, nll = np.asarray(ais, float), np.asarray(nll, float)
    results = {
        "amounts": {"images": len(ais), "simulated": 3, "prior_images": 2, "importance_images": len(nll)},
        "of": 10, "ais": ais.mean(), "ais_standard_error": 0.1, "ais_chains_standard_error": 0.1,
        "effective_chains": {"lowest": 3.0, "median": 6.0}, "acceptance": [0.5, 0.7],
        "prior": {"ais": ais[:2].mean() + 0.5, "per_image": (ais[:2] + 0.5).tolist()},
        "lower": -90.2, "upper": -90.0, "gap": 0.2, "gap_standard_error": 0.05, "gap_largest": 0.4, "seconds": 9.0,
        "per_image": {"ais": ais, "nll": nll, "neg_elbo": nll + 3.0}, "table1": {},
    }  # fmt: skip
    return make_record(
        name, configuration=TINY.configuration(), seed=seed, data_fingerprint="0", history={}, wall_seconds=1.0,
        results={**results, **changes},
    )  # fmt: skip


def test_two_standard_errors_tell_apart():
    for value, apart in ((1.9, False), (-1.9, False), (2.0, True), (-2.0, True)):
        assert Mean(value, 1.0, 100).told_apart is apart


def test_differences_are_taken_image_by_image(seed):
    """Images differ by 25 nats, models by half a nat: only paired is it seen."""
    random = np.random.default_rng(seed)
    images = 90.0 + 25.0 * random.standard_normal(400)
    noise = 0.5 * random.standard_normal((3, 400))
    findings = Findings([
        judged("k5-free-seed0", images - 0.5 + noise[0], images[:100]),
        judged("vae-seed0", images + noise[1], images[:100] + 0.1),
        judged("vae-seed1", (images + noise[2])[:300], images[:100] + 0.1, seed=1),
    ])  # fmt: skip
    difference = findings.difference("k5-free", "ais")
    expected = (images - 0.5 + noise[0])[:300] - (images + noise[1:].mean(axis=0))[:300]
    assert (difference.value, difference.image_error) == pytest.approx(Mean.of(expected)[:2])
    assert difference.images == 300
    assert abs(difference.value + 0.5) < 5.0 * difference.image_error < 1.0
    # over seeds: the VAE's two, and a t-interval of one degree of freedom and more decides nothing
    deviation = np.std([(images + one)[:300].mean() for one in noise[1:]], ddof=1)
    assert difference.error == pytest.approx(deviation * np.sqrt(1.0 + 0.5))
    assert difference.half > 1.96 * difference.image_error
    assert (difference.below, difference.above) == (0.2, 0.2)  # BDMC's gap
    by_sampling = findings.difference("k5-free", "nll")
    assert (by_sampling.value, by_sampling.below, by_sampling.above) == (pytest.approx(-0.1), 0.0, 0.0)
    assert prior_less_encoder(findings.records[0]).value == pytest.approx(0.5)
    assert findings.difference("k1-fixed", "ais") is None
    assert [record["name"] for record in findings.records] == ["vae-seed0", "vae-seed1", "k5-free-seed0"]
    text = page(findings)
    assert "1 and 2" in text
    assert "standard deviation over seeds" in text
    single = Findings(findings.records[1:])
    assert single.difference("k5-free", "ais").verdict == "lower for these trained models; the seeds do not decide"
    # a planted error: pairing lost, and nothing is told apart any more
    shuffled = judged("k5-free-seed0", random.permutation(images) - 0.5, images[:100])
    assert Findings([shuffled, findings.records[1]]).difference("k5-free", "ais").verdict == "not told apart"


def test_the_spread_over_seeds_of_the_sampler_is_that_on_all_images_of_table_1():
    """Means over the few images of which single values are kept differ by what these images happen to be, too."""
    names = ("vae-seed0", "vae-seed1", "k1-none-seed0")
    nll = {"vae-seed0": 87.0, "vae-seed1": 87.2, "k1-none-seed0": 86.0}
    few = dict(zip(names, ([80.0, 81.0], [83.0, 84.5], [79.0, 80.0]), strict=True))

    def findings(samples):
        quoted = {"evaluation": {"images": 1000, "samples": samples, "repeats": 3}}
        return Findings([
            judged(name, [80.0] * 4, few[name], seed=int(name[-1]), table1={
                **quoted, "nll": [nll[name]] * 3, "neg_elbo": [nll[name] + 3.0] * 3,
            })
            for name in names
        ])  # fmt: skip

    deviation = 0.2 / np.sqrt(2.0)
    samples = TINY.configuration()["importance_samples"]
    assert findings(samples).difference("k1-none", "nll").error == pytest.approx(deviation * np.sqrt(1.5))
    without = Findings([judged(name, [80.0] * 4, few[name], seed=int(name[-1])) for name in names])
    assert without.difference("k1-none", "nll").error == pytest.approx(3.25 / np.sqrt(2.0) * np.sqrt(1.5))
    for count, shown in ((samples, 87.0), (samples + 1, 80.5)):  # a table of another number of samples is not quoted
        assert f"| {shown:.2f} |" in page(findings(count)).split("## Both bounds")[0]


def test_what_the_sampler_misses_is_paired_too():
    record = judged("vae-seed0", [100.0, 50.0, 80.0], [100.4, 50.6])
    assert paired(record, "nll").value == pytest.approx(0.5)
    assert paired(record, "nll").images == 2
    assert paired(record, "neg_elbo").value == pytest.approx(3.5)


def test_what_is_missed_is_compared_on_the_images_that_both_have():
    """And shown on all that each has."""
    vae = judged("vae-seed0", [9.0] * 4, [9.5, 9.5, 10.0, 10.0])
    short, long = judged("k1-fixed-seed0", [9.0] * 4, [9.3] * 2), judged("k5-free-seed0", [9.0] * 4, [9.25] * 4)
    findings = Findings([vae, short, long])
    assert [paired(record, "nll").value for record in findings.records] == pytest.approx([0.75, 0.3, 0.25])
    found = miss_differences(findings)
    assert [(found[cell].value, found[cell].images) for cell in ("k1-fixed", "k5-free")] == [
        (pytest.approx(-0.2), 2),
        (pytest.approx(-0.5), 4),
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_whether_misses_differ_by_model_is_tested_image_by_image(seed):
    random = np.random.default_rng(seed)
    images, noise = 100.0 + 20.0 * random.standard_normal(200), random.standard_normal([2, 200])
    vae = judged("vae-seed0", images, images + 0.4 + 0.5 * noise[0])
    alike = judged("k1-fixed-seed0", images - 0.2, images + 0.2 + 0.5 * noise[0] + 0.02 * noise[1])
    findings = Findings([vae, alike])
    assert not miss_differences(findings)["k1-fixed"].told_apart
    assert "do not show that what is missed hangs on the model" in verdict(findings)
    text = " ".join(page(findings).split())
    assert "1 of 1 difference by AIS between these cells is smaller than" in text
    assert "hangs on the model:" not in text
    # a planted error: a model that misses 0.1 nats less on the same images
    other = Findings([vae, alike, judged("k5-free-seed0", images, images + 0.3 + 0.5 * noise[0] + 0.02 * noise[1])])
    found = miss_differences(other)["k5-free"]
    assert abs(found.value + 0.1) < 5.0 * found.error
    assert "What is missed hangs on the model" in verdict(other)
    assert cell_label("k5-free") in verdict(other)
    assert "k1-fixed" not in miss_differences(Findings([vae]))


def test_the_figure_says_on_how_many_images_models_are_compared(monkeypatch):
    monkeypatch.setattr(figures, "png", lambda figure, _: figure)
    records = [judged(f"{cell}-seed0", [90.0] * 6, [91.0] * 4) for cell in ("vae", "k5-free", "k5-fixed", "mine")]
    figure = figures.importance_figure(Findings(records))
    left, right = figure.axes
    assert "the first 4 test images" in left.get_title()
    assert "the first 4 test images" in right.get_xlabel()
    assert right.get_yticklabels()[0].get_text() == "VAE, seed 0"
    assert (left.get_legend(), len(figure.legends)) == (None, 1)  # outside, where it hides no point
    drawn = {(line.get_color(), line.get_marker()) for line in left.lines[:4]}
    assert len(drawn) == 4
    few = judged("vae-seed1", [90.0] * 3, [91.0] * 3, seed=1)
    more = figures.importance_figure(Findings([*records, few]))
    assert "the first 3 test images" in more.axes[0].get_title()
    assert "its first 3 to 4 test images" in more.axes[1].get_xlabel()
    assert more.get_figheight() > figure.get_figheight()
    for one in (figure, more):
        figures.plt.close(one)


def test_unlike_records_are_not_reported_together(tmp_path):
    store = RunStore(tmp_path)
    store.write(judged("vae-seed0", [1.0, 2.0], [1.0, 2.0]))
    assert len(write_report(tmp_path)) == 3  # no curve
    store.write({**judged("k5-free-seed0", [1.0, 2.0], [1.0, 2.0]), "data_fingerprint": "1"})
    with pytest.raises(RecordError, match="unlike data"):
        write_report(tmp_path)


def test_a_block_is_a_function_of_its_key(tmp_path):
    blocks, calls = Blocks(tmp_path, {"weights": "a"}), []

    def make():
        calls.append(1)
        return {"ais": np.array([1.00004, 2.0]), "acceptance": np.array([0.5, 0.6, 0.7])}

    first = blocks.get("b", {"seed": 0}, 2, make)
    assert (first.made, first.arrays["ais"].tolist()) == (True, [1.0, 2.0])
    assert not blocks.get("b", {"seed": 0}, 2, make).made
    path = tmp_path / "b.json"
    whole = json.loads(path.read_text())
    for wrong in (
        "", "[]", "{}", json.dumps({**whole, "arrays": {"ais": [1.0]}}), json.dumps({**whole, "arrays": {}}),
        json.dumps({**whole, "seconds": "x"}), json.dumps({**whole, "arrays": {"ais": ["1", "2"]}}),
    ):  # fmt: skip
        path.write_text(wrong)
        assert blocks.get("b", {"seed": 0}, 2, make).made
    assert blocks.get("b", {"seed": 1}, 2, make).made
    assert Blocks(tmp_path, {"weights": "b"}).get("b", {"seed": 1}, 2, make).made
    assert len(calls) == 10


def test_names():
    assert [split_name(name) for name in ("k5-free-seed12", "mine", "seed0", "a-seedling")] == [
        ("k5-free", 12), ("mine", 0), ("seed0", 0), ("a-seedling", 0),
    ]  # fmt: skip
    assert cell_label("vae") == "VAE"
    assert cell_label("mine") == "mine"
    assert cell_label("hvae-k3", lines=True).count("\n") == 1
    assert [clock(seconds) for seconds in (5, 245.4, 3845)] == ["0:05", "4:05", "1:04:05"]


# ------------------------------------------------------------------------------------------------------- side by side


def without_times(folder):
    """Every record of a folder but for how long it took and when."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        if "work" not in path.relative_to(folder).parts:
            record = read_record(path)
            record["results"].pop("seconds", None)
            found[str(path.relative_to(folder))] = {k: record[k] for k in ("configuration", "history", "results")}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 9])
def test_parts_make_the_same_records_bit_for_bit(tiny, models, tmp_path, parts):
    found = find_models([models])
    tasks = [JudgeTask(found[0], TINY), CurveTask(found[0], TINY)]
    assert run_all(tasks, RunStore(tmp_path / "serial"), InlineExecutor()) == {}
    store = RunStore(tmp_path / "parts")
    cut = [PartTask(task, part, parts) for task in tasks for part in range(parts)]
    assert run_all(reversed(cut), store, InlineExecutor()) == {}
    blocks = of_a_block(tmp_path / "parts")
    assert run_all([RecordTask(task) for task in tasks], store, InlineExecutor()) == {}
    assert of_a_block(tmp_path / "parts") == blocks  # none was missing
    assert without_times(tmp_path / "parts") == without_times(tmp_path / "serial")
    assert len(without_times(tmp_path / "serial")) == 2


def test_pieces_are_dealt_out_evenly_and_each_once():
    pieces = [Piece("", str(i), {}, 1, cost, None) for i, cost in enumerate([1.0, 5.0, 2.0, 2.0, 4.0, 1.0, 1.0])]
    hands = [share(pieces, part, 3) for part in range(3)]
    assert sorted(piece.name for hand in hands for piece in hand) == [str(i) for i in range(7)]
    assert [sum(piece.cost for piece in hand) for hand in hands] == [6.0, 5.0, 5.0]
    tasks = [object()] * 6
    assert [len(parts_of(tasks, n)) / 6 for n in (1, 2, 4, 5, 12)] == [1, 1, 2, 5, 2]


@pytest.mark.slow
def test_processes_make_the_same_records_bit_for_bit(models, tmp_path, monkeypatch):
    """Two processes, and one, with one core each."""
    preset = dataclasses.replace(TINY, images=100, simulated=50, prior_images=50, importance_images=50)
    monkeypatch.setitem(presets.JUDGE_PRESETS, "tiny", preset)
    (model,) = find_models([models / "vae-seed0.keras"])
    with worker_pool(1) as one:
        assert run_all([JudgeTask(model, preset)], RunStore(tmp_path / "one"), one) == {}
    assert judge.main(command(model.path, tmp_path / "two", "--no-curve", "--processes", "2", "--force")) == 0
    assert without_times(tmp_path / "two") == without_times(tmp_path / "one")
