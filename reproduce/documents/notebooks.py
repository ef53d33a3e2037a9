"""Executed notebooks: what must not be in them, and the pages that the site makes of them."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "notebooks"
# a file's place on some machine; a rooted path has two parts or more
_PATH = re.compile(r"(?:^|[\s'\"(=])(/[\w.~-]+(?:/[\w.~-]+)+|[A-Z]:\\\w+)")
_WARNING = re.compile(r"\b\w*Warning\b|\bwarning:", re.IGNORECASE)


class Page(NamedTuple):
    """A notebook as a page.

    Attributes:
        markdown: Its text, with links to the pictures.
        pictures: By file name, PNG.
    """

    markdown: str
    pictures: dict[str, bytes]


def text_of(notebook: Mapping[str, Any]) -> str:
    """The file of a notebook; equal notebooks give equal text."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def faults(notebook: Mapping[str, Any]) -> list[str]:
    """What an executed notebook must not have: cells that were not run or failed, warnings, paths of a machine.

    Args:
        notebook: As its file holds it.

    Returns:
        A line for each fault, which names the cell.
    """
    found = []
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(codes, 1):
        if cell["execution_count"] != number:
            found.append(f"cell {number} was not run, or not in its turn")
        for output in cell["outputs"]:
            text = _text(output)
            if output["output_type"] == "error":
                found.append(f"cell {number} raised {output['ename']}: {output['evalue']}")
            elif output.get("name") == "stderr" or _WARNING.search(text):
                found.append(f"cell {number} warned: {text.strip().splitlines()[0]}")
            elif path := _PATH.search(text):
                found.append(f"cell {number} shows a path of this machine: {path.group(1)}")
    return found


def page(path: Path) -> Page:
    """A notebook as Markdown, its pictures beside it.

    Args:
        path: Of the file.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = _joined(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```py\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![Drawn by the code above]({name})")
            else:
                parts.append(f"```text\n{_text(output).rstrip()}\n```")
    title, rest = parts[0].split("\n", 1)
    told = f"*A notebook: [{path.name}]({path.name}) has the code and these outputs.*"
    return Page("\n\n".join([title, told, rest.strip(), *parts[1:]]) + "\n", pictures)


def _text(output: Mapping[str, Any]) -> str:
    """What an output says, without its pictures."""
    return _joined(output.get("text", output.get("data", {}).get("text/plain", "")))


def _joined(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)
