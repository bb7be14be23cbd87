"""A file of which nothing is taken, for some of its lines cannot be meant: each line, and how the command ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import typer

from pipeline.cli.exits import FOUND
from pipeline.cli.output import complain, console, print_json, remark
from pipeline.cli.tables import Table, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.billing.rules.tariff_file import BadLine


def refuse(
    file: Path, bad_lines: Sequence[BadLine], *, as_json: bool, shown: int | None = None, more: str | None = None
) -> NoReturn:
    """Show what is wrong where, and end with exit code 1.

    Args:
        file: the file, as it was named.
        bad_lines: what is wrong with it.
        as_json: all of them for scripts.
        shown: how many a person is shown; None: all.
        more: what is said below the table; None: nothing.
    """
    if as_json:
        print_json({"bad_lines": [line._asdict() for line in bad_lines]})
    else:
        table = Table("line", "column", "reason")
        for line, column, reason in bad_lines[:shown]:
            table.add_row(line, column, reason)
        console.print(table)
        if more is not None:
            remark(more)
    complain(f"{file} has {counted(len(bad_lines), 'mistake')}; nothing was loaded")
    raise typer.Exit(FOUND) from None
