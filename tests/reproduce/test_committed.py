"""What stands in results/ is what the commands make now: a second call trains nothing, reports are of their records."""

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


REPORTS = {
    "table1/budget": ("table1", "--preset", "budget"),
    "table1/smoke": ("table1", "--preset", "smoke"),
    "training_length": ("training_length",),
    "judge/standard": ("judge",),
    "judge/quick": ("judge", "--preset", "quick"),
    "hvi/budget": ("hvi", "--preset", "budget"),
    "untied/budget": ("untied", "--preset", "budget"),
    "hmc_vae/budget": ("hmc_vae", "--preset", "budget"),
    "hmc_vae/quick": ("hmc_vae",),
    "baselines/quick": ("baselines",),
    "nose_hoover": ("nose_hoover",),
    "manifold": ("manifold",),
    "targets": ("targets",),
    "figure1": ("figure1_gaussian",),
    "figure1/small-d": ("figure1_gaussian", "--preset", "small-d"),
}
ALWAYS = {"scaling": ("simulate_scaling",)}  # does nothing but report


@pytest.mark.slow
@pytest.mark.parametrize("folder", [*REPORTS, *ALWAYS])
def test_reports_are_what_the_records_say(folder, tmp_path, capsys):
    """A record that came after its report, here or of Table 1 beside it, is a report that is not true any more."""
    script, *arguments = ALWAYS.get(folder) or (*REPORTS[folder], "--report-only")
    copy = tmp_path / "results"
    shutil.copytree(RESULTS / folder, copy, ignore=shutil.ignore_patterns("models"))
    status = importlib.import_module(f"reproduce.{script}").main([*arguments, "--out", str(copy)])
    assert status == 0, capsys.readouterr().err
    tables = [path for path in copy.iterdir() if path.suffix in (".md", ".csv")]
    assert tables
    for path in tables:
        assert path.read_text() == (RESULTS / folder / path.name).read_text(), f"{folder}/{path.name}"
