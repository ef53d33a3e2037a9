"""The examples in the pages of docs/ run as printed."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["latent", "conditional", "iaf"])
def test_examples_run_as_printed(page, tmp_path, monkeypatch, capsys):
    examples = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    assert examples
    monkeypatch.chdir(tmp_path)
    for number, example in enumerate(examples):
        exec(compile(example, f"docs/{page}.md, example {number}", "exec"), {})
    print(capsys.readouterr().out)
