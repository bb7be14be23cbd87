"""What a person does about refused events: have them delivered again, give them up, take that back.

The rows are the feed's; that somebody did it is written down here, with the record that the event is about.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.database.audit import record_actions
from pipeline.feed import refusals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from pipeline.failures.listing import Failure
    from pipeline.feed.refusals import Acted


def apart(page: Sequence[Failure]) -> tuple[list[Failure], list[Failure]]:
    """Failures of records, and those of deliveries."""
    return (
        [failure for failure in page if failure.subscriber is None],
        [failure for failure in page if failure.subscriber is not None],
    )


def retry(connection: Connection, deliveries: Sequence[Failure], *, who: str, reason: str | None) -> int:
    """Have those that are open delivered again by the feed; returns how many, with those that go before them."""
    acted = refusals.release(connection, [each.id for each in deliveries])
    _record(connection, who, "retry", acted, reason)
    return len(acted)


def discard(connection: Connection, deliveries: Sequence[Failure], *, who: str, reason: str | None) -> int:
    """Give those up that are open; returns how many. What only waited behind them goes on."""
    acted = refusals.discard(connection, [each.id for each in deliveries])
    _record(connection, who, "discard", acted, reason)
    return len(acted)


def restore(connection: Connection, deliveries: Sequence[Failure], *, who: str, reason: str | None) -> int:
    """Open those again that are discarded; returns how many."""
    found = refusals.discarded(connection, [each.id for each in deliveries])
    # Who does it is written down first: the database looks for it.
    _record(connection, who, "restore", found.values(), reason)
    refusals.reopen(connection, list(found))
    return len(found)


def is_delivery(connection: Connection, failure_id: int) -> bool:
    """Whether a failure is of a delivery."""
    asked = text("SELECT EXISTS (SELECT FROM feed_refusals WHERE id = :id)")
    return bool(connection.scalar(asked, {"id": failure_id}))


def _record(connection: Connection, who: str, action: str, acted: Iterable[Acted], reason: str | None) -> None:
    of_whom: dict[str, list[int | None]] = defaultdict(list)
    for each in acted:
        of_whom[each.subscriber].append(each.record_id)
    for subscriber, record_ids in of_whom.items():
        record_actions(connection, who, action, record_ids, reason, subscriber=subscriber)
