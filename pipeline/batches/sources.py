"""The diallers that records have come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection


def known_sources(connection: Connection) -> list[str]:
    """Every dialler that anything was received from; reads one index entry a source, however many batches there are."""
    rows = connection.execute(
        text(
            "WITH RECURSIVE sources AS ("
            "  (SELECT source FROM batches ORDER BY source LIMIT 1) "
            "  UNION ALL "
            "  SELECT (SELECT b.source FROM batches AS b WHERE b.source > s.source ORDER BY b.source LIMIT 1) "
            "  FROM sources AS s WHERE s.source IS NOT NULL) "
            "SELECT source FROM sources WHERE source IS NOT NULL"
        )
    )
    return list(rows.scalars())
