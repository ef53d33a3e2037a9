"""The family at equal numbers of evaluations: its cells, its report, the script."""

import dataclasses

import numpy as np
import pytest

from hvae_tf.runs import RecordError
from reproduce import baselines
from reproduce.family import cells
from reproduce.family.report import Line, gain, read_found, told
from reproduce.judged.findings import Row
from reproduce.judging.presets import Chains


def line(name, bounds, ais):
    rows = [
        Row(name, name, seed, np.full(4, a), np.full(2, b), np.full(2, a), 0.0, 0.0, 1, 2, {}, 1.0, 1, 1)
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
    assert found.bound == pytest.approx(found.decoder + found.inference)
    assert found.bound == pytest.approx(1.0333, abs=1e-3)
    assert found.bound_half == pytest.approx(4.3027 * np.std([1.1, 0.9, 1.1], ddof=1) / np.sqrt(3), rel=1e-3)
    assert told(found.bound, found.bound_half) == "better"
    assert told(-found.bound, found.bound_half) == "worse"
    assert told(0.1, 0.2) == "not told apart"
    assert told(*gain(line("uha", [28.0], [26.0]), base)[:2]) == "one seed: open"


def test_cells_of_one_number_of_evaluations_cost_that_number():
    for preset in (*cells.PRESETS.values(), cells.HVI_PRESET):
        for name, cell in preset.cells.items():
            assert cell.evaluations == (1 if name == "vae" else int(name.rpartition("-")[2]))
        assert set(preset.beside) <= set(preset.cells)
        assert not set(preset.beside) & set(preset.names)


def test_nothing_on_record_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="has no records to report"):
        read_found(tmp_path, cells.PRESETS["quick"], tmp_path, tmp_path)


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
    command = ["--out", str(tmp_path), "--limit", "60", "--images", "8", "--verbose", "0", "--processes", "1"]
    command += ["--seeds", "0", "--cells", "vae,iwae-6,hvae-free-6,hvi-6,uha-6,lmcvae-6,hmc-6"]
    assert baselines.main(command) == 0
    text = (tmp_path / "report.md").read_text()
    for part in ("UHA, T = 5", "HMC-VAE, M = 1, L = 5", "one seed: open"):
        assert part in text
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert baselines.main(command) == 0
    assert {path: path.read_bytes() for path in before} == before
