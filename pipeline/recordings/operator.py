"""What a person decides about recordings: tried once more, held whatever their age, let go again."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Boolean, Text, exists, func, literal, not_, select, update

from pipeline.calls.rules.cdr import NAMELESS
from pipeline.database.audit import record_action, telling
from pipeline.database.narrowing import among, narrow
from pipeline.database.tables import calls, recordings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import CTE, ColumnElement, Connection

    from pipeline.database.narrowing import Conditions

ENDED_WITHOUT_FILE = ("absent", "expired", "failed")
"""The states an operator may have tried again."""


class Retried(NamedTuple):
    """What an operator's retry came to."""

    scheduled: int
    without_call_ref: int


def retry(
    connection: Connection,
    *,
    who: str,
    reason: str | None,
    states: Sequence[str] = ENDED_WITHOUT_FILE,
    call_ids: Sequence[int] | None = None,
    source: str | None = None,
    campaign: str | None = None,
    said: str | None = None,
) -> Retried:
    """Schedule recordings that ended without a file once more, as if for the first time.

    Args:
        connection: the database; all of it is one transaction.
        who: does it.
        reason: why, for the record.
        states: only those in one of these.
        call_ids: only these.
        source: only this dialler's.
        campaign: only of this campaign.
        said: only those whose reason contains this.
    """
    wanted = {"call_ids": call_ids, "source": source, "campaign": campaign, "said": said}
    chosen = _chosen(narrow({"states": states, **wanted}, _CONDITIONS))
    again = (
        update(recordings)
        .values(
            state="scheduled",
            due_at=func.now(),
            counts_from=func.now(),
            attempts=0,
            ended_at=None,
            released_at=None,
            releases=0,
            suspect=False,
            losses=0,
            reason="An operator had it tried again.",
        )
        .where(recordings.c.call_id == chosen.c.call_id, not_(chosen.c.nameless))
        .returning(recordings.c.call_id, chosen.c.state, chosen.c.reason, chosen.c.attempts)
        .cte("again")
    )
    told_of = {
        "was": again.c.state,
        "because": again.c.reason,
        "attempts": again.c.attempts,
        "reason": literal(reason, Text),
    }
    detail = func.jsonb_strip_nulls(func.jsonb_build_object(*chain.from_iterable(told_of.items())))
    told = telling(who, "recording retried", again.c.call_id, detail)
    counted = select(
        select(func.count()).select_from(again).scalar_subquery(),
        select(func.count()).select_from(chosen).where(chosen.c.nameless).scalar_subquery(),
    )
    return Retried(*connection.execute(counted.add_cte(told.cte("told"))).one())


_CONDITIONS: Conditions = {
    "states": lambda values: among(recordings.c.state, values),
    "call_ids": lambda values: among(recordings.c.call_id, values),
    "source": lambda value: recordings.c.source == value,
    "campaign": lambda value: exists().where(calls.c.id == recordings.c.call_id, calls.c.campaign_ref == value),
    "said": lambda value: func.strpos(recordings.c.reason, value) > 0,
}


def _chosen(conditions: Iterator[ColumnElement[bool]]) -> CTE:
    """Recordings to be tried again, locked, as they were; the nameless ones can not be asked for."""
    of = recordings.c
    nameless = func.starts_with(of.call_ref, NAMELESS, type_=Boolean).label("nameless")
    return (
        select(of.call_id, of.state, of.reason, of.attempts, nameless)
        # Of a number that was erased nothing is fetched again.
        .where(of.state.in_(ENDED_WITHOUT_FILE), of.deleted_at.is_(None), *conditions)
        .with_for_update()
        .cte("chosen")
        .prefix_with("MATERIALIZED")
    )


def hold(connection: Connection, call_id: int, *, who: str, reason: str | None) -> bool:
    """Keep a recording's file whatever its age; False when it was held already."""
    result = connection.execute(
        update(recordings)
        .values(held_at=func.now(), held_by=who)
        .where(recordings.c.call_id == call_id, recordings.c.held_at.is_(None))
    )
    if result.rowcount:
        _tell(connection, who, "recording held", call_id, reason)
    return bool(result.rowcount)


def end_hold(connection: Connection, call_id: int, *, who: str, reason: str | None) -> bool:
    """Let retention have a recording again; False when it was not held."""
    result = connection.execute(
        update(recordings)
        .values(held_at=None, held_by=None)
        .where(recordings.c.call_id == call_id, recordings.c.held_at.is_not(None))
    )
    if result.rowcount:
        _tell(connection, who, "recording hold released", call_id, reason)
    return bool(result.rowcount)


def _tell(connection: Connection, who: str, action: str, call_id: int, reason: str | None) -> None:
    record_action(connection, who, action, None if reason is None else {"reason": reason}, record_id=call_id)
