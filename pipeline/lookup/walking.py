"""Which index a search of calls walks, and a slice of that walk as one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Text,
    and_,
    any_,
    func,
    literal,
    not_,
    null,
    select,
    true,
    tuple_,
    union,
    union_all,
)

from pipeline.batches.sources import known_sources
from pipeline.billing.rules.pricing import LineKind
from pipeline.billing.rules.sides import Side
from pipeline.calls.rules.disposition import COMMON, Disposition, not_billed
from pipeline.database.narrowing import among, narrow, word
from pipeline.database.tables import batches, calls, dispositions, failures, ledger, recordings, uncharged
from pipeline.lookup.rules.call_filter import NARROW, Cursor
from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import CTE, ColumnElement, Connection, Select

    from pipeline.database.narrowing import Conditions
    from pipeline.lookup.rules.call_filter import CallFilter, Wall

FEW: Final = 10_000
"""So many recordings under way are begun with, rather than looked for among all calls."""

_MISSING: Final = frozenset({"absent", "expired", "failed"})
_UNDER_WAY: Final = frozenset({"scheduled", "downloading"})

_BACKWARDS: Final = func.reverse(calls.c.client_number, type_=Text)
_END_OF_NUMBER: Final = func.left(_BACKWARDS, 7, type_=Text).collate("C")
"""As the index has it: its last seven digits, backwards."""
_KEPT: Final = 7


def _by_bytes(column: ColumnElement[str | None]) -> ColumnElement[Any]:
    """A text as its index has it: equal is equal by any collation."""
    return column.collate("C")


def _is_number(forms: Sequence[str]) -> ColumnElement[bool]:
    ends = sorted({form[::-1][:_KEPT] for form in forms})
    return and_(among(_END_OF_NUMBER, ends), among(calls.c.client_number, forms))


def _ends_with(digits: str) -> ColumnElement[bool]:
    begins = digits[::-1]
    end = begins[:_KEPT]
    behind = end[:-1] + chr(ord(end[-1]) + 1)
    return and_(end <= _END_OF_NUMBER, behind > _END_OF_NUMBER, _BACKWARDS.startswith(begins))


_OF_THE_CALL: Conditions = {
    "call_ref": lambda value: calls.c.call_ref == value,
    "contact_ref": lambda value: calls.c.contact_ref == value,
    "numbers": _is_number,
    "number_ends": _ends_with,
    "agent": lambda value: _by_bytes(calls.c.extension) == value,
    "campaign": lambda value: _by_bytes(calls.c.campaign_ref) == value,
    "direction": lambda value: calls.c.direction == (word(value) if value == "inbound" else value),
}
_SPAN: Final = ("since", "until")
_NAMED: Final = frozenset({*_OF_THE_CALL, *_SPAN, "dial_numbers", "source"})
"""The fields of a filter that are about the call itself."""

_ORDERED: Final = ("agent", "campaign")
"""What has an index of its calls in the order in which they were dialled; the first that is asked for is walked."""
_NOT_BILLED: Final = {not_billed(each): each.value for each in Disposition}


def _is_not_yet_charged(call_id: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(not_(_is_charged(call_id)), not_(_is_uncharged(call_id)))


def _is_charged(call_id: ColumnElement[int]) -> ColumnElement[bool]:
    taken_back = ledger.alias("taken_back")
    reversal = select(taken_back.c.call_id).where(
        taken_back.c.call_id == ledger.c.call_id,
        taken_back.c.side == ledger.c.side,
        taken_back.c.kind == LineKind.REVERSAL.value,
        taken_back.c.revision == ledger.c.revision,
    )
    charge = select(ledger.c.call_id).where(
        ledger.c.call_id == call_id,
        ledger.c.side == Side.CLIENT.value,
        ledger.c.kind == LineKind.CHARGE.value,
        not_(reversal.exists()),
    )
    return charge.exists()


def _is_uncharged(call_id: ColumnElement[int], *more: ColumnElement[bool]) -> ColumnElement[bool]:
    of = uncharged.c
    return select(of.call_id).where(of.call_id == call_id, of.side == Side.CLIENT.value, *more).exists()


def _recording_is(call_id: ColumnElement[int], state: str) -> ColumnElement[bool]:
    of = recordings.c
    there = select(of.call_id).where(of.call_id == call_id)
    if state == "none":
        return not_(there.exists())
    if state == "deleted":
        return there.where(of.deleted_at.is_not(None)).exists()
    return there.where(of.state == state, of.deleted_at.is_(None)).exists()


def _beside(wanted: CallFilter, call_id: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    """What is asked for that stands in other tables, by the call's key there."""
    of = dispositions.c
    conditions: Conditions = {
        "disposition": lambda value: select(of.call_id).where(of.call_id == call_id, of.disposition == value).exists(),
        "recording": lambda value: _recording_is(call_id, value),
        "charged": lambda value: {
            "yes": _is_charged,
            "no": _is_uncharged,
            "not_yet": _is_not_yet_charged,
        }[value](call_id),
        "why_not": lambda value: _is_uncharged(call_id, uncharged.c.reason == value),
    }
    return narrow({name: getattr(wanted, name) for name in conditions}, conditions)


