"""Writes the tables and pictures of the documents from the records in results/ and benchmarks/results/.

    python reproduce/write_docs.py             a second
    python reproduce/write_docs.py --check     writes nothing, and fails where something is not what it would write

A table stands between `<!-- table: NAME -->` and `<!-- end table -->`; `reproduce/documents/tables.py` has the names.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.documents.blocks import BlockError, filled  # noqa: E402
from reproduce.documents.pictures import PICTURES, same_picture  # noqa: E402
from reproduce.documents.tables import TABLES  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 where something is out of date"
    )
    return parser.parse_args(argv)


def pages() -> list[Path]:
    """The Markdown files that may hold blocks."""
    return [ROOT / "README.md", ROOT / "benchmarks/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def outdated() -> dict[Path, bytes]:
    """Every file that is not what it would be, with what it would be."""
    found = {}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new = filled(text, TABLES, str(page.relative_to(ROOT)))
        if new != text:
            found[page] = new.encode()
    for name, draw in PICTURES.items():
        path, new = ROOT / "docs" / "images" / name, draw()
        if not path.exists() or not same_picture(path.read_bytes(), new):
            found[path] = new
    return found


def main(argv=None) -> int:
    """Writes, or checks."""
    args = parse(argv)
    try:
        found = outdated()
    except (BlockError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, contents in found.items():
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents)
        print(path.relative_to(ROOT))
    if found and args.check:
        print("out of date: run `python reproduce/write_docs.py`", file=sys.stderr)
    return int(bool(found) and args.check)


if __name__ == "__main__":
    sys.exit(main())
