"""What stands in results/ is what the commands make now: a second call finds it done, and trains nothing."""

import importlib
import shutil
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parent.parent.parent / "results"
# folder, what makes it; the others take MNIST, or do all of their work at each call
COMMANDS = {
    "table1/smoke": ("table1", "--preset", "smoke", "--verbose", "0", "--processes", "1"),
    "judge/quick": ("judge", "--preset", "quick", "--quiet", "--processes", "1"),
    "hmc_vae/quick": ("hmc_vae", "--verbose", "0", "--processes", "1"),
    "baselines/quick": ("baselines", "--verbose", "0", "--processes", "1"),
    "figure1/small-d": ("figure1_gaussian", "--preset", "small-d", "--processes", "1"),
    "nose_hoover": ("nose_hoover",),
    "manifold": ("manifold",),
}


@pytest.mark.slow
@pytest.mark.parametrize("folder", COMMANDS)
def test_what_is_committed_is_done(folder, tmp_path, capsys):
    script, *arguments = COMMANDS[folder]
    copy = tmp_path / "results"
    shutil.copytree(RESULTS / folder, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*.json")}
    assert before
    status = importlib.import_module(f"reproduce.{script}").main([*arguments, "--out", str(copy)])
    assert status == 0, capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert not set(copy.rglob("*.json")) - set(before)
