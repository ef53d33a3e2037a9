"""Executes the notebooks of docs/notebooks and writes their outputs.

    python reproduce/write_notebooks.py                 all of them, about a minute each
    python reproduce/write_notebooks.py own_table       one
    python reproduce/write_notebooks.py --check         writes nothing, and fails where a cell fails or warns

Needs `pip install ".[dev]"`, and nothing from a network.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reproduce.cli import make_parser, say_stopped, shown  # noqa: E402
from reproduce.documents.notebooks import FOLDER, faults, text_of  # noqa: E402


def parse(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a notebook has a fault")
    args = parser.parse_args(argv)
    if unknown := set(args.names) - set(names):
        parser.error(f"no notebook {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    args.names = args.names or names
    return args


def executed(path: Path, folder: Path):
    """The notebook with the outputs of a new kernel.

    Args:
        path: Of the file.
        folder: Where its code runs.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    # what TensorFlow writes to the process's standard error on starting is no output of a cell
    quiet = ["--IPKernelApp.capture_fd_output=False"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=600, resources=place, record_timing=False, extra_arguments=quiet)
    client.execute(env=environment, stderr=subprocess.DEVNULL)
    for cell in notebook.cells:  # nothing of the machine or the moment
        cell.metadata.clear()
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def main(argv=None) -> int:
    """Executes, then writes or checks; gives the exit status."""
    args = parse(argv)
    status = 0
    for name in args.names:
        path = FOLDER / f"{name}.ipynb"
        try:
            with tempfile.TemporaryDirectory() as folder:
                notebook = executed(path, Path(folder))
        except ModuleNotFoundError as error:
            print(f'error: {error.name} is not installed; pip install ".[dev]"', file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return say_stopped(f"{shown(path)} is as it was")
        found = faults(notebook)
        for fault in found:
            print(f"error: {name}: {fault}", file=sys.stderr)
            status = 1
        if not found and not args.check:
            path.write_text(text_of(notebook), encoding="utf-8")
        print(shown(path))
    return status


if __name__ == "__main__":
    sys.exit(main())
