"""kombu's Redis transport with ours put in: what a killed worker held comes back, rubbish among it does not."""

from __future__ import annotations

import json
import time
from queue import Empty

import pytest
from kombu import Connection

from pipeline.worker.transport import Channel

GOOD = {"body": "{}", "headers": {}, "content-type": "application/json", "content-encoding": "utf-8"}


@pytest.fixture
def channel(servers, broker):
    ours = "pipeline.worker.transport:Transport"  # kombu keeps what its own name stood for when it was first used
    with Connection(servers.broker.url, transport=ours, transport_options={"global_keyprefix": "cdr:"}) as connection:
        yield connection.default_channel


def message(tag):
    delivery = {"exchange": "", "routing_key": "q"}
    return GOOD | {"properties": {"delivery_tag": tag, "delivery_info": delivery, "body_encoding": None}}


@pytest.mark.parametrize(
    "raw", ["rubbish", "5", "[1]", '[{}, "", ""]', '[{"__type__": "uuid", "__value__": "x"}, "", ""]']
)
def test_what_a_killed_worker_held_comes_back_though_rubbish_is_beside_it(channel, broker, raw):
    """One entry that cannot be read kept all others from being put back, at every look."""
    assert isinstance(channel, Channel)
    broker.hset("cdr:unacked", mapping={"bad": raw, "good": json.dumps([message("good"), "", "q"])})
    broker.zadd("cdr:unacked_index", {"bad": 2, "good": 1})
    channel.qos.restore_visible()
    assert broker.zcard("cdr:unacked_index") == 0
    assert broker.hlen("cdr:unacked") == 0
    assert [json.loads(each)["properties"]["delivery_tag"] for each in broker.lrange("cdr:q", 0, -1)] == ["good"]


def test_rubbish_on_a_list_is_taken_off_and_what_is_behind_it_delivered(channel, broker):
    """Each is gone at the first look, and no reader ends."""
    broker.lpush("cdr:q", b"rubbish", b"\xff", b"{}", json.dumps(message("behind")))
    got = []
    channel.basic_consume("q", no_ack=False, callback=got.append, consumer_tag="test")
    deadline = time.monotonic() + 20
    while not got and time.monotonic() < deadline:
        try:
            channel.connection.cycle.get(channel.connection._deliver, timeout=1)
        except Empty:
            continue
    assert [each.delivery_tag for each in got] == ["behind"]
    assert broker.llen("cdr:q") == 0
    got[0].ack()
    assert broker.hlen("cdr:unacked") == 0


def test_what_sends_is_made_once_for_each_pool(channel, broker):
    """Making it took a third of what sending takes. After a lost connection there is another pool."""
    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as again:
        assert again is first
    channel._disconnect_pools()
    with channel.conn_or_acquire() as anew:
        assert anew is not first
        assert anew.llen("q") == 0
    broker.lpush("cdr:q", json.dumps(message("there")))
    assert anew.llen("q") == 1
