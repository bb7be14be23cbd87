"""What many subscribers are told of the same event is found out once, and anew when it stands otherwise by then."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pipeline.billing.billed_calls import Selection
from pipeline.billing.rerate import rerate
from pipeline.billing.tariff_cache import TariffCache
from pipeline.feed.rules.event import CORRECTED, FINISHED, RECEIVED
from pipeline.feed.shared import OfEvent, Shared
from tests.factories import make_record
from tests.integration.flow import load, receive, walk
from tests.integration.statements import statements


def test_the_second_subscriber_costs_no_look_at_the_calls(engine, feed):
    load(engine)
    for name in ("one", "two"):
        feed.add(name, kinds=(FINISHED,), shape="call")
    walk(engine, receive(engine, *(make_record(call_ref=str(ref)) for ref in range(5))))
    shared = Shared()
    with statements(engine, "FROM ledger") as asked:
        assert feed.deliver("one", shared=shared).delivered == 5
        assert len(asked) == 1
        assert feed.deliver("two", shared=shared).delivered == 5
        assert len(asked) == 1
    assert feed.got("one") == feed.got("two")
    assert {each["kind"] for each in feed.got("two")} == {FINISHED}


@pytest.mark.parametrize(
    ("kind", "shape", "about"), [(RECEIVED, "raw", "FROM inbox"), (FINISHED, "thin", "FROM calls")]
)
def test_what_events_are_about_is_looked_up_once_and_everybody_gets_what_the_filter_lets(
    engine, feed, kind, shape, about
):
    load(engine)
    campaigns = {"one": ("*",), "two": ("sales",)}
    for name, wanted in campaigns.items():
        feed.add(name, kinds=(kind,), shape=shape, campaigns=wanted)
    refs = [str(ref) for ref in range(6)]
    walk(engine, receive(engine, *(make_record(call_ref=ref, ref="sales" if ref < "4" else "service") for ref in refs)))
    shared = Shared()
    with statements(engine, about) as asked:
        assert feed.deliver("one", shared=shared).delivered == 6
        assert len(asked) == 1
        assert feed.deliver("two", shared=shared).delivered == 4
        assert len(asked) == 1
    assert [each["ref"] for each in feed.got("two")] == refs[:4]
    assert feed.got("two") == feed.got("one")[:4]
    assert feed.show("two").filtered == 2


def test_each_shape_is_its_own(engine, feed):
    """Bytes are for whoever asked for them, and of a call each gets the fields it may have."""
    load(engine)
    feed.add("one", kinds=(FINISHED,), shape="call", fields=("net",))
    feed.add("two", kinds=(FINISHED,), shape="raw")
    record = make_record(call_ref="7")
    walk(engine, receive(engine, record))
    shared = Shared()
    for name in ("one", "two"):
        assert feed.deliver(name, shared=shared).delivered == 1
    [call], [raw] = feed.got("one"), feed.got("two")
    assert json.loads(call["body"])["data"] == {"net": {"ZAR": "0.81"}}
    assert raw["body"].encode() == record
    feed.add("three", kinds=(FINISHED,), shape="call", fields=("disposition",))
    assert feed.deliver("three", shared=shared).delivered == 1
    [other] = feed.got("three")
    assert set(json.loads(other["body"])["data"]) == {"disposition"}


def test_a_correction_is_told_as_it_stands(engine, feed):
    load(engine)
    feed.add(kinds=(FINISHED, CORRECTED), shape="call")
    walk(engine, receive(engine, make_record(call_ref="1")))
    shared = Shared()
    assert feed.deliver(shared=shared).delivered == 1
    load(engine, b"prefix,rate_per_minute\n27,9\n")
    year = Selection(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert rerate(engine, year, TariffCache("UTC"), who="me", progress=lambda *_: None) == 1
    assert feed.deliver(shared=shared).delivered == 1
    before, after = (json.loads(each["body"])["data"] for each in feed.got())
    assert [len(each["charges"]) for each in (before, after)] == [1, 3]


def test_nothing_is_kept_for_long_or_without_bound(engine):
    load(engine)
    batch = receive(engine, *(make_record(call_ref=str(ref)) for ref in range(4)))
    walk(engine, batch)
    now = [100.0]
    shared = Shared(calls=3, seconds=5, clock=lambda: now[0])
    wanted = [OfEvent(1, 65_536 + place) for place in range(4)]
    with statements(engine, "FROM ledger") as asked, engine.connect() as connection:
        assert set(shared.calls(connection, wanted)) == set(wanted)
        shared.calls(connection, wanted[1:])
        assert len(asked) == 1
        shared.calls(connection, wanted[:1])
        assert len(asked) == 2
        now[0] += 5.1
        shared.calls(connection, wanted[2:])
        assert len(asked) == 3
        assert shared.calls(connection, [OfEvent(1, 7)]) == {}
