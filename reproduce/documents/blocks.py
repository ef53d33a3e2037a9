"""Blocks of generated text between markers in Markdown files.

<!-- table: NAME -->
(whatever stands here is replaced)
<!-- end table -->
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

_BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end table -->)", re.DOTALL)


class BlockError(ValueError):
    """A marker that names no table, or has no end."""


def filled(text: str, tables: Mapping[str, Callable[[], str]], where: str = "the text") -> str:
    """The text with every block holding its table.

    Args:
        text: Markdown.
        tables: By name, what makes the table.
        where: What to call the text in errors.

    Raises:
        BlockError: If a marker names no table, or has no end.
    """

    def fill(block: re.Match) -> str:
        start, name, end = block.groups()
        if name not in tables:
            raise BlockError(f"{where}: there is no table {name!r}; known: {', '.join(sorted(tables))}")
        return f"{start}{tables[name]()}\n{end}"

    opened, closed = text.count("<!-- table: "), len(_BLOCK.findall(text))
    if opened != closed:
        raise BlockError(f"{where}: {opened} blocks are opened and {closed} closed; end each with <!-- end table -->")
    return _BLOCK.sub(fill, text)


def names(text: str) -> list[str]:
    """The tables that a text asks for."""
    return [name for _, name, _ in _BLOCK.findall(text)]


def report_table(report: Path, column: str) -> list[dict[str, str]]:
    """The rows of a report's first table that has a column of this name, each by the names of its columns.

    Raises:
        BlockError: If the report has no such table.
    """
    lines = report.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[:-1]):
        if line.startswith("| ") and lines[number + 1].startswith("| ---") and column in _cells(line):
            rows = []
            for row in lines[number + 2 :]:
                if not row.startswith("|"):
                    break
                rows.append(dict(zip(_cells(line), _cells(row), strict=True)))
            return rows
    raise BlockError(f"{report} has no table with a column {column!r}")


def report_paragraph(report: Path, start: str) -> str:
    """The paragraph of a report that begins like this, in one line.

    Raises:
        BlockError: If the report has no such paragraph.
    """
    for paragraph in report.read_text(encoding="utf-8").split("\n\n"):
        if paragraph.startswith(start):
            return " ".join(paragraph.split())
    raise BlockError(f"{report} has no paragraph that begins {start!r}")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]
