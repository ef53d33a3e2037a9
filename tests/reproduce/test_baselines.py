"""The family at equal numbers of evaluations: its cells, its report, the script."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import hvae_tf
from hvae_tf.dynamics.tempering import FreeTempering, NoTempering
from hvae_tf.runs import RecordError, RunStore, make_record
from reproduce import baselines, hvi, untied
from reproduce.differences import Difference
from reproduce.family import cells
from reproduce.family.bounds import bound
from reproduce.family.gains import Line, gain, told, undecided
from reproduce.family.report import _against_base, _judge, page, read_found
from reproduce.judged import timing
from reproduce.judged.findings import Row
from reproduce.judging.presets import Chains

ROOT = Path(__file__).parents[2]


def line(name, bounds, ais, gap=0.0):
    rows = [
        Row(name, name, seed, np.full(4, a), np.full(2, b), np.full(2, a), gap, 0.0, 1, 2, {}, 1)
        for seed, (b, a) in enumerate(zip(bounds, ais, strict=True))
    ]
    bounds, ais = np.array(bounds, float), np.array(ais, float)
    return Line(name, rows, bounds, ais, ais, bounds - ais)


def test_the_gain_of_the_bound_is_that_of_decoder_and_inference():
    base, other = (
        line("vae", [30.0, 31.0, 30.5], [27.0, 28.1, 27.4]),
        line("uha", [28.9, 30.1, 29.4], [26.5, 27.5, 27.0]),
    )
    found = gain(other, base)
    assert found.bound.value == pytest.approx(found.decoder.value + found.inference.value)
    assert found.bound.value == pytest.approx(1.0333, abs=1e-3)
    assert found.bound.half == pytest.approx(4.3027 * np.std([1.1, 0.9, 1.1], ddof=1) / np.sqrt(3), rel=1e-3)
    assert told(found.bound, found.bound.p) == "better"
    back = gain(base, other).bound
    assert told(back, back.p) == "worse"
    assert told(back, 0.06) == "worse, alone"
    wide = Difference(0.1, 0.2, 2)
    assert told(wide, wide.p) == "not told apart"
    assert told(gain(line("uha", [28.0], [26.0]), base).bound, None) == "one seed: open"
    assert told(gain(line("iwae", [np.nan] * 3, [26.0] * 3), base).bound, None) == ""


def test_the_error_of_the_judge_is_allowed_for():
    """AIS of the cell may be off by its gap: then the decoder gains more, and inference less."""
    found = gain(line("hvi", [29.0] * 3, [27.0] * 3, gap=0.4), line("vae", [30.0] * 3, [27.5] * 3, gap=0.1))
    assert (found.decoder.below, found.decoder.above) == pytest.approx((0.1, 0.4))
    assert (found.inference.below, found.inference.above) == pytest.approx((0.4, 0.1))
    assert (found.bound.below, found.bound.above) == (0.0, 0.0)


def test_iwaes_own_bound_is_that_of_all_its_draws():
    """Above log p(x), and what the loss of training is on the same events."""
    sizes = {"event_shape": (6,), "latent_size": 2, "hidden_units": (8,)}
    model = hvae_tf.IWAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes), num_samples=5)
    x = np.random.default_rng(0).integers(0, 2, [4, 6]).astype(np.float32)
    found, copies = bound(model, x, 5, repeats=60), 500
    spread = np.std([-model.log_likelihood(x, 5, seed, chunk_size=5).value for seed in range(60)], axis=0).max()
    exact = -model.log_likelihood(x, 5000, seed=7, chunk_size=500).value.mean()
    model.compile()
    loss = model.evaluate(np.repeat(x, copies, 0), batch_size=4 * copies, verbose=0, return_dict=True)["loss"]
    error = spread * np.hypot(1 / np.sqrt(4 * 60), 1 / np.sqrt(4 * copies))
    assert abs(found.mean() - loss) < 5.0 * error
    assert found.mean() > exact - 5.0 * error
    assert abs(-model.elbo(x, num_samples=1000).mean() - loss) > 5.0 * error  # a planted error: the bound of one draw


def test_cells_of_one_number_of_evaluations_cost_that_number():
    for preset in (*cells.PRESETS.values(), cells.HVI_PRESET):
        for name, cell in preset.cells.items():
            assert cell.evaluations == (1 if name == "vae" else int(name.rpartition("-")[2]))
        assert set(preset.beside) <= set(preset.cells)
        assert not set(preset.beside) & set(preset.names)
    # HVI's table has HVAE at its own numbers of evaluations; at K = 1, where free tempering is fixed, by Table 1's name
    trained = {*cells.HVI_PRESET.names, *cells.HVI_PRESET.beside}
    assert {f"{kind}-{n}" for kind in ("hvi", "hvae-none") for n in (2, 5, 9)} <= trained
    assert {"hvae-fixed-2", "hvae-free-5", "hvae-free-9"} <= trained
    assert "hvae-free-2" not in cells.HVI_PRESET.cells


def test_cells_make_what_they_are_named_for():
    sizes = {"event_shape": (6,), "latent_size": 2, "hidden_units": (8,)}
    preset = cells.PRESETS["quick"]

    def make(name):
        networks = hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes)
        return preset.cells[name].make(*networks, preset.protocol, seed=0)

    def flow(name, kind):
        model = make(name)
        assert type(model) is kind
        return model.flow

    assert type(make("vae")) is hvae_tf.VAE
    assert make("iwae-11").num_samples == 11
    for tempering, kind in (("free", FreeTempering), ("none", NoTempering)):
        hamiltonian = flow(f"hvae-{tempering}-11", hvae_tf.HVAE)
        assert hamiltonian.num_leapfrog_steps == 10
        assert type(hamiltonian.tempering) is kind
    hvi = flow("hvi-11", hvae_tf.HVI)
    assert (hvi.num_transitions, hvi.num_leapfrog_steps, hvi.reverse.hidden_units) == (1, 10, (128,))
    for name, kept, learned in (("uha-11", 0.5, True), ("lmcvae-11", 0.0, False)):
        annealed = flow(name, hvae_tf.UHA).get_config()
        assert (annealed["num_temperatures"], annealed["num_leapfrog_steps"]) == (10, 1)
        assert annealed["refreshment"]["config"] == {"kept": kept, "learned": learned}
    hmc = make("hmc-11")
    assert type(hmc) is hvae_tf.HMCVAE
    assert (hmc.num_moves, hmc.num_leapfrog_steps, hmc.warm_up_steps) == (2, 5, 100)


def test_times_are_ratios_round_by_round(tmp_path):
    """A slow round of all cells is no slower cell."""
    assert timing.read_times(tmp_path) == {}
    seconds = {"hvi-6": {"base": [1.0, 4.0, 1.0], "own": [3.0, 12.0, 3.2]}}
    RunStore(tmp_path / "times").write(make_record(
        "times", configuration={}, seed=0, data_fingerprint="0", history={}, wall_seconds=0.0,
        results={"processor_seconds_per_step": seconds},
    ))  # fmt: skip
    found = timing.read_times(tmp_path)["hvi-6"]
    assert found == pytest.approx((3.0, 3.0, 3.1))
    assert str(found) == "3.0 (3.0 to 3.1)"


def test_cells_that_are_not_timed_again_keep_their_times(tmp_path):
    store, seconds = RunStore(tmp_path / "times"), {"base": [1.0], "own": [2.0]}
    preset = cells.PRESETS["quick"]
    for name, fingerprint in (("hvi-6", "a"), ("uha-6", "a"), ("hvi-11", "a")):
        timing._leave(store, {name: seconds}, timing.configuration(preset, [name]), fingerprint)
    assert timing.read_times(tmp_path).keys() == {"hvi-6", "uha-6", "hvi-11"}
    assert store.read("times")["configuration"]["cells"].keys() == {"hvi-6", "uha-6", "hvi-11"}
    timing._leave(store, {"uha-6": seconds}, timing.configuration(preset, ["uha-6"]), "other data")
    assert timing.read_times(tmp_path).keys() == {"uha-6"}


def test_nothing_on_record_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="has no records to report"):
        read_found(tmp_path, cells.PRESETS["quick"], tmp_path, tmp_path)


def test_a_table_has_one_protocol(tmp_path):
    """Records of another protocol are an error, before anything is trained and in the report; Table 1's stay out."""
    folder = ROOT / "results" / "hvi" / "budget"
    for part in ("records", "judge"):
        shutil.copytree(folder / part, tmp_path / part)
    asked = [ROOT / "results" / path for path in ("table1/budget", "judge/standard")]
    assert "vae" in read_found(tmp_path, cells.HVI_PRESET, *asked).beside
    store = RunStore(tmp_path / "records")
    (record,) = store.read_all()
    record["configuration"] |= {"max_epochs": 5, "limit": [1000, 1000, 1000]}
    store.write(record)
    found = read_found(tmp_path, cells.HVI_PRESET, *asked)
    assert (found.beside, [line.name for line in found.lines]) == ([], [record["configuration"]["cell"]])
    assert "A trial on the first 1000 images" in " ".join(page(found, cells.HVI_PRESET, "hvi.py").split())
    RunStore(tmp_path / "judge").write(RunStore(tmp_path / "judge").read(record["name"]) | {"name": "hvi-5-seed0"})
    other = record["configuration"] | {"cell": "hvi-5", "max_epochs": 6}
    store.write(record | {"name": "hvi-5-seed0", "configuration": other})
    with pytest.raises(RecordError, match="hvi-2-seed0 and hvi-5-seed0 are of unlike protocols or data"):
        read_found(tmp_path, cells.HVI_PRESET, *asked)


