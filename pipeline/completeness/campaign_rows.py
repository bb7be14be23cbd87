"""The rows of level 2: what the dialler says of its campaigns and contacts, and when to ask again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.dialler.rules.listed import ListedCampaign, ListedContact

EVERY: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=35)
RUNNING: Final = frozenset({"started", "stopping"})


class DueContact(NamedTuple):
    """A contact that the dialler has called more often than we know of."""

    contact_ref: str
    campaign_ref: str
    dial_attempts: int


def watched_from(connection: Connection, source: str, now: datetime) -> datetime:
    """From when on calls of a dialler are ours: what was dialled before its first record came is none of it."""
    found = connection.scalar(text("SELECT min(received_at) FROM batches WHERE source = :source"), {"source": source})
    return max(now - LONGEST, found or now)


def note_campaigns(connection: Connection, source: str, listed: Sequence[ListedCampaign], now: datetime) -> list[str]:
    """Note which campaigns there are; returns those to look at now: a running one each hour, a stopped one once."""
    connection.execute(
        text(
            "INSERT INTO campaign_looks (source, campaign_ref, status) "
            "SELECT :source, * FROM unnest(cast(:refs AS text[]), cast(:statuses AS text[])) "
            "ON CONFLICT (source, campaign_ref) DO UPDATE SET status = excluded.status, "
            "  due_at = CASE WHEN campaign_looks.status = ANY(cast(:running AS text[])) "
            "                 AND excluded.status <> ALL(cast(:running AS text[])) THEN cast(:now AS timestamptz) "
            "                WHEN excluded.status = ANY(cast(:running AS text[])) "
            "                THEN coalesce(campaign_looks.due_at, :now) ELSE campaign_looks.due_at END"
        ),
        {
            "source": source,
            "refs": [each.campaign_ref for each in listed],
            "statuses": [each.status for each in listed],
            "running": sorted(RUNNING),
            "now": now,
        },
    )
    due = text(
        "SELECT campaign_ref FROM campaign_looks WHERE source = :source AND campaign_ref = ANY(cast(:refs AS text[])) "
        "AND (due_at <= :now OR (looked_at IS NULL AND due_at IS NULL)) ORDER BY due_at NULLS FIRST, campaign_ref"
    )
    refs = [each.campaign_ref for each in listed]
    return list(connection.scalars(due, {"source": source, "refs": refs, "now": now}))


def looked(
    connection: Connection, source: str, campaign: str, *, now: datetime, says: str | None, attempts: int, known: int
) -> None:
    """A campaign was looked at: again in an hour while it runs, and soon when the answer said nothing."""
    connection.execute(
        text(
            "UPDATE campaign_looks SET looked_at = :now, says = :says, "
            "  attempts = CASE WHEN cast(:says AS text) IS NULL THEN :attempts ELSE attempts END, "
            "  known = CASE WHEN cast(:says AS text) IS NULL THEN :known ELSE known END, "
            "  due_at = CASE WHEN cast(:says AS text) IS NOT NULL THEN cast(:soon AS timestamptz) "
            "                WHEN status = ANY(cast(:running AS text[])) THEN :later END "
            "WHERE source = :source AND campaign_ref = :campaign"
        ),
        {
            "source": source,
            "campaign": campaign,
            "now": now,
            "says": says,
            "attempts": attempts,
            "known": known,
            "running": sorted(RUNNING),
            "soon": now + EVERY / 6,
            "later": now + EVERY,
        },
    )


def attempts_known(connection: Connection, source: str, campaign: str, since: datetime) -> dict[str, int]:
    """How many outbound calls of each contact of a campaign came, dialled since."""
    rows = connection.execute(
        text(
            "SELECT contact_ref, count(*) AS calls FROM calls WHERE source = :source AND campaign_ref = :campaign "
            "AND dialed_at >= :since AND contact_ref IS NOT NULL AND direction IS DISTINCT FROM 'inbound' GROUP BY 1"
        ),
        {"source": source, "campaign": campaign, "since": since},
    )
    return {row.contact_ref: row.calls for row in rows}


def note_contacts(
    connection: Connection, source: str, campaign: str, exceeding: Sequence[ListedContact], now: datetime
) -> None:
    """Note contacts that were called more often than we know of; those are asked about whose attempts rose since."""
    connection.execute(
        text(
            "INSERT INTO contact_looks (source, contact_ref, campaign_ref, dial_attempts, due_at) "
            "SELECT :source, contact_ref, :campaign, attempts, :now "
            "FROM unnest(cast(:refs AS text[]), cast(:attempts AS integer[])) AS found (contact_ref, attempts) "
            "ON CONFLICT (source, contact_ref) DO UPDATE SET dial_attempts = excluded.dial_attempts, "
            "  campaign_ref = excluded.campaign_ref, due_at = coalesce(contact_looks.due_at, excluded.due_at) "
            "WHERE contact_looks.dial_attempts < excluded.dial_attempts"
        ),
        {
            "source": source,
            "campaign": campaign,
            "refs": [each.contact_ref for each in exceeding],
            "attempts": [each.dial_attempts for each in exceeding],
            "now": now,
        },
    )


def due_contacts(connection: Connection, source: str, *, now: datetime, limit: int) -> list[DueContact]:
    """The contacts to ask about now, those that have waited longest first."""
    rows = connection.execute(
        text(
            "SELECT contact_ref, campaign_ref, dial_attempts FROM contact_looks "
            "WHERE source = :source AND due_at <= :now ORDER BY due_at, contact_ref LIMIT :limit"
        ),
        {"source": source, "now": now, "limit": limit},
    )
    return [DueContact(*row) for row in rows]


def contact_looked(
    connection: Connection, source: str, contacts: Collection[tuple[str, datetime | None, str | None]], now: datetime
) -> None:
    """Contacts were asked about: each with when to ask again (None: not until it is called again) and what was odd."""
    connection.execute(
        text(
            "UPDATE contact_looks SET due_at = again, says = odd, looked_at = :now "
            "FROM unnest(cast(:refs AS text[]), cast(:again AS timestamptz[]), cast(:says AS text[])) "
            "  AS asked (ref, again, odd) WHERE source = :source AND contact_ref = ref"
        ),
        {
            "source": source,
            "now": now,
            "refs": [each[0] for each in contacts],
            "again": [each[1] for each in contacts],
            "says": [each[2] for each in contacts],
        },
    )
