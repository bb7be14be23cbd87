"""The rows of level 3: each call that the dialler lists and that never came, by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from pipeline.calls.rules.cdr import key_in
from pipeline.completeness.received import MOST_ON_THE_WAY, not_read_yet
from pipeline.database.audit import record_action
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from pipeline.completeness.campaign_rows import DueContact
    from pipeline.completeness.readings import NotSettled
    from pipeline.dialler.rules.listed import ListedCall

STATES = ("found", "imported", "arrived late", "dismissed")


class NoSuchMissingCallError(PipelineError):
    """What is to be dismissed is not missing."""


class MissingCall(NamedTuple):
    """A call that the dialler lists and that never came, or came late."""

    source: str
    call_ref: str
    campaign_ref: str
    contact_ref: str
    dialed_at: datetime
    state: str
    found_at: datetime
    ended_at: datetime | None
    reason: str | None
    evidence: dict[str, Any]


def who_is_here(engine: Engine, cdr_list: NotSettled, source: str, refs: Sequence[str]) -> frozenset[str] | None:
    """Which of these references came, wherever they are: on the list, claimed, not read yet, set aside, or calls.

    None where too much is on its way to tell. It looks the way records move, so none is missed.
    """
    elements = cdr_list.not_settled(MOST_ON_THE_WAY)
    with engine.connect() as connection:
        unread = not_read_yet(connection, source)
        if elements is None or unread is None:
            return None
        coming = {key.call_ref for key in map(key_in, [*elements, *unread]) if key is not None}
        stored = connection.scalars(
            text(
                "SELECT call_ref FROM calls WHERE call_ref = ANY(cast(:refs AS text[])) AND source = :source UNION "
                "SELECT call_ref FROM failures WHERE call_ref = ANY(cast(:refs AS text[])) AND source = :source"
            ),
            {"refs": list(refs), "source": source},
        )
        return frozenset(stored) | (coming & set(refs))


def keep_missing(
    connection: Connection, source: str, contact: DueContact, calls: Sequence[ListedCall], now: datetime
) -> int:
    """Write missing calls of a contact down, with what the dialler said of each; returns how many are new."""
    rows = [
        {
            "source": source,
            "call_ref": call.call_ref,
            "campaign": contact.campaign_ref,
            "contact": contact.contact_ref,
            "dialed_at": call.dialed_at,
            "now": now,
            "evidence": json.dumps(call.raw),
        }
        for call in calls
    ]
    if not rows:
        return 0
    done = connection.execute(
        text(
            "INSERT INTO missing_calls (source, call_ref, campaign_ref, contact_ref, dialed_at, state, found_at, "
            "  evidence) VALUES (:source, :call_ref, :campaign, :contact, :dialed_at, 'found', :now, "
            "  cast(:evidence AS jsonb)) ON CONFLICT DO NOTHING"
        ),
        rows,
    )
    return max(0, done.rowcount)


def settle_missing(connection: Connection, source: str, now: datetime) -> int:
    """See which missing calls have come since, and how; returns how many."""
    done = connection.execute(
        text(
            "UPDATE missing_calls AS m SET ended_at = :now, state = CASE "
            "  WHEN m.pulled_at IS NULL AND EXISTS (SELECT FROM import_chunks AS i WHERE i.batch_id = c.id >> 16) "
            "  THEN 'imported' ELSE 'arrived late' END "
            "FROM calls AS c WHERE m.source = :source "
            "AND (m.state = 'found' OR (m.state = 'imported' AND m.pulled_at IS NOT NULL AND c.record_kind IS NULL)) "
            "AND c.call_ref = m.call_ref AND c.source = m.source"
        ),
        {"source": source, "now": now},
    )
    return done.rowcount


def keep_answered(connection: Connection, source: str, calls: Sequence[ListedCall], now: datetime) -> None:
    """Keep the dialler's own seconds from picking up to the end, of calls that are here."""
    known = [call for call in calls if call.ended and call.answered_seconds is not None]
    if known:
        connection.execute(
            text(
                "INSERT INTO answered_seconds (call_id, seconds, read_at) SELECT calls.id, seconds, :now "
                "FROM unnest(cast(:refs AS text[]), cast(:seconds AS integer[])) AS read (ref, seconds) "
                "JOIN calls ON calls.call_ref = ref AND calls.source = :source "
                "ON CONFLICT (call_id) DO UPDATE SET seconds = excluded.seconds, read_at = excluded.read_at "
                "WHERE answered_seconds.seconds <> excluded.seconds"
            ),
            {
                "source": source,
                "now": now,
                "refs": [call.call_ref for call in known],
                "seconds": [call.answered_seconds for call in known],
            },
        )


_COLUMNS = ", ".join(MissingCall._fields)


def list_missing(
    connection: Connection,
    *,
    state: str | None = "found",
    campaign: str | None = None,
    source: str | None = None,
    limit: int | None = None,
) -> list[MissingCall]:
    """Missing calls, by dialler and when they were dialled."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM missing_calls WHERE (cast(:state AS text) IS NULL OR state = :state) "
            "AND (cast(:campaign AS text) IS NULL OR campaign_ref = :campaign) "
            "AND (cast(:source AS text) IS NULL OR source = :source) ORDER BY source, dialed_at, call_ref LIMIT :limit"
        ),
        {"state": state, "campaign": campaign, "source": source, "limit": limit},
    )
    return [MissingCall(*row) for row in rows]


def dismiss(connection: Connection, source: str, call_ref: str, *, who: str, reason: str) -> None:
    """Say that a call is not missing after all.

    Raises:
        NoSuchMissingCallError: it is none that is.
    """
    done = connection.execute(
        text(
            "UPDATE missing_calls SET state = 'dismissed', ended_at = now(), reason = :reason "
            "WHERE source = :source AND call_ref = :call_ref AND state = 'found'"
        ),
        {"source": source, "call_ref": call_ref, "reason": reason},
    )
    if not done.rowcount:
        raise NoSuchMissingCallError(f"no call {call_ref} of {source} is missing")
    detail = {"source": source, "call_ref": call_ref, "reason": reason}
    record_action(connection, who, "missing call dismissed", detail)
