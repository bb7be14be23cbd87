"""Both sides of a period, by number: the lines of the provider's files, and our calls with what they should cost.

Our side is put together once, into a table of the session's own, so that it can be read twice without joining a
million rows again. Both are read by cursors of the server, side by side in the order of their numbers' bytes: what is
in memory is a number's lines and calls.
"""

from __future__ import annotations

import hashlib
import itertools
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple

from sqlalchemy import text

from pipeline.accounts.rules.classes import RateTerms
from pipeline.accounts.rules.matching import WINDOW, Here, There
from pipeline.accounts.rules.offset import Differences
from pipeline.accounts.rules.reconciling import Sums
from pipeline.billing.billed_calls import Selection, extent_of
from pipeline.billing.rate_rows import rates_of
from pipeline.billing.tariff_rows import version_by_id
from pipeline.database.engine import driver_connection, driver_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

FETCHED_AT_ONCE: Final = 10_000
SAMPLED: Final = 200_000
"""Lines that are enough to tell the clock of a file by."""
MEMORY: Final = "128MB"
"""For sorting a side, of the server's."""
_MOMENT: Final = 2 * WINDOW
"""Seconds to either side of the period from which calls are looked at, to tell whose a line at its edge is."""

# SQL: a set statement, for a million calls in seconds. Ours is a call with a charge in force by a tariff of the
# provider, or with a reason for none where the provider's tariff is the one assigned. Answered is what a carrier
# charges: also what ended in a mailbox or before an agent was free.
_MAKE: Final[LiteralString] = """
CREATE TEMPORARY TABLE reconcile_here ON COMMIT DROP AS
WITH charged AS (
    SELECT l.*, t.provider FROM ledger AS l
    JOIN tariff_versions AS v ON v.id = l.tariff_version_id JOIN tariffs AS t ON t.id = v.tariff_id
    WHERE l.call_id BETWEEN %(first)s AND %(last)s AND l.side = 'provider' AND l.kind = 'charge'
      AND NOT EXISTS (SELECT FROM ledger AS back
                      WHERE back.call_id = l.call_id AND back.side = l.side AND back.revision = l.revision
                        AND back.kind = 'reversal' AND back.call_id BETWEEN %(first)s AND %(last)s))
SELECT coalesce(c.client_number, '') COLLATE "C" AS number, floor(extract(epoch FROM c.dialed_at))::bigint AS at,
       c.id AS call_id,
       CASE WHEN l.call_id IS NULL THEN c.talk_seconds + coalesce(c.hold_seconds, 0)
            ELSE coalesce(l.rated_seconds, l.talk_seconds) END AS seconds,
       c.dialed_at >= %(since)s AND c.dialed_at < %(until)s
           AND CASE WHEN l.call_id IS NOT NULL THEN l.provider = %(provider)s
                    ELSE coalesce(a.provider = %(provider)s, false) END AS ours,
       coalesce(d.disposition IN ('answered', 'voicemail', 'abandoned'), false) AS answered,
       l.billable_seconds, l.amount, l.currency, l.unrounded, l.tariff_version_id AS version_id, l.rate_line, l.prefix,
       CASE WHEN l.call_id IS NULL THEN u.reason END AS why
FROM calls AS c
LEFT JOIN charged AS l ON l.call_id = c.id
LEFT JOIN uncharged AS u ON u.call_id = c.id AND u.call_id BETWEEN %(first)s AND %(last)s AND u.side = 'provider'
LEFT JOIN dispositions AS d ON d.call_id = c.id AND d.call_id BETWEEN %(first)s AND %(last)s
LEFT JOIN LATERAL (
    SELECT t.provider FROM provider_assignments AS p JOIN tariffs AS t ON t.id = p.tariff_id
    WHERE p.dial_number IN ('', c.dial_number) AND p.campaign_ref IN ('', c.campaign_ref) AND p.source IN ('', c.source)
    ORDER BY p.dial_number = '', p.campaign_ref = '', p.source = '' LIMIT 1) AS a
    ON l.call_id IS NULL AND u.call_id IS NOT NULL
WHERE c.id BETWEEN %(first)s AND %(last)s AND coalesce(c.direction, 'outbound') = 'outbound'
  AND c.dialed_at >= %(since)s::timestamptz - interval '1 second' * %(moment)s
  AND c.dialed_at < %(until)s::timestamptz + interval '1 second' * %(moment)s
"""

