"""What somebody did, and when: to records, or to what concerns no single record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection


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
    action_id = connection.scalar(
        text(
            "INSERT INTO actions (who, action, record_id, detail) "
            "VALUES (:who, :action, :record_id, cast(:detail AS jsonb)) RETURNING id"
        ),
        {
            "who": who,
            "action": action,
            "record_id": record_id,
            "detail": None if detail is None else json.dumps(detail),
        },
    )
    assert action_id is not None
    return int(action_id)


def record_actions(
    connection: Connection, who: str, action: str, record_ids: Sequence[int], detail: str | None = None
) -> None:
    """Write down what somebody did about records."""
    connection.execute(
        text(
            "INSERT INTO actions (who, action, record_id, detail) "
            "SELECT :who, :action, record_id, CASE WHEN cast(:detail AS text) IS NOT NULL "
            "  THEN jsonb_build_object('reason', cast(:detail AS text)) END "
            "FROM unnest(cast(:record_ids AS bigint[])) AS chosen (record_id)"
        ),
        {"who": who, "action": action, "record_ids": list(record_ids), "detail": detail},
    )
