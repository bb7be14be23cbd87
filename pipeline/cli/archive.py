"""``pipeline archive``: calls as Parquet, a month a folder: written, listed, verified, restored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.archive.months import archived_months, months_to_archive
from pipeline.archive.rules.places import Place, month_of
from pipeline.cli import progress as bars
from pipeline.cli.archive_shown import show_done, show_restored, show_verified
from pipeline.cli.archive_store import archive_store
from pipeline.cli.common import AsJson, FormatOption, Source, Utc, Who, check_source, chosen, clock, database
from pipeline.cli.exits import FOUND
from pipeline.cli.output import complain, operator_name, print_rows
from pipeline.cli.tables import Format, Table
from pipeline.database.engine import reading
from pipeline.errors import DataError

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(help="Calls as Parquet files, which anything reads.", no_args_is_help=True)


def _read_month(text: str) -> str:
    try:
        return month_of(text)
    except DataError as error:
        raise typer.BadParameter(error.reason) from None


OneMonth = Annotated[
    str | None,
    typer.Option("--month", help="Only one month (UTC), such as 2026-10.", parser=_read_month, metavar="MONTH"),
]
OneSource = Annotated[str, typer.Option("--source", help="The dialler.")]


@app.command()
def run(
    month: OneMonth = None,
    source: Source = None,
    *,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Write a month from the database alone, whatever is in the archive; with --month."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Archive what is new: of each month that is over, or of the one that is named, the days that have changed.

    Whenever it is cut off, what was archived is whole, and the next run goes on. Exit code 1 when a month cannot be
    archived as it stands; the others are.
    """
    if anew and month is None:
        raise typer.BadParameter("say which month with --month", param_hint="'--anew'")
    from pipeline.archive.rules.refused import ArchiveError  # noqa: PLC0415 - see archive_store
    from pipeline.archive.run import archive_month  # noqa: PLC0415

    store = archive_store()
    done, failed = [], False
    with database() as engine:
        for place in _places(engine, month, source):
            try:
                with bars.of_things(f"Archiving {place.said}", "days", shown=not as_json) as progress:
                    done.append(archive_month(engine, store, place, anew=anew, progress=progress))
            except ArchiveError as error:
                complain(str(error))
                failed = True
    show_done(done, as_json=as_json, now=datetime.now(tz=UTC))
    if failed:
        raise typer.Exit(FOUND)


def _places(engine: Engine, month: str | None, source: str | None) -> list[Place]:
    check_source(engine, source)
    with reading(engine) as connection:
        return months_to_archive(connection, source=source, month=month)


@app.command("list")
def list_(
    source: Source = None, format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False
) -> None:
    """List the months that are archived, as the database knows them."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, reading(engine) as connection:
        found = archived_months(connection, source=source)
    table = Table("source", "month", "days", "calls", "bytes", "written", "folder")
    for each in found:
        folder = Place(each.source, each.month).folder
        table.add_row(*each[:5], times.show(each.written_at, seconds=False), folder)
    json_ = [each._asdict() | {"folder": Place(each.source, each.month).folder} for each in found]
    print_rows(table, format_, json_)


@app.command()
def verify(month: OneMonth = None, source: Source = None, *, as_json: AsJson = False) -> None:
    """Read the archive back: checksums, what rows add up to, and the database's rows where those are.

    Exit code 1 when something of it cannot be believed, is missing, or is not as the database has it now.
    """
    from pipeline.archive.verify import verify_month  # noqa: PLC0415 - see archive_store

    store = archive_store()
    with database() as engine:
        with reading(engine) as connection:
            known = archived_months(connection, source=source)
        places = {Place(each.source, each.month) for each in known}
        places |= {place for place in store.places() if source in {None, place.source}}
        wanted = sorted(place for place in places if month in {None, place.month})
        if not wanted:
            complain("nothing of that is archived", "`pipeline archive list` says what is.")
            raise typer.Exit(FOUND)
        found = []
        for place in wanted:
            with bars.of_things(f"Reading {place.said}", "parts", shown=not as_json) as progress:
                found.append(verify_month(engine, store, place, progress=progress))
    show_verified(found, as_json=as_json)
    if any(each.problems for each in found):
        raise typer.Exit(FOUND)


@app.command()
def restore(
    month: Annotated[
        str, typer.Argument(help="The month (UTC), such as 2026-10.", parser=_read_month, metavar="MONTH")
    ],
    source: OneSource,
    who: Who = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Bring a month back: its rows go into the tables that they came from, all of them or none.

    What is there already stays; exit code 1 when some of it differs from the archive, and then nothing is changed.
    """
    from pipeline.archive.restore import restore_month  # noqa: PLC0415 - see archive_store

    store = archive_store()
    with (
        database() as engine,
        bars.of_things(f"Restoring {month} of {source}", "calls", shown=not as_json) as progress,
    ):
        found = restore_month(engine, store, Place(source, month), who=who or operator_name(), progress=progress)
    show_restored(found, as_json=as_json)
