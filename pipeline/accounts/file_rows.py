"""The rows of provider files: which there are, what is in them, and how one is withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, insert, literal, select, text, update

from pipeline.accounts import locks
from pipeline.database.audit import record_action
from pipeline.database.tables import (
    provider_bad_lines,
    provider_files,
    provider_lines,
    provider_mappings,
    provider_skipped_lines,
)
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection

    from pipeline.accounts.rules.mapping import Mapping

LOADED = "loaded"
WITHDRAWN = "withdrawn"


class UnknownFileError(PipelineError):
    """There is no such file."""

    def __init__(self, file_id: int) -> None:
        super().__init__(file_id)
        self.file_id = file_id

    def __str__(self) -> str:
        return f"there is no provider file {self.file_id}"


class InUseError(PipelineError):
    """A file cannot be withdrawn; the text says why."""


class ListedFile(NamedTuple):
    """A provider's file."""

    id: int
    provider: str
    name: str
    sha256: str
    mapping: int
    """The version of its mapping."""
    since: datetime | None
    until: datetime | None
    zone: str
    lines: int
    read_lines: int
    bad_lines: int
    skipped_lines: int
    seconds: int
    money: dict[str, str]
    stated: dict[str, Any] | None
    first_at: datetime | None
    last_at: datetime | None
    state: str
    loaded_at: datetime
    loaded_by: str


class ListedLine(NamedTuple):
    """A call of a file."""

    line: int
    number: str
    started_at: datetime
    seconds: int
    billed_seconds: int | None
    amount: Decimal
    currency: str
    rate: Decimal | None
    caller: str | None
    reference: str | None
    raw: str


class OtherLine(NamedTuple):
    """A line of a file that is no call, or cannot be read as one."""

    line: int
    reason: str
    raw: str


_LISTED = select(
    *(
        provider_mappings.c.version.label("mapping") if name == "mapping" else provider_files.c[name]
        for name in ListedFile._fields
    )
).join_from(provider_files, provider_mappings, provider_mappings.c.id == provider_files.c.mapping_id)


def list_files(connection: Connection, provider: str | None = None) -> list[ListedFile]:
    """All files, or those of one provider, as they were loaded."""
    query = _LISTED.order_by(provider_files.c.id)
    if provider is not None:
        query = query.where(provider_files.c.provider == provider)
    return [ListedFile(*row) for row in connection.execute(query)]


def find_file(connection: Connection, file_id: int) -> ListedFile:
    """A file.

    Raises:
        UnknownFileError: there is none.
    """
    row = connection.execute(_LISTED.where(provider_files.c.id == file_id)).one_or_none()
    if row is None:
        raise UnknownFileError(file_id)
    return ListedFile(*row)


def loaded_file(connection: Connection, provider: str, sha256: str) -> ListedFile | None:
    """The file of these bytes that is loaded; None: none is."""
    c = provider_files.c
    row = connection.execute(_LISTED.where(c.provider == provider, c.sha256 == sha256, c.state == LOADED)).one_or_none()
    return None if row is None else ListedFile(*row)


def lines_of(connection: Connection, file_id: int) -> Iterator[ListedLine]:
    """The calls of a file, in its order; fetched a part at a time."""
    columns = [provider_lines.c[name] for name in ListedLine._fields]
    query = select(*columns).where(provider_lines.c.file_id == file_id).order_by(provider_lines.c.line)
    for row in connection.execution_options(yield_per=2_000).execute(query):
        yield ListedLine(*row)


def other_lines_of(connection: Connection, file_id: int, *, bad: bool) -> Iterator[OtherLine]:
    """The lines of a file that are no calls, in its order; fetched a part at a time.

    Args:
        connection: the database.
        file_id: the file.
        bad: those that could not be read; else those that were left out.
    """
    table = provider_bad_lines if bad else provider_skipped_lines
    query = select(table.c.line, table.c.reason, table.c.raw).where(table.c.file_id == file_id).order_by(table.c.line)
    for row in connection.execution_options(yield_per=2_000).execute(query):
        yield OtherLine(*row)