_HERE: Final = "SELECT {columns} FROM reconcile_here {where} ORDER BY number, at, call_id"
_NUMBER: Final = "coalesce(number, '') COLLATE \"C\""
_AT: Final = "floor(extract(epoch FROM started_at))::bigint"
_THERE: Final = (
    "SELECT {columns} FROM provider_lines WHERE file_id = ANY(%(files)s) {where} "
    f"ORDER BY {_NUMBER}, started_at, id"
)
_THERE_COLUMNS: Final = f"{_NUMBER}, {_AT}, id, seconds, billed_seconds, amount, currency"

_Row = tuple[Any, ...]


class Inputs(NamedTuple):
    """What both sides have, counted apart from the comparison."""

    sums: Sums
    looked_at: int
    """Calls of ours that are read, those that only tell what a line is included."""


def gather(connection: Connection, provider: str, since: datetime, until: datetime, files: Sequence[int]) -> Inputs:
    """Put our side together and count both.

    Args:
        connection: a transaction that sees one state of the database until its end.
        provider: its name.
        since: the first instant of the period.
        until: the first instant after it.
        files: the ids of its files.
    """
    connection.execute(text(f"SET LOCAL work_mem = '{MEMORY}'"))
    moment = timedelta(seconds=_MOMENT)
    extent = extent_of(connection, Selection(since - moment, until + moment))
    values = {"provider": provider, "since": since, "until": until, "moment": _MOMENT}
    with driver_errors(connection, _MAKE), driver_connection(connection).cursor() as cursor:
        cursor.execute(_MAKE, values | {"first": extent.first, "last": extent.last})
    return Inputs(_counted(connection, files), int(connection.scalar(text("SELECT count(*) FROM reconcile_here")) or 0))


def _counted(connection: Connection, files: Sequence[int]) -> Sums:
    sums = Sums()
    theirs = connection.execute(
        text(
            "SELECT currency, count(*), sum(seconds), sum(amount) FROM provider_lines "
            "WHERE file_id = ANY(:files) GROUP BY currency"
        ),
        {"files": list(files)},
    )
    for currency, lines, seconds, amount in theirs:
        sums.lines += lines
        sums.seconds_there += int(seconds)
        sums.money_there[currency] += amount
    bad = text("SELECT count(*) FROM provider_bad_lines WHERE file_id = ANY(:files)")
    sums.lines += int(connection.scalar(bad, {"files": list(files)}) or 0)
    ours = connection.execute(
        text("SELECT currency, count(*), sum(seconds), sum(amount) FROM reconcile_here WHERE ours GROUP BY currency")
    )
    for currency, calls, seconds, amount in ours:
        sums.calls += calls
        sums.seconds_here += int(seconds)
        if currency is not None:
            sums.money_here[currency] += amount
    return sums


