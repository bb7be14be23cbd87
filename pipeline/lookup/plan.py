"""Which index a search of calls walks, and which others beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, and_, any_, func, select, union_all

from pipeline.batches.sources import known_sources
from pipeline.calls.rules.disposition import COMMON, Disposition, not_billed
from pipeline.database.narrowing import word
from pipeline.database.tables import calls, dispositions, recordings
from pipeline.lookup.asked import NAMED, OF_THE_CALL, ON_ITS_WAY, SPAN, beside
from pipeline.lookup.rules.call_filter import NARROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Select

    from pipeline.lookup.rules.call_filter import CallFilter, Wall

FEW: Final = 10_000
"""So many recordings under way are begun with, rather than looked for among all calls."""
NARROW_CALLS: Final = 2_000
"""An agent, a campaign or a dialler of fewer calls may be begun with although something seldom is asked for."""
FAR_NARROWER: Final = 20
"""How many times as many the seldom ones are then: looking at a call costs so many entries of an index."""

_MISSING: Final = frozenset({"absent", "expired", "failed"})
_UNDER_WAY: Final = frozenset({"scheduled", "downloading"})
_NOT_BILLED: Final = {not_billed(each): each.value for each in Disposition}


class Arm(NamedTuple):
    """Calls in the order in which they were dialled, by one index."""

    which: ColumnElement[bool]
    at: tuple[ColumnElement[Any], ColumnElement[Any]] = (calls.c.dialed_at, calls.c.id)
    """When each was dialled, and its key, as the index that is walked has them: of calls, or of another table."""

    @property
    def is_of_calls(self) -> bool:
        """Whether the call itself is read on the way."""
        return self.at[1].table is calls


Arms = list[Arm]
"""Each an index that is walked; together they are all that can match."""


class _Own(NamedTuple):
    """What calls themselves have an index of."""

    names: tuple[str, ...]
    """The fields that it is all of."""
    arms: Arms
    is_wide: bool = False
    """Whether most of the others are of it, as a rule: then it is not worth a walk beside theirs."""


class _Seldom(NamedTuple):
    """What few calls have."""

    arms: Arms
    left: CallFilter
    """What has to be looked at all the same."""


class Plan(NamedTuple):
    """How a search goes."""

    arms: Arms
    crossed: Arms
    """Where these have no call that was dialled at the same instant, one is not looked at; none: all are."""
    span: Mapping[str, datetime]
    """From when to when."""
    besides: Mapping[str, Any]
    """What else is asked for of the call itself, by the names of the conditions."""
    beside: CallFilter
    """What is asked for that stands in other tables, less what the walk itself sees to."""
    is_exact: bool
    """Whether all that is walked matches."""


def plan_of(connection: Connection, wanted: CallFilter, wall: Wall) -> Plan:
    """How to look for calls.

    Args:
        connection: the database, which is asked for the diallers and for whether few calls have something.
        wanted: which calls.
        wall: what the reader may see.
    """
    asked = {name: value for name, value in wanted._asdict().items() if value is not None and name in NAMED}
    span: dict[str, datetime] = {name: asked.pop(name) for name in SPAN if name in asked}
    if wall.campaigns is not None:
        asked["campaigns"] = sorted(wall.campaigns)
    if wall.sources is not None:
        asked["sources"] = sorted(wall.sources)
    arms, crossed, left = _arms(connection, asked, wanted, span)
    return Plan(arms, crossed, span, asked, left, is_exact=not asked and not list(beside(left, calls.c.id)))


def within(span: Mapping[str, datetime], dialed_at: ColumnElement[Any]) -> Iterator[ColumnElement[bool]]:
    """That a call was dialled within a time."""
    if "since" in span:
        yield dialed_at >= span["since"]
    if "until" in span:
        yield dialed_at < span["until"]


def _arms(
    connection: Connection, asked: dict[str, Any], wanted: CallFilter, span: Mapping[str, datetime]
) -> tuple[Arms, Arms, CallFilter]:
    """What is walked, what that is crossed with, and what is asked for beside; what is walked is taken out of both."""
    if NARROW & asked.keys():
        narrow = [OF_THE_CALL[name](asked.pop(name)) for name in sorted(NARROW & asked.keys())]
        return [Arm(and_(*narrow))], [], wanted
    if wanted.charged == "not_yet":
        return [Arm(_is_one_of(select(ON_ITS_WAY.subquery().c.id)))], [], wanted
    own = list(_own(connection, asked))
    if not all(each.arms for each in own):
        return [], [], wanted
    seldom = list(_seldom(wanted))
    if seldom and not (own and _is_far_narrower(connection, own[0].arms, seldom[0].arms, span)):
        others = [*(each.arms for each in seldom[1:]), *(each.arms for each in own)]
        return seldom[0].arms, others[0] if others else [], seldom[0].left
    if few := _under_way(connection, wanted):
        return few, [], wanted
    if not own:
        return [Arm(calls.c.source == each) for each in known_sources(connection)], [], wanted
    for name in own[0].names:
        asked.pop(name, None)
    is_crossed = len(own[0].arms) == 1 and len(own) > 1 and not own[1].is_wide
    return own[0].arms, own[1].arms if is_crossed else [], wanted


def _own(connection: Connection, asked: Mapping[str, Any]) -> Iterator[_Own]:
    """What calls have an index of, the narrowest first."""
    for name in ("agent", "campaign"):
        if name in asked:
            yield _Own((name,), [Arm(OF_THE_CALL[name](asked[name]))])
    if "campaigns" in asked and "campaign" not in asked:
        yield _Own(("campaigns",), [Arm(OF_THE_CALL["campaign"](each)) for each in asked["campaigns"]])
    if asked.get("direction") == "inbound":
        yield _Own(("direction",), [Arm(OF_THE_CALL["direction"]("inbound"))])
    if "source" in asked or "sources" in asked:
        sources = [asked["source"]] if "source" in asked else known_sources(connection)
        seen = asked.get("sources", sources)
        arms = [Arm(OF_THE_CALL["source"](each)) for each in sources if each in seen]
        yield _Own(("source", "sources"), arms, is_wide=True)


def _seldom(wanted: CallFilter) -> Iterator[_Seldom]:
    """What another table has an index of together: dispositions that few calls have, recordings that nobody has."""
    if words := {wanted.disposition, _NOT_BILLED.get(wanted.why_not or "")} - {None, *COMMON}:
        one, of = str(min(words, key=str)), dispositions.c
        # As a word of the statement, or the planner cannot see that the index (dispositions_seldom_dialed_idx) has it.
        arms = _beside_its_call(of.disposition == word(one), of.call_dialed_at)
        yield _Seldom(arms, wanted._replace(disposition=None) if one == wanted.disposition else wanted)
    if wanted.recording in _MISSING:  # recordings_missing_dialed_idx
        yield _Seldom(_beside_its_call(recordings.c.state == word(wanted.recording), recordings.c.dialed_at), wanted)


def _beside_its_call(which: ColumnElement[bool], dialed_at: Any) -> Arms:
    """By an index of another table, in which what code of a version before wrote may have no instant."""
    call_id = dialed_at.table.c.call_id
    late = Arm(_is_one_of(select(call_id).where(which, dialed_at.is_(None))))
    return [Arm(and_(which, dialed_at.is_not(None)), (dialed_at, call_id)), late]


def _is_far_narrower(connection: Connection, own: Arms, seldom: Arms, span: Mapping[str, datetime]) -> bool:
    """Whether it takes less to look at each of an agent's calls than to read of all seldom ones when they were."""
    few = union_all(*(select(_entries(arm, span, NARROW_CALLS).subquery()) for arm in own)).limit(NARROW_CALLS)
    many = connection.scalars(select(func.count()).select_from(few.subquery())).one()
    if many >= NARROW_CALLS:
        return False
    behind = _entries(seldom[0], span, many * FAR_NARROWER).subquery()
    return connection.scalars(select(func.count()).select_from(behind)).one() >= many * FAR_NARROWER


def _entries(arm: Arm, span: Mapping[str, datetime], most: int) -> Select[Any]:
    """Entries of an index alone, up to so many."""
    dialed_at = arm.at[0]
    return select(dialed_at).where(arm.which, *within(span, dialed_at)).order_by(dialed_at.desc()).limit(most)


def _under_way(connection: Connection, wanted: CallFilter) -> Arms:
    """Recordings that are not there yet, where they are few."""
    if wanted.recording not in _UNDER_WAY:
        return []
    state = select(recordings.c.call_id).where(recordings.c.state == wanted.recording)
    many = connection.scalars(select(func.count()).select_from(state.limit(FEW + 1).subquery())).one()
    return [Arm(_is_one_of(state))] if many <= FEW else []


def _is_one_of(ids: Select[tuple[int]]) -> ColumnElement[bool]:
    # An array is made first, whatever the planner thinks of it: it would rather walk all calls in order, and ask of
    # each whether it is one of the few.
    return calls.c.id == any_(func.array(ids.scalar_subquery(), type_=ARRAY(BigInteger)))
