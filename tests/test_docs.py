"""README.md, docs/ and docstrings: examples run, links lead somewhere, tables are the records', rooms are as drawn."""

import ast
import doctest
import importlib.util
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import hvae_tf
from reproduce import figure1_gaussian, hvi, judge, path_gradient, table1, vae_derivation, write_docs
from reproduce.cli import answer
from reproduce.documents import aims, blocks, tables

ROOT = Path(__file__).resolve().parent.parent
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in write_docs.pages()}
PAGES["CONTRIBUTING.md"] = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
README = PAGES["README.md"]
# what takes a training, or several models: run by .ci/run
SLOW = ("docs/guide.md-0", "docs/guide.md-1", "docs/guide.md-2", "docs/vae.md-0", "docs/iwae.md-0", "docs/hvi.md-0",
        "docs/planar.md-0", "docs/add_a_likelihood.md-0", "docs/latent.md-0", "docs/conditional.md-0", "docs/iaf.md-0",
        "docs/hmc_vae.md-0", "docs/manifold.md-0", "docs/nose_hoover.md-0")  # fmt: skip


def examples():
    """Every `python` block of a page: what is not to run is marked `py`."""
    for page, text in PAGES.items():
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)):
            name = f"{page}-{number}"
            yield pytest.param(page, number, code, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.parametrize(("page", "number", "code"), list(examples()))
def test_examples_run_as_printed(page, number, code, tmp_path, monkeypatch, capsys):
    if "mnist" in code.replace('# or "mnist"', "") and "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("needs MNIST: set TFDS_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    exec(compile(code, f"{page}, example {number}", "exec"), {})
    assert capsys.readouterr().out or "print(" not in code


def documented():
    """Every public object with a docstring, under the name that users write."""
    for name in (*hvae_tf.__all__, *(f"likelihoods.{kind.__name__}" for kind in _likelihoods())):
        value = hvae_tf
        for part in name.split("."):
            value = getattr(value, part)
        if callable(value):
            yield name, value


def _likelihoods():
    return hvae_tf.likelihoods.LIKELIHOODS.values()


def docstring_examples():
    finder = doctest.DocTestFinder(recurse=False)
    return {test.name: test for name, value in documented() for test in finder.find(value, name) if test.examples}


EXAMPLES = docstring_examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings_run(name, capsys):
    test = EXAMPLES[name]
    test.globs = {"hvae_tf": hvae_tf, "tf": tf, "np": np, "math": math}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test).failed == 0, capsys.readouterr().out


def test_what_most_users_call_has_an_example():
    for name in ("HVAE", "VAE", "IWAE", "HVI", "HamiltonianFlow", "HVIFlow", "PlanarFlow", "fit", "load", "ais"):
        assert name in EXAMPLES
    assert len(EXAMPLES) > 20


def test_a_wrong_example_would_be_seen():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "planted", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1


@pytest.mark.parametrize("name", [name for name, _ in documented()])
def test_public_names_have_docstrings(name):
    value = dict(documented())[name]
    assert value.__doc__
    assert value.__doc__.strip()


SCRIPTS = {
    module.__name__.split(".")[-1]: module.parse
    for module in (figure1_gaussian, hvi, judge, path_gradient, table1, vae_derivation, write_docs)
}