def differences(connection: Connection, files: Sequence[int], lines: int) -> Differences:
    """How far lines and calls to the same numbers are apart: of all, or of enough numbers to tell.

    Args:
        connection: of `gather`.
        files: the ids of the files.
        lines: how many these have.
    """
    found = _differences(connection, files, min(1_000, SAMPLED * 1_000 // max(1, lines)))
    if lines > SAMPLED and found.compared * 100 < SAMPLED:  # numbers whose ends are no chance
        return _differences(connection, files, 1_000)
    return found


def _differences(connection: Connection, files: Sequence[int], of_thousand: int) -> Differences:
    where = "" if of_thousand >= 1_000 else f"right(number, 3) < '{of_thousand:03}'"
    found = Differences()
    columns = "number, at, seconds"
    ours = _rows(connection, "here", _HERE.format(columns=columns, where=where and f"WHERE {where}"))
    there = _THERE.format(columns=f"{_NUMBER}, {_AT}, seconds", where=where and f"AND {where}")
    theirs = _rows(connection, "there", there, files=list(files))
    for lines, calls in side_by_side(theirs, ours):
        if lines and calls:
            found.add([row[1:] for row in lines], [row[1:] for row in calls])
    return found


class Sides:
    """Both sides, number by number.

    Args:
        connection: of `gather`.
        files: the ids of the files.
        progress: told of how many lines and calls have been read.
    """

    def __init__(self, connection: Connection, files: Sequence[int], progress: Callable[[int], None]) -> None:
        self._connection = connection
        self._files = list(files)
        self._progress = progress
        self._hash = hashlib.sha256()
        self._terms: dict[tuple[int, int | None], RateTerms | None] = {}

    @property
    def hash_of_ours(self) -> str:
        """A hash over the calls compared, of all that has been read."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[tuple[list[There], list[Here]]]:
        ours = _rows(self._connection, "here", _HERE.format(columns=", ".join(Here._fields), where=""))
        there = _THERE.format(columns=_THERE_COLUMNS, where="")
        theirs = _rows(self._connection, "there", there, files=self._files)
        read = told = 0
        for lines, calls in side_by_side(theirs, ours):
            for call in calls:
                if call[4]:
                    self._hash.update(f"{call[0]} {call[1]} {call[2]} {call[3]} {call[7]} {call[8]}\n".encode())
            read += len(lines) + len(calls)
            if read >= told + FETCHED_AT_ONCE:
                told = read
                self._progress(read)
            yield [There._make(row) for row in lines], [Here._make(row) for row in calls]
        self._progress(read)

    def terms_of(self, call: Here) -> RateTerms | None:
        """The rate that a call was charged by; None when the ledger does not say which that was."""
        if call.version_id is None or call.rate_line is None or call.prefix is None:
            return None
        key = (call.version_id, call.rate_line)
        if key not in self._terms:
            version = version_by_id(self._connection, call.version_id)
            rates = rates_of(self._connection, call.version_id, prefixes=[call.prefix])
            self._terms[key] = next(
                (
                    RateTerms(rate, version.terms.rounding, version.terms.decimals)
                    for rate in rates
                    if rate.id == call.rate_line
                ),
                None,
            )
        return self._terms[key]


def side_by_side(theirs: Iterable[_Row], ours: Iterable[_Row]) -> Iterator[tuple[list[_Row], list[_Row]]]:
    """Rows of both sides by what stands first in them, in which both are sorted.

    >>> list(side_by_side([("a", 1), ("b", 2)], [("b", 3), ("b", 4), ("c", 5)]))
    [([('a', 1)], []), ([('b', 2)], [('b', 3), ('b', 4)]), ([], [('c', 5)])]
    """
    left, right = _grouped(theirs), _grouped(ours)
    line, call = next(left, None), next(right, None)
    while line is not None or call is not None:
        if call is None or (line is not None and line[0] < call[0]):
            assert line is not None
            yield line[1], []
            line = next(left, None)
        elif line is None or call[0] < line[0]:
            yield [], call[1]
            call = next(right, None)
        else:
            yield line[1], call[1]
            line, call = next(left, None), next(right, None)


def _grouped(rows: Iterable[_Row]) -> Iterator[tuple[str, list[_Row]]]:
    return ((number, list(same)) for number, same in itertools.groupby(rows, itemgetter(0)))


def _rows(connection: Connection, name: str, query: Any, **values: Any) -> Iterator[_Row]:
    """The rows of a query by a cursor of the server's, which holds a piece of them in memory."""
    with driver_errors(connection, query), driver_connection(connection).cursor(name=f"reconcile_{name}") as cursor:
        cursor.execute(query, values or None, binary=True)
        while rows := cursor.fetchmany(FETCHED_AT_ONCE):  # twice as fast as one by one
            yield from rows
