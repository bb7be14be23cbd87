"""A stream on a real Redis: ids that are the feed's, repeats that Redis refuses, one writer, a high water."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import redis

from pipeline.feed.deliver import deliver
from pipeline.feed.rules.event import RECEIVED
from pipeline.feed.sequence import place
from pipeline.feed.sinks import check_apart, check_settings, open_sink
from pipeline.feed.sinks.base import FullError, Ours, SettingError, SinkAwayError
from pipeline.sandbox.servers import free_port
from tests.factories import make_record
from tests.integration.feed_events import dying, event, events
from tests.integration.flow import receive

STREAM = "crm:events"


@pytest.fixture
def opened(servers, crm):
    """Opens the sink, as many times as like."""
    with contextlib.ExitStack() as stack:

        def open_(subscriber="crm.1", **settings):
            settings = {"url": servers.broker.url, "stream": STREAM} | settings
            return stack.enter_context(contextlib.closing(open_sink("redis-stream", settings, subscriber=subscriber)))

        yield open_


def ids(crm):
    return [each.decode() for each, _ in crm.xrange(STREAM)]


def test_an_entry_is_the_event(opened, crm):
    [told] = [event(7, 3, campaign=None, body=b"\xff\x00raw")]
    opened().deliver([told])
    [(of, fields)] = crm.xrange(STREAM)
    assert of == b"7-3"
    assert fields == {
        b"id": str(told.event_id).encode(),
        b"kind": b"call.finished",
        b"source": b"enigma",
        b"call_ref": b"7-3",
        b"campaign": b"",
        b"at": b"2026-03-01T00:00:00+00:00",
        b"content_type": b"application/cloudevents+json",
        b"body": b"\xff\x00raw",
    }


def test_a_repeat_is_refused_by_redis_and_counts_as_delivered(opened, crm):
    some = events(5) + events(3, position=2)
    opened().deliver(some[:6])
    again = opened()
    assert again.delivered() == (2, 0)
    again.deliver(some)
    assert ids(crm) == ["1-0", "1-1", "1-2", "1-3", "1-4", "2-0", "2-1", "2-2"]


def test_what_was_read_and_trimmed_is_not_added_again(opened, crm):
    opened().deliver(events(3))
    crm.xtrim(STREAM, maxlen=0)
    sink = opened()
    assert sink.delivered() == (1, 2)
    sink.deliver(events(4))
    assert ids(crm) == ["1-3"]


def test_a_stream_that_is_not_there_knows_nothing(opened):
    assert opened().delivered() is None


def test_a_stream_has_one_writer(opened, crm):
    """Another's ids would be refused as repeats, and its events lost in silence."""
    opened("one.1").deliver(events(3, position=9))
    with pytest.raises(SinkAwayError, match=r"belongs to one\.1"):
        opened("two.1").deliver(events(3))
    assert ids(crm) == ["9-0", "9-1", "9-2"]
    assert opened("two.1").delivered() is None, "or the feed would pass over what another's ids stand for"


def test_a_stream_that_somebody_began_is_not_added_to(opened, crm):
    crm.xadd(STREAM, {"by": "somebody"})
    crm.xtrim(STREAM, maxlen=0)
    assert opened().delivered() is None
    with pytest.raises(SinkAwayError, match="belongs to somebody else"):
        opened().deliver(events(3))


def test_a_stream_that_readers_prepared_is_added_to(opened, crm):
    crm.xgroup_create(STREAM, "readers", mkstream=True)
    opened().deliver(events(1))
    assert ids(crm) == ["1-0"]


def test_the_stream_never_exceeds_its_high_water_and_loses_nothing(opened, crm):
    some, sink, read = events(25), opened(high_water=10), []
    for _ in itertools.count():
        try:
            sink.deliver(some)
            break
        except FullError:
            assert crm.xlen(STREAM) == 10
            oldest = [of for of, _ in crm.xrange(STREAM, count=4)]
            read += oldest
            crm.xdel(STREAM, *oldest)
    assert [of.decode() for of in read] + ids(crm) == [f"1-{place}" for place in range(25)]


