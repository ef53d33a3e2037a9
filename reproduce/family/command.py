"""What the commands have in common that train a table of the family and report it."""

import argparse

from reproduce.judged.command import report_after, train_missing


def make_table(args: argparse.Namespace, script: str) -> int:
    """Trains and judges what is missing, then writes the report of this script; gives the exit status."""
    from reproduce.family.report import write_report

    def write():
        return write_report(args.out, args.settings, args.table1, args.judge, script)

    return report_after(args, train_missing, write)


def refuse_with_budget(parser: argparse.ArgumentParser, args: argparse.Namespace, names, of: str) -> None:
    """An error if options of these names, which belong to something else, are given with ``--preset budget``."""
    given = [name for name in names if getattr(args, name) is not None]
    if args.preset == "budget" and given:
        parser.error(f"--{given[0]}: belongs to {of}, not to --preset budget")
