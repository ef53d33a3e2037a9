"""What mkdocs does beside building `docs/`: reports, benchmarks, notebooks as pages, the reference, links, equations.

A page of `docs/` is read in two places, in the repository and on the site. Its links are those of the repository, such
as `../results/hvi/report.md`; here they become those of the site. What the site does not hold is named instead.
"""

import ast
import functools
import os
import posixpath
import re
import sys
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.documents import notebooks  # noqa: E402

PACKAGE = ROOT / "hvae_tf"
INCLUDED = ("results/**/*.md", "results/**/*.png", "benchmarks/*.md", "benchmarks/results/*.md",
            "benchmarks/results/*.png", "CHANGELOG.md", "CONTRIBUTING.md")  # fmt: skip
REFERENCE = "reference/"
# rooms in the order of their imports; what else the package holds comes after
ORDER = ("models", "flows", "dynamics", "targets", "bounds", "training", "data", "networks")

_FENCES = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\w$])\$([^$\n]+?)\$(?![\w$])", re.DOTALL)
_CODE = re.compile(r"(<a [^>]*>|<autoref [^>]*>)?<code>([\w.]+)(\(\))?</code>")
_OPERATOR = re.compile(r"\\(log|exp|tanh)\s+(?=[A-Za-z\\])")
_equations: list[str] = []


# -- the reference ----------------------------------------------------------------------------------------------------


@functools.cache
def rooms() -> dict[str, list[str]]:
    """The modules of every room, as dotted names."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" or any(part.startswith("_") for part in parts):
            continue
        if _public(path):
            found.setdefault(parts[0] if len(parts) > 1 else "package", []).append(".".join(("hvae_tf", *parts)))
    first = set(public_names().values())  # what most users need stands first
    found = {room: sorted(modules, key=lambda module: (module not in first, module)) for room, modules in found.items()}
    return dict(sorted(found.items(), key=lambda item: (item[0] == "package", *_rank(item[0]))))


def _rank(room: str) -> tuple[int, str]:
    return (ORDER.index(room) if room in ORDER else len(ORDER), room)


@functools.cache
def _public(path: Path) -> dict[str, str]:
    """Public classes and functions of a module, with the first sentence of their docstrings."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            docstring = ast.get_docstring(node)
            if docstring:
                found[node.name] = " ".join(docstring.split("\n\n")[0].split())
    return found


@functools.cache
def public_names() -> dict[str, str]:
    """The names of `hvae_tf.__init__`, with the modules that define them."""
    found = {}
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                room = node.module == "hvae_tf"
                found[alias.name] = f"hvae_tf.{alias.name}" if room else _defining(node.module, alias.name)
    return found


def _defining(module: str, name: str) -> str:
    """The module that defines a name, through the `__init__` of packages."""
    path = ROOT.joinpath(*module.split("."))
    if not path.is_dir():
        return module
    for node in ast.parse((path / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            return _defining(node.module, name)
    return f"{module}.{name}"


@functools.cache
def _targets() -> dict[str, str]:
    """What a name in code leads to: every public class and function, where there is one of that name."""
    found: dict[str, list[str]] = {}
    for modules in rooms().values():
        for module in modules:
            for name in _public(ROOT.joinpath(*module.split(".")).with_suffix(".py")):
                found.setdefault(name, []).append(f"{module}.{name}")
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}


def _room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if (PACKAGE / parts[1]).is_dir() else "package"


def _room_page(room: str, modules: list[str]) -> str:
    title, about = f"hvae_tf.{room}", ""
    if room == "package":
        title, about = "hvae_tf", "Modules that belong to no room."
    elif docstring := ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))):
        about = docstring
    lines = [f"# `{title}`", "", about, ""]
    for module in modules:
        lines += [f"::: {module}"]
        if module == "hvae_tf.models.flow_vae":  # what all models share stands here once
            lines += ["    options:", "      inherited_members: true"]
        lines += [""]
    return "\n".join(lines)