# Of calls that are neither charged nor found to cost nothing: their batch is on its way, or a record of it waits.
_ON_ITS_WAY: Final = union(
    select(calls.c.id)
    .join_from(batches, calls, calls.c.id.between(batches.c.id * PLACES, batches.c.id * PLACES + PLACES - 1))
    .where(batches.c.finished_at.is_(None)),
    select(failures.c.record_id).where(failures.c.state != "resolved"),
)


def _seldom_disposition(wanted: CallFilter) -> tuple[ColumnElement[bool], Any] | None:
    """Where the calls of a disposition are that an index has together (``dispositions_seldom_dialed_idx``)."""
    seldom = {wanted.disposition, _NOT_BILLED.get(wanted.why_not or "")} - {None, *COMMON}
    # As a word of the statement, or the planner cannot see that the index has it.
    of = dispositions.c
    return (of.disposition == word(str(min(seldom, key=str))), of.call_dialed_at) if seldom else None


def _missing_recording(wanted: CallFilter) -> tuple[ColumnElement[bool], Any] | None:
    """Likewise of a recording that nobody has (``recordings_missing_dialed_idx``)."""
    of = recordings.c
    return (of.state == word(wanted.recording), of.dialed_at) if wanted.recording in _MISSING else None


class Arm(NamedTuple):
    """Calls in the order in which they were dialled, by one index."""

    which: ColumnElement[bool]
    at: tuple[ColumnElement[Any], ColumnElement[Any]] = (calls.c.dialed_at, calls.c.id)
    """When each was dialled, and its key, as the index that is walked has them."""


class Plan(NamedTuple):
    """How a search goes."""

    arms: Sequence[Arm]
    """Each an index that is walked; together they are all that can match."""
    span: Mapping[str, datetime]
    """From when to when."""
    besides: Mapping[str, Any]
    """What else is asked for of the call itself, by the names of the conditions."""
    wanted: CallFilter
    is_exact: bool
    """Whether all that is walked matches."""


def plan_of(connection: Connection, wanted: CallFilter, wall: Wall) -> Plan:
    """How to look for calls.

    Args:
        connection: the database, which is asked for the diallers and for whether few calls have something.
        wanted: which calls.
        wall: what the reader may see.
    """
    asked = {name: value for name, value in wanted._asdict().items() if value is not None and name in _NAMED}
    span: dict[str, datetime] = {name: asked.pop(name) for name in _SPAN if name in asked}
    if wall.campaigns is not None:
        asked["campaigns"] = sorted(wall.campaigns)
    if wall.sources is not None:
        asked["sources"] = sorted(wall.sources)
    arms = _arms(connection, asked, wanted)
    beside = list(_beside(wanted, calls.c.id))
    return Plan(arms, span, asked, wanted, is_exact=not asked and not beside)


def _is_one_of(ids: Select[tuple[int]]) -> ColumnElement[bool]:
    # An array is made first, whatever the planner thinks of it: it would rather walk all calls in order, and ask of
    # each whether it is one of the few.
    return calls.c.id == any_(func.array(ids.scalar_subquery(), type_=ARRAY(BigInteger)))


def _arms(connection: Connection, asked: dict[str, Any], wanted: CallFilter) -> list[Arm]:
    """What is walked; it is taken out of what was asked for."""
    if NARROW & asked.keys():
        return [Arm(and_(*(_OF_THE_CALL[name](asked.pop(name)) for name in sorted(NARROW & asked.keys()))))]
    if wanted.charged == "not_yet":
        return [Arm(_is_one_of(select(_ON_ITS_WAY.subquery().c.id)))]
    if beside := _begun_with(connection, wanted):
        return beside
    for name in _ORDERED:
        if name in asked:
            return [Arm(_OF_THE_CALL[name](asked.pop(name)))]
    if "campaigns" in asked:
        return [Arm(_OF_THE_CALL["campaign"](each)) for each in asked.pop("campaigns")]
    if asked.get("direction") == "inbound":
        return [Arm(_OF_THE_CALL["direction"](asked.pop("direction")))]
    only = asked.pop("source", None)
    seen = asked.pop("sources", None)
    sources = known_sources(connection) if only is None else [only]
    return [Arm(calls.c.source == each) for each in sources if seen is None or each in seen]


def _begun_with(connection: Connection, wanted: CallFilter) -> list[Arm]:
    """What another table has an index of, where that is narrower than what the calls have one of."""
    for seldom in (_seldom_disposition(wanted), _missing_recording(wanted)):
        if seldom is not None and wanted.agent is None:  # an agent has fewer calls
            return list(_beside_its_call(*seldom))
    if wanted.recording in _UNDER_WAY:
        state = select(recordings.c.call_id).where(recordings.c.state == wanted.recording)
        if connection.scalars(select(func.count()).select_from(state.limit(FEW + 1).subquery())).one() <= FEW:
            return [Arm(_is_one_of(state))]
    return []


