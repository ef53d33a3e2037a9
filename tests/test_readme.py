"""The README's examples run as printed, and the commands it gives exist."""

import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from reproduce import figure1_gaussian, judge, table1

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run_as_printed(number, tmp_path, monkeypatch, capsys):
    if "mnist" in EXAMPLES[number].replace('# or "mnist"', "") and "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("needs MNIST: set TFDS_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    exec(compile(EXAMPLES[number], f"README.md, example {number}", "exec"), {})
    assert capsys.readouterr().out or "print(" not in EXAMPLES[number]


def test_commands_parse():
    """Every `python reproduce/...` in README.md is one that the script takes."""
    commands = re.findall(r"python reproduce/(figure1_gaussian|table1|judge)\.py([^`\n]*)", README)
    assert len(commands) >= 5
    for script, arguments in commands:
        parse = {"figure1_gaussian": figure1_gaussian.parse, "table1": table1.parse, "judge": judge.parse}[script]
        parse(shlex.split(arguments))


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_continuous_integration_finds_its_commands():
    for step in ("install", "test"):
        block = re.search(rf"<!-- ci: {step} -->\n```\n(.+?)```\n<!-- end -->", README, re.DOTALL)
        assert "pip install" in block.group(1)


def test_the_speed_table_is_what_was_measured():
    figures = json.loads((ROOT / "benchmarks/results/step_time.json").read_text())
    measured, in_turn = figures["seconds_per_step"], figures["seconds_per_step_all_k_in_turn"]
    rows = {"VAE": "0", "HVAE, K = 5": "5", "HVAE, K = 20": "20"}
    peers = ("torch-2k", "torch", "pythae", "jax")
    for label, k in rows.items():
        ours = measured[k]["hvae_tf"]
        ratios = [np.median(np.divide(ours, measured[k][peer])) if peer in measured[k] else None for peer in peers]
        cells = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        assert " ".join(f"| {label} | {' | '.join(cells)} |".split()) in README
    epochs = [round(500 * np.median(in_turn[k])) for k in ("0", "1", "5", "10", "20")]
    said = re.search(r"takes (\d+) s for the VAE and (\d+), (\d+), (\d+) and (\d+) s for HVAE", README)
    assert [int(seconds) for seconds in said.groups()] == epochs


def test_the_table_of_cells_is_the_records():
    for cell, label in (
        ("vae", "VAE | 3"), ("k1-fixed", "HVAE, K = 1, fixed tempering | 1"),
        ("k5-free", "HVAE, K = 5, free tempering, a step size for each step | 1"),
        ("k5-fixed", "HVAE, K = 5, fixed tempering, a step size for each step | 1"),
        ("k5-none", "HVAE, K = 5, no tempering, a step size for each step | 1"),
    ):  # fmt: skip
        table = (ROOT / "results/table1/budget/table1.md").read_text()
        row = next(line for line in table.splitlines() if f" | {cell} | " in line)
        cells = [text.split(" ± ")[0].strip() for text in row.split("|")]
        said = re.search(rf"\| {re.escape(label)} \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| .*?(-?0\.\d+)\)? \|", README)
        assert list(said.groups()) == [*cells[5:8], cells[-2]]
