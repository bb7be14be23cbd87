"""A list on a real Redis as a sink: every element once, in order, whatever is killed between."""

from __future__ import annotations

import threading

import pytest

from pipeline.feed import subscribers
from pipeline.feed.deliver import deliver
from pipeline.feed.rules.event import RECEIVED
from pipeline.feed.sequence import place
from pipeline.feed.sinks import open_sink
from pipeline.feed.sinks.base import SettingError
from tests.factories import make_record
from tests.integration.feed_events import dying
from tests.integration.flow import receive

LIST = "crm:cdrs"


@pytest.fixture
def subscribed(feed, servers, crm):
    """Adds one that gets all that is received, as it was received."""

    def add(**settings):
        settings = {"url": servers.broker.url, "list": LIST} | settings
        feed.add("crm", sink="redis-list", settings=settings, kinds=(RECEIVED,), shape="raw")

    return add


def bring(engine, *, opener=open_sink):
    place(engine)
    return deliver(engine, "crm", open_sink=opener, seconds=10, chance=lambda: 0.5)


def test_a_reader_of_the_dialler_finds_what_it_found_there(engine, subscribed, crm):
    """An unchanged consumer reads the same bytes, the oldest first."""
    subscribed()
    elements = [make_record() for _ in range(1_200)]
    receive(engine, *elements)
    assert bring(engine).delivered == 1_200
    assert [crm.blpop([LIST], timeout=1)[1] for _ in elements] == elements


def test_the_end_is_a_setting(engine, subscribed, crm):
    subscribed(end="left")
    elements = [make_record(), make_record()]
    receive(engine, *elements)
    bring(engine)
    assert [crm.brpop([LIST], timeout=1)[1] for _ in elements] == elements


def test_a_crash_between_the_push_and_our_cursor_repeats_nothing(engine, feed, subscribed, crm):
    subscribed()
    elements = [make_record() for _ in range(3)]
    receive(engine, *elements)

    with pytest.raises(KeyboardInterrupt):
        bring(engine, opener=dying)
    assert bring(engine).outcome == "up to date"
    assert crm.lrange(LIST, 0, -1) == elements
    assert feed.show("crm").delivered == 3


def test_two_that_believe_they_may_push_once(engine, subscribed, crm, servers):
    """A deliverer that stood still for longer than its lease goes on beside the next."""
    subscribed()
    elements = [make_record() for _ in range(200)]
    receive(engine, *elements)
    events = []

    class Seen:
        most_events = 1_000

        def deliver(self, some):
            events.extend(some)

        def delivered(self):
            return None

        def close(self):
            pass

    bring(engine, opener=lambda *_, **__: Seen())
    settings = {"url": servers.broker.url, "list": LIST}

    def push():
        sink = open_sink("redis-list", settings, subscriber="crm.1")
        for at in range(0, len(events), 20):
            sink.deliver(events[at : at + 20])
        sink.close()

    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crm.lrange(LIST, 0, -1) == elements


def test_a_full_list_waits_to_be_read(engine, subscribed, crm):
    subscribed(high_water=5)
    elements = [make_record() for _ in range(2)]
    receive(engine, *elements)
    crm.rpush(LIST, *"abcde")
    delivery = bring(engine)
    assert (delivery.outcome, delivery.delivered) == ("full", 0)
    assert "waits to be read" in delivery.reason
    crm.delete(LIST)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE subscribers SET due_at = now()")
    assert bring(engine).delivered == 2


def test_one_that_is_away_or_no_list_is_put_off(engine, subscribed, crm):
    subscribed()
    crm.set(LIST, "no list")
    receive(engine, make_record())
    assert bring(engine).outcome == "away"


def test_a_removed_namesakes_cursor_is_not_taken_over(engine, feed, subscribed, crm):
    subscribed()
    receive(engine, make_record())
    bring(engine)
    with engine.begin() as connection:
        subscribers.remove(connection, "crm", who="test")
    crm.delete(LIST)
    subscribed()
    assert bring(engine).delivered == 1
    assert crm.llen(LIST) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "host:6379"}, "url must be a URL"),
        ({"list": ""}, "list must be"),
        ({"end": "middle"}, "end must be left or right"),
        ({"high_water": 0}, "high_water must be"),
        ({"lst": "x"}, "has no setting lst"),
    ],
)
def test_a_setting_that_cannot_be_is_said(changes, said):
    with pytest.raises(SettingError, match=said):
        open_sink("redis-list", {"url": "redis://h/0", "list": "l"} | changes, subscriber="crm")
    with pytest.raises(SettingError, match="no sink 'pigeon'"):
        open_sink("pigeon", {}, subscriber="crm")


def test_a_list_that_knows_a_later_position_than_there_is_stands(engine, feed, subscribed, crm):
    """The database was restored to an earlier day: its new positions are not those that the list has."""
    subscribed()
    receive(engine, make_record())
    bring(engine)
    [cursor] = list(crm.scan_iter(match="*:feed:*"))
    crm.set(cursor, "900 0")
    receive(engine, make_record())
    delivery = bring(engine)
    assert (delivery.outcome, delivery.delivered) == ("stands", 0)
    assert "was the database restored" in feed.show("crm").last_error
