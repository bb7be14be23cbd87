"""Findings of level 1: so many calls of a campaign were counted and never came."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.completeness.rules.counters import Reading, Standing

MISSING = "missing"
SECOND_CONSUMER = "second consumer"


class Finding(NamedTuple):
    """A difference that stood for long enough."""

    source: str
    campaign_ref: str
    kind: str
    calls: int
    since: datetime
    found_at: datetime
    ended_at: datetime | None
    evidence: dict[str, Any]


def keep_finding(
    connection: Connection,
    source: str,
    campaign: str,
    reading: Reading,
    stands: Standing | None,
    *,
    poppers: Callable[[], list[str]],
) -> bool:
    """Begin, renew or end the finding about a campaign; whether one stands then.

    Args:
        connection: the caller's transaction.
        source: the dialler.
        campaign: its campaign.
        reading: the last one.
        stands: what stands as of that.
        poppers: who takes from lists on the dialler's Redis, asked when somebody does.
    """
    values = {"source": source, "campaign": campaign, "at": reading.read_at}
    if stands is None:
        if reading.short:  # may be new, or what is left of what stands
            return False
        connection.execute(text(f"UPDATE findings SET ended_at = :at WHERE {_OPEN}"), values)
        return False
    evidence: dict[str, Any] = {"counted": reading.before, "received": reading.received, "ahead_at_least": reading.base}
    kind = MISSING
    if stands.pops:
        kind = SECOND_CONSUMER
        evidence |= {"taken_by_others": stands.pops, "connections": poppers()}
    values |= {"kind": kind, "calls": stands.calls, "since": stands.since, "evidence": json.dumps(evidence)}
    renewed = connection.execute(
        text(
            "UPDATE findings SET calls = :calls, "
            "  kind = CASE WHEN kind = 'second consumer' THEN kind ELSE :kind END, "
            "  evidence = CASE WHEN kind = 'second consumer' THEN evidence ELSE cast(:evidence AS jsonb) END "
            f"WHERE {_OPEN}"
        ),
        values,
    )
    if not renewed.rowcount:
        connection.execute(
            text(
                "INSERT INTO findings (source, campaign_ref, kind, calls, since, found_at, evidence) "
                "VALUES (:source, :campaign, :kind, :calls, :since, :at, cast(:evidence AS jsonb))"
            ),
            values,
        )
    return True


_OPEN = "source = :source AND campaign_ref = :campaign AND ended_at IS NULL"


def open_findings(connection: Connection, source: str | None = None) -> list[Finding]:
    """The findings that stand, of one dialler or of all."""
    rows = connection.execute(
        text(
            "SELECT source, campaign_ref, kind, calls, since, found_at, ended_at, evidence FROM findings "
            "WHERE ended_at IS NULL AND (cast(:source AS text) IS NULL OR source = :source) "
            "ORDER BY source, campaign_ref"
        ),
        {"source": source},
    )
    return [Finding(*row) for row in rows]
