"""The events of the feed behind a cursor: a bounded part of them, filtered, in a subscriber's shape."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from pipeline.calls.rules.raw_record import decode_record
from pipeline.errors import DataError
from pipeline.feed.contact_events import contact_data, contacts_changed
from pipeline.feed.rules.cursor import Cursor
from pipeline.feed.rules.event import CHANGED, LAST_PLACE, RECEIVED, content_revision, event_id
from pipeline.feed.rules.part import Part, Row, Span
from pipeline.feed.rules.shape import CALL, RAW, Subject, shaped
from pipeline.feed.shared import OfEvent, OfShape, OfSpan, nothing_kept
from pipeline.record_ids import first_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from pipeline.feed.contact_events import Named
    from pipeline.feed.rules.event import Event
    from pipeline.feed.rules.part import Wanted
    from pipeline.feed.shared import Shared

ROWS_AT_ONCE: Final = 200
"""The most rows of the feed that one part goes through."""

LARGEST_BYTES: Final = 2**20
"""A record beyond it is not looked into for its campaign."""


def read_part(
    connection: Connection, cursor: Cursor, wanted: Wanted, *, most: int, shared: Shared | None = None
) -> Part:
    """The events behind a cursor, as many as one delivery may hold.

    Args:
        connection: the database.
        cursor: the last event that was taken or passed over.
        wanted: what is let through, and its shape.
        most: the most records to look at, and so the most events.
        shared: what other subscribers were just told of; None: everything is looked up.
    """
    rows = _rows(connection, cursor, wanted.last)
    if hole := _hole(rows, cursor, wanted.last):
        return Part([], [], cursor, hole=hole)
    shared = shared or nothing_kept()
    spans, behind = _spans(rows, cursor, wanted, most)
    subjects, passed = _subjects(connection, spans, wanted, shared)
    events = _shaped(connection, subjects, wanted, shared)
    is_last = len(rows) < ROWS_AT_ONCE and (not rows or behind == Cursor(rows[-1].position, LAST_PLACE))
    return Part(events, passed, behind, is_last=is_last)


def read_events(
    connection: Connection, places: Sequence[tuple[int, int]], wanted: Wanted
) -> dict[tuple[int, int], Event]:
    """Single events as they would be sent now; one that is gone, or is not let through any more, is left out.

    Args:
        connection: the database.
        places: the position and the place of each.
        wanted: what is let through, and its shape.
    """
    found = connection.execute(_SOME_ROWS, {"positions": sorted({position for position, _ in places})})
    rows = {row.position: Row(*row) for row in found}
    spans = []
    for position, place in places:
        row = rows.get(position)
        if row is not None and wanted.filter.lets_row(row.kind, row.source):
            record_id = row.call_id if row.batch_id is None else first_record(row.batch_id) + place
            assert record_id is not None
            spans.append(Span(row, record_id, record_id))
    shared = nothing_kept()
    subjects, _ = _subjects(connection, spans, wanted, shared)
    return {(event.position, event.place): event for event in _shaped(connection, subjects, wanted, shared)}


def _shaped(connection: Connection, subjects: Sequence[About], wanted: Wanted, shared: Shared) -> list[Event]:
    fields = None if wanted.fields is None else tuple(wanted.fields)
    of = {OfShape(*each.subject[:2], wanted.shape, fields): each for each in subjects}

    def make(missing: Sequence[OfShape]) -> dict[OfShape, Event]:
        some = [of[each] for each in missing]
        calls: dict[OfEvent, dict[str, Any]] = {}
        if wanted.shape == CALL:
            told = [each.of_event for each in some if each.subject.kind not in {RECEIVED, CHANGED}]
            calls = shared.calls(connection, told)
        changed = contact_data(connection, [each.contact for each in some if each.contact], wanted.shape, fields)
        return {
            name: shaped(
                each.subject,
                wanted.shape,
                raw=each.raw,
                call=None if each.subject.kind == RECEIVED else calls.get(each.of_event),
                fields=fields,
                contact=None if each.contact is None else changed[each.contact],
            )
            for name, each in zip(missing, some, strict=True)
        }

    # Bytes as they are cost nothing to make.
    found = make(list(of)) if wanted.shape == RAW else shared.events.look_up(list(of), make)
    return [found[each] for each in of]


def _rows(connection: Connection, cursor: Cursor, last: Cursor | None) -> list[Row]:
    values = {"position": cursor.next_position, "last": last and last.position, "limit": ROWS_AT_ONCE}
    found = connection.execute(_ROWS, values)
    rows = [Row(*row)._replace(left_out=_set(row.left_out), named=_set(row.named)) for row in found]
    if last is not None and rows and rows[-1].position == last.position:
        rows[-1] = rows[-1]._replace(records=min(rows[-1].records, last.place + 1))
    return rows


def _set(ids: list[int] | None) -> frozenset[int] | None:
    return None if ids is None else frozenset(ids)


def _hole(rows: Sequence[Row], cursor: Cursor, last: Cursor | None) -> tuple[int, int] | None:
    """The positions behind the cursor that are gone: rows are dropped from the oldest on, and the newest stays."""
    if rows:
        there = rows[0].position
    elif last is not None:
        there = last.position + 1
    else:
        return None
    return (cursor.next_position, there - 1) if there > cursor.next_position else None


_ROW: Final = (
    "SELECT feed.position, kind, feed.source, batch_id, call_id, revision, left_out, named, at, "
    "       coalesce(batches.records, 1) "
    "FROM feed LEFT JOIN batches ON batches.id = feed.batch_id"
)
_ROWS: Final = text(
    f"{_ROW} WHERE feed.position BETWEEN :position AND coalesce(:last, 9223372036854775807) "
    "ORDER BY feed.position LIMIT :limit"
)
_SOME_ROWS: Final = text(f"{_ROW} WHERE feed.position = ANY(cast(:positions AS bigint[]))")


def _spans(rows: Sequence[Row], cursor: Cursor, wanted: Wanted, most: int) -> tuple[list[Span], Cursor]:
    """The records to look at, and where the cursor is behind them."""
    spans: list[Span] = []
    behind, left = cursor, most
    for row in rows:
        start = cursor.place + 1 if row.position == cursor.position else 0
        if not wanted.lets_row(row):
            behind = Cursor(row.position, LAST_PLACE)
            continue
        if left <= 0:
            break
        many = min(row.records - start, left)
        if many > 0:
            first = row.call_id if row.batch_id is None else first_record(row.batch_id) + start
            assert first is not None
            spans.append(Span(row, first, first + many - 1))
        left -= max(many, 0)
        whole = start + many >= row.records
        behind = Cursor(row.position, LAST_PLACE if whole else start + many - 1)
        if not whole:
            break
    return spans, behind


class About(NamedTuple):
    """What an event is about, whoever gets it."""

    record_id: int
    subject: Subject
    disposition: str | None
    """Of the call, or the outcome of the contact; None: nothing is known of it."""
    raw: bytes
    """Empty where nobody gets them."""
    contact: Named | None = None
    """The contact that changed, with the call that did it."""

    @property
    def of_event(self) -> OfEvent:
        return OfEvent(self.subject.position, self.record_id)


def _subjects(
    connection: Connection, spans: Sequence[Span], wanted: Wanted, shared: Shared
) -> tuple[list[About], list[Cursor]]:
    """What events are about, in their order, and which were passed over."""
    found: list[About] = []
    passed: list[Cursor] = []
    with_raw = wanted.shape == RAW
    changed = [span for span in spans if span.row.kind == CHANGED]
    by_name = {
        OfSpan(span.row.position, span.first, span.last, with_raw or span.row.kind == RECEIVED): span
        for span in spans
        if span.row.kind != CHANGED
    }

    def find(missing: Sequence[OfSpan]) -> dict[OfSpan, list[About]]:
        there: dict[OfSpan, list[About]] = {each: [] for each in missing}
        received = [each for each in missing if by_name[each].row.kind == RECEIVED]
        others = [each for each in missing if by_name[each].row.kind != RECEIVED]
        for nth, about in _received(connection, [by_name[each] for each in received]):
            there[received[nth]].append(about)
        for nth, about in _happened(connection, [by_name[each] for each in others], with_raw=with_raw):
            there[others[nth]].append(about)
        return there

    of_calls = shared.abouts.look_up(list(by_name), find)
    for about in (*itertools.chain(*of_calls.values()), *_changed(connection, changed, with_raw=with_raw)):
        if wanted.filter.lets_call(about.subject.campaign, about.disposition):
            found.append(about)
        else:
            passed.append(Cursor(*about.subject[:2]))
    # A call that names its contact no longer has nothing to tell of it, and is counted all the same.
    there = {about.subject[:2] for about in found} | set(passed)
    passed += [at for span in changed for at in _named(span) if at not in there]
    return sorted(found, key=lambda each: each.subject[:2]), sorted(passed)


def _named(span: Span) -> Iterator[Cursor]:
    """The events of a row that says by itself which calls it is about, as far as the span goes."""
    row = span.row
    if row.batch_id is None:
        yield Cursor(row.position, 0)
    for record_id in row.named or ():
        if span.first <= record_id <= span.last:
            yield Cursor(row.position, record_id - first_record(row.batch_id or 0))


def _bounds(spans: Sequence[Span]) -> dict[str, Any]:
    return {
        "nth": list(range(len(spans))),
        "first": [span.first for span in spans],
        "last": [span.last for span in spans],
        "lowest": min(span.first for span in spans),
        "highest": max(span.last for span in spans),
    }


def _received(connection: Connection, spans: Sequence[Span]) -> Iterator[tuple[int, About]]:
    if not spans:
        return
    for nth, record_id, raw in connection.execute(_RECEIVED, _bounds(spans)):
        row = spans[nth].row
        call_ref, campaign = _names(raw)
        of = event_id(row.source, call_ref, row.kind, content_revision(raw))
        place = record_id - first_record(row.batch_id or 0)
        subject = Subject(row.position, place, of, row.kind, row.source, call_ref, campaign, row.at)
        yield nth, About(record_id, subject, None, raw)


# SQL: many spans in one statement. Each part is asked for by itself (OFFSET 0), by the key: how long a span is, the
# planner cannot know, and takes it for so large a share of all that it would rather read all, each time. The bounds of
# all spans tell it beforehand which ranges they are in.
_SPANS: Final = "unnest(cast(:nth AS int[]), cast(:first AS bigint[]), cast(:last AS bigint[])) AS span (nth, f, l)"
_WITHIN: Final = "BETWEEN span.f AND span.l AND {key} BETWEEN :lowest AND :highest OFFSET 0"
_OF_CALL: Final = "= calls.id AND {key} BETWEEN :lowest AND :highest OFFSET 0"
_RECEIVED: Final = text(
    f"SELECT span.nth, record_id, raw FROM {_SPANS} CROSS JOIN LATERAL "
    f"(SELECT record_id, raw FROM inbox WHERE record_id {_WITHIN.format(key='record_id')}) AS own"
)


def _names(raw: bytes) -> tuple[str, str | None]:
    """The reference and the campaign that a record gives, as far as it is readable."""
    try:
        payload = decode_record(raw, LARGEST_BYTES).get("payload")
    except DataError:
        return "", None
    if not isinstance(payload, dict):
        return "", None
    call_ref, campaign = payload.get("call_ref"), payload.get("ref")
    return (
        str(call_ref).strip() if isinstance(call_ref, str | int) else "",
        campaign.strip() if isinstance(campaign, str) else None,
    )


def _happened(connection: Connection, spans: Sequence[Span], *, with_raw: bool) -> Iterator[tuple[int, About]]:
    if not spans:
        return
    for nth, call_id, call_ref, campaign, disposition, raw in connection.execute(_HAPPENED[with_raw], _bounds(spans)):
        span = spans[nth]
        row = span.row
        if not span.holds(call_id):
            continue
        of = event_id(row.source, call_ref, row.kind, row.revision)
        place = 0 if row.batch_id is None else call_id - first_record(row.batch_id)
        subject = Subject(row.position, place, of, row.kind, row.source, call_ref, campaign, row.at)
        yield nth, About(call_id, subject, disposition, raw)


def _changed(connection: Connection, spans: Sequence[Span], *, with_raw: bool) -> Iterator[About]:
    if not spans:
        return
    replaced_by = [None if each.row.batch_id else each.row.revision for each in spans]
    values = _bounds(spans) | {"replaced_by": replaced_by}
    for nth, named, outcome, raw in contacts_changed(connection, values, with_raw=with_raw):
        span = spans[nth]
        row = span.row
        if not span.holds(named.call_id):
            continue
        of = event_id(row.source, named.call_ref, row.kind, row.revision)
        place = 0 if row.batch_id is None else named.call_id - first_record(row.batch_id)
        campaign = named.key.campaign_ref
        subject = Subject(row.position, place, of, row.kind, row.source, named.call_ref, campaign, row.at)
        yield About(named.call_id, subject, outcome, raw, named)


_WITH_RAW: Final = (
    f"LEFT JOIN LATERAL (SELECT raw FROM inbox WHERE record_id {_OF_CALL.format(key='record_id')}) AS inbox ON true"
)
# The bytes only where they are what is delivered.
_HAPPENED: Final = {
    with_raw: text(
        "SELECT span.nth, calls.id, calls.call_ref, calls.campaign_ref, dispositions.disposition, "
        f"       {'coalesce(inbox.raw, cast(:none AS bytea))' if with_raw else 'cast(:none AS bytea)'} "
        f"FROM {_SPANS} CROSS JOIN LATERAL "
        f"  (SELECT id, call_ref, campaign_ref FROM calls WHERE id {_WITHIN.format(key='id')}) AS calls "
        "LEFT JOIN LATERAL (SELECT disposition FROM dispositions "
        f"  WHERE call_id {_OF_CALL.format(key='call_id')}) AS dispositions ON true "
        f"{_WITH_RAW if with_raw else ''}"
    ).bindparams(none=b"")
    for with_raw in (False, True)
}
