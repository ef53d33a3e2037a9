"""What the commands have in common that train a table of the family and report it."""

import argparse

from reproduce.judged.command import report_after, train_missing


def make_table(args: argparse.Namespace, script: str) -> int:
    """Trains and judges what is missing, then writes the report of this script; gives the exit status."""
    from reproduce.family.report import write_report

    def write():
        return write_report(args.out, args.settings, args.table1, args.judge, script)

    return report_after(args, train_missing, write)


def refuse_of_other_preset(parser: argparse.ArgumentParser, args: argparse.Namespace, names, of: str) -> None:
    """An error if options are given that belong to the other preset than the one asked for.

    Args:
        parser: Of the command.
        args: With all options, before any is filled in.
        names: Of those that do not belong to ``--preset budget``.
        of: What those belong to.
    """
    common = {"preset", "out", *names}
    of_budget = [name for name in vars(args) if name not in common]
    wrong, where = (names, f"to {of}, not to --preset budget") if args.preset == "budget" else (
        of_budget, f"to --preset budget, not to {of}"
    )  # fmt: skip
    for name in wrong:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')}: belongs {where}")
