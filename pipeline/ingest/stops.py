"""Why an ingestor has stopped claiming, until a person releases it; and the figures the fuse watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from sqlalchemy import text

from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

StopKind = Literal["fuse", "wrong_list", "conflicts"]


class Stop(NamedTuple):
    """One reason not to claim from a dialler's list."""

    id: int
    source: str
    kind: StopKind
    reason: str
    stopped_at: datetime
    released_at: datetime | None
    released_by: str | None


class BadShare(NamedTuple):
    """How many of the last records of a source were no good."""

    records: int
    bad: int
    conflicts: int
    """Well, but with the reference of another call."""


_COLUMNS = "id, source, kind, reason, stopped_at, released_at, released_by"


def standing_stop(connection: Connection, source: str) -> Stop | None:
    """What keeps a source's ingestor from claiming, if anything does."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM stops WHERE source = :source AND released_at IS NULL"), {"source": source}
    ).one_or_none()
    return None if row is None else Stop(*row)


def standing_stops(connection: Connection) -> list[Stop]:
    """What keeps ingestors from claiming, of every source."""
    rows = connection.execute(text(f"SELECT {_COLUMNS} FROM stops WHERE released_at IS NULL ORDER BY id DESC"))
    return [Stop(*row) for row in rows]


def all_stops(connection: Connection) -> list[Stop]:
    """Every stop there ever was, newest first."""
    return [Stop(*row) for row in connection.execute(text(f"SELECT {_COLUMNS} FROM stops ORDER BY id DESC"))]


def raise_stop(connection: Connection, source: str, kind: StopKind, reason: str) -> None:
    """Stop a source's ingestor; a stop that stands already is left as it is."""
    connection.execute(
        text(
            "INSERT INTO stops (source, kind, reason) VALUES (:source, :kind, :reason) "
            "ON CONFLICT (source) WHERE released_at IS NULL DO NOTHING"
        ),
        {"source": source, "kind": kind, "reason": reason},
    )


def release_stop(connection: Connection, source: str, who: str) -> Stop | None:
    """Let a source's ingestor go on; returns what had stopped it."""
    row = connection.execute(
        text(
            "UPDATE stops SET released_at = now(), released_by = :who "
            f"WHERE source = :source AND released_at IS NULL RETURNING {_COLUMNS}"
        ),
        {"source": source, "who": who},
    ).one_or_none()
    return None if row is None else Stop(*row)


def was_released(connection: Connection, source: str, kind: StopKind) -> bool:
    """Whether a person has said before that this kind of stop is wrong for the source."""
    found = connection.scalar(
        text("SELECT EXISTS (SELECT FROM stops WHERE source = :source AND kind = :kind AND released_at IS NOT NULL)"),
        {"source": source, "kind": kind},
    )
    return bool(found)


def recent_bad_share(connection: Connection, source: str, *, at_least: int) -> BadShare:
    """The bad records among the last ones of a source that were normalized, since its last release.

    What was imported from a file says nothing about the dialler's list.

    Args:
        connection: the database.
        source: the dialler.
        at_least: how many records to look back over; whole batches are taken until there are as many.
    """
    row = connection.execute(
        text(
            "WITH recent AS ("
            "  SELECT id, records, sum(records) OVER (ORDER BY received_at DESC, id DESC) - records AS newer FROM ("
            "    SELECT id, records, received_at FROM batches WHERE source = :source AND normalized_at IS NOT NULL "
            "      AND NOT EXISTS (SELECT FROM import_chunks WHERE import_chunks.batch_id = batches.id) "
            "      AND received_at > coalesce((SELECT max(released_at) FROM stops WHERE source = :source), "
            "                                 '-infinity') "
            "    ORDER BY received_at DESC LIMIT :at_least) AS last), "
            "looked_at AS (SELECT id, records FROM recent WHERE newer < :at_least) "
            "SELECT coalesce((SELECT sum(records) FROM looked_at), 0) AS records, "
            "  count(*) FILTER (WHERE f.class = 'data') AS bad, "
            "  count(*) FILTER (WHERE f.class = 'conflict') AS conflicts "
            "FROM looked_at JOIN failures AS f "
            "  ON f.record_id BETWEEN looked_at.id * :places AND looked_at.id * :places + :places - 1 "
            "WHERE f.step = 'normalize'"
        ),
        {"source": source, "at_least": at_least, "places": PLACES},
    ).one()
    return BadShare(int(row.records), int(row.bad), int(row.conflicts))
