"""The rows of ``keeping``: a rule for each kind, dialler and campaign that somebody set one for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import and_, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.tables import keeping
from pipeline.keeping.rules.policy import Kind, Rule, Scope

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection


class SetRule(NamedTuple):
    """A rule, and who set it."""

    kind: Kind
    scope: Scope
    rule: Rule
    set_at: datetime
    set_by: str
    because: str


def all_rules(connection: Connection) -> list[SetRule]:
    """Every rule, by kind, campaign and dialler."""
    of = keeping.c
    rows = connection.execute(select(keeping).order_by(of.kind, of.campaign_ref, of.source))
    return [
        SetRule(
            Kind(row.kind),
            Scope(row.source, row.campaign_ref),
            Rule(row.keep_at_least, row.keep_at_most, row.forever),
            row.set_at,
            row.set_by,
            row.because,
        )
        for row in rows
    ]


def rules_of(connection: Connection, kind: Kind) -> dict[Scope, Rule]:
    """The rules of one kind, by whose they are."""
    of = keeping.c
    rows = connection.execute(
        select(of.source, of.campaign_ref, of.keep_at_least, of.keep_at_most, of.forever).where(of.kind == kind.value)
    )
    return {Scope(row[0], row[1]): Rule(*row[2:]) for row in rows}


def lock_rules(connection: Connection) -> None:
    """Let nobody else change a rule until the end of the transaction: two might come to contradict each other.

    Who reads them goes on.
    """
    connection.execute(text("LOCK TABLE keeping IN SHARE ROW EXCLUSIVE MODE"))


def put_rule(connection: Connection, kind: Kind, scope: Scope, rule: Rule, *, who: str, because: str) -> None:
    """Write a rule, in the place of the one that is there.

    Args:
        connection: the caller's transaction.
        kind: of what.
        scope: whose.
        rule: all that it says.
        who: sets it.
        because: why.
    """
    said = {
        "keep_at_least": rule.at_least,
        "keep_at_most": rule.at_most,
        "forever": rule.forever,
        "set_by": who,
        "because": because,
    }
    row = insert(keeping).values(kind=kind.value, **scope._asdict(), **said)
    key = ["kind", "source", "campaign_ref"]
    connection.execute(row.on_conflict_do_update(index_elements=key, set_={**said, "set_at": func.now()}))


def remove_rule(connection: Connection, kind: Kind, scope: Scope) -> None:
    """Take a rule away."""
    connection.execute(delete(keeping).where(_this(kind, scope)))


def _this(kind: Kind, scope: Scope) -> ColumnElement[bool]:
    of = keeping.c
    return and_(of.kind == kind.value, of.source == scope.source, of.campaign_ref == scope.campaign_ref)
