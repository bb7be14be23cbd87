"""A list on a real Redis, handed events by the sink alone: cursor, high water, and lists it may not be."""

from __future__ import annotations

import contextlib
import itertools
from urllib.parse import urlsplit

import pytest
import redis

from pipeline.feed.sinks import check_apart, check_settings, open_sink
from pipeline.feed.sinks.base import FullError, Ours, SettingError, SinkAwayError
from pipeline.sandbox.servers import free_port
from tests.integration.feed_events import events

LIST = "crm:cdrs"


@pytest.fixture
def opened(servers, crm):
    """Opens the sink, as many times as like."""
    with contextlib.ExitStack() as stack:

        def open_(name=LIST, **settings):
            settings = {"url": servers.broker.url, "list": name} | settings
            return stack.enter_context(contextlib.closing(open_sink("redis-list", settings, subscriber="crm.1")))

        yield open_


def bodies(some):
    return [each.body for each in some]


def test_the_place_where_a_push_was_cut_is_known_to_whoever_comes_next(opened, crm):
    """The script was done, its answer lost: another process begins at our older cursor."""
    some = events(5)
    first = opened()
    first.deliver(some[:3])
    second = opened()
    assert second.delivered() == (1, 2)
    second.deliver(some)
    assert crm.lrange(LIST, 0, -1) == bodies(some)


def test_one_whose_cursor_is_old_repeats_nothing(opened, crm):
    some = events(6)
    slow, quick = opened(), opened()
    slow.deliver(some[:2])
    quick.deliver(some[:5])
    slow.deliver(some[2:])
    assert crm.lrange(LIST, 0, -1) == bodies(some)


def test_the_list_never_exceeds_its_high_water_and_loses_nothing(opened, crm):
    some, sink, read = events(25), opened(high_water=10), []
    for _ in itertools.count():
        try:
            sink.deliver(some)
            break
        except FullError:
            assert crm.llen(LIST) == 10
            read += crm.lpop(LIST, 4)
    assert read + crm.lrange(LIST, 0, -1) == bodies(some)


@pytest.mark.parametrize("name", ["crm:cdrs", "{crm}:cdrs", "a{crm}", "{}crm", "{{crm}}"])
def test_list_and_cursor_are_on_one_node_of_a_cluster(opened, crm, name):
    opened(name).deliver(events(1))
    slots = {redis.crc.key_slot(key) for key in crm.keys("*")}
    assert len(crm.keys("*")) == 2
    assert len(slots) == 1 or name == "{}crm"


def test_a_cursor_that_somebody_overwrote_stops_the_sink(opened, crm):
    opened().deliver(events(1))
    crm.set("{crm:cdrs}:feed:crm.1", "hello")
    with pytest.raises(SinkAwayError, match="is not what was written there"):
        opened().deliver(events(2))
    with pytest.raises(SinkAwayError, match="is not what was written there"):
        opened().delivered()
    assert crm.llen(LIST) == 1


def test_a_server_that_is_away_is_said_without_its_password(opened):
    port = free_port()
    sink = opened(url=f"redis://:hush-hush-hush@127.0.0.1:{port}/0")
    with pytest.raises(SinkAwayError) as away:
        sink.deliver(events(1))
    assert "hush" not in str(away.value)
    assert str(port) in str(away.value)


def test_the_dialler_own_list_is_refused_by_its_url(servers):
    ours = Ours(servers.dialler_redis.url, "enigma:cdrs")
    for name in ("enigma:cdrs", "{enigma:cdrs}:cdr:claims"):
        with pytest.raises(SettingError, match="the dialler's own list"):
            check_settings("redis-list", {"url": servers.dialler_redis.url, "list": name}, ours)
        with pytest.raises(SettingError, match="the dialler's own list"):
            open_sink("redis-list", {"url": servers.dialler_redis.url, "list": name}, subscriber="crm.1", ours=ours)


def test_the_dialler_own_list_is_refused_by_another_name_of_its_server(servers):
    ours = Ours(servers.dialler_redis.url, "enigma:cdrs")
    port = urlsplit(servers.dialler_redis.url).port
    alias = {"url": f"redis://localhost:{port}/0", "list": "enigma:cdrs"}
    check_settings("redis-list", alias, ours)
    with pytest.raises(SettingError, match="the dialler's own list"):
        check_apart("redis-list", alias, ours)


def test_the_same_name_elsewhere_is_another_list(servers):
    ours = Ours(servers.dialler_redis.url, "enigma:cdrs")
    for settings in (
        {"url": servers.broker.url, "list": "enigma:cdrs"},
        {"url": servers.dialler_redis.url.removesuffix("/0") + "/1", "list": "enigma:cdrs"},
        {"url": servers.dialler_redis.url, "list": "enigma:other"},
    ):
        check_settings("redis-list", settings, ours)
        check_apart("redis-list", settings, ours)


def test_a_list_that_may_be_the_dialler_own_is_refused(servers):
    ours = Ours(servers.dialler_redis.url, "enigma:cdrs")
    with pytest.raises(SettingError, match="cannot be told"):
        check_apart("redis-list", {"url": f"redis://127.0.0.1:{free_port()}/0", "list": "enigma:cdrs"}, ours)


@pytest.mark.parametrize("url", ["", "host", "http://host", "redis://", "redis://host:x/0", "redis://host:0", 7])
def test_a_url_that_is_none_is_said(url):
    with pytest.raises(SettingError, match="url must be a URL"):
        check_settings("redis-list", {"url": url, "list": "l"})
