"""Failures as an operator looks for them: by filter, by page, one with all that is known of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, case, func, select

from pipeline.database.narrowing import among, narrow
from pipeline.database.tables import actions, batches, calls, edits, inbox, revisions
from pipeline.failures.both import DELIVERY, FAILED
from pipeline.feed.refusals import read_delivery
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.database.narrowing import Conditions
    from pipeline.feed.refusals import Delivery


class FailureFilter(NamedTuple):
    """What to look for; a field that is None does not narrow the search.

    Attributes:
        failure_class: ``data``, ``conflict``, ``reference``, ``bug`` or ``delivery``.
        step: the step that failed.
        states: e.g. ``("open",)``.
        source: the dialler.
        call_ref: of the call.
        campaign_ref: of the campaign.
        about: the field or the kind of error; empty for those that name none.
        problem: what is wrong, as ``failure_stats`` counts by it.
        subscriber: who refused an event.
        contains: found anywhere in the reason, case-insensitively.
        since: failed last at this instant or later.
        until: failed last before this instant.
        ids: these failures only.
        up_to: of no greater id, which leaves out what failed for the first time later.
    """

    failure_class: str | None = None
    step: str | None = None
    states: tuple[str, ...] | None = ("open", "retrying")
    source: str | None = None
    call_ref: str | None = None
    campaign_ref: str | None = None
    contains: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] | None = None
    up_to: int | None = None
    about: str | None = None
    problem: str | None = None
    subscriber: str | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Only what narrows is in them, so that the indexes are used."""
        return narrow(self._asdict(), _CONDITIONS)


ABOUT = func.coalesce(FAILED.c.field, FAILED.c.error_type, FAILED.c.subscriber, "")
"""The field or the kind of error; of a refused event the subscriber."""

_REASON = FAILED.c.reason


def _until(text_: Any, *marks: str) -> Any:
    for mark in marks:
        text_ = func.split_part(text_, mark, 1)
    return text_


# Texts are split, not matched: a hundred thousand reasons are looked at while a page waits, and a pattern takes ten
# times as long.
PROBLEM = case(
    (FAILED.c.failure_class == "data", _until(_REASON, ", got ", " at character ", ": byte 0x")),
    (FAILED.c.failure_class == "conflict", "already stored with other content"),
    (FAILED.c.failure_class == DELIVERY, func.concat(FAILED.c.subscriber, ": ", _REASON)),
    (_REASON.startswith("no tariff for "), "no tariff"),
    (
        _REASON.startswith("no rate for "),
        func.concat("no rate in tariff ", _until(func.split_part(_REASON, " in tariff ", -1), ": load ")),
    ),
    else_=_until(_REASON, *"'0123456789"),
)
"""The reason without what is of the one record: its value, its number, its time."""

