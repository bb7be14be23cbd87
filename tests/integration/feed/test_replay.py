"""What a subscriber had comes once more, slowly, by the same ids; its main cursor does not move."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from pipeline.feed import replays, subscribers
from pipeline.feed.deliver import deliver
from pipeline.feed.replays import Asked, due_replays, take_replay
from pipeline.feed.retention import drop_old
from pipeline.feed.rules.event import FINISHED, RECEIVED
from pipeline.feed.sequence import place
from pipeline.feed.sinks import open_sink
from pipeline.feed.subscribers import SubscriberError
from tests.factories import make_record
from tests.integration.feed_events import dying
from tests.integration.flow import load, receive, rows, sheet, walk

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
QUICK = 1_000


def put(engine, statement, **values):
    with engine.begin() as connection:
        connection.execute(text(statement), values)


def begin(engine, name="one", *, since=LONG_AGO, rate=QUICK, **changes):
    with engine.begin() as connection:
        asked = Asked(since, rate=rate, **changes)
        return replays.start(connection, name, asked, who="thandi", show=datetime.isoformat)


def go_on(engine, opener, name="one", *, seconds=10.0):
    return deliver(
        engine, name, open_sink=opener, seconds=seconds, settle_seconds=0, chance=lambda: 0.5, take=take_replay
    )


def shown(engine, name="one"):
    with engine.connect() as connection:
        return replays.replays_of(connection, name, limit=1)[0]


def received(engine, *refs, **changes):
    return receive(engine, *(make_record(call_ref=str(ref), **changes) for ref in refs))


def happened(engine, position, at):
    put(engine, "UPDATE feed SET at = :at WHERE position = :position", position=position, at=at)


def test_the_same_events_come_again_by_the_same_ids(engine, feed):
    load(engine)
    feed.add()
    walk(engine, received(engine, 1, 2))
    feed.deliver()
    before, main = feed.got(), feed.show()
    began = begin(engine)
    assert (began.state, began.events, began.share) == ("active", 4, 0)
    assert go_on(engine, feed.open).outcome == "done"
    assert feed.got() == before * 2
    assert feed.show() == main
    assert (shown(engine).state, shown(engine).delivered, shown(engine).share) == ("done", 4, 1)
    assert go_on(engine, feed.open).outcome == "nothing to do"
    assert sheet(engine).closes
    assert [row.action for row in rows(engine, "SELECT action FROM actions ORDER BY id")] == [
        "subscriber added",
        "subscriber replay begun",
    ]


def test_only_what_happened_in_that_time(engine, feed):
    """By when it happened, which is not quite the order of positions."""
    feed.add(kinds=(RECEIVED,))
    for ref in range(5):
        received(engine, ref)
    place(engine)
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 3, 2, 4, 5)]
    for position, at in enumerate(days, 1):
        happened(engine, position, at)
    feed.deliver()
    feed.client.delete("to:one")
    assert begin(engine, since=days[2], until=days[3]).events == 2
    go_on(engine, feed.open)
    assert [ref for _, ref in feed.refs()] == ["1", "2"]


def test_only_those_campaigns_and_none_that_it_may_not_see(engine, feed):
    feed.add(kinds=(RECEIVED,), campaigns=("sales", "service"))
    received(engine, "s", ref="sales")
    received(engine, "v", ref="service")
    feed.deliver()
    feed.client.delete("to:one")
    with pytest.raises(SubscriberError, match="does not get campaign debts: it gets sales, service"):
        begin(engine, campaigns=("sales", "debts"))
    begin(engine, campaigns=("service",))
    go_on(engine, feed.open)
    assert feed.refs() == [(RECEIVED, "v")]
    assert (shown(engine).delivered, shown(engine).filtered, shown(engine).share) == (1, 1, 1)


def test_it_ends_where_the_main_cursor_is(engine, feed):
    """What still waits comes once; also where the main one stands in the middle of a batch."""
    feed.add(kinds=(RECEIVED,))
    received(engine, *range(120))
    assert feed.deliver(seconds=-1).outcome == "goes on"
    assert len(feed.got()) == 50
    begin(engine)
    assert go_on(engine, feed.open).outcome == "done"
    assert [ref for _, ref in feed.refs()] == [str(ref) for ref in (*range(50), *range(50))]
    feed.deliver()
    assert len(feed.got()) == 170


def test_it_keeps_to_its_rate_whoever_carries_it(engine, feed):
    """Two seconds' worth in one go, and then not before they are over; nobody is held meanwhile."""
    feed.add(kinds=(RECEIVED,))
    received(engine, *range(50))
    feed.deliver()
    feed.client.delete("to:one")
    begin(engine, rate=10)
    for many in (20, 40):
        assert go_on(engine, feed.open).outcome == "goes on"
        assert len(feed.got()) == many
        assert go_on(engine, feed.open).outcome == "nothing to do"
        with engine.connect() as connection:
            assert due_replays(connection) == []
        [(wait,)] = rows(engine, "SELECT extract(epoch FROM due_at - clock_timestamp()) FROM replays")
        assert 0 < wait <= 2
        put(engine, "UPDATE replays SET due_at = clock_timestamp()")
        with engine.connect() as connection:
            assert due_replays(connection) == ["one"]
    assert go_on(engine, feed.open).outcome == "done"
    assert len(feed.got()) == 50
    assert shown(engine).share == 1


