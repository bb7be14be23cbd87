"""Events that a subscriber's other side would not have the second time: they count for nothing but their replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.feed.refusals import CUT_OFF, names_of_calls, storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from pipeline.feed.refusals import Refused
    from pipeline.feed.rules.cursor import Replay
    from pipeline.feed.rules.event import Event


def write_refused(connection: Connection, replay: Replay, refused: Refused) -> None:
    """Write one down.

    Args:
        connection: the transaction that moves the replay's cursor behind it.
        replay: whose.
        refused: the event, and what was said, secrets masked.
    """
    event = refused.event
    connection.execute(
        text(
            "INSERT INTO replay_refusals "
            "  (replay_id, position, place, event_id, kind, source, call_ref, reason, answer) "
            "VALUES (:replay, :position, :place, :event_id, :kind, :source, :call_ref, :reason, :answer) "
            "ON CONFLICT DO NOTHING"
        ),
        {
            "replay": replay.id,
            "position": event.position,
            "place": event.place,
            "event_id": event.event_id,
            "kind": event.kind,
            "source": event.source,
            "call_ref": storable(event.call_ref),
            "reason": storable(refused.reason)[: CUT_OFF["reason"]],
            "answer": storable(refused.answer)[: CUT_OFF["answer"]],
        },
    )


def refused_calls(connection: Connection, replay: Replay, events: Sequence[Event]) -> set[tuple[str, str]]:
    """Of the calls of these events those of which an event was refused in this replay: dialler and reference."""
    found = connection.execute(
        text(
            "SELECT DISTINCT e.source, e.call_ref FROM replay_refusals AS r "
            "JOIN unnest(cast(:sources AS text[]), cast(:refs AS text[])) AS e (source, call_ref) "
            "  ON e.source = r.source AND e.call_ref = r.call_ref WHERE r.replay_id = :replay AND r.call_ref <> ''"
        ),
        {"replay": replay.id, **names_of_calls(events)},
    )
    return {(source, call_ref) for source, call_ref in found}