def test_nothing_is_trained_into_a_table_of_another_protocol(tmp_path, capsys):
    shutil.copytree(ROOT / "results" / "baselines" / "quick" / "records", tmp_path / "records")
    command = ["--cells", "vae", "--seeds", "9", "--epochs", "3", "--out", str(tmp_path), "--processes", "1"]
    assert baselines.main(command) == 1
    assert "vae-seed9 are of unlike protocols or data" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_a_decoder_and_its_inference_are_not_mistaken_for_each_other():
    """One cell of a better decoder, one of better inference; a third stands alone, and not among nine verdicts."""
    shifts = np.array([0.0, 1.0, 0.5])
    lines = [
        line("vae", 30.0 + shifts, 27.0 + shifts), line("decoder", 29.0 + shifts, 26.0 + shifts),
        line("inference", 29.0 + shifts, 27.0 + shifts),
        line("alone", 30.0 + shifts, 26.8 + shifts + [0.0, 0.05, -0.05]),
    ]  # fmt: skip
    text = "\n".join(_against_base(lines))
    assert "A better decoder than the VAE's: decoder. Taken alone: alone." in text
    assert "A bound nearer to log p(x): inference." in text
    assert "| decoder | +1.00 ± 0.00 | better | +1.00 ± 0.00 | better | +0.00 ± 0.00 | not told apart |" in text


