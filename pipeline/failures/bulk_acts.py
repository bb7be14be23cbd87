"""What is done to a part of many failures whose batches are held: conflicts accepted, records edited alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.batches.progress import reopen_all
from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import Waiting, release
from pipeline.calls.rules.cdr import read_cdr
from pipeline.database.audit import record_actions
from pipeline.database.feed_log import tell
from pipeline.errors import DataError
from pipeline.failures.rules.change import CannotChangeError, Change, changed
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.failures.bulk_rows import Action, BulkAction
    from pipeline.failures.listing import Failure


def to_be_locked(connection: Connection, action: Action, page: Sequence[Failure]) -> list[Waiting]:
    """What has to be held for each of these failures: its own batch from its step on, or its call's from classify."""
    if action != "accept":
        return [Waiting(failure.id, failure.record_id, failure.step) for failure in page]
    calls = _calls_of(connection, [failure.id for failure in page])
    return [Waiting(failure.id, calls.get(failure.id, failure.record_id), Step.CLASSIFY.value) for failure in page]


def accept_page(connection: Connection, bulk: BulkAction, page: Sequence[Failure]) -> int:
    """Accept those of these conflicts that are open and that a worker has read; returns how many.

    By a function of the database, which looks whether somebody has asked for it.
    """
    calls = _calls_of(connection, [failure.id for failure in page])
    reopen_all(connection, {(batch_of(call_id), Step.CLASSIFY) for call_id in calls.values()})
    still_open = connection.execute(
        text(
            "SELECT f.id, f.record_id FROM failures AS f WHERE f.id = ANY(cast(:ids AS bigint[])) AND f.state = 'open' "
            "AND f.class = 'conflict' AND EXISTS (SELECT FROM conflicts WHERE conflicts.record_id = f.record_id) "
            "ORDER BY f.id FOR UPDATE"
        ),
        {"ids": list(calls)},
    )
    chosen = still_open.all()
    for failure_id, _ in chosen:
        connection.execute(
            text("SELECT accept_conflict_in_bulk(:bulk, :failure)"), {"bulk": bulk.id, "failure": failure_id}
        )
    tell(connection, "call.corrected", [(calls[failure_id], record_id) for failure_id, record_id in chosen])
    return len(chosen)


def edit_page(connection: Connection, bulk: BulkAction, page: Sequence[Failure], *, region: str, now: datetime) -> int:
    """Make a change to the records of those of these failures that it mends, and retry them; returns how many.

    What would be no good record either stays as it is. The bytes as received are kept.
    """
    assert bulk.change is not None
    good = [each for each in try_change(connection, page, bulk.change, region=region, now=now) if each.problem is None]
    still_open = set(
        connection.execute(
            text(
                "SELECT id FROM failures WHERE id = ANY(cast(:ids AS bigint[])) AND state = 'open' "
                "AND step = 'normalize' ORDER BY id FOR UPDATE"
            ),
            {"ids": [each.failure_id for each in good]},
        ).scalars()
    )
    good = [each for each in good if each.failure_id in still_open]
    for each in good:
        connection.execute(
            text("SELECT edit_in_bulk(:bulk, :failure, :raw)"),
            {"bulk": bulk.id, "failure": each.failure_id, "raw": each.after},
        )
    released = release(connection, [each.failure_id for each in good])
    why = "; ".join(filter(None, (bulk.change.sentence, bulk.reason)))
    record_actions(connection, bulk.who, "edit", [each.record_id for each in good], why)
    return released


class Tried(NamedTuple):
    """A record before and after a change."""

    failure_id: int
    record_id: int
    before: bytes
    after: bytes
    problem: str | None
    """Why it cannot be changed so, or is no good record then either; None when it is mended."""


def try_change(
    connection: Connection, page: Sequence[Failure], change: Change, *, region: str, now: datetime
) -> Iterator[Tried]:
    """What a change makes of the records of failures; writes nothing.

    Args:
        connection: the database.
        page: the failures.
        change: what is done to each.
        region: where national numbers belong.
        now: the present instant, aware.
    """
    raws = _raws_of(connection, [failure.record_id for failure in page])
    for failure in page:
        before = after = raws.get(failure.record_id, b"")
        problem = None
        try:
            after = changed(before, change)
            read_cdr(after, region=region, now=now)
        except (CannotChangeError, DataError) as error:
            problem = str(error)
        yield Tried(failure.id, failure.record_id, before, after, problem)


def _raws_of(connection: Connection, record_ids: Sequence[int]) -> dict[int, bytes]:
    """Records as they were last: edited, or as received."""
    rows = connection.execute(
        text(
            "SELECT i.record_id, coalesce(e.raw, i.raw) AS raw FROM inbox AS i LEFT JOIN LATERAL "
            "  (SELECT raw FROM edits WHERE edits.record_id = i.record_id ORDER BY revision DESC LIMIT 1) AS e ON true "
            "WHERE i.record_id = ANY(cast(:ids AS bigint[]))"
        ),
        {"ids": list(record_ids)},
    )
    return {row.record_id: bytes(row.raw) for row in rows}


def _calls_of(connection: Connection, failure_ids: Sequence[int]) -> dict[int, int]:
    """The call each conflict is about, by the failure's id."""
    rows = connection.execute(
        text(
            "SELECT f.id, c.id AS call_id FROM failures AS f "
            "JOIN calls AS c ON c.source = f.source AND c.call_ref = f.call_ref "
            "WHERE f.id = ANY(cast(:ids AS bigint[])) ORDER BY f.id"
        ),
        {"ids": list(failure_ids)},
    )
    return {row.id: row.call_id for row in rows}