def mapping_version(connection: Connection, provider: str, mapping: Mapping, who: str) -> tuple[int, int]:
    """The row of a mapping, made where it is new, and its version; the provider is held by `hold_provider`."""
    table = provider_mappings
    found = connection.execute(
        select(table.c.id, table.c.version).where(table.c.provider == provider, table.c.sha256 == mapping.sha256)
    ).one_or_none()
    if found is not None:
        return found.id, found.version
    newest = connection.scalar(select(func.coalesce(func.max(table.c.version), 0)).where(table.c.provider == provider))
    values = {"provider": provider, "version": int(newest or 0) + 1, "content": mapping.content}
    made = connection.execute(
        insert(table).values(**values, sha256=mapping.sha256, loaded_by=who).returning(table.c.id, table.c.version)
    ).one()
    return made.id, made.version


def hold_provider(connection: Connection, provider: str) -> bool:
    """Keep others from loading files of a provider until the transaction ends; False: somebody does just now."""
    key = func.hashtextextended(literal(f"provider files of {provider}"), 0)
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(key))))


class Overlap(NamedTuple):
    """Another file with the same calls in it."""

    file_id: int
    lines: int
    """How many."""


def overlapping_files(
    connection: Connection, provider: str, since: datetime, until: datetime, *, but: int | None = None
) -> list[int]:
    """The loaded files of a provider whose time overlaps with a span: what they are said to be of, else their calls'.

    Args:
        connection: the database.
        provider: the provider.
        since: the first instant of the span.
        until: the first behind it.
        but: a file that is left out.
    """
    c = provider_files.c
    begins = func.coalesce(c.since, c.first_at)
    ends = func.coalesce(c.until, c.last_at + text("interval '1 microsecond'"))
    query = select(c.id).where(c.provider == provider, c.state == LOADED, begins < until, ends > since).order_by(c.id)
    return list(connection.scalars(query if but is None else query.where(c.id != but)))


def same_lines(connection: Connection, file_id: int, others: list[int]) -> Overlap | None:
    """The first of some files that has calls of another in it: number, beginning, seconds and money are the same."""
    ours, theirs = provider_lines.alias(), provider_lines.alias()
    same = [ours.c[name] == theirs.c[name] for name in ("number", "started_at", "seconds", "amount", "currency")]
    for other in others:
        query = select(func.count()).select_from(ours).where(ours.c.file_id == file_id)
        found = connection.scalar(
            query.where(select(literal(1)).select_from(theirs).where(theirs.c.file_id == other, *same).exists())
        )
        if found:
            return Overlap(other, int(found))
    return None


def withdraw_file(connection: Connection, file_id: int, *, because: str, who: str) -> ListedFile:
    """Take a file out of the account; its rows stay, and the same bytes may be loaded again.

    Args:
        connection: of the transaction that does it.
        file_id: the file.
        because: why, for the record.
        who: does it.

    Raises:
        UnknownFileError: there is none.
        InUseError: it is withdrawn already, or a locked reconciliation was made with it.
    """
    connection.execute(select(provider_files.c.id).where(provider_files.c.id == file_id).with_for_update())
    found = find_file(connection, file_id)
    if found.state == WITHDRAWN:
        raise InUseError(f"provider file {file_id} is withdrawn already")
    run = locks.locking_run(connection, file_id)
    if run is not None:
        raise InUseError(
            f"provider file {file_id} is not withdrawn: reconciliation {run} was made with it and is locked; what a "
            "provider corrects later is a file of its own"
        )
    connection.execute(update(provider_files).where(provider_files.c.id == file_id).values(state=WITHDRAWN))
    detail = {"file": file_id, "provider": found.provider, "name": found.name, "reason": because}
    record_action(connection, who, "provider file withdrawn", detail)
    return found._replace(state=WITHDRAWN)
