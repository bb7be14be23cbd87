"""What a dialler should have sent, and where that is: a line a campaign and level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.completeness.findings import open_findings
from pipeline.completeness.readings import lives, recent_readings
from pipeline.completeness.rules.counters import Sum, standing, sum_of
from pipeline.completeness.witnesses import heard

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.completeness.findings import Finding
    from pipeline.completeness.witnesses import Heard

COUNTED: Final = "counted: a number without names"


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

    @property
    def missing(self) -> bool:
        """Whether something is."""
        return any(line.sum.missing for line in self.lines)

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
    found = [each for each in open_findings(connection, source) if campaign in {None, each.campaign_ref}]
    return Report(lines, found, heard(connection, source))


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
