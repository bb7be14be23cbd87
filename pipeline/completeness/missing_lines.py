"""Calls that a provider charges and that never came: lines of its files, until the call comes or somebody dismisses it.

Such a line has no reference of ours, so its call is known by its number and its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.database.audit import record_action
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

STATES: Final = ("found", "arrived late", "dismissed")
NEAR_SECONDS: Final = 30
"""A call to the number that was dialled so near, and came after the line was found, is the one."""


class NoSuchMissingLineError(PipelineError):
    """What is to be dismissed is not missing."""


class MissingLine(NamedTuple):
    """A line of a provider's file of which there is no call."""

    file_id: int
    line: int
    number: str
    """E.164."""
    dialed_at: datetime
    """By our clock."""
    seconds: int


class ListedLine(NamedTuple):
    """A call that only a provider's file has, or had."""

    id: int
    provider: str
    file_id: int
    line: int
    run_id: int
    number: str
    dialed_at: datetime
    seconds: int
    state: str
    found_at: datetime
    ended_at: datetime | None
    reason: str | None


_COLUMNS: Final = ", ".join(ListedLine._fields)


def keep_missing_lines(
    connection: Connection,
    provider: str,
    lines: Sequence[MissingLine],
    *,
    files: Sequence[int],
    run_id: int,
    now: datetime,
) -> int:
    """Write down what a comparison has found missing; lines of the same files that it found a call for have arrived.

    A line that a person dismissed stays so.

    Args:
        connection: the transaction of the comparison.
        provider: whose files these are.
        lines: those that are missing.
        files: the files of which these are all; none where there are more.
        run_id: the comparison.
        now: the present instant.

    Returns:
        How many are new.
    """
    values = {
        "files": [each.file_id for each in lines],
        "lines": [each.line for each in lines],
        "numbers": [each.number for each in lines],
        "dialed": [each.dialed_at for each in lines],
        "seconds": [each.seconds for each in lines],
    }
    unnest = (
        "unnest(cast(:files AS bigint[]), cast(:lines AS integer[]), cast(:numbers AS text[]), "
        "cast(:dialed AS timestamptz[]), cast(:seconds AS integer[])) "
        "AS read (file_id, line, number, dialed_at, seconds)"
    )
    connection.execute(
        text(
            "UPDATE missing_lines AS m SET state = 'arrived late', ended_at = :now, run_id = :run "
            "WHERE m.state = 'found' AND m.file_id = ANY(cast(:compared AS bigint[])) "
            f"AND NOT EXISTS (SELECT FROM {unnest} WHERE read.file_id = m.file_id AND read.line = m.line)"
        ),
        values | {"compared": list(files), "now": now, "run": run_id},
    )
    done = connection.scalars(
        text(
            "INSERT INTO missing_lines AS m "
            "  (provider, file_id, line, run_id, number, dialed_at, seconds, state, found_at) "
            f"SELECT :provider, file_id, line, :run, number, dialed_at, seconds, 'found', :now FROM {unnest} "
            "ON CONFLICT (file_id, line) DO UPDATE SET run_id = excluded.run_id, dialed_at = excluded.dialed_at, "
            "  state = 'found', ended_at = NULL WHERE m.state <> 'dismissed' "
            "RETURNING found_at = :now"
        ),
        values | {"provider": provider, "run": run_id, "now": now},
    )
    return sum(map(bool, done))


# SQL: the index of the ends of numbers, as a search walks it.
_SETTLE: Final = f"""
UPDATE missing_lines AS m SET ended_at = :now, state = 'arrived late'
WHERE m.state = 'found' AND EXISTS (
    SELECT FROM calls AS c
    WHERE left(reverse(c.client_number), 7) = left(reverse(m.number), 7) AND c.client_number = m.number
      AND c.dialed_at BETWEEN m.dialed_at - interval '{NEAR_SECONDS} seconds'
                          AND m.dialed_at + interval '{NEAR_SECONDS} seconds'
      AND c.normalized_at > m.found_at AND coalesce(c.direction, 'outbound') = 'outbound')
"""


def settle_missing_lines(connection: Connection, now: datetime) -> int:
    """See which of them have come since; returns how many."""
    return connection.execute(text(_SETTLE), {"now": now}).rowcount


def list_missing_lines(
    connection: Connection, *, state: str | None = "found", provider: str | None = None
) -> list[ListedLine]:
    """Lines that were found missing, by provider and when they were dialled."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM missing_lines WHERE (cast(:state AS text) IS NULL OR state = :state) "
            "AND (cast(:provider AS text) IS NULL OR provider = :provider) ORDER BY provider, dialed_at, id"
        ),
        {"state": state, "provider": provider},
    )
    return [ListedLine(*row) for row in rows]


class Billed(NamedTuple):
    """How many calls of a provider's files are missing."""

    provider: str
    lines: int
    since: datetime
    """When the first of them was dialled."""
    found_at: datetime


def open_lines(connection: Connection) -> list[Billed]:
    """What stands, a provider a row."""
    rows = connection.execute(
        text(
            "SELECT provider, count(*), min(dialed_at), min(found_at) FROM missing_lines WHERE state = 'found' "
            "GROUP BY provider ORDER BY provider"
        )
    )
    return [Billed(*row) for row in rows]


def dismiss_line(connection: Connection, line_id: int, *, who: str, reason: str) -> None:
    """Say that a line's call is not missing after all.

    Raises:
        NoSuchMissingLineError: it is none that is.
    """
    done = connection.execute(
        text(
            "UPDATE missing_lines SET state = 'dismissed', ended_at = now(), reason = :reason "
            "WHERE id = :id AND state = 'found'"
        ),
        {"id": line_id, "reason": reason},
    )
    if not done.rowcount:
        raise NoSuchMissingLineError(f"no line {line_id} is missing: `pipeline completeness lines` has those that are")
    record_action(connection, who, "missing line dismissed", {"missing_line": line_id, "reason": reason})
