"""What somebody did, and when: to records, or to what concerns no single record.

Nothing else writes ``actions``. What must stand or fall with another statement is made part of it by `telling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, BigInteger, func, insert, literal, null, select
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.database.tables import actions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Insert


def record_action(
    connection: Connection, who: str, action: str, detail: Mapping[str, Any] | None, *, record_id: int | None = None
) -> int:
    """Write down what somebody did; returns the row's id.

    Args:
        connection: of the transaction that does it.
        who: did it.
        action: what it is called.
        detail: what else is to be known of it.
        record_id: the record it was done to; None: it concerns no single one.
    """
    done = insert(actions).values(who=who, action=action, record_id=record_id, detail=_json(detail))
    return int(connection.scalars(done.returning(actions.c.id)).one())


def record_actions(
    connection: Connection,
    who: str,
    action: str,
    record_ids: Sequence[int | None],
    reason: str | None = None,
    **about: str,
) -> None:
    """Write down what somebody did about records, and why.

    Args:
        connection: of the transaction that does it.
        who: did it.
        action: what it is called.
        record_ids: the records; None: which one is not known any more.
        reason: why, if that was said.
        about: what else is to be known of it.
    """
    chosen = func.unnest(literal(list(record_ids), ARRAY(BigInteger))).column_valued("record_id")
    detail = about if reason is None else about | {"reason": reason}
    connection.execute(telling(who, action, chosen, _json(detail or None)))


def telling(who: str, action: str, record_id: ColumnElement[int], detail: ColumnElement[Any]) -> Insert:
    """The statement that writes down what somebody did to the records of another, most often a CTE that changes them.

    Args:
        who: did it.
        action: what it is called.
        record_id: the column of the records it was done to.
        detail: what else is to be known of each, as JSON.
    """
    return insert(actions).from_select(
        ["who", "action", "record_id", "detail"], select(literal(who), literal(action), record_id, detail)
    )


def _json(detail: Mapping[str, Any] | None) -> ColumnElement[Any]:
    return null() if detail is None else literal(dict(detail), JSONB)