def test_where_importance_sampling_is_the_nearer_judge_is_told():
    """Both are above the NLL in expectation: the lower one is the nearer."""
    noise = np.array([0.0, 0.01, -0.01, 0.0])

    def judged(name, above):
        each = line(name, [30.0], [27.0])
        return each._replace(rows=[each.rows[0]._replace(nll=27.0 + above + noise, ais=np.full(4, 27.0))])

    text = " ".join(_judge([judged("below", -0.1), judged("above", 0.2)]))
    assert "Of 2 models IS-1000 is below AIS for 1, by up to 0.100 nats" in text
    assert "for 1 of 2 cells: below -0.100 ± 0.004. There" in text
    assert _judge([judged("above", 0.2)]) == []


def test_the_highest_bound_is_told_of_several_seeds_only():
    lines = [line("a", [28.0, 28.2], [26.0, 26.1]), line("b", [27.0], [25.0])]
    assert undecided(lines[1], lines, "neg_bound")
    assert undecided(lines[0], lines, "neg_bound")
    assert not undecided(lines[0], [lines[0], line("b", [27.0, 27.4], [25.0, 25.0])], "neg_bound")


@pytest.mark.parametrize("script", [hvi, untied])
@pytest.mark.parametrize("option", [["--report-only"], ["--cells", "vae"], ["--epochs", "5"], ["--force"], ["--time"]])
def test_options_of_the_other_preset_are_refused(script, option, capsys):
    with pytest.raises(SystemExit):
        script.parse(option)
    assert f"{option[0]}: belongs to --preset budget" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.parse(["--preset", "budget", "--iterations", "5"])
    assert "--iterations: belongs to the " in capsys.readouterr().err


@pytest.mark.slow
def test_end_to_end_twice(tmp_path, monkeypatch):
    quick = cells.PRESETS["quick"]
    judge = dataclasses.replace(
        quick.judge, simulated=4, prior_images=4, importance_images=4, chains=Chains("encoder", 3, 2, 1),
        prior=Chains("prior", 3, 2, 1),
    )  # fmt: skip
    protocol = dataclasses.replace(quick.protocol, max_epochs=1, latent_size=2, hidden_units=4, warm_up_steps=1)
    monkeypatch.setitem(cells.PRESETS, "quick", dataclasses.replace(quick, protocol=protocol, judge=judge))
    monkeypatch.setattr("reproduce.judging.presets.IMPORTANCE_SAMPLES", 5)
    monkeypatch.setattr(timing, "ROUNDS", 2)
    command = ["--out", str(tmp_path), "--limit", "60", "--images", "8", "--verbose", "0", "--processes", "1"]
    command += ["--seeds", "0", "--cells", "vae,iwae-6,uha-6,hmc-6"]
    assert baselines.main(command) == 0
    text = (tmp_path / "report.md").read_text()
    for part in ("UHA, T = 5", "HMC-VAE, M = 1, L = 5", "one seed: open"):
        assert part in text
    assert "time a step" not in text
    assert baselines.main([*command, "--cells", "vae,uha-6", "--time"]) == 0
    assert "time a step, VAE = 1" in (tmp_path / "report.md").read_text()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert baselines.main(command) == 0
    assert {path: path.read_bytes() for path in before} == before
