"""Level 1: one look at the dialler's counters and at what came, written down, and what has been found by it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sqlalchemy import text

from pipeline.completeness import witnesses
from pipeline.completeness.findings import keep_finding
from pipeline.completeness.received import (
    MOST_ON_THE_WAY,
    count_received,
    not_read_yet,
    on_the_way,
    without_known,
)
from pipeline.completeness.rules.counters import STANDS_FOR, TOLERANCE, Reading, next_reading, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from pipeline.completeness.received import OnTheWay
    from pipeline.dialler.rules.counters import Counters

WATCHED_FOR: Final = timedelta(days=14)
"""A campaign of which nothing came for so long is not looked at any more."""
KEPT_FOR: Final = timedelta(days=35)
LEVEL: Final = 1


class Witness(Protocol):
    """The dialler's Redis, as far as it is needed here."""

    def read(self, campaigns: Iterable[str]) -> dict[str, Counters]: ...

    def pops(self, *, lmove: bool) -> int | None: ...

    def poppers(self) -> list[str]: ...


class NotSettled(Protocol):
    """The dialler's list with its claims."""

    def not_settled(self, at_most: int) -> list[bytes] | None: ...

    def method(self) -> str: ...


class Read(NamedTuple):
    """What a look came to."""

    campaigns: int
    found: int
    """Findings that stand."""
    says: str | None = None
    """Why nothing could be told."""


def read_counters(
    engine: Engine,
    counters: Witness,
    cdr_list: NotSettled,
    *,
    source: str,
    now: datetime,
    settle: Callable[[], None] = lambda: None,
) -> Read:
    """Read the counters of every campaign that is watched, and compare.

    Args:
        engine: the database.
        counters: the dialler's counters.
        cdr_list: its list.
        source: the dialler.
        now: the present instant, aware.
        settle: waits a moment: a call is put on the list just before it is counted.

    Raises:
        redis.RedisError: the dialler's Redis is away, or refuses the list.
    """
    with engine.begin() as connection:
        count_received(connection, source, now=now)
        watched = _watched(connection, source, now)
    before = counters.read(watched)
    pops = counters.pops(lmove=cdr_list.method() == "LMOVE")
    elements = cdr_list.not_settled(MOST_ON_THE_WAY)
    with engine.begin() as connection:
        received = count_received(connection, source, now=now)
        waiting = not_read_yet(connection, source)
        if elements is None or waiting is None:
            says = f"more than {MOST_ON_THE_WAY:,} records are on their way: it is told again when there are fewer"
            witnesses.note(connection, source, LEVEL, "unknown", says, now=now)
            return Read(len(watched), 0, says)
        coming = without_known(connection, source, on_the_way([*elements, *waiting]))
        coming_of = coming.by_campaign()
    settle()
    after = counters.read(watched)
    with engine.begin() as connection:
        found = sum(
            _compare(
                connection,
                source,
                campaign,
                Look(before[campaign], after[campaign], received.get(campaign, 0) + coming_of[campaign], pops),
                now=now,
                counters=counters,
            )
            for campaign in watched
        )
        _tell(connection, source, before, coming, now)
        _forget(connection, source, now)
    return Read(len(watched), found)


class Look(NamedTuple):
    """What was seen of one campaign."""

    before: Counters
    after: Counters
    received: int
    pops: int | None


def _watched(connection: Connection, source: str, now: datetime) -> list[str]:
    found = text("SELECT campaign_ref FROM campaign_counts WHERE source = :source AND last_at > :since ORDER BY 1")
    return list(connection.scalars(found, {"source": source, "since": now - WATCHED_FOR}))


def _compare(
    connection: Connection, source: str, campaign: str, look: Look, *, now: datetime, counters: Witness
) -> bool:
    """Write the reading down; whether a finding stands then."""
    if look.before.total_calls is None or look.after.total_calls is None:
        return False
    history = recent_readings(connection, source, campaign, now)
    last = history[-1] if history else last_reading(connection, source, campaign)
    reading = next_reading(
        last,
        read_at=now,
        before=look.before.total_calls,
        after=look.after.total_calls,
        received=look.received,
        pops=look.pops,
    )
    connection.execute(
        text(
            f"INSERT INTO counter_readings (source, campaign_ref, {_COLUMNS}) VALUES (:source, :campaign, "
            ":read_at, :epoch, :before, :after, :received, :base, :pops) ON CONFLICT DO NOTHING"
        ),
        {"source": source, "campaign": campaign, **reading._asdict()},
    )
    stands = standing([*history, reading])
    return keep_finding(connection, source, campaign, reading, stands, poppers=counters.poppers)


