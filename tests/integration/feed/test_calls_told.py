"""What many subscribers are told of the same call is looked up once, and never when it stands otherwise by then."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

from sqlalchemy.event import listens_for, remove

from pipeline.billing.billed_calls import Selection
from pipeline.billing.rerate import rerate
from pipeline.billing.tariff_cache import TariffCache
from pipeline.feed.calls_told import CallsTold, OfEvent
from pipeline.feed.rules.event import CORRECTED, FINISHED
from tests.factories import make_record
from tests.integration.flow import load, receive, walk


@contextlib.contextmanager
def statements(engine):
    """What is asked of the tables of calls."""
    asked: list[str] = []

    def note(_, __, statement, *___):
        if "FROM ledger" in statement:
            asked.append(statement)

    listens_for(engine, "before_cursor_execute")(note)
    yield asked
    remove(engine, "before_cursor_execute", note)


def test_the_second_subscriber_costs_no_look_at_the_calls(engine, feed):
    load(engine)
    for name in ("one", "two"):
        feed.add(name, kinds=(FINISHED,), shape="call")
    walk(engine, receive(engine, *(make_record(call_ref=str(ref)) for ref in range(5))))
    told = CallsTold()
    with statements(engine) as asked:
        assert feed.deliver("one", calls=told).delivered == 5
        assert len(asked) == 1
        assert feed.deliver("two", calls=told).delivered == 5
        assert len(asked) == 1
    assert feed.got("one") == feed.got("two")
    assert {each["kind"] for each in feed.got("two")} == {FINISHED}


def test_a_correction_is_told_as_it_stands(engine, feed):
    load(engine)
    feed.add(kinds=(FINISHED, CORRECTED), shape="call")
    walk(engine, receive(engine, make_record(call_ref="1")))
    told = CallsTold()
    assert feed.deliver(calls=told).delivered == 1
    load(engine, b"prefix,rate_per_minute\n27,9\n")
    year = Selection(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert rerate(engine, year, TariffCache("UTC"), who="me", progress=lambda *_: None) == 1
    assert feed.deliver(calls=told).delivered == 1
    before, after = (json.loads(each["body"])["data"] for each in feed.got())
    assert [len(each["charges"]) for each in (before, after)] == [1, 3]


def test_nothing_is_kept_for_long_or_without_bound(engine):
    load(engine)
    batch = receive(engine, *(make_record(call_ref=str(ref)) for ref in range(4)))
    walk(engine, batch)
    now = [100.0]
    told = CallsTold(most=3, seconds=5, clock=lambda: now[0])
    wanted = [OfEvent(1, 65_536 + place) for place in range(4)]
    with statements(engine) as asked, engine.connect() as connection:
        assert set(told.look_up(connection, wanted)) == set(wanted)
        told.look_up(connection, wanted[1:])
        assert len(asked) == 1
        told.look_up(connection, wanted[:1])
        assert len(asked) == 2
        now[0] += 5.1
        told.look_up(connection, wanted[2:])
        assert len(asked) == 3
        assert told.look_up(connection, [OfEvent(1, 7)]) == {}