def test_what_is_passed_over_costs_none_of_the_rate(engine, feed):
    feed.add(kinds=(RECEIVED,), campaigns=("sales",))
    received(engine, *range(100), ref="service")
    received(engine, "last", ref="sales")
    feed.deliver()
    begin(engine, rate=1)
    assert go_on(engine, feed.open).outcome == "done"
    assert (shown(engine).delivered, shown(engine).filtered) == (1, 100)


def test_a_carrier_that_was_killed_is_replaced(engine, feed):
    """Its lease runs out, and the next goes on behind what is written down."""
    feed.add(kinds=(RECEIVED,))
    received(engine, *range(120))
    feed.deliver()
    feed.client.delete("to:one")
    begin(engine)
    assert go_on(engine, feed.open, seconds=-1).outcome == "goes on"
    put(engine, "UPDATE replays SET due_at = now()")
    with engine.begin() as connection:
        assert take_replay(connection, "one") is not None
    assert go_on(engine, feed.open).outcome == "nothing to do"
    put(engine, "UPDATE replays SET leased_until = now() - interval '1 s'")
    assert go_on(engine, feed.open).outcome == "done"
    assert [each["at"][1] for each in feed.got()] == list(range(120))


def test_a_replay_does_not_hold_up_what_happens_now(engine, feed):
    """Both at once, each with its own lease and its own wait."""
    feed.add(kinds=(RECEIVED,))
    received(engine, 1)
    feed.deliver()
    begin(engine)
    received(engine, 2)
    inside, go = threading.Event(), threading.Event()
    feed.options["one"] = {"then": lambda: (inside.set(), go.wait(10))}
    carrier = threading.Thread(target=go_on, args=(engine, feed.open))
    carrier.start()
    assert inside.wait(10)
    feed.options["one"].clear()
    assert feed.deliver().delivered == 1
    go.set()
    carrier.join()
    assert [ref for _, ref in feed.refs()] == ["1", "1", "2"]


def test_cancelled_it_ends_where_it_is_and_another_may_begin(engine, feed):
    feed.add(kinds=(RECEIVED,))
    received(engine, *range(120))
    feed.deliver()
    feed.client.delete("to:one")
    begin(engine)
    with pytest.raises(SubscriberError, match="is being replayed to already"):
        begin(engine)

    def cancel():
        with engine.begin() as connection:
            replays.cancel(connection, "one", who="thandi", why="wrong day")

    feed.options["one"] = {"then": cancel}
    assert go_on(engine, feed.open).outcome == "stopped"
    assert len(feed.got()) == 50
    ended = shown(engine)
    assert (ended.state, ended.state_reason) == ("cancelled", "by thandi: wrong day")
    feed.options["one"].clear()
    assert go_on(engine, feed.open).outcome == "nothing to do"
    with engine.begin() as connection, pytest.raises(SubscriberError, match="nothing is being replayed"):
        replays.cancel(connection, "one", who="thandi")
    begin(engine)
    assert go_on(engine, feed.open).outcome == "done"


