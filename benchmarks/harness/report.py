"""What a benchmark leaves: raw figures as JSON, and a page with tables beside them."""

import json
import os
from pathlib import Path

from harness.machine import machine
from reproduce import cli


def write_report(args, title: str, figures: dict, *parts: str) -> None:
    """Writes FILE.json and FILE.md, and prints the latter.

    Args:
        args: Of the command line.
        title: Of the page.
        figures: What was measured, as JSON has it.
        *parts: Paragraphs and tables.
    """
    here = machine()
    packages = ", ".join(f"{name} {version}" for name, version in here["packages"].items())
    setting = (
        f"{here['processor']}, {args.threads} of {here['cores']} cores used, {here['memory_gib']} GiB; Python "
        f"{here['python']}, {packages}; revision {here['revision']}, {here['date']}."
    )
    if args.quick:
        parts = ("A quick look, to see that it runs: no figures to keep.", *parts)
    page = "\n\n".join([f"# {title}", *parts, setting]) + "\n"
    options = {name: str(v) if isinstance(v, Path) else v for name, v in vars(args).items() if name != "json"}
    record = {"options": options, "machine": here, **figures}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    _write(args.json, json.dumps(record, indent=1) + "\n")
    _write(args.json.with_suffix(".md"), page)
    for paragraph in page.strip().split("\n\n"):
        print(paragraph if paragraph.startswith(("|", "!")) else cli.wrapped(paragraph), end="\n\n")
    cli.say_written([args.json, args.json.with_suffix(".md")])


def _write(path: Path, text: str) -> None:
    """The whole file, or what was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
