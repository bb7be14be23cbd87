"""A slice of a search's walk, as one statement: the next entries of an index, and which of their calls match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, func, literal, null, select, true, union_all

from pipeline.database.tables import calls
from pipeline.lookup.asked import LOOKED_AT, beside, besides_of
from pipeline.lookup.crossing import at_instants, instants_of, met
from pipeline.lookup.order import behind, in_order
from pipeline.lookup.plan import within
from pipeline.lookup.rules.call_filter import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import CTE, ColumnElement, Connection, Select

    from pipeline.lookup.plan import Arm, Plan


class Slice(NamedTuple):
    """What a piece of the walk came to."""

    found: list[Cursor]
    last: Cursor | None
    """The last call that was walked by; None: there are no more."""


def slice_of(connection: Connection, plan: Plan, place: Cursor | None, size: int, limit: int, *, newer: bool) -> Slice:
    """Walk by the next calls.

    Args:
        connection: the database.
        plan: what is walked, and looked for.
        place: behind which call to begin; None: at the newest.
        size: the most calls to walk by.
        limit: the most to find.
        newer: towards newer ones.
    """
    if not plan.arms:
        return Slice([], None)
    walked = _walked(plan, place, size, newer=newer)
    looked_at = _looked_at(plan, place, walked, newer=newer)
    matching = (
        select(looked_at.c.id, looked_at.c.dialed_at, literal(0, BigInteger).label("walked_by"))
        .where(*_residual(plan, looked_at))
        .order_by(*_order(looked_at.c, newer=newer))
        .limit(limit)
        .subquery()
    )
    rows = connection.execute(union_all(select(matching), select(_end(walked, newer=newer)))).all()
    found = [Cursor(row.dialed_at, row.id) for row in rows if not row.walked_by]
    found.sort(reverse=not newer)
    return Slice(found, _went_on(rows, size))


def count_in_slice(connection: Connection, plan: Plan, place: Cursor | None, size: int) -> tuple[int, Cursor | None]:
    """How many of the next calls of a walk match, and the last that was walked by, as ``slice_of`` has it."""
    if not plan.arms:
        return 0, None
    walked = _walked(plan, place, size, newer=False)
    looked_at = _looked_at(plan, place, walked, newer=False)
    matching = select(func.count(), null(), literal(0, BigInteger).label("walked_by"))
    matching = matching.select_from(looked_at).where(*_residual(plan, looked_at))
    rows = connection.execute(union_all(select(_end(walked, newer=False)), matching)).all()
    return next(int(row.id) for row in rows if not row.walked_by), _went_on(rows, size)


def _went_on(rows: Sequence[Any], size: int) -> Cursor | None:
    return next((Cursor(row.dialed_at, row.id) for row in rows if row.walked_by >= size), None)


def _walked(plan: Plan, place: Cursor | None, size: int, *, newer: bool) -> CTE:
    """The next entries: keys, and of calls what is looked at, too."""
    if _goes_by_instants(plan):
        return instants_of(plan, place, size, newer=newer)
    entries = [_entries(plan, arm, place, size, newer=newer) for arm in plan.arms]
    if len(entries) == 1:
        return entries[0].cte("walked").prefix_with("MATERIALIZED")
    together = union_all(*(select(each.subquery()) for each in entries)).subquery()
    merged = select(together).order_by(*_order(together.c, newer=newer)).limit(size)
    return merged.cte("walked").prefix_with("MATERIALIZED")


def _entries(plan: Plan, arm: Arm, place: Cursor | None, size: int, *, newer: bool) -> Select[Any]:
    dialed_at, call_id = arm.at
    columns: list[ColumnElement[Any]] = [call_id.label("id"), dialed_at.label("dialed_at")]
    if _reads_calls(plan):  # looking at more than the key costs nothing then: the row is read anyway
        columns = [calls.c[name] for name in LOOKED_AT]
    walked = select(*columns).where(arm.which, *within(plan.span, dialed_at), *behind(place, arm.at, newer=newer))
    return walked.order_by(*in_order(dialed_at, call_id, newer=newer)).limit(size)


def _reads_calls(plan: Plan) -> bool:
    """Whether calls are read on the walk itself, if it has their keys at all."""
    return all(arm.is_of_calls for arm in plan.arms)


def _goes_by_instants(plan: Plan) -> bool:
    """Whether an index of calls is crossed with another: neither has their keys."""
    return bool(plan.crossed) and _reads_calls(plan)


def _looked_at(plan: Plan, place: Cursor | None, walked: CTE, *, newer: bool) -> CTE:
    """Those of the calls walked by that are looked at."""
    if _goes_by_instants(plan):
        return at_instants(plan, place, met(plan.crossed, walked), newer=newer)
    if _reads_calls(plan):
        return walked
    kept = met(plan.crossed, walked) if plan.crossed else walked
    if not plan.besides:
        return kept
    # LIMIT keeps it a look-up by key for each call; joined, all ranges might be read.
    call = select(*(calls.c[name] for name in LOOKED_AT)).where(calls.c.id == kept.c.id).limit(1).lateral("call")
    return select(call).join_from(kept, call, true()).cte("looked_at").prefix_with("MATERIALIZED")


def _residual(plan: Plan, looked_at: CTE) -> Iterator[ColumnElement[bool]]:
    yield true()
    yield from besides_of(plan.besides, looked_at.c)
    yield from beside(plan.beside, looked_at.c.id)


def _order(columns: Any, *, newer: bool) -> tuple[Any, Any]:
    return in_order(columns.dialed_at, columns.id, newer=newer)


def _end(walked: CTE, *, newer: bool) -> Any:
    """The last call that was walked by, and how many were."""
    many = select(func.count()).select_from(walked).scalar_subquery()
    last = select(walked.c.id, walked.c.dialed_at, many.label("walked_by"))
    return last.order_by(*_order(walked.c, newer=not newer)).limit(1).subquery()