def test_paused_with_its_subscriber(engine, feed):
    feed.add(kinds=(RECEIVED,))
    received(engine, *range(120))
    feed.deliver()
    begin(engine)

    def pause():
        with engine.begin() as connection:
            subscribers.pause(connection, "one", who="thandi", reason=None)

    feed.options["one"] = {"then": pause}
    assert go_on(engine, feed.open).outcome == "stopped"
    assert go_on(engine, feed.open).outcome == "nothing to do"
    with pytest.raises(SubscriberError, match="is paused: resume it first"):
        begin(engine)
    feed.options["one"].clear()
    with engine.begin() as connection:
        subscribers.resume(connection, "one", who="thandi")
    put(engine, "UPDATE replays SET due_at = now()")
    assert go_on(engine, feed.open).outcome == "done"
    assert len(feed.got()) == 240


def test_what_the_feed_no_longer_holds_is_said_before_anything_begins(engine, feed):
    feed.add(kinds=(RECEIVED,))
    for ref in range(4):
        received(engine, ref)
    feed.deliver()
    feed.client.delete("to:one")
    put(engine, "UPDATE feed SET at = now() - interval '31 days' WHERE position <= 2")
    assert drop_old(engine, days=30) == 2
    with pytest.raises(SubscriberError, match=r"no longer holds all of that time: .* --from-what-is-left"):
        begin(engine)
    assert rows(engine, "SELECT count(*) FROM replays") == [(0,)]
    begin(engine, from_what_is_left=True)
    assert go_on(engine, feed.open).outcome == "done"
    assert [ref for _, ref in feed.refs()] == ["2", "3"]
    [(oldest,)] = rows(engine, "SELECT at FROM feed WHERE position = 3")
    assert begin(engine, since=oldest).events == 2


def test_calls_from_before_there_was_a_feed_are_not_held_either(engine, feed):
    """Positions begin at 1 there as well."""
    received(engine, "before")
    put(engine, "DELETE FROM feed")
    feed.add(kinds=(RECEIVED,))
    received(engine, "since")
    feed.deliver()
    with pytest.raises(SubscriberError, match="no longer holds"):
        begin(engine)
    assert begin(engine, since=LONG_AGO, from_what_is_left=True).events == 1


def test_what_is_dropped_while_it_goes_ends_it_and_is_told(engine, feed):
    """At its very end, too, where nothing of it is left."""
    feed.add(kinds=(RECEIVED,))
    for ref in range(3):
        received(engine, ref)
    feed.deliver()
    begin(engine, rate=1)
    assert go_on(engine, feed.open).outcome == "goes on"
    received(engine, "newer")
    place(engine)
    put(engine, "UPDATE feed SET at = now() - interval '31 days' WHERE position <= 3")
    drop_old(engine, days=30)
    put(engine, "UPDATE replays SET due_at = now()")
    ended = go_on(engine, feed.open)
    assert (ended.outcome, ended.hole) == ("expired", (3, 3))
    assert (shown(engine).state, shown(engine).hole_from, shown(engine).hole_to) == ("expired", 3, 3)
    assert feed.show().state == "active"


def test_a_sink_that_is_away_puts_it_off_and_not_the_main_cursor(engine, feed):
    feed.add(kinds=(RECEIVED,))
    received(engine, 1)
    feed.deliver()
    begin(engine)
    feed.options["one"] = {"away": True}
    assert go_on(engine, feed.open).outcome == "away"
    assert (shown(engine).misses, feed.show().misses) == (1, 0)
    assert "nobody answers" in (shown(engine).last_error or "")
    assert "hush" not in (shown(engine).last_error or "")
    feed.options["one"].clear()
    assert go_on(engine, feed.open).outcome == "nothing to do"
    received(engine, 2)
    assert feed.deliver().delivered == 1


