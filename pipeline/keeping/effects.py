"""What rules come to today: what they would have deleted, what is past its maximum, what is within its minimum.

What is deleted is counted. Of calls there may be hundreds of millions: what the planner expects to find is told
instead where counting would read too much.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import and_, func, not_, or_, select, true

from pipeline.database.narrowing import narrow
from pipeline.database.tables import access_log, calls
from pipeline.keeping.policies import ages_by
from pipeline.keeping.rules.policy import Kind, Scope, cells
from pipeline.recordings.retention_rows import count_due

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from pipeline.database.narrowing import Conditions
    from pipeline.keeping.rules.policy import Applied, Cell, Rule

COUNTED_UP_TO: Final = 100_000
"""Where the planner expects more of a dialler and campaign, its word is taken."""


class Many(NamedTuple):
    """A number of things."""

    number: int
    estimated: bool = False

    def __str__(self) -> str:
        """As people read it.

        >>> str(Many(1200)), str(Many(5_000_000, estimated=True))
        ('1,200', 'about 5,000,000')
        """
        return f"about {self.number:,}" if self.estimated else f"{self.number:,}"


class Effect(NamedTuple):
    """One figure."""

    what: str
    many: Many


def effects(
    connection: Connection, kind: Kind, rules: Mapping[Scope, Rule], *, recordings_default: int | None
) -> list[Effect]:
    """What the rules of a kind come to at this moment.

    Args:
        connection: the database.
        kind: of what.
        rules: as they stand, or would.
        recordings_default: the maximum in days that recordings have where no rule says one.
    """
    if kind is Kind.RECORDINGS:
        files, size = count_due(connection, ages_by(rules, default_days=recordings_default))
        return [Effect("files due for deletion", Many(files)), Effect("bytes due for deletion", Many(size))]
    if kind is Kind.ACCESS_LOG:
        return [Effect("entries due for deletion", _entries_due(connection, rules))]
    found = cells(rules)
    return [
        Effect("calls past their maximum", _calls(connection, found, _past_maximum)),
        Effect("calls within their minimum", _calls(connection, found, _within_minimum)),
    ]


def _entries_due(connection: Connection, rules: Mapping[Scope, Rule]) -> Many:
    days = cells(rules)[-1].applied.days
    if days is None:
        return Many(0)
    due = access_log.c.at < _ago(days)
    return Many(connection.scalars(select(func.count()).select_from(access_log).where(due)).one())


def _past_maximum(found: Applied) -> ColumnElement[bool] | None:
    return None if found.days is None else calls.c.dialed_at < _ago(found.days)


def _within_minimum(found: Applied) -> ColumnElement[bool] | None:
    return None if found.least.days is None else calls.c.dialed_at >= _ago(found.least.days)


def _ago(days: int) -> ColumnElement[Any]:
    return func.now() - func.make_interval(0, 0, 0, days)


def _calls(
    connection: Connection, found: Sequence[Cell], wanted: Callable[[Applied], ColumnElement[bool] | None]
) -> Many:
    """How many calls are so, cell by cell; of those that a call is in, the first counts."""
    number, estimated = 0, False
    for nth, cell in enumerate(found):
        condition = wanted(cell.applied)
        if condition is None:
            continue
        narrower = [_in(each.scope) for each in found[:nth]]
        query = select(calls.c.id).where(condition, _in(cell.scope), *([not_(or_(*narrower))] if narrower else []))
        expected = _expected(connection, query)
        if expected <= COUNTED_UP_TO:
            expected = connection.scalars(query.with_only_columns(func.count())).one()
        else:
            estimated = True
        number += expected
    return Many(number, estimated)


_CONDITIONS: Final[Conditions] = {
    "source": lambda value: calls.c.source == value,
    "campaign_ref": lambda value: calls.c.campaign_ref == value,
}


def _in(scope: Scope) -> ColumnElement[bool]:
    named = {name: value or None for name, value in scope._asdict().items()}
    return and_(true(), *narrow(named, _CONDITIONS))


def _expected(connection: Connection, query: Select[Any]) -> int:
    """How many rows the planner expects of a query."""
    compiled = query.compile(dialect=connection.dialect)
    # SQL: SQLAlchemy has no EXPLAIN.
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params).scalar_one()
    plan = json.loads(found) if isinstance(found, str) else found
    return int(plan[0]["Plan"]["Plan Rows"])
