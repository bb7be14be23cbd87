"""Loading a provider's file: all of it in one transaction, or nothing.

Every line is kept as it came: the calls that were read, the lines that could not be, with the reason, and those that
are no calls. What the file or its loader says that it comes to has to agree with what its lines come to.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, update

from pipeline.accounts import file_rows
from pipeline.accounts.checked import Loaded, Seen, Wanted, checked
from pipeline.accounts.rules.entries import FileRefusedError, Totals
from pipeline.accounts.rules.lines import ProviderLine
from pipeline.accounts.rules.mapping_file import check_name
from pipeline.billing.rules.months import month_in
from pipeline.database.audit import record_action
from pipeline.database.engine import copy_rows
from pipeline.database.tables import provider_bad_lines, provider_files, provider_lines, provider_skipped_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine, Table

    from pipeline.accounts.provider_file import Opened, ProviderFile

    Progress = Callable[[int], None]

CHUNK_LINES: Final = 10_000
_CALL: Final = ("file_id", "line", *ProviderLine._fields, "raw")
_OTHER: Final = ("file_id", "line", "raw", "reason")


def load_file(
    engine: Engine,
    file: ProviderFile,
    wanted: Wanted,
    *,
    who: str,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> Loaded:
    """Load a file, once; the same bytes again change nothing.

    Args:
        engine: the database.
        file: the file.
        wanted: what it is, and how it is read.
        who: loads it.
        dry_run: read the file and say what would come of it, but write nothing. Whether another file has the same calls
            is not looked at, only which overlap.
        progress: is told how many bytes have been read.

    Raises:
        FileRefusedError: nothing was loaded; the text says why.
        MappingError: the mapping is of another file.
        DataError: the month is none.
    """
    check_name(wanted.provider)
    days = None if wanted.month is None else month_in(wanted.month, wanted.zone)
    seen = Seen(days and days.since, days and days.until)
    sha256 = file.sha256()
    with engine.connect() as connection:
        if not dry_run and not file_rows.hold_provider(connection, wanted.provider):
            raise FileRefusedError(f"another file of {wanted.provider} is being loaded just now: try again after that")
        if (already := file_rows.loaded_file(connection, wanted.provider, sha256)) is not None:
            return _known(already)
        if dry_run:
            connection.rollback()  # nothing is held open while the file is read
            found = _read_only(file, wanted, seen, sha256, progress)
            return found._replace(overlapping=file_rows.overlapping_files(connection, wanted.provider, *found.span))
        mapping_id, version = file_rows.mapping_version(connection, wanted.provider, wanted.mapping, who)
        file_id = _begin(connection, file, wanted, seen, mapping_id=mapping_id, sha256=sha256, who=who)
        opened = file.opened(wanted.mapping, zone=wanted.zone, region=wanted.region)
        _copy(connection, file_id, opened, seen, progress)
        found = checked(wanted, opened, seen, sha256)
        if found.differences and not wanted.despite_totals:
            return found
        overlapping = file_rows.overlapping_files(connection, wanted.provider, *found.span, but=file_id)
        _refuse_the_same(connection, file_id, overlapping)
        _end(connection, file_id, found)
        detail = {"file": file_id, "provider": wanted.provider, "name": file.name, "sha256": sha256, "mapping": version}
        record_action(connection, who, "provider file loaded", detail)
        connection.commit()
    return found._replace(file_id=file_id, mapping_version=version, overlapping=overlapping)


def _known(already: file_rows.ListedFile) -> Loaded:
    return Loaded(
        file_id=already.id,
        already=already,
        mapping_version=already.mapping,
        since=already.since,
        until=already.until,
        sums=None,
        outside=0,
        stated=Totals(),
        differences=[],
        bad_lines=[],
    )


def _read_only(file: ProviderFile, wanted: Wanted, seen: Seen, sha256: str, progress: Progress) -> Loaded:
    opened = file.opened(wanted.mapping, zone=wanted.zone, region=wanted.region)
    for at, entry in enumerate(opened.entries):
        seen.see(entry)
        if at % CHUNK_LINES == 0:
            progress(opened.read_bytes)
    return checked(wanted, opened, seen, sha256)


def _begin(
    connection: Connection, file: ProviderFile, wanted: Wanted, seen: Seen, *, mapping_id: int, sha256: str, who: str
) -> int:
    """The row of the file, before its lines: they need its id."""
    made = insert(provider_files).values(
        provider=wanted.provider,
        sha256=sha256,
        name=file.name,
        mapping_id=mapping_id,
        since=seen.since,
        until=seen.until,
        zone=wanted.zone,
        **dict.fromkeys(("lines", "read_lines", "bad_lines", "skipped_lines", "seconds"), 0),
        money={},
        state=file_rows.LOADED,
        loaded_by=who,
    )
    return int(connection.scalars(made.returning(provider_files.c.id)).one())


def _copy(connection: Connection, file_id: int, opened: Opened, seen: Seen, progress: Progress) -> None:
    """All lines, a chunk at a time: no more of them is held."""
    entries = iter(opened.entries)
    while chunk := list(islice(entries, CHUNK_LINES)):
        calls, bad, left_out = [], [], []
        for entry in chunk:
            seen.see(entry)
            if entry.call is not None:
                calls.append((file_id, entry.line, *entry.call, entry.raw))
            elif entry.bad is not None:
                bad.append((file_id, entry.line, entry.raw, entry.bad))
            else:
                left_out.append((file_id, entry.line, entry.raw, entry.left_out))
        copy_rows(connection, provider_lines, _CALL, calls)
        _copy_some(connection, provider_bad_lines, bad)
        _copy_some(connection, provider_skipped_lines, left_out)
        progress(opened.read_bytes)


def _copy_some(connection: Connection, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        copy_rows(connection, table, _OTHER, rows)


def _refuse_the_same(connection: Connection, file_id: int, others: list[int]) -> None:
    """A call that two files of the same time have would be paid twice."""
    if found := file_rows.same_lines(connection, file_id, others):
        raise FileRefusedError(
            f"provider file {found.file_id} has {found.lines:,} of the same calls, and their times overlap; nothing "
            f"was loaded. Withdraw that one first (pipeline provider withdraw {found.file_id}), or say of which "
            "month each is (--period)"
        )


def _end(connection: Connection, file_id: int, found: Loaded) -> None:
    sums = found.sums
    assert sums is not None
    connection.execute(
        update(provider_files)
        .where(provider_files.c.id == file_id)
        .values(
            lines=sums.lines,
            read_lines=sums.read,
            bad_lines=sums.bad,
            skipped_lines=sums.left_out,
            seconds=sums.seconds,
            money={currency: f"{amount:f}" for currency, amount in sums.money.items()},
            stated=found.stated.as_json(),
            first_at=sums.first_at,
            last_at=sums.last_at,
        )
    )
