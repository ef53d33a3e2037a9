"""docs/notebooks: executed to the end, no warning and no path of a machine in what they show; their pages."""

import base64
import copy
import importlib.util
import json
import re
import subprocess
import sys

import pytest

from reproduce.documents.notebooks import FOLDER, ROOT, faults, page, text_of

PATHS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_there_are_notebooks():
    assert {path.stem for path in PATHS} >= {"own_table", "vae_to_hvae"}


def test_committed_outputs_have_no_faults(path, notebook):
    assert faults(notebook) == []
    assert text_of(notebook) == path.read_text(encoding="utf-8")  # as write_notebooks.py writes them
    assert sum("image/png" in output.get("data", {}) for cell in code(notebook) for output in cell["outputs"]) >= 4


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


STREAM = {"output_type": "stream", "name": "stdout"}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (STREAM | {"text": ["written to /home/me/work/x.csv\n"]}, "a path of this machine: /home/me/work/x.csv"),
        (STREAM | {"text": ["WARNING:tensorflow:5 out of the last 5 calls\n"]}, "warned"),
        (STREAM | {"name": "stderr", "text": ["anything"]}, "warned: anything"),
        ({"output_type": "error", "ename": "ValueError", "evalue": "no"}, "raised ValueError: no"),
        ({"output_type": "execute_result", "data": {"text/plain": "UserWarning: x"}}, "warned"),
    ],
)
def test_faults_are_seen(output, said):
    planted = json.loads(PATHS[0].read_text(encoding="utf-8"))
    code(planted)[1]["outputs"].append(output)
    assert len(faults(planted)) == 1
    assert said in faults(planted)[0]


def test_a_cell_that_was_not_run_is_seen(notebook):
    planted = copy.deepcopy(notebook)
    code(planted)[2]["execution_count"] = None
    assert faults(planted) == ["cell 3 was not run, or not in its turn"]


def test_links_lead_somewhere(path, notebook):
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    assert links
    assert not [link for link in links if not (path.parent / link).exists()]


def test_the_page_has_all_that_the_notebook_shows(path, notebook):
    found = page(path)
    shown = [output["data"]["image/png"] for cell in code(notebook) for output in cell["outputs"] if "data" in output
             and "image/png" in output["data"]]  # fmt: skip
    assert [base64.b64encode(picture).decode() for picture in found.pictures.values()] == [
        "".join(picture).replace("\n", "") for picture in shown
    ]
    assert found.markdown.startswith("# ")
    for cell in notebook["cells"][1:]:
        assert "".join(cell["source"]) in found.markdown
    for name in found.pictures:
        assert f"]({name})" in found.markdown
    assert len(re.findall(r"^```", found.markdown, re.MULTILINE)) % 2 == 0


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason='needs pip install ".[dev]"')
def test_notebooks_run(path, tmp_path):
    before = path.read_bytes()
    command = [sys.executable, str(ROOT / "reproduce/write_notebooks.py"), "--check", path.stem]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == before