_COLUMNS: Final = "read_at, epoch, counted_before, counted_after, received, base, pops"


def recent_readings(connection: Connection, source: str, campaign: str, now: datetime) -> Sequence[Reading]:
    """The readings by which a difference stands or not, the oldest first."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM counter_readings WHERE source = :source AND campaign_ref = :campaign "
            "AND read_at >= :since AND read_at < :now ORDER BY read_at"
        ),
        {"source": source, "campaign": campaign, "now": now, "since": now - 2 * STANDS_FOR - TOLERANCE},
    )
    return [Reading(*row) for row in rows]


def last_reading(connection: Connection, source: str, campaign: str, at: datetime | None = None) -> Reading | None:
    """The last reading of a campaign, up to an instant if one is given."""
    row = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM counter_readings WHERE source = :source AND campaign_ref = :campaign "
            "AND read_at <= coalesce(cast(:at AS timestamptz), 'infinity') ORDER BY read_at DESC LIMIT 1"
        ),
        {"source": source, "campaign": campaign, "at": at},
    ).one_or_none()
    return None if row is None else Reading(*row)


class Life(NamedTuple):
    """One life of a campaign's counter within a time: the readings it lies between, and the last one of that life."""

    source: str
    campaign_ref: str
    first: Reading
    last: Reading
    newest: Reading


def lives(
    connection: Connection,
    *,
    since: datetime | None,
    until: datetime | None,
    campaign: str | None,
    source: str | None,
) -> list[Life]:
    """Every life of a counter that has readings in a time; arguments as of ``report``."""
    values = {"since": since, "until": until, "campaign": campaign, "source": source}
    of_a_life = ", ".join(f"{which}.{name}" for which in ("first", "last", "newest") for name in _COLUMNS.split(", "))
    rows = connection.execute(
        text(
            f"SELECT life.source, life.campaign_ref, {of_a_life} FROM ("
            "  SELECT source, campaign_ref, epoch, max(read_at) AS newest, "
            "    max(read_at) FILTER (WHERE read_at <= coalesce(cast(:until AS timestamptz), 'infinity')) AS last, "
            "    coalesce(max(read_at) FILTER (WHERE read_at <= cast(:since AS timestamptz)), min(read_at)) AS first "
            "  FROM counter_readings WHERE (cast(:source AS text) IS NULL OR source = :source) "
            "  AND (cast(:campaign AS text) IS NULL OR campaign_ref = :campaign) "
            "  GROUP BY source, campaign_ref, epoch) AS life "
            + "".join(
                f"JOIN counter_readings AS {which} ON {which}.source = life.source "
                f"AND {which}.campaign_ref = life.campaign_ref AND {which}.read_at = life.{which} "
                for which in ("first", "last", "newest")
            )
            + "WHERE life.last >= coalesce(cast(:since AS timestamptz), '-infinity') AND life.last >= life.first "
            "ORDER BY 1, 2, life.first"
        ),
        values,
    )
    many = len(Reading._fields)
    return [
        Life(row[0], row[1], *(Reading(*row[at : at + many]) for at in (2, 2 + many, 2 + 2 * many))) for row in rows
    ]


def _tell(connection: Connection, source: str, read: Mapping[str, Counters], coming: OnTheWay, now: datetime) -> None:
    """What this level can tell at the moment."""
    states = [each.state for each in read.values()]
    if not states:
        state, says = "unknown", "no campaign has sent anything since it is watched"
    elif "read" in states:
        strange = len(states) - states.count("read")
        state, says = "available", f"counters of {states.count('read')} campaigns"
        says += f"; of {strange} others there are none that could be read" if strange else ""
        says += f"; {coming.unreadable} records on their way do not say whose they are" if coming.unreadable else ""
    elif "refused" in states:
        state, says = "not available", "the dialler's Redis does not let us read its counters"
    elif "strange" in states:
        state, says = "unknown", next(each.says for each in read.values() if each.says) or ""
    else:
        state, says = "not available", "the dialler keeps no counters"
    witnesses.note(connection, source, LEVEL, state, says, now=now)


def _forget(connection: Connection, source: str, now: datetime) -> None:
    connection.execute(
        text("DELETE FROM counter_readings WHERE source = :source AND read_at < :before"),
        {"source": source, "before": now - KEPT_FOR},
    )
