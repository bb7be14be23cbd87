"""An action on many failures, a part at a time; whoever stops in the middle is followed by whoever goes on."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batches.set_aside import free_at_first
from pipeline.database.engine import NEVER_LONG_SECONDS, reading, wait_for_locks
from pipeline.failures.bulk_acts import accept_page, edit_page, to_be_locked
from pipeline.failures.bulk_rows import end, move_on, standing_bulk_actions, take_bulk_action
from pipeline.failures.listing import list_failures
from pipeline.failures.operator import CHUNK, discard_page, restore_page, retry_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.failures.bulk_rows import BulkAction

HELD_SECONDS = 0.1
"""Before it comes by again."""


class BulkResult(NamedTuple):
    """How one run ended."""

    ended: bool
    """Whether nothing is left to do: all was done, or somebody else does it."""
    done: int
    """To how many failures this run did it."""


def run_bulk(engine: Engine, bulk_id: int, *, seconds: float, region: str) -> BulkResult:
    """Go on with an action where the run before left it, until it is done or the time is up.

    Each part is one transaction that also says how far it came, so a run that dies repeats nothing. Where the next
    failure's batch is just being done it comes by again: waiting there would keep the part's other batches waiting.

    Args:
        engine: the database.
        bulk_id: the action, as ``ask_for`` returned it.
        seconds: how long this run may take, about; one part is done in any case.
        region: where national numbers belong.
    """
    deadline = time.monotonic() + seconds
    done = 0
    while True:
        with engine.begin() as connection:
            bulk = take_bulk_action(connection, bulk_id)
            if bulk is None:
                return BulkResult(ended=True, done=done)
            part = _do_part(connection, bulk, region=region)
            if part is None:
                end(connection, bulk_id)
                return BulkResult(ended=True, done=done)
            done += part.done
        if not part.looked_at:
            time.sleep(HELD_SECONDS)
        if time.monotonic() >= deadline:
            return BulkResult(ended=False, done=done)


class _Part(NamedTuple):
    looked_at: int
    done: int


def _do_part(connection: Connection, bulk: BulkAction, *, region: str) -> _Part | None:
    """Do it to the next failures, as far as nobody has their batches; None when there are no more."""
    page = list_failures(connection, bulk.wanted, limit=CHUNK, after=bulk.last_id)
    if not page:
        return None
    wait_for_locks(connection, NEVER_LONG_SECONDS)
    # A part is of records or of deliveries: those have no batch that somebody may have in hand.
    of_records = page[0].subscriber is None
    page = list(itertools.takewhile(lambda failure: (failure.subscriber is None) == of_records, page))
    if of_records and bulk.action not in {"discard", "restore"}:
        page = page[: free_at_first(connection, to_be_locked(connection, bulk.action, page))]
        if not page:
            return _Part(0, 0)
    match bulk.action:
        case "retry":
            done = retry_page(connection, page, who=bulk.who, reason=bulk.reason)
        case "discard":
            done = discard_page(connection, page, who=bulk.who, reason=bulk.reason)
        case "restore":
            done = restore_page(connection, page, who=bulk.who, reason=bulk.reason)
        case "accept":
            done = accept_page(connection, bulk, page)
        case "edit":
            done = edit_page(connection, bulk, page, region=region, now=datetime.now(tz=UTC))
    move_on(connection, bulk.id, looked_at=len(page), done=done, last_id=page[-1].id)
    return _Part(len(page), done)


def standing(engine: Engine, *, after_seconds: float) -> Sequence[int]:
    """The ids of bulk actions that nobody has moved for so long: their message was lost."""
    with reading(engine) as connection:
        return standing_bulk_actions(connection, after_seconds=after_seconds)
