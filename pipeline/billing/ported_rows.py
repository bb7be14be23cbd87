"""Numbers ported between networks: loaded from files, all of one or nothing, and looked up for calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, text

from pipeline.billing.rules.ported_numbers import PortedFileError, PortedSpan, network_at, read_ported
from pipeline.billing.rules.tariff_file import BadLine
from pipeline.database.audit import record_action
from pipeline.database.engine import copy_rows, execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

BAD_LINES_KEPT: Final = 1_000
"""More than that is a file of something else."""

_OF_CALLS: Final = """
SELECT number, network, valid_from, valid_to FROM ported_numbers WHERE number = ANY(%(numbers)s::text[])
"""


def networks_of(connection: Connection, wanted: Sequence[tuple[str, datetime]]) -> list[str]:
    """The network that each number was ported to at an instant, in their order; empty where none is known.

    Args:
        connection: the caller's transaction.
        wanted: E.164 digits without +, and the instant, aware.
    """
    spans: dict[str, list[PortedSpan]] = {}
    numbers = {digits for digits, _ in wanted if digits}
    for row in execute(connection, _OF_CALLS, {"numbers": list(numbers)}).fetchall():
        spans.setdefault(row[0], []).append(PortedSpan(*row))
    return [network_at(spans.get(digits, ()), at) for digits, at in wanted]


class PortsLoaded(NamedTuple):
    """What loading a file of ported numbers came to."""

    lines: int
    added: int
    ended: int
    """Spans that were there, and now have another end."""
    already: int
    dry_run: bool


# The file's own table, gone with the transaction.
_FILE: Final = Table(
    "ports_of_file",
    MetaData(),
    Column("line", Integer),
    Column("number", Text),
    Column("network", Text),
    Column("valid_from", DateTime(timezone=True)),
    Column("valid_to", DateTime(timezone=True)),
)

_OVERLAPS = text(
    f"""
SELECT line, 'overlaps line ' || before AS reason FROM (
    SELECT line, valid_from, lag(line) OVER spans AS before,
           max(coalesce(valid_to, 'infinity')) OVER (spans ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS taken_to
    FROM ports_of_file WINDOW spans AS (PARTITION BY number ORDER BY valid_from, line)) AS each
WHERE taken_to > valid_from
UNION ALL
SELECT f.line, format('overlaps what is loaded: in network %s from %s%s', t.network, t.valid_from,
                      coalesce(' to ' || t.valid_to, ', without an end'))
FROM ports_of_file AS f JOIN ported_numbers AS t ON t.number = f.number
  AND t.valid_from < coalesce(f.valid_to, 'infinity') AND f.valid_from < coalesce(t.valid_to, 'infinity')
-- What the file says of the same span anew takes its place.
WHERE NOT EXISTS (SELECT FROM ports_of_file AS again WHERE again.number = t.number
                  AND again.valid_from = t.valid_from AND again.network = t.network)
ORDER BY line LIMIT {BAD_LINES_KEPT}
"""
)
_COUNTS = text(
    """
SELECT count(*) AS lines, count(*) FILTER (WHERE t.number IS NULL) AS added,
       count(*) FILTER (WHERE t.number IS NOT NULL AND t.valid_to IS DISTINCT FROM f.valid_to) AS ended
FROM ports_of_file AS f LEFT JOIN ported_numbers AS t ON t.number = f.number AND t.valid_from = f.valid_from
"""
)
_TAKE = text(
    """
INSERT INTO ported_numbers AS t (number, network, valid_from, valid_to)
SELECT number, network, valid_from, valid_to FROM ports_of_file ORDER BY number, valid_from
ON CONFLICT (number, valid_from) DO UPDATE SET valid_to = excluded.valid_to
WHERE t.valid_to IS DISTINCT FROM excluded.valid_to
"""
)


def load_ports(
    engine: Engine, lines: Iterable[str], *, file_name: str, timezone: str, loaded_by: str, dry_run: bool = False
) -> PortsLoaded:
    """Add a file of ported numbers to those that are there, all of it or nothing.

    A line with the number, network and beginning of one that is there sets its end. Every other overlap of two spans of
    one number is refused, so that a call never has two networks.

    Args:
        engine: the database.
        lines: the file's lines with their ends.
        file_name: for the record.
        timezone: the zone of its dates.
        loaded_by: who loads it.
        dry_run: look at it and write nothing.

    Raises:
        PortedFileError: with the bad lines; nothing was written.
    """
    with engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text(f"CREATE TEMPORARY TABLE {_FILE.name} ({_columns()}) ON COMMIT DROP"))
        bad: list[BadLine] = []
        copy_rows(connection, _FILE, list(_FILE.c.keys()), _good(read_ported(lines, timezone=timezone), bad))
        if bad:
            raise PortedFileError(bad)
        # Whoever bills reads on; two loads wait for each other, or each would not see what the other adds.
        connection.execute(text("LOCK TABLE ported_numbers IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(text(f"ANALYZE {_FILE.name}"))
        bad = [BadLine(row.line, None, row.reason) for row in connection.execute(_OVERLAPS)]
        if bad:
            raise PortedFileError(bad)
        lines_, added, ended = connection.execute(_COUNTS).one()
        if not lines_:
            raise PortedFileError([BadLine(1, None, "there is no number below the header")])
        if dry_run:
            transaction.rollback()
        else:
            connection.execute(_TAKE)
            detail = {"file": file_name, "lines": lines_, "added": added, "ended": ended}
            record_action(connection, loaded_by, "load ports", detail)
    return PortsLoaded(lines_, added, ended, lines_ - added - ended, dry_run)


def _columns() -> str:
    # By bytes, as those of the table they are held against.
    types = {"line": "integer", "number": 'text COLLATE "C"', "network": "text"}
    return ", ".join(f"{name} {types.get(name, 'timestamptz')}" for name in _FILE.c.keys())  # noqa: SIM118 - columns


def _good(read: Iterable[tuple[int, PortedSpan | list[BadLine]]], bad: list[BadLine]) -> Iterator[tuple[object, ...]]:
    for line, said in read:
        if isinstance(said, PortedSpan):
            if not bad:
                yield line, *said
        elif len(bad) < BAD_LINES_KEPT:
            bad += said
