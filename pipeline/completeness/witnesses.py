"""Which of the dialler's other witnesses can be heard, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Heard(NamedTuple):
    """One level of one dialler."""

    source: str
    level: int
    state: str
    """``available``, ``not available``, ``unknown`` or ``off``."""
    says: str
    at: datetime


def note(connection: Connection, source: str, level: int, state: str, says: str, *, now: datetime) -> None:
    """Write down what a level can tell now."""
    connection.execute(
        text(
            "INSERT INTO witnesses (source, level, state, says, at) VALUES (:source, :level, :state, :says, :now) "
            "ON CONFLICT (source, level) DO UPDATE SET state = excluded.state, says = excluded.says, at = excluded.at"
        ),
        {"source": source, "level": level, "state": state, "says": says, "now": now},
    )


def heard(connection: Connection, source: str | None = None) -> list[Heard]:
    """Every level of one dialler or of all."""
    rows = connection.execute(
        text(
            "SELECT source, level, state, says, at FROM witnesses "
            "WHERE cast(:source AS text) IS NULL OR source = :source ORDER BY source, level"
        ),
        {"source": source},
    )
    return [Heard(*row) for row in rows]
