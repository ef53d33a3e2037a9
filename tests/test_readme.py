"""The README's examples run as printed, and the commands it gives exist."""

import os
import re
import shlex
from pathlib import Path

import pytest

from reproduce import figure1_gaussian, table1

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
    commands = re.findall(r"python reproduce/(figure1_gaussian|table1)\.py([^`\n]*)", README)
    assert len(commands) >= 5
    for script, arguments in commands:
        parse = {"figure1_gaussian": figure1_gaussian.parse, "table1": table1.parse}[script]
        parse(shlex.split(arguments))


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_continuous_integration_finds_its_commands():
    for step in ("install", "test"):
        block = re.search(rf"<!-- ci: {step} -->\n```\n(.+?)```\n<!-- end -->", README, re.DOTALL)
        assert "pip install" in block.group(1)
