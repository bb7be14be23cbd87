"""What few calls have at once, such as an agent's calls whose recording is absent.

Each of two indexes has when its calls were dialled. Both are walked over the same time, which reads no call, and only
where both have the same instant is a call looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ARRAY, BigInteger, any_, cast, func, literal, or_, select, union_all

from pipeline.database.tables import calls
from pipeline.lookup.asked import LOOKED_AT
from pipeline.lookup.order import behind
from pipeline.lookup.plan import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import CTE, ColumnElement

    from pipeline.lookup.plan import Arms, Plan
    from pipeline.lookup.rules.call_filter import Cursor

CROSSED: Final = 15
"""So many entries of another index are read, for each call that need not be looked at then; of more, each is."""

_BEFORE_ALL: Final = 1
"""Lower than the key of any call: a place before all calls of an instant. Its other end is behind all of them."""
_BEHIND_ALL: Final = 2**63 - 1


def met(others: Arms, walked: CTE) -> CTE:
    """Those of the calls walked by at whose instants others have some, too; all, where these have too many.

    By a full join, although what the others have alone is not wanted: the planner can do it in one pass over both sides
    only. It guesses that the others are few, and would go through them for each call.
    """
    instants = _others(others, walked)
    too_many = select(func.count()).select_from(instants).scalar_subquery() > _most(walked)
    other = select(instants.c.dialed_at).where(~too_many).distinct().subquery()
    both = walked.join(other, other.c.dialed_at == walked.c.dialed_at, full=True)
    # Not IS NOT NULL, by which the planner would see that one side is enough.
    is_walked, meets = func.coalesce(walked.c.id, 0) != 0, or_(other.c.dialed_at.is_not(None), too_many)
    kept = select(walked.c.id, walked.c.dialed_at).select_from(both).where(is_walked, meets)
    return kept.cte("met").prefix_with("MATERIALIZED")


def _most(walked: CTE) -> Any:
    return select(func.count() * CROSSED).select_from(walked).scalar_subquery()


def _others(arms: Arms, walked: CTE) -> CTE:
    """When another index has calls, between the first and the last that are walked by: one more than the most."""
    first, last = (select(each(walked.c.dialed_at)).scalar_subquery() for each in (func.min, func.max))
    enough = cast(_most(walked), BigInteger) + 1
    sides = []
    for arm in arms:
        dialed_at = arm.at[0]
        side = select(dialed_at.label("dialed_at")).where(arm.which, dialed_at.between(first, last))
        sides.append(side.order_by(dialed_at).limit(enough))
    together = union_all(*(select(side.subquery()) for side in sides)).subquery()
    return select(together).limit(enough).cte("instants").prefix_with("MATERIALIZED")


def instants_of(plan: Plan, place: Cursor | None, size: int, *, newer: bool) -> CTE:
    """When the next calls of a walk were dialled, by an index without keys; the key is the instant's end."""
    [arm] = plan.arms
    dialed_at, end = arm.at[0], _BEHIND_ALL if newer else _BEFORE_ALL
    walked = select(literal(end, BigInteger).label("id"), dialed_at).where(arm.which, *within(plan.span, dialed_at))
    walked = walked.where(*_from_instant(place, dialed_at, newer=newer))
    ordered = walked.order_by(dialed_at if newer else dialed_at.desc()).limit(size)
    return ordered.cte("walked").prefix_with("MATERIALIZED")


def _from_instant(place: Cursor | None, dialed_at: ColumnElement[Any], *, newer: bool) -> Iterator[ColumnElement[bool]]:
    """From the instant of a place on, which may have more calls; behind it, where the place is its end."""
    if place is None:
        return
    if newer:
        yield dialed_at > place.dialed_at if place.call_id >= _BEHIND_ALL else dialed_at >= place.dialed_at
    else:
        yield dialed_at < place.dialed_at if place.call_id <= _BEFORE_ALL else dialed_at <= place.dialed_at


def at_instants(plan: Plan, place: Cursor | None, instants: CTE, *, newer: bool) -> CTE:
    """The calls of a walk at some of its instants: all of them, but for those before the place."""
    [arm] = plan.arms
    dialed_at = arm.at[0]
    # As an array, or the planner might read all that the index has.
    listed = func.array(select(instants.c.dialed_at.distinct()).scalar_subquery(), type_=ARRAY(dialed_at.type))
    found = select(*(calls.c[name] for name in LOOKED_AT)).where(arm.which, dialed_at == any_(listed))
    return found.where(*behind(place, arm.at, newer=newer)).cte("looked_at").prefix_with("MATERIALIZED")
