"""``pipeline import``: a file of the vendor's backup becomes batches, and where each of its records went."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.cli import progress as bars
from pipeline.cli.common import AsJson, FormatOption, Source, Utc, Who, chosen, clock, database
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, operator_name, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.completeness.backup_file import BackupFile, BackupFileError, ChangedError
from pipeline.completeness.import_file import import_file
from pipeline.completeness.import_rows import balance_of_file, records_unread
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.completeness.backup_file import Survey
    from pipeline.completeness.import_file import Imported
    from pipeline.completeness.import_rows import FileBalance
    from pipeline.instants import Clock

LOOK_EVERY_SECONDS: Final = 0.5
PLACES: Final = {
    "new": "calls that were not there",
    "duplicate": "calls that were, with the same content",
    "replacing": "took the place of what was stored of their call",
    "conflict": "differ from their call as it is stored",
    "quarantined": "cannot be read as a call",
    "discarded": "given up by a person",
    "pending": "not read yet",
}


def import_(
    file: Annotated[str, typer.Argument(help="A record a line, or a dump of the list; packed or not. - is a pipe.")],
    source: Source = None,
    who: Who = None,
    format_: FormatOption = Format.TABLE,
    *,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="End once all of it is in the inbox, before the workers have read it.")
    ] = False,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Import a file of the vendor's backup, once however often: what is stored already counts as a duplicate.

    It may be stopped at any time and run again. Exit code 1 when records of it wait for a person.
    """
    format_ = chosen(format_, as_json=as_json)
    own = source or current_settings().enigma_source
    stdin = sys.stdin.buffer if file == "-" else None
    try:
        with BackupFile(None if file == "-" else Path(file), stdin=stdin) as backup, database() as engine:
            with bars.of_bytes("Looking through", backup.packed_bytes) as progress:
                survey = backup.survey(progress)
            with bars.of_things("Importing", "elements", total=survey.elements) as progress:
                imported = import_file(
                    engine, backup, survey, source=own, who=who or operator_name(), progress=progress
                )
            if not no_wait:
                _wait(engine, imported.of.id, survey.elements)
            with engine.connect() as connection:
                balance = balance_of_file(connection, imported.of.id)
    except BackupFileError as error:
        complain(str(error))
        raise typer.Exit(WRONG) from None
    except ChangedError as error:
        complain(str(error), "What was there at first is imported in part. Run it again when the file is whole.")
        raise typer.Exit(WRONG) from None
    _show(survey, imported, balance, own, format_, clock(utc=utc))
    if balance.conflict or balance.quarantined:
        raise typer.Exit(FOUND)


def _wait(engine: Engine, import_id: int, total: int) -> None:
    """Until the workers have read all of it; a line says what for, as they may not be running."""
    with bars.of_things("Being read by the workers", "records", total=total) as progress:
        while True:
            with engine.connect() as connection:
                unread = records_unread(connection, import_id)
            progress(total - unread)
            if not unread:
                return
            time.sleep(LOOK_EVERY_SECONDS)


def _show(survey: Survey, imported: Imported, balance: FileBalance, source: str, format_: Format, times: Clock) -> None:
    table = Table("place", "records", "meaning")
    table.add_row("records", balance.records, f"of {survey.name}")
    for place, meaning in PLACES.items():
        table.add_row(f"  {place}", getattr(balance, place), meaning)
    begun = imported.of
    told = {
        "file": survey.name,
        "sha256": survey.sha256.hex(),
        "source": source,
        "import": begun.id,
        "began_at": begun.began_at,
        "began_by": begun.began_by,
        "settled_now": imported.settled,
        "settled_before": imported.known,
        **balance._asdict(),
    }
    print_rows(table, format_, told)
    if format_ is not Format.TABLE:
        return
    if imported.known:
        when = times.show(begun.began_at)
        remark(f"{counted(imported.known, 'record')} had been imported before: begun at {when} by {begun.began_by}.")
    if balance.pending:
        remark("Run it again to see what becomes of those pending; nothing is imported twice.")
    if balance.conflict or balance.quarantined:
        remark("See them with: pipeline failures list")
    console.print("The balance of the file closes." if balance.closes else "The balance of the file does not close.")
