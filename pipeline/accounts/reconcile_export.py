"""The items of a run as a file for the provider: what is disputed, with our evidence for it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from pipeline.accounts.rules.hidden import hidden
from pipeline.lookup.rules.csv_cells import csv_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from sqlalchemy import Connection

    from pipeline.lookup.rules.csv_cells import Cell

ROWS_AT_ONCE: Final = 5_000

_COLUMNS: Final = {
    "class": "i.item_class",
    "cause": "i.cause",
    "number": "coalesce(l.number, c.client_number)",
    "source": "c.source",
    "call_ref": "c.call_ref",
    "campaign": "c.campaign_ref",
    "dialled_here": "c.dialed_at",
    "started_there": "l.started_at",
    "apart_seconds": "i.apart_seconds",
    "disposition": "d.disposition",
    "seconds_here": "i.seconds_here",
    "seconds_there": "i.seconds_there",
    "billed_seconds_there": "l.billed_seconds",
    "amount_here": "i.amount_here",
    "currency_here": "i.currency_here",
    "amount_there": "i.amount_there",
    "currency_there": "i.currency_there",
    "recording_sha256": "encode(r.sha256, 'hex')",
    "file": "f.name",
    "line": "coalesce(l.line, i.line)",
    "listed_again_of_line": "twin.line",
    "caller_there": "l.caller",
    "reference_there": "l.reference",
    "as_it_came": "coalesce(l.raw, b.raw)",
}
"""The file's columns, and where each is from."""

# SQL: a join of seven tables, walked by the index of the disputes.
_ABOUT: Final = """
LEFT JOIN provider_lines AS l ON l.id = i.line_id
LEFT JOIN provider_lines AS twin ON twin.id = i.twin_line_id
LEFT JOIN provider_bad_lines AS b ON b.file_id = i.file_id AND b.line = i.line
LEFT JOIN provider_files AS f ON f.id = coalesce(l.file_id, i.file_id)
LEFT JOIN calls AS c ON c.id = i.call_id
LEFT JOIN dispositions AS d ON d.call_id = i.call_id
LEFT JOIN recordings AS r ON r.call_id = i.call_id AND r.state = 'stored'
"""
_ITEMS: Final = f"""
SELECT {", ".join(_COLUMNS.values())} FROM reconcile_items AS i {_ABOUT}
WHERE i.run_id = :run AND i.item_class = ANY(:classes)
ORDER BY i.item
"""

# SQL: of each class the next items by its index, and of these the first; equal ones are not in that index.
_PAGE: Final = f"""
SELECT i.item, {", ".join(f"{what} AS {name}" for name, what in _COLUMNS.items() if name != "class")},
       i.item_class AS item_class
FROM (SELECT next.* FROM unnest(cast(:classes AS text[])) AS wanted (item_class)
      CROSS JOIN LATERAL (SELECT * FROM reconcile_items AS i
                          WHERE i.run_id = :run AND i.item_class = wanted.item_class AND i.item_class <> 'equal'
                            AND i.item > :after ORDER BY i.item LIMIT :limit) AS next
      ORDER BY next.item LIMIT :limit) AS i {_ABOUT}
ORDER BY i.item
"""


def export_lines(connection: Connection, run_id: int, classes: Sequence[str], zone: ZoneInfo) -> Iterator[str]:
    """The lines of a CSV file, its heading first, safe to open in a spreadsheet.

    They are read by a cursor of the server's, so that a million of them take no more memory than a few thousand.

    Args:
        connection: the database; nothing else is done with it until the last line was read.
        run_id: the run.
        classes: which of its items.
        zone: of the times.
    """
    rows = connection.execute(
        text(_ITEMS).execution_options(yield_per=ROWS_AT_ONCE), {"run": run_id, "classes": list(classes)}
    )
    yield heading()
    yield from csv_lines([_cell(value, zone) for value in row] for row in rows)


def items_after(
    connection: Connection, run_id: int, classes: Sequence[str], after: int, limit: int, *, numbers: bool
) -> list[Mapping[str, Any]]:
    """The next items of a run, in their order: the columns of the file, its `class` as `item_class`, and `item`.

    Args:
        connection: the database.
        run_id: the run.
        classes: which of its items; those that are equal are never found.
        after: the item that the page before ended with; 0: none.
        limit: how many at most.
        numbers: whether phone numbers are shown; else not a digit of them is.
    """
    values = {"run": run_id, "classes": list(classes), "after": after, "limit": limit}
    rows = connection.execute(text(_PAGE), values).mappings()
    return [dict(row) if numbers else hidden(dict(row)) for row in rows]


def page_lines(items: Iterable[Mapping[str, Any]], zone: ZoneInfo) -> Iterator[str]:
    """Items as lines of the file, without its heading."""
    names = ["item_class" if name == "class" else name for name in _COLUMNS]
    return csv_lines([_cell(item[name], zone) for name in names] for item in items)


def heading() -> str:
    """The first line of the file."""
    return "".join(csv_lines([list(_COLUMNS)]))


def _cell(value: Any, zone: ZoneInfo) -> Cell:
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat(timespec="seconds")
    return value  # type: ignore[no-any-return]  # of the other types a column has
