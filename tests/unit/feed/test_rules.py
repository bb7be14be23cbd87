"""What an event is called, who gets it, and how a subscriber may be asked for."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.feed.reading import _spans
from pipeline.feed.rules.backoff import LONGEST_SECONDS, wait_seconds
from pipeline.feed.rules.cursor import Cursor
from pipeline.feed.rules.event import FINISHED, KINDS, LAST_PLACE, RECEIVED, event_id
from pipeline.feed.rules.filter import Filter
from pipeline.feed.rules.part import Row, Wanted
from pipeline.feed.rules.shape import Subject, shaped
from pipeline.feed.subscribers import NewSubscriber, SubscriberError, check

AT = datetime(2026, 11, 25, 3, tzinfo=UTC)
SUBJECT = Subject(7, 2, uuid.UUID(int=1), FINISHED, "enigma", "4711", "sales", AT)
EVERYTHING = Filter(("*",), ("*",), KINDS)


def test_an_event_keeps_its_id_for_ever():
    """Integrators have stored it: it may change for no version of this code."""
    assert str(event_id("enigma", "4711", "call.finished", 0)) == "04e3637e-5d54-5a40-9d79-c7f7384a825d"


@given(st.lists(st.tuples(st.text(), st.text(), st.sampled_from(KINDS), st.integers()), unique=True, min_size=2))
def test_no_two_events_have_one_id(about):
    about = [each for each in about if "\n" not in each[0] + each[1]]
    assert len({event_id(*each) for each in about}) == len(about)


@given(misses=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_waits_grow_and_have_an_end(misses, chance):
    wait = wait_seconds(misses, chance=chance)
    assert 0.75 <= wait <= LONGEST_SECONDS * 1.25
    assert wait_seconds(misses + 1, chance=chance) >= wait


@pytest.mark.parametrize(("seconds", "tries"), [(60, 7), (3_600, 13), (86_400, 43)])
def test_one_that_is_dead_is_tried_a_few_dozen_times_a_day(seconds, tries):
    """As often as chance lets it at most."""
    waits = itertools.accumulate(wait_seconds(misses, chance=0) for misses in itertools.count(1))
    assert 1 + sum(1 for _ in itertools.takewhile(lambda at: at < seconds, waits)) == tries


def test_raw_is_the_bytes_themselves():
    event = shaped(SUBJECT, "raw", raw=b"\xff\x00 anything", call=None)
    assert (event.body, event.content_type) == (b"\xff\x00 anything", "application/octet-stream")


def test_thin_says_no_more_than_which_call():
    body = json.loads(shaped(SUBJECT, "thin", raw=b"secret", call={"call": {"client_number": "secret"}}).body)
    assert body["data"] == {"source": "enigma", "call_ref": "4711"}
    assert "secret" not in json.dumps(body)
    assert "sales" not in json.dumps(body)


def test_a_call_is_an_envelope_with_amounts_as_text():
    event = shaped(SUBJECT, "call", raw=b"", call={"net": {"ZAR": Decimal("0.80")}, "call": {"call_ref": "4711"}})
    assert json.loads(event.body) == {
        "specversion": "1.0",
        "id": str(uuid.UUID(int=1)),
        "source": "/enigma-cdr/enigma",
        "type": FINISHED,
        "subject": "4711",
        "time": "2026-11-25T03:00:00+00:00",
        "position": 7,
        "place": 2,
        "datacontenttype": "application/json",
        "data": {"net": {"ZAR": "0.80"}, "call": {"call_ref": "4711"}},
    }


@pytest.mark.parametrize("raw", [b"{broken", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_what_is_no_json_is_sent_as_it_is(raw):
    body = json.loads(shaped(SUBJECT, "call", raw=raw, call=None).body)
    assert base64.b64decode(body["data_base64"]) == raw


def test_a_lone_surrogate_is_no_reason_to_stand_still():
    assert json.loads(shaped(SUBJECT, "call", raw=b'{"a": "\\ud800"}', call=None).body)["data"] == {"a": "\ud800"}


def _row(position, records, kind=RECEIVED):
    return Row(position, kind, "enigma", position, None, 0, None, None, AT, records)


@given(sizes=st.lists(st.integers(1, 30), max_size=8), most=st.integers(1, 40))
def test_every_record_is_looked_at_once_however_parts_are_cut(sizes, most):
    rows = [_row(position, records) for position, records in enumerate(sizes, start=1)]
    cursor, seen = Cursor(0, LAST_PLACE), []
    while True:
        left = [row for row in rows if row.position >= cursor.position + (cursor.place == LAST_PLACE)]
        if not left:
            break
        spans, behind = _spans(left, cursor, Wanted(EVERYTHING, "thin"), most)
        assert behind > cursor
        looked = [record for span in spans for record in range(span.first, span.last + 1)]
        assert len(looked) <= most
        seen += looked
        cursor = behind
    assert seen == [row.position * 65_536 + place for row in rows for place in range(row.records)]


GOOD = NewSubscriber("crm", "redis-list", {}, {}, EVERYTHING, "call", "per call")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "CRM"}, "small"),
        ({"name": ""}, "name"),
        ({"shape": "xml"}, "--shape must be one of raw, call, thin, got 'xml'"),
        ({"ordering": "any"}, "--order must be one of strict, per call, none"),
        ({"wanted": EVERYTHING._replace(kinds=())}, "--kind must be given"),
        ({"wanted": EVERYTHING._replace(kinds=("call.lost",))}, "--kind must be one of call.received"),
        ({"wanted": EVERYTHING._replace(sources=())}, "--source must be given, or nothing would be delivered"),
        ({"wanted": EVERYTHING._replace(campaigns=())}, "--campaign must be given"),
        ({"wanted": EVERYTHING._replace(campaigns=("*", "a"))}, "--campaign must be names, or \\* alone"),
        ({"wanted": EVERYTHING._replace(campaigns=("sal*",))}, "--campaign takes whole names"),
        ({"wanted": EVERYTHING._replace(dispositions=("answered",))}, "--disposition cannot narrow call.received"),
        ({"wanted": Filter(("*",), ("*",), (FINISHED,), ("gone",))}, "--disposition must be one of answered"),
        ({"fields": ("call.shoe_size",)}, "--field must be one of"),
        ({"fields": ("net",), "shape": "raw"}, "--field is for the shape call alone"),
        ({"settings": {"url": 1}, "secrets": {"url": 2}}, "url is given both"),
    ],
)
def test_what_cannot_be_is_said(changes, said):
    check(GOOD)
    with pytest.raises(SubscriberError, match=said):
        check(GOOD._replace(**changes))
