"""Every dialler there is a batch of, as the beginning of a statement."""

from __future__ import annotations

from typing import Final

# The sources are hopped through by an index one by one, however many batches each has.
KNOWN_SOURCES: Final = """
WITH RECURSIVE known AS (
    (SELECT source FROM batches ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT source FROM batches WHERE source > known.source ORDER BY source LIMIT 1)
    FROM known WHERE known.source IS NOT NULL
)"""
"""``known`` has a row a source, and one of null behind them."""