def test_a_test_event_leaves_the_stream_as_it_is(opened, crm):
    """It has no position: any id that Redis made up would be above all that are to come."""
    opened("crm.test.1").deliver([event(0, 0, kind="pipeline.test")])
    assert not crm.exists(STREAM)
    [(_, fields)] = crm.xrange("{crm:events}:feed:test")
    assert fields[b"kind"] == b"pipeline.test"
    assert 0 < crm.ttl("{crm:events}:feed:test") <= 3_600
    opened().deliver(events(1))
    assert ids(crm) == ["1-0"]


def test_what_is_no_stream_takes_nothing(opened, crm):
    opened().deliver(events(1))
    crm.delete(STREAM)
    crm.rpush(STREAM, "a list")
    for some in (events(1), [event(0)]):
        with pytest.raises(SinkAwayError, match=r"crm:events (cannot be added to: .*WRONGTYPE|is no stream)"):
            opened().deliver(some)
    with pytest.raises(SinkAwayError, match="cannot be asked"):
        opened().delivered()


def test_an_error_in_the_middle_hides_none_of_those_behind_it(opened, crm):
    """Redis could go on with the next id, and the one before it would be a repeat for ever."""
    some = events(3)
    some[1] = some[1]._replace(place=-1)  # an id that Redis cannot read
    with pytest.raises(SinkAwayError, match="Invalid stream ID"):
        opened().deliver(some)
    assert ids(crm) == ["1-0"]


def test_a_server_that_is_away_is_said_without_its_password(opened):
    port = free_port()
    sink = opened(url=f"redis://:hush-hush-hush@127.0.0.1:{port}/0")
    for act in (sink.delivered, lambda: sink.deliver(events(1))):
        with pytest.raises(SinkAwayError) as away:
            act()
        assert "hush" not in str(away.value)
        assert str(port) in str(away.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "host:6379"}, "url must be a URL"),
        ({"stream": ""}, "stream must be"),
        ({"high_water": True}, "high_water must be"),
        ({"maxlen": 7}, "has no setting maxlen"),
    ],
)
def test_a_setting_that_cannot_be_is_said(changes, said):
    with pytest.raises(SettingError, match=said):
        check_settings("redis-stream", {"url": "redis://h/0", "stream": "s"} | changes)


def test_the_dialler_own_list_is_no_stream(servers):
    """While the list is empty a stream could take its name, and the dialler could push no more."""
    ours = Ours(servers.dialler_redis.url, "enigma:cdrs")
    settings = {"url": servers.dialler_redis.url, "stream": "enigma:cdrs"}
    with pytest.raises(SettingError, match="the dialler's own list"):
        check_settings("redis-stream", settings, ours)
    with pytest.raises(SettingError, match="the dialler's own list"):
        check_apart("redis-stream", settings, ours)


def test_all_of_the_way(engine, feed, servers, crm):
    """From the inbox to a consumer group, whatever is killed between the stream and our cursor."""
    settings = {"url": servers.broker.url, "stream": STREAM}
    feed.add("crm", sink="redis-stream", settings=settings, kinds=(RECEIVED,), shape="raw")
    elements = [make_record() for _ in range(3)]
    receive(engine, *elements)
    place(engine)

    with pytest.raises(KeyboardInterrupt):
        deliver(engine, "crm", open_sink=dying, seconds=10)
    assert deliver(engine, "crm", open_sink=open_sink, seconds=10).outcome == "up to date"
    crm.xgroup_create(STREAM, "readers", id="0")
    [(_, entries)] = redis.Redis.from_url(servers.broker.url).xreadgroup("readers", "one", {STREAM: ">"})
    assert [fields[b"body"] for _, fields in entries] == elements
    assert feed.show("crm").delivered == 3