def _index_page() -> str:
    about = "The names that `import hvae_tf` gives. Shapes, units, errors and sources stand with each; all is in nats."
    lines = ["# Reference", "", about, "", "| name | what |", "| --- | --- |"]
    for name, module in sorted(public_names().items(), key=lambda item: item[0].lower()):
        path = ROOT.joinpath(*module.split("."))
        sentence = "" if path.is_dir() else _public(path.with_suffix(".py")).get(name, "")
        if sentence:
            anchor, what = f"{module}.{name}", _cell(sentence)
        elif module.endswith(f".{name}"):
            anchor, what = module, _summary(path)
        else:
            anchor, what = module, "the choices, by name"
        if path.is_dir():
            anchor = ""  # a room is a page
        lines.append(f"| [`{name}`]({_room_of(module)}.md{anchor and '#'}{anchor}) | {what} |")
    lines += ["", "Rooms:", ""]
    return "\n".join([*lines, *(f"- [`{room}`]({room}.md)" for room in rooms()), ""])


def _summary(path: Path) -> str:
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return _cell(" ".join(docstring.split("\n\n")[0].split()))


def _cell(sentence: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", sentence).replace("|", "\\|")


# -- mkdocs -----------------------------------------------------------------------------------------------------------


def on_config(config):
    """Puts the pages of the reference where mkdocs.yml names them."""
    for item in config.nav:
        if isinstance(item, dict) and item.get("Reference") == REFERENCE:
            pages = [{"All names": f"{REFERENCE}index.md"}]
            item["Reference"] = pages + [{room: f"{REFERENCE}{room}.md"} for room in rooms()]
    return config


def on_files(files: Files, config) -> Files:
    """Adds reports, benchmarks, notebooks and the reference."""
    for pattern in INCLUDED:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if "/work/" not in name and "-quick/" not in name:
                files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    for path in sorted(notebooks.FOLDER.glob("*.ipynb")):
        page = notebooks.page(path)
        for name, content in {path.with_suffix(".md").name: page.markdown, **page.pictures}.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    files.append(File.generated(config, f"{REFERENCE}index.md", content=_index_page()))
    for room, modules in rooms().items():
        files.append(File.generated(config, f"{REFERENCE}{room}.md", content=_room_page(room, modules)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links of the repository become those of the site, and equations are set aside."""
    uri = page.file.src_uri
    if uri.startswith(REFERENCE):
        return markdown
    source = uri if page.file.src_dir == str(ROOT) else f"docs/{uri}"

    def link(match: re.Match) -> str:
        image, words, path, anchor = match.groups(default="")
        if not path or re.match(r"[a-z]+:", path):
            return match.group(0)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        inside = target.removeprefix("docs/") if target.startswith("docs/") else target
        if not (uri.startswith("notebooks/") and posixpath.basename(inside) == words):  # that one is the file itself
            inside = inside.replace(".ipynb", ".md")
        if files.get_file_from_path(inside) is None:
            if os.path.exists(ROOT / target):
                return f"{words} (`{target}`)" if target.rsplit("/", 1)[-1] not in words else words
            return match.group(0)  # mkdocs will say that it leads nowhere
        return f"{image}[{words}]({posixpath.relpath(inside, posixpath.dirname(uri) or '.')}{anchor})"

    def equation(match: re.Match) -> str:
        block, inline = match.groups()
        spaced = _OPERATOR.sub(r"\\\1\\, ", block or inline)  # the converter leaves no space after a function's name
        _equations.append(convert(spaced, display="block" if block else "inline"))
        return f"EQUATION{len(_equations) - 1}EQUATION"

    pieces = _FENCES.split(markdown)  # code is left alone
    return "".join(
        piece if number % 2 else _MATH.sub(equation, _LINK.sub(link, piece)) for number, piece in enumerate(pieces)
    )


def on_page_content(html, page, config, files):
    """Puts the equations back, and makes names in code lead to the reference."""
    html = re.sub(r"EQUATION(\d+)EQUATION", lambda match: _equations[int(match.group(1))], html)

    def reference(match: re.Match) -> str:
        inside, name, _ = match.groups(default="")
        plain = name.removeprefix("hvae_tf.")
        common = plain == name and plain.isalpha() and plain.islower()  # `fit`: whose?
        if inside or common or plain not in _targets():
            return match.group(0)
        return f'<autoref identifier="{_targets()[plain]}" optional>{match.group(0)}</autoref>'

    return _CODE.sub(reference, html)
