"""``pipeline provider files|lines|withdraw``: the files that were loaded."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipeline.accounts import file_rows
from pipeline.cli.common import AsJson, FormatOption, Utc, Who, chosen, clock, database, said
from pipeline.cli.output import console, operator_name, print_rows
from pipeline.cli.provider_files_shown import told_money
from pipeline.cli.tables import Format, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

_LISTED: Final = 100

FileId = Annotated[int, typer.Argument(max=2**63 - 1, help="As `pipeline provider files` shows it.")]


def files(
    provider: Annotated[str | None, typer.Option(help="Of one provider.", show_default=False)] = None,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show which files were loaded, and what they come to."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        found = file_rows.list_files(connection, provider)
    table = Table("id", "provider", "since", "until", "state", "lines", "bad", "seconds", "amount", "loaded", "name")
    for each in found:
        since, until = (
            times.show(at, seconds=False) for at in (each.since or each.first_at, each.until or each.last_at)
        )
        table.add_row(
            *(each.id, each.provider, since, until, each.state, each.lines, each.bad_lines, each.seconds),
            *(told_money(each.money), times.show(each.loaded_at, seconds=False), each.name),
        )
    print_rows(table, format_, [each._asdict() for each in found])


def lines_(
    file_id: FileId,
    limit: Annotated[int, typer.Option(min=0, help="How many; 0: all of them.")] = _LISTED,
    format_: FormatOption = Format.TABLE,
    *,
    bad: Annotated[bool, typer.Option("--bad", help="Those that could not be read, and why.")] = False,
    skipped: Annotated[bool, typer.Option("--skipped", help="Those that are no calls, and why.")] = False,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show the lines of a file: the calls, what could not be read, or what was left out."""
    if bad and skipped:
        raise typer.BadParameter("--bad and --skipped exclude each other", param_hint="'--bad'")
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        file_rows.find_file(connection, file_id)
        rows: Iterable[dict[str, Any]]
        if bad or skipped:
            fields: tuple[str, ...] = file_rows.OtherLine._fields
            rows = (row._asdict() for row in file_rows.other_lines_of(connection, file_id, bad=bad))
        else:
            fields = file_rows.ListedLine._fields
            rows = (row._asdict() for row in file_rows.lines_of(connection, file_id))
        found = list(islice(rows, limit or None))
    table = Table(*(name.replace("_", " ") for name in fields))
    for row in found:
        table.add_row(*(times.show(row[name]) if name == "started_at" else row[name] for name in fields))
    print_rows(table, format_, found)


def withdraw(
    file_id: FileId,
    because: Annotated[str, typer.Option(help="Why, for the record.")],
    who: Who = None,
) -> None:
    """Take a file out of the account; its lines stay, and it may be loaded again.

    Refused once a reconciliation that was made with it is locked.
    """
    with database() as engine, engine.begin() as connection:
        found = file_rows.withdraw_file(connection, file_id, because=said(because), who=who or operator_name())
    console.print(f"Provider file {found.id} ({found.name} of {found.provider}) is withdrawn.", highlight=False)