def _beside_its_call(which: ColumnElement[bool], dialed_at: Any) -> Iterator[Arm]:
    """By an index of another table, in which what code of a version before wrote may have no instant."""
    call_id = dialed_at.table.c.call_id
    yield Arm(and_(which, call_id == calls.c.id), (dialed_at, call_id))
    yield Arm(_is_one_of(select(call_id).where(which, dialed_at.is_(None))))


class Slice(NamedTuple):
    """What a piece of the walk came to."""

    found: list[Cursor]
    last: Cursor | None
    """The last call that was looked at; None: there are no more."""


def slice_of(connection: Connection, plan: Plan, place: Cursor | None, size: int, limit: int, *, newer: bool) -> Slice:
    """Look at the next calls of a walk.

    Args:
        connection: the database.
        plan: what is walked, and looked for.
        place: behind which call to begin; None: at the newest.
        size: the most calls to look at.
        limit: the most to find.
        newer: towards newer ones.
    """
    if not plan.arms:
        return Slice([], None)
    walked = _walked(plan, place, size, newer=newer)
    matching = (
        select(walked.c.id, walked.c.dialed_at, literal(0, BigInteger).label("looked_at"))
        .where(*_residual(plan, walked))
        .order_by(*_order(walked.c, newer=newer))
        .limit(limit)
        .subquery()
    )
    rows = connection.execute(union_all(select(matching), select(_end(walked, newer=newer)))).all()
    found = [Cursor(row.dialed_at, row.id) for row in rows if not row.looked_at]
    found.sort(reverse=not newer)
    return Slice(found, _went_on(rows, size))


def count_in_slice(connection: Connection, plan: Plan, place: Cursor | None, size: int) -> tuple[int, Cursor | None]:
    """How many of the next calls of a walk match, and the last that was looked at, as ``slice_of`` has it."""
    if not plan.arms:
        return 0, None
    walked = _walked(plan, place, size, newer=False)
    matching = select(func.count(), null(), literal(0, BigInteger).label("looked_at")).where(*_residual(plan, walked))
    rows = connection.execute(union_all(select(_end(walked, newer=False)), matching.select_from(walked))).all()
    return next(int(row.id) for row in rows if not row.looked_at), _went_on(rows, size)


def _went_on(rows: Sequence[Any], size: int) -> Cursor | None:
    return next((Cursor(row.dialed_at, row.id) for row in rows if row.looked_at >= size), None)


def _walked(plan: Plan, place: Cursor | None, size: int, *, newer: bool) -> CTE:
    arms = [_arm(plan, arm, place, size, newer=newer) for arm in plan.arms]
    if len(arms) == 1:
        return arms[0].cte("walked").prefix_with("MATERIALIZED")
    together = union_all(*(select(arm.subquery()) for arm in arms)).subquery()
    merged = select(together).order_by(*_order(together.c, newer=newer)).limit(size)
    return merged.cte("walked").prefix_with("MATERIALIZED")


_LOOKED_AT: Final = ("id", "dialed_at", "source", "campaign_ref", "extension", "dial_number", "direction")


def _arm(plan: Plan, arm: Arm, place: Cursor | None, size: int, *, newer: bool) -> Select[Any]:
    # Looking at more columns than the key costs nothing: the row is read anyway.
    dialed_at, call_id = arm.at
    walked = select(*(calls.c[name] for name in _LOOKED_AT)).where(arm.which)
    if "since" in plan.span:
        walked = walked.where(dialed_at >= plan.span["since"])
    if "until" in plan.span:
        walked = walked.where(dialed_at < plan.span["until"])
    if place is not None:
        key, here = tuple_(dialed_at, call_id), tuple_(place.dialed_at, place.call_id)
        walked = walked.where(key > here if newer else key < here)
    return walked.order_by(*_in_order(dialed_at, call_id, newer=newer)).limit(size)


def _residual(plan: Plan, walked: CTE) -> Iterator[ColumnElement[bool]]:
    yield true()
    of = walked.c
    conditions: Conditions = {
        "campaign": lambda value: of.campaign_ref == value,
        "campaigns": lambda values: among(of.campaign_ref, values),
        "source": lambda value: of.source == value,
        "sources": lambda values: among(of.source, values),
        "agent": lambda value: of.extension == value,
        "dial_numbers": lambda values: among(of.dial_number, values),
        "direction": lambda value: of.direction == value,
    }
    yield from narrow(plan.besides, conditions)
    yield from _beside(plan.wanted, of.id)


def _order(columns: Any, *, newer: bool) -> tuple[Any, Any]:
    return _in_order(columns.dialed_at, columns.id, newer=newer)


def _in_order(dialed_at: Any, call_id: Any, *, newer: bool) -> tuple[Any, Any]:
    return (dialed_at, call_id) if newer else (dialed_at.desc(), call_id.desc())


def _end(walked: CTE, *, newer: bool) -> Any:
    """The last call that was looked at, and how many were."""
    looked_at = select(func.count()).select_from(walked).scalar_subquery()
    last = select(walked.c.id, walked.c.dialed_at, looked_at.label("looked_at"))
    return last.order_by(*_order(walked.c, newer=not newer)).limit(1).subquery()