_CONDITIONS: Conditions = {
    "failure_class": lambda value: FAILED.c.failure_class == value,
    "step": lambda value: FAILED.c.step == value,
    "states": lambda values: among(FAILED.c.state, values),
    "source": lambda value: FAILED.c.source == value,
    "call_ref": lambda value: FAILED.c.call_ref == value,
    "campaign_ref": lambda value: FAILED.c.campaign_ref == value,
    "contains": lambda value: FAILED.c.reason.icontains(value, autoescape=True),
    "since": lambda instant: FAILED.c.last_failed_at >= instant,
    "until": lambda instant: FAILED.c.last_failed_at < instant,
    "ids": lambda values: among(FAILED.c.id, values),
    "up_to": lambda value: FAILED.c.id <= value,
    "about": lambda value: value == ABOUT,
    "problem": lambda value: value == PROBLEM,
    "subscriber": lambda value: FAILED.c.subscriber == value,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure in a list; instants are aware.

    Attributes:
        record_id: the record it is about, or that its event is about; 0: it was refused longer ago than that is known.
        subscriber: who refused an event; None: it is a step's failure.
    """

    id: int
    record_id: int
    failure_class: str
    step: str
    state: str
    source: str
    call_ref: str | None
    campaign_ref: str | None
    field: str | None
    reason: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    retry_at: datetime | None
    subscriber: str | None

    @property
    def sentence(self) -> str:
        """Why it failed; of a refused event with who refused it."""
        return self.reason if self.subscriber is None else f"{self.subscriber}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """As scripts know it: the class is called ``class``, which is no name in Python."""
        return for_scripts(asdict(self))


def for_scripts(named: dict[str, Any]) -> dict[str, Any]:
    """A row's fields as scripts know them."""
    return {"class" if name == "failure_class" else name: value for name, value in named.items()}


@dataclass(frozen=True, slots=True)
class Action:
    """What a person did to a failure's record; the instant is aware."""

    at: datetime
    who: str
    action: str
    detail: dict[str, Any] | None
    """JSON, whatever the action had to say."""


@dataclass(frozen=True, slots=True)
class FailureDetail(Failure):
    """A failure with all that is known of it.

    Attributes:
        received_at: when its batch was; None: the batch is not there.
        raw: the record as received; None: it is not there.
        edited: the record as a person mended it last; None: nobody has.
        stored: of a conflict, the record that the call's stored version was made of.
        delivery: of a refused event, what it is and what was said to it.
        actions: what people did to the record, or about its delivery to that subscriber, in the order they did it.
    """

    error_type: str | None
    traceback: str | None
    received_at: datetime | None
    raw: bytes | None
    edited: bytes | None
    stored: bytes | None
    delivery: Delivery | None
    actions: tuple[Action, ...]


_LAST_ID = 2**63 - 1
"""No failure has a greater id, whatever is typed, and the server takes no greater one."""

LISTED = select(*(FAILED.c[each.name].label(each.name) for each in fields(Failure)))


def list_failures(connection: Connection, wanted: FailureFilter, *, limit: int, after: int = 0) -> list[Failure]:
    """A page of failures by id, from the one after ``after`` on."""
    rows = connection.execute(
        LISTED.where(*wanted.conditions(), FAILED.c.id > min(after, _LAST_ID)).order_by(FAILED.c.id).limit(limit)
    )
    return [Failure(*row) for row in rows]


def count_failures(connection: Connection, wanted: FailureFilter) -> int:
    """How many failures match."""
    return connection.scalars(select(func.count()).select_from(FAILED).where(*wanted.conditions())).one()


class FailureState(NamedTuple):
    """Where a failure is."""

    state: str
    attempts: int


def state_of_failure(connection: Connection, failure_id: int) -> FailureState | None:
    """Where a failure is, for whoever waits for it to move; None if there is none of this id."""
    row = connection.execute(select(FAILED.c.state, FAILED.c.attempts).where(FAILED.c.id == failure_id)).one_or_none()
    return None if row is None else FailureState(*row)


def read_failure(connection: Connection, failure_id: int) -> FailureDetail | None:
    """One failure with its traceback, its raw record as received and as edited, and who did what; None if unknown."""
    row = connection.execute(
        LISTED.add_columns(FAILED.c.error_type, FAILED.c.traceback).where(FAILED.c.id == min(failure_id, _LAST_ID))
    ).one_or_none()
    if row is None:
        return None
    return FailureDetail(
        **row._asdict(),
        received_at=connection.scalar(select(batches.c.received_at).where(batches.c.id == batch_of(row.record_id))),
        raw=_as_received(connection, row.record_id),
        edited=_as_edited(connection, row.record_id),
        stored=_stored_version(connection, row.source, row.call_ref) if row.failure_class == "conflict" else None,
        delivery=None if row.subscriber is None else read_delivery(connection, row.id),
        actions=_actions(connection, row.record_id, row.subscriber),
    )


def _actions(connection: Connection, record_id: int, subscriber: str | None) -> tuple[Action, ...]:
    """What was done to a record, or about its delivery to somebody."""
    of_whom = actions.c.detail["subscriber"].astext
    done = connection.execute(
        select(*(actions.c[each.name] for each in fields(Action)))
        .where(actions.c.record_id == record_id)
        .where(of_whom.is_(None) if subscriber is None else of_whom == subscriber)
        .order_by(actions.c.id)
    )
    return tuple(Action(*action) for action in done)


def _stored_version(connection: Connection, source: str, call_ref: str | None) -> bytes | None:
    """The record a conflict's call was last made of: as received, as edited, or as accepted over the one before."""
    record_id = connection.scalar(
        select(
            func.coalesce(
                select(revisions.c.record_id)
                .where(revisions.c.call_id == calls.c.id)
                .order_by(revisions.c.accepted_at.desc())
                .limit(1)
                .scalar_subquery(),
                calls.c.id,
            )
        ).where(calls.c.call_ref == call_ref, calls.c.source == source)
    )
    if record_id is None:
        return None
    edited = _as_edited(connection, record_id)
    return _as_received(connection, record_id) if edited is None else edited


def _as_received(connection: Connection, record_id: int) -> bytes | None:
    raw = connection.scalar(select(inbox.c.raw).where(inbox.c.record_id == record_id))
    return None if raw is None else bytes(raw)


def _as_edited(connection: Connection, record_id: int) -> bytes | None:
    raw = connection.scalar(
        select(edits.c.raw).where(edits.c.record_id == record_id).order_by(edits.c.revision.desc()).limit(1)
    )
    return None if raw is None else bytes(raw)