def test_commands_parse(tmp_path, monkeypatch):
    """Every `python reproduce/...` is one that the script takes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-judge").mkdir()  # which a command of the same page makes
    found = [command for text in PAGES.values() for command in re.findall(r"python reproduce/(\w+)\.py([^`\n]*)", text)]
    assert len(found) >= 10
    for script, arguments in found:
        if script in SCRIPTS:
            SCRIPTS[script](shlex.split(arguments.replace("…", "smoke"), comments=True))
        else:
            assert (ROOT / "reproduce" / f"{script}.py").exists()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    assert not [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]


def test_every_page_is_in_the_sites_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    found = [*docs.rglob("*.md"), *(path.with_suffix(".md") for path in docs.rglob("*.ipynb"))]
    pages = [page.relative_to(docs).as_posix() for page in found]
    assert not [page for page in pages if f": {page}\n" not in navigation]


def test_continuous_integration_finds_its_commands():
    for step in ("install", "test"):
        block = re.search(rf"<!-- ci: {step} -->\n```\n(.+?)```\n<!-- end -->", README, re.DOTALL)
        assert "pip install" in block.group(1)


def test_the_readme_is_short():
    written = re.sub(r"<!-- table: .+?<!-- end table -->", "", README, flags=re.DOTALL)  # a row more is no word more
    assert len(written.split()) <= 900


def test_tables_and_pictures_are_the_records(capsys):
    assert write_docs.main(["--check"]) == 0, capsys.readouterr().out


def test_a_number_that_was_typed_is_seen(monkeypatch, tmp_path, capsys):
    for folder in ("docs", "benchmarks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "benchmarks/README.md").write_text("none\n")
    text = "# Page\n\n<!-- table: speed -->\n| 0.10 |\n<!-- end table -->\n"
    (tmp_path / "docs/page.md").write_text(text)
    (tmp_path / "README.md").write_text("none\n")
    monkeypatch.setattr(write_docs, "ROOT", tmp_path)
    monkeypatch.setattr(write_docs, "PICTURES", {})
    assert write_docs.main(["--check"]) == 1
    assert "page.md" in capsys.readouterr().out
    assert (tmp_path / "docs/page.md").read_text() == text  # a check writes nothing
    assert write_docs.main([]) == 0
    assert tables.TABLES["speed"]() in (tmp_path / "docs/page.md").read_text()
    assert write_docs.main(["--check"]) == 0


def test_an_aim_is_met_by_all_that_was_reached_or_missed():
    assert aims.row("time", "at most", 1.4, [1.27, 1.4]) == ("time", "at most 1.4", "1.27 to 1.40", "met")
    assert aims.row("time", "at most", 1.4, [1.27, 1.41])[-1] == "**missed**"
    assert aims.row("share", "at least", 0.6, [0.6])[2:] == ("0.60", "met")
    assert aims.row("share", "at least", 0.6, [0.8, 0.59])[-1] == "**missed**"


def test_markers_that_name_nothing_are_refused():
    with pytest.raises(blocks.BlockError, match="there is no table 'none'"):
        blocks.filled("<!-- table: none -->\n<!-- end table -->", tables.TABLES)
    with pytest.raises(blocks.BlockError, match="1 blocks are opened and 0 closed"):
        blocks.filled("<!-- table: speed -->\n", tables.TABLES)


def test_a_room_imports_only_those_before_it():
    order = ("targets", "dynamics", "flows", "bounds", "models", "training", "plots")
    package = ROOT / "hvae_tf"
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0]
        if path.parent == package:  # the public names, and what all rooms use
            continue
        allowed = order[: order.index(room) + 1] if room in order else ()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hvae_tf."):
                imported = node.module.split(".")[1]
                assert imported not in order or imported in allowed, f"{path} imports {node.module}"


def packaging(name, *arguments):
    """What a call of a function of setup.py gives, without its call of setuptools."""
    source = (ROOT / "setup.py").read_text(encoding="utf-8").replace("\nsetup(", "\ndict(")
    scope = {"__file__": str(ROOT / "setup.py")}
    exec(compile(source, "setup.py", "exec"), scope)
    return scope[name](*arguments)


def test_the_package_index_gets_links_that_lead_somewhere():
    absolute = packaging("readme", "https://example.org/hvae_tf")
    assert (
        "![Digits drawn from a trained HVAE](https://example.org/hvae_tf/raw/HEAD/docs/images/samples.png)" in absolute
    )
    assert "[the guide](https://example.org/hvae_tf/blob/HEAD/docs/guide.md)" in absolute
    without = packaging("readme", None)
    assert not re.findall(r"\]\((?!https?://)", without)
    assert "the guide" in without


def test_the_release_is_told_alike_everywhere():
    release = hvae_tf.__version__.split(".dev")[0]
    assert f"\nversion: {release}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {release} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "said"), [("scipy", 'pip install ".[reproduce]"'), ("elsewhere", None)])
def test_scripts_name_the_extra_that_they_miss(name, said, capsys):
    def work(_):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    if said is None:
        with pytest.raises(ModuleNotFoundError):
            answer(work, None)
    else:
        assert answer(work, None) == 1
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_core_needs_no_plots(tmp_path):
    """What has left the core is not imported, and a model trains without it."""
    code = """
import sys
for name in ("matplotlib", "scipy", "tensorboard"):
    sys.modules[name] = None  # an import of it fails
import numpy as np
import hvae_tf
sizes = {"event_shape": (3,), "latent_size": 2, "hidden_units": (4,)}
model = hvae_tf.HVAE(hvae_tf.dense_encoder(**sizes), hvae_tf.dense_decoder(**sizes), 1)
model.compile("adamax")
model.fit(np.eye(3, dtype=np.float32), epochs=1, verbose=0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason='needs pip install ".[docs]"')
def test_the_site_has_every_public_name_and_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    names = (tmp_path / "reference/index.html").read_text()
    anchors = "".join(page.read_text() for page in (tmp_path / "reference").rglob("*.html"))
    for name, value in documented():
        if "." not in name:
            assert f">{name}</code>" in names
            assert f'id="{value.__module__}.{value.__name__}"' in anchors, name
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert not loaded, f"{page} loads {loaded}"
