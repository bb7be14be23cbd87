"""``pipeline recordings keys``: which keys recordings are encrypted with, and destroying that of a month."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipeline.cli.common import AsJson, Utc, Who, clock, database, said
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, operator_name, print_json, remark
from pipeline.cli.tables import Table, counted
from pipeline.errors import DataError
from pipeline.recordings.rules.encrypted import KeyName, month_of
from pipeline.settings import current_settings, recording_keys

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from pipeline.recordings.key_destroying import Shredding
    from pipeline.recordings.keys import RecordingKeys

app = typer.Typer(help="The keys that recordings are encrypted with, one a month.", no_args_is_help=True)

OfDialler = Annotated[
    str | None, typer.Option("--source", help="The dialler; left out, this environment's.", show_default=False)
]


class Key(NamedTuple):
    """A key, and what is encrypted with it."""

    source: str
    month: str
    state: str
    """``there``, ``destroyed``, ``missing``, or ``back``: it was destroyed, and somebody brought it back."""
    created_at: datetime | None
    destroyed_at: datetime | None
    files: int
    size_bytes: int
    left: int
    """Files of a destroyed key that are not deleted yet."""


def _read_month(text: str) -> str:
    try:
        return month_of(text)
    except DataError as error:
        raise typer.BadParameter(error.reason) from None


@app.command("list")
def list_(source: OfDialler = None, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show a dialler's keys by month, and how many files each has. Exit code 1 when one is missing, or is back."""
    folder, times = _folder(), clock(utc=utc)
    with database() as engine:
        found = _keys(engine, folder, source or current_settings().enigma_source)
    if as_json:
        print_json([each._asdict() for each in found])
    else:
        table = Table("month", "key", "created", "destroyed", "files", "MB", "left")
        for each in found:
            when = (times.show(each.created_at), times.show(each.destroyed_at))
            table.add_row(each.month, each.state, *when, each.files, f"{each.size_bytes / 1e6:,.1f}", each.left)
        console.print(table)
        remark(f"{counted(len(found), 'key')} shown.")
    wrong = [each for each in found if each.state == "back" or (each.state == "missing" and each.files)]
    for each in wrong:
        complain(*_what_is_wrong(each))
    if wrong:
        raise typer.Exit(FOUND)


def _what_is_wrong(key: Key) -> tuple[str, str]:
    name = KeyName(key.source, key.month)
    if key.state == "missing":
        return f"{name} is not there, and files are encrypted with it", "Bring it back from its backup."
    again = f"pipeline recordings keys destroy {key.month}"
    return (
        f"{name} was destroyed, and is there again",
        f"Destroy it again, and in the backup that it came from: {again}",
    )


def _keys(engine: Engine, folder: RecordingKeys, source: str) -> list[Key]:
    from pipeline.recordings.key_rows import OfAMonth, by_month  # noqa: PLC0415 - what it reads with loads slowly

    with engine.connect() as connection:
        used = {each.month: each for each in by_month(connection, source)}
    known = {each.month: each for each in folder.of(source)}
    found = []
    for month in sorted(used.keys() | known.keys()):
        of_it, key = used.get(month, OfAMonth(month, 0, 0, 0)), known.get(month)
        created, destroyed = (key.created_at, key.destroyed_at) if key else (None, None)
        state = ("back" if destroyed else "there") if created else ("destroyed" if destroyed else "missing")
        found.append(Key(source, month, state, created, destroyed, *of_it[1:]))
    return found


@app.command()
def destroy(
    month: Annotated[
        str, typer.Argument(help="The month (UTC), such as 2026-10.", parser=_read_month, metavar="MONTH")
    ],
    because: Annotated[str, typer.Option("--because", help="Why, for the record.")],
    source: OfDialler = None,
    who: Who = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it comes to.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: this cannot be taken back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Destroy the key of a month: its recordings cannot be read any more, by anybody, and count as deleted.

    Exit code 1 when something stands against it: a hold, a minimum or a month that is not over, a download that is
    under way.
    """
    from pipeline.keeping.minimum import against_shredding  # noqa: PLC0415 - what they read with loads slowly
    from pipeline.recordings import key_destroying  # noqa: PLC0415

    name, why = KeyName(source or current_settings().enigma_source, month), said(because)
    if not (dry_run or yes):
        complain("this cannot be taken back", "Look with --dry-run what it comes to, then say --yes.")
        raise typer.Exit(WRONG)
    folder, reasons, also = _folder(), list[str](), functools.partial(against_shredding, name=name)
    try:
        with database() as engine:
            if dry_run:
                found, reasons = key_destroying.foresee(engine, folder, name, also=also)
            else:
                found = key_destroying.destroy(engine, folder, name, who=who or operator_name(), because=why, also=also)
    except key_destroying.DestroyRefusedError as error:
        complain(str(error))
        raise typer.Exit(FOUND) from None
    if as_json:
        print_json(found._asdict() | {"destroyed": not dry_run, "against": reasons})
    else:
        _show(name, found, dry_run=dry_run)
        for reason in reasons:
            complain(reason)
    if reasons:
        raise typer.Exit(FOUND)


def _show(name: KeyName, found: Shredding, *, dry_run: bool) -> None:
    its = f"The key of {name.month} of {name.source}"
    many = f"{counted(found.files, 'recording')} of {found.size_bytes / 1e6:,.1f} MB"
    done = (
        f"{its} is destroyed: it was deleted, and is not there any more. {many} cannot be read again, and count as "
        "deleted; their files go within the hour. Destroy the key in every backup of the keys, too."
    )
    console.print(f"{its} encrypts {many}. Nothing was changed." if dry_run else done, highlight=False)
    if found.waiting:
        console.print(f"{counted(found.waiting, 'recording')} of that month waiting, not to be kept.", highlight=False)


def _folder() -> RecordingKeys:
    found = recording_keys(current_settings())
    if found is None:
        complain("recordings are not encrypted here", "RECORDINGS_KEYS_URL names the folder of keys.")
        raise typer.Exit(WRONG)
    return found