@pytest.mark.parametrize("ordering", ["none", "per call"])
def test_what_is_refused_counts_for_the_replay_alone(engine, feed, ordering):
    load(engine)
    feed.add(ordering=ordering, kinds=(RECEIVED, FINISHED))
    walk(engine, received(engine, "a"))
    walk(engine, received(engine, "b"))
    feed.deliver()
    main = feed.show()
    feed.options["one"] = {"refuses": ("a",)}
    begin(engine)
    assert go_on(engine, feed.open).refused == 2
    assert feed.show() == main
    refused = rows(engine, "SELECT call_ref, reason FROM replay_refusals ORDER BY position")
    assert [row.call_ref for row in refused] == ["a", "a"]
    assert (refused[1].reason == "too large") == (ordering == "none")
    assert shown(engine).refused == 2
    assert rows(engine, "SELECT count(*) FROM feed_refusals") == [(0,)]
    assert sheet(engine).closes


def test_few_are_carried_at_a_time(engine, feed):
    """The other threads of the feed process are for what happens now."""
    received(engine, 1)
    for number in range(5):
        feed.add(f"n{number}", kinds=(RECEIVED,))
        feed.deliver(f"n{number}")
        begin(engine, f"n{number}")
    with engine.begin() as connection:
        taken = [take_replay(connection, name) for name in due_replays(connection)]
    assert len([each for each in taken if each]) == replays.MOST_AT_ONCE
    feed.client.delete(*(f"to:n{number}" for number in range(5)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 0}, "--rate must be from 1"),
        ({"until": LONG_AGO - timedelta(days=1)}, "--until must be later"),
        ({"since": datetime(2099, 1, 1, tzinfo=UTC)}, "nothing that subscriber one has had happened in that time"),
        ({"name": "nobody"}, "there is no subscriber nobody"),
    ],
)
def test_what_cannot_be_is_said(engine, feed, changes, said):
    feed.add(kinds=(RECEIVED,))
    received(engine, 1)
    feed.deliver()
    with pytest.raises(SubscriberError, match=said):
        begin(engine, **changes)
    assert rows(engine, "SELECT count(*) FROM replays") == [(0,)]


def test_a_list_gets_its_elements_again_and_its_own_cursor_stays(engine, feed, servers, crm):
    """That which the sink keeps; a crash repeats nothing within the replay."""
    settings = {"url": servers.broker.url, "list": "crm:cdrs"}
    feed.add("crm", sink="redis-list", settings=settings, kinds=(RECEIVED,), shape="raw")
    elements = [make_record() for _ in range(30)]
    receive(engine, *elements)
    place(engine)
    deliver(engine, "crm", open_sink=open_sink, seconds=10)
    [cursor] = list(crm.scan_iter(match="*:feed:*"))
    kept = crm.get(cursor)
    begin(engine, "crm")

    with pytest.raises(KeyboardInterrupt):
        go_on(engine, dying, "crm")
    assert go_on(engine, open_sink, "crm").outcome == "done"
    assert crm.lrange("crm:cdrs", 0, -1) == elements * 2
    assert crm.get(cursor) == kept
    others = set(crm.scan_iter(match="*:feed:*")) - {cursor}
    assert [0 < crm.ttl(each) <= 86_400 for each in others] == [True]
    more = make_record()
    receive(engine, more)
    place(engine)
    deliver(engine, "crm", open_sink=open_sink, seconds=10)
    assert crm.lrange("crm:cdrs", 0, -1) == [*elements, *elements, more]


def test_a_stream_gets_them_in_a_stream_beside_it(engine, feed, servers, crm):
    """Its own takes no id that it had."""
    settings = {"url": servers.broker.url, "stream": "crm"}
    feed.add("crm", sink="redis-stream", settings=settings, kinds=(RECEIVED,), shape="raw")
    received(engine, 1, 2)
    place(engine)
    deliver(engine, "crm", open_sink=open_sink, seconds=10)
    before = crm.xrange("crm")
    made = begin(engine, "crm")
    assert go_on(engine, open_sink, "crm").outcome == "done"
    assert crm.xrange("crm") == before
    assert crm.xrange(f"{{crm}}:feed:replay:{made.id}") == before
