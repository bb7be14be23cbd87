"""What a dialler should have sent, and where that is: a line a campaign and level."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.completeness.findings import open_findings
from pipeline.completeness.missing_lines import open_lines
from pipeline.completeness.readings import lives, recent_readings
from pipeline.completeness.rules.counters import Sum, standing, sum_of
from pipeline.completeness.witnesses import heard

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.completeness.findings import Finding
    from pipeline.completeness.missing_lines import Billed
    from pipeline.completeness.witnesses import Heard

FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)
COUNTED: Final = "counted: a number without names"
HINTED: Final = "hinted: attempts a contact, raised without a call too"
NAMED: Final = "named: the dialler's own list of calls"


class Line(NamedTuple):
    """A campaign at a level."""

    source: str
    campaign_ref: str
    level: int
    sum: Sum
    sure: str
    """How sure it is."""


class Report(NamedTuple):
    """What can be told."""

    lines: list[Line]
    findings: list[Finding]
    witnesses: list[Heard]
    billed: list[Billed]
    """By provider, calls that its files have and that never came."""

    @property
    def missing(self) -> bool:
        """Whether something is."""
        return any(line.sum.missing for line in self.lines) or bool(self.billed)

    @property
    def known(self) -> bool:
        """Whether any witness could be heard."""
        return bool(self.lines) and any(each.state == "available" for each in self.witnesses)


def report(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    campaign: str | None = None,
    source: str | None = None,
) -> Report:
    """What was expected in a time, and where it is.

    Args:
        connection: the database.
        since: the time's beginning; None: since the campaign is watched.
        until: its end; None: now.
        campaign: one; None all.
        source: one dialler; None all.
    """
    lines = _counted(connection, since, until, campaign, source)
    if since is None and until is None:
        lines += _attempts(connection, campaign, source)
    lines += _named(connection, since, until, campaign, source)
    lines.sort(key=lambda line: line[:3])
    found = [each for each in open_findings(connection, source) if campaign in {None, each.campaign_ref}]
    # A provider's line names neither a dialler nor a campaign.
    billed = [] if campaign or source else open_lines(connection)
    return Report(lines, found, heard(connection, source), billed)


def _counted(
    connection: Connection, since: datetime | None, until: datetime | None, campaign: str | None, source: str | None
) -> list[Line]:
    sums: dict[tuple[str, str], Sum] = {}
    for life in lives(connection, since=since, until=until, campaign=campaign, source=source):
        recent = recent_readings(connection, life.source, life.campaign_ref, life.newest.read_at)
        stands = standing([*recent, life.newest])
        of = sum_of(life.first, life.last, life.newest, stands=0 if stands is None else stands.calls)
        key = (life.source, life.campaign_ref)
        sums[key] = sums.get(key, Sum()) + of
    return [Line(of, ref, 1, each, COUNTED) for (of, ref), each in sorted(sums.items())]


def _attempts(connection: Connection, campaign: str | None, source: str | None) -> list[Line]:
    """Level 2: what each campaign was last found to have attempted; whatever is not known of that is unknown."""
    rows = connection.execute(
        text(
            "SELECT source, campaign_ref, attempts, known FROM campaign_looks WHERE attempts IS NOT NULL "
            "AND (cast(:campaign AS text) IS NULL OR campaign_ref = :campaign) "
            "AND (cast(:source AS text) IS NULL OR source = :source)"
        ),
        {"campaign": campaign, "source": source},
    )
    return [
        Line(row.source, row.campaign_ref, 2, Sum(row.attempts, row.known, 0, 0, row.attempts - row.known), HINTED)
        for row in rows
    ]


_NAMED: Final = """
WITH named AS (
    SELECT source, campaign_ref, count(*) FILTER (WHERE state = 'found') AS missing,
           count(*) FILTER (WHERE state IN ('arrived late', 'imported')) AS late
    FROM missing_calls WHERE state <> 'dismissed' AND dialed_at >= :since AND dialed_at < :until GROUP BY 1, 2),
asked AS (
    SELECT source, campaign_ref, count(*) FILTER (WHERE says IS NOT NULL OR looked_at IS NULL) AS unknown
    FROM contact_looks GROUP BY 1, 2),
came AS (
    SELECT source, campaign_ref, count(*) AS calls FROM calls
    WHERE dialed_at >= :since AND dialed_at < :until AND direction IS DISTINCT FROM 'inbound'
      AND (source, campaign_ref) IN (SELECT source, campaign_ref FROM campaign_looks WHERE looked_at IS NOT NULL)
    GROUP BY 1, 2)
SELECT source, campaign_ref, coalesce(calls, 0) - coalesce(late, 0) AS received, coalesce(late, 0) AS late,
       coalesce(missing, 0) AS missing, coalesce(unknown, 0) AS unknown
FROM came FULL JOIN named USING (source, campaign_ref) FULL JOIN asked USING (source, campaign_ref)
WHERE (cast(:campaign AS text) IS NULL OR campaign_ref = :campaign)
  AND (cast(:source AS text) IS NULL OR source = :source)
"""


def _named(
    connection: Connection, since: datetime | None, until: datetime | None, campaign: str | None, source: str | None
) -> list[Line]:
    """Level 3: calls by name. A contact that could not be asked about stands for one call that is unknown."""
    bounds = {"since": since or FIRST, "until": until or LAST}
    lines = []
    for row in connection.execute(text(_NAMED), {**bounds, "campaign": campaign, "source": source}):
        received = max(0, row.received)
        expected = received + row.late + row.missing + row.unknown
        lines.append(
            Line(row.source, row.campaign_ref, 3, Sum(expected, received, row.late, row.missing, row.unknown), NAMED)
        )
    return lines
