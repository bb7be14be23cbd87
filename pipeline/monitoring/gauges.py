"""How much of everything there is, for Prometheus. One query that fails leaves out its own metrics only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from pipeline.monitoring.fallen import count_fallen
from pipeline.monitoring.known_sources import KNOWN_SOURCES
from pipeline.monitoring.pending import PENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection

KEEP_SECONDS: Final = 10.0
TIMEOUT_SECONDS: Final = 10.0


class StateMetric(NamedTuple):
    """A gauge read from the database."""

    name: str
    labels: tuple[str, ...]
    help: str


class GaugeQuery(NamedTuple):
    """A query whose rows are the labels and then a value for each of some gauges with the same labels."""

    name: str
    metrics: tuple[StateMetric, ...]
    statement: str | Callable[[Connection], Iterable[Sequence[Any]]]
    """SQL, or what finds such rows by more than one statement."""
    keep_seconds: float = KEEP_SECONDS
    """For how long a reading is good."""
    timeout_seconds: float = TIMEOUT_SECONDS
    """After which the server gives up."""
    beside: bool = False
    """It may take longer than Prometheus waits: nobody waits for it, and what was read last is told meanwhile."""


# The newest batch of each source by an index, however many there are.
_RECEIVED_AGE: Final = f"""
{KNOWN_SOURCES}
SELECT source, extract(epoch FROM clock_timestamp() - newest)
FROM known, LATERAL (SELECT max(received_at) AS newest FROM batches WHERE batches.source = known.source) AS of_it
WHERE source IS NOT NULL
"""

QUERIES: Final = (
    GaugeQuery(
        "batches",
        (
            StateMetric("cdr_unfinished_batches", ("source",), "Batches with a step to be done."),
            StateMetric("cdr_oldest_unfinished_seconds", ("source",), "Seconds since the oldest of them was received."),
        ),
        "SELECT source, count(*), extract(epoch FROM now() - min(received_at)) "
        "FROM batches WHERE finished_at IS NULL GROUP BY source",
    ),
    # By itself: it is the dearer one when thousands of batches were opened again, and alerts need the one above.
    GaugeQuery(
        "waiting records",
        (StateMetric("cdr_unfinished_records", ("source",), "Records of those batches that wait for a step."),),
        f"SELECT source, sum(waiting) FROM ({PENDING}) AS pending GROUP BY source",
    ),
    GaugeQuery(
        "received",
        (StateMetric("cdr_received_age_seconds", ("source",), "Seconds since records of a source last came in."),),
        _RECEIVED_AGE,
    ),
    GaugeQuery(
        "failures",
        (
            StateMetric(
                "cdr_open_failures", ("source", "step", "class"), "Records that wait for a person, a rate or a retry."
            ),
        ),
        "SELECT source, step, class, count(*) FROM failures WHERE state IN ('open', 'retrying') GROUP BY 1, 2, 3",
    ),
    GaugeQuery(
        "stops",
        (StateMetric("cdr_standing_stops", ("source", "kind"), "1 while an ingestor waits to be released."),),
        "SELECT source, kind, count(*) FROM stops WHERE released_at IS NULL GROUP BY 1, 2",
    ),
    GaugeQuery(
        "heartbeats",
        (
            StateMetric(
                "cdr_heartbeat_age_seconds",
                ("name", "source"),
                "Seconds since a sign of life: of the reconciler (every 15 s), of a source's ingestor (every 10 s).",
            ),
        ),
        "SELECT name, source, extract(epoch FROM clock_timestamp() - at) FROM heartbeats",
    ),
    GaugeQuery(
        "pauses",
        (StateMetric("cdr_recordings_paused", ("source", "kind"), "1 while all recordings of a dialler wait."),),
        "SELECT source, kind, count(*) FROM recording_pauses GROUP BY 1, 2",
    ),
    GaugeQuery(
        "recordings",
        (
            StateMetric("cdr_recordings", ("source", "state"), "Recordings by state."),
            StateMetric(
                "cdr_recordings_differ",
                ("source", "state"),
                "Of these, files that `recordings verify` found to differ.",
            ),
        ),
        "SELECT source, state, count(*), count(verify_problem) FILTER (WHERE deleted_at IS NULL) "
        "FROM recordings GROUP BY 1, 2",
    ),
    GaugeQuery(
        "due recordings",
        (
            StateMetric("cdr_due_recordings", ("source",), "Recordings whose next try is due."),
            StateMetric("cdr_oldest_due_recording_seconds", ("source",), "Seconds since the first of them was due."),
        ),
        "SELECT source, count(*), extract(epoch FROM now() - min(due_at)) FROM recordings "
        "WHERE state IN ('scheduled', 'downloading') AND due_at <= now() GROUP BY 1",
    ),
    GaugeQuery(
        "charges",
        (
            StateMetric("cdr_charged_amount", ("currency",), "What clients are charged: charges less reversals."),
            StateMetric(
                "cdr_ledger_entries", ("currency",), "Lines of the ledger on the client's side, reversals included."
            ),
        ),
        "SELECT currency, sum(amount), count(*) FROM ledger WHERE side = 'client' GROUP BY 1",
    ),
    GaugeQuery(
        "refusals",
        (
            StateMetric(
                "cdr_open_refusals",
                ("subscriber",),
                "Events that a subscriber refused, or that are held back behind one, and that wait for a person.",
            ),
        ),
        "SELECT name, count(r.id) FROM subscribers LEFT JOIN feed_refusals AS r "
        "ON r.subscriber = name AND r.state IN ('open', 'retrying') GROUP BY 1",
    ),
    GaugeQuery(
        "subscribers",
        (
            StateMetric(
                "cdr_subscriber_behind_rows",
                ("subscriber", "state"),
                "Rows of the feed, each a batch or a call, that wait for a subscriber.",
            ),
            StateMetric(
                "cdr_subscriber_behind_seconds", ("subscriber", "state"), "Age of the oldest of them; 0 without any."
            ),
        ),
        "SELECT name, state, count(feed.id), coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0) "
        "FROM subscribers LEFT JOIN feed ON feed.position > subscribers.position GROUP BY 1, 2",
    ),
    GaugeQuery(
        "missing calls",
        (
            StateMetric(
                "cdr_missing_calls",
                ("source", "kind"),
                "Calls that the dialler placed and that never came, as a finding has it, or named one by one; `billed` "
                "are those of a provider's files, and its name is the source.",
            ),
        ),
        "SELECT source, kind, sum(calls) FROM findings WHERE ended_at IS NULL GROUP BY 1, 2 UNION ALL "
        "SELECT source, 'named', count(*) FROM missing_calls WHERE state = 'found' GROUP BY 1 UNION ALL "
        "SELECT provider, 'billed', count(*) FROM missing_lines WHERE state = 'found' GROUP BY 1",
    ),
    GaugeQuery(
        "witnesses",
        (
            StateMetric(
                "cdr_witness_available",
                ("source", "level"),
                "1 while this witness of completeness can be heard, else 0; none while it is off.",
            ),
        ),
        "SELECT source, level, CASE state WHEN 'available' THEN 1 ELSE 0 END FROM witnesses WHERE state <> 'off'",
    ),
    # Fifteen days of calls are read for it, and a number that fell an hour ago is still early to know of.
    GaugeQuery(
        "fallen numbers",
        (
            StateMetric(
                "cdr_dial_numbers_fallen",
                (),
                "Dial numbers of outbound calls whose answer rate of the last day is at least 40 % below that of the "
                "14 days before; looked for once an hour.",
            ),
        ),
        count_fallen,
        keep_seconds=3_600.0,
        timeout_seconds=120.0,
        beside=True,
    ),
    GaugeQuery(
        "ranges",
        (StateMetric("cdr_ranges_stopped", (), "Ranges whose drop was stopped before its end."),),
        "SELECT count(*) FROM ranges WHERE trouble IS NOT NULL",
    ),
    GaugeQuery(
        "database",
        (StateMetric("cdr_database_bytes", (), "Size of the database."),),
        "SELECT pg_database_size(current_database())",
    ),
)


class Reading(NamedTuple):
    """One value of a gauge."""

    metric: StateMetric
    labels: tuple[str, ...]
    value: float


def read_gauges(connection: Connection, query: GaugeQuery) -> list[Reading]:
    """The values of one query's gauges.

    Args:
        connection: the caller's transaction.
        query: one of ``QUERIES``.
    """
    connection.execute(text(f"SET LOCAL statement_timeout = {int(query.timeout_seconds * 1000)}"))
    many = len(query.metrics[0].labels)
    asked = query.statement
    return [
        Reading(metric, tuple(str(label) for label in row[:many]), float(row[many + place]))
        for row in (connection.execute(text(asked)) if isinstance(asked, str) else asked(connection))
        for place, metric in enumerate(query.metrics)
    ]
