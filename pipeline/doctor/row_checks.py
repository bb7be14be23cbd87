"""What ``pipeline doctor`` reads in the tables."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.batches.sources import known_sources
from pipeline.billing.tariff_rows import zones_in_force
from pipeline.calls.rules.erasure_key import ErasureKey
from pipeline.completeness.findings import open_findings
from pipeline.completeness.missing_lines import open_lines
from pipeline.completeness.witnesses import heard
from pipeline.database.ranges import BITS, all_ranges, tables_to_move
from pipeline.doctor.rules import completeness, database, keys, months, outside, processes, subscribers, variables
from pipeline.erasure.marks import key_of_marks
from pipeline.feed.subscribers import all_subscribers
from pipeline.ingest.stops import standing_stops
from pipeline.instants import Clock
from pipeline.monitoring.heartbeats import INGESTOR, RECONCILER, signs_of
from pipeline.ranges.due import due_ranges
from pipeline.recordings import pauses
from pipeline.recordings.key_rows import newest_month
from pipeline.recordings.rules.encrypted import KeyName
from pipeline.recordings.store_trouble import StoreError
from pipeline.settings import recording_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pipeline.doctor.rules.verdict import Verdict
    from pipeline.feed.subscribers import Subscriber
    from pipeline.settings import Settings


def check_rows(connection: Connection, settings: Settings) -> Iterator[Verdict]:
    """Everything that the tables tell, one thing after the other."""
    clock = Clock(settings.pipeline_timezone)
    yield processes.judge_reconciler(next(iter(signs_of(connection, RECONCILER)), None))
    yield from processes.judge_other_ingestors(settings.enigma_source, signs_of(connection, INGESTOR))
    yield from processes.judge_stops(
        [
            processes.Standing(stop.source, stop.kind, stop.reason, stop.stopped_at)
            for stop in standing_stops(connection)
        ],
        clock,
    )
    yield from processes.judge_pauses(
        [
            processes.Waiting(pause.source, pause.kind, pause.reason, pause.since, pause.until)
            for pause in pauses.standing(connection)
        ],
        clock,
    )
    yield from subscribers.judge_subscribers([_standing(each) for each in all_subscribers(connection)])
    yield from _completeness(connection)
    yield from _months(connection)
    yield from outside.judge_paths(settings.recordings_path, known_sources(connection))
    yield from database.judge_tariff_zones(zones_in_force(connection), settings.pipeline_timezone)
    yield from _needed_key(connection, settings)
    secret = settings.erasure_key.get_secret_value()
    yield from variables.judge_erasure_key(key_of_marks(connection), ErasureKey(secret).id if secret else None)


def _standing(each: Subscriber) -> subscribers.Standing:
    now = datetime.now(tz=UTC)
    behind = 0.0 if each.behind_since is None else (now - each.behind_since).total_seconds()
    since = (now - each.state_since).total_seconds()
    reason, error = each.state_reason, each.last_error
    return subscribers.Standing(each.name, each.state, reason, since, each.misses, error, behind, each.refused)


def _completeness(connection: Connection) -> Iterator[Verdict]:
    now = datetime.now(tz=UTC)
    yield from completeness.judge_witnesses(
        [
            completeness.Witness(each.source, each.level, each.state, each.says, (now - each.at).total_seconds())
            for each in heard(connection)
        ],
        [
            completeness.Short(each.source, each.campaign_ref, each.kind, each.calls)
            for each in open_findings(connection)
        ],
    )
    yield from (completeness.judge_billed(each.provider, each.lines) for each in open_lines(connection))


def _months(connection: Connection) -> Iterator[Verdict]:
    ranges = all_ranges(connection)
    found = months.Months(
        whole=tables_to_move(connection),
        ranges=sum(each.is_there for each in ranges),
        ends=ranges[-1].end_record >> BITS if ranges else None,
        stopped=[(each.name, each.trouble) for each in ranges if each.trouble is not None],
        due=[each.range.name for each in due_ranges(connection, ranges)],
    )
    yield from months.judge_months(found, datetime.now(tz=UTC))


def _needed_key(connection: Connection, settings: Settings) -> Iterator[Verdict]:
    month = newest_month(connection, settings.enigma_source)
    if month is None:
        return
    name, found = KeyName(settings.enigma_source, month), recording_keys(settings)
    with contextlib.suppress(StoreError):  # which check_keys tells
        yield from keys.judge_needed(str(name), None if found is None else found.is_there(name))
