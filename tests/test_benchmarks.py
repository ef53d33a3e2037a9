"""The benchmarks' command lines, what they count, and that their pages are those of their raw figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hvae_tf

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if "def main(" in path.read_text())


@pytest.fixture
def harness(monkeypatch):
    """benchmarks/ on the path, as it is for its scripts."""
    monkeypatch.syspath_prepend(str(FOLDER))


def test_every_script_is_in_the_readme_and_has_its_page():
    readme = (FOLDER / "README.md").read_text()
    assert len(SCRIPTS) >= 6
    assert set(re.findall(r"python benchmarks/(\w+)\.py", readme)) == set(SCRIPTS)
    for script in SCRIPTS:
        assert f"(results/{script}.md)" in readme
        assert (FOLDER / "results" / f"{script}.md").exists()
        assert (FOLDER / "results" / f"{script}.json").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_wrong_arguments_take_one_line(script):
    for arguments in (["--threads", "0"], ["--json", "figures.txt"], ["--what"]):
        command = [sys.executable, FOLDER / f"{script}.py", *arguments]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 2
        assert "Traceback" not in found.stderr
        assert found.stderr.splitlines()[-1].startswith(f"{script}.py: error:")


def test_arithmetic_is_that_of_the_papers_layers(harness):
    from harness.arithmetic import importance_sample_flops, multiply_adds, training_step_flops

    encoder = 14 * 14 * 25 * 16 + 7 * 7 * 25 * 16 * 32 + 4 * 4 * 25 * 32 * 32 + 512 * 450 + 450 * 128
    decoder = 64 * 450 + 450 * 512 + 4 * 4 * 25 * 32 * 32 + 7 * 7 * 25 * 32 * 16 + 14 * 14 * 25 * 16
    assert multiply_adds(hvae_tf.conv_encoder()) == encoder
    assert multiply_adds(hvae_tf.conv_decoder()) == decoder
    assert training_step_flops(encoder, decoder, 100, 5) == 200 * (3 * encoder + 36 * decoder)
    assert training_step_flops(encoder, decoder, 1, 0) == 6 * (encoder + decoder)
    assert importance_sample_flops(decoder, 5) == 24 * decoder
    assert importance_sample_flops(decoder, 0) == 2 * decoder


def test_ratios_are_taken_round_by_round(harness):
    from harness.machine import PRODUCT_FLOPS, of_the_peak
    from harness.rounds import Spread, exponent, paired_ratios

    slow_machine = [0.1, 0.4]  # a product takes 0.1 s, then 0.4: the same work in 0.2 and 0.8 is as good
    assert of_the_peak(PRODUCT_FLOPS, [0.2, 0.8], slow_machine) == pytest.approx([0.5, 0.5])

    assert paired_ratios([1.0, 2.0, 9.0], [2.0, 8.0]) == [0.5, 0.25]
    assert Spread.of([3.0, 1.0, 2.0]) == (1.5, 2.0, 2.5)
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2.0)
