"""What somebody did that concerns no single record: the history of assignments and reratings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


def record_action(connection: Connection, who: str, action: str, detail: Mapping[str, Any]) -> int:
    """Write down what somebody did; returns the row's id."""
    action_id = connection.scalar(
        text("INSERT INTO actions (who, action, detail) VALUES (:who, :action, cast(:detail AS jsonb)) RETURNING id"),
        {"who": who, "action": action, "detail": json.dumps(detail)},
    )
    assert action_id is not None
    return int(action_id)
