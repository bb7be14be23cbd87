"""An exchange of a real RabbitMQ, where TEST_AMQP_URL names one: confirmed, persistent, told by id and key."""

from __future__ import annotations

import contextlib
import os
import uuid

import kombu
import pytest

from pipeline.feed.rules.shape import RAW_TYPE
from pipeline.feed.sinks import check_settings, open_sink
from pipeline.feed.sinks.base import Ours, RefusedError, SettingError, SinkAwayError
from pipeline.sandbox.servers import free_port
from tests.integration.feed_events import event, events


@pytest.fixture
def broker():
    """A RabbitMQ that somebody else runs; what is made there has a name of this test's own, and is gone afterwards."""
    url = os.environ.get("TEST_AMQP_URL")
    if not url:
        pytest.skip("TEST_AMQP_URL names no RabbitMQ")
    with kombu.Connection(url, connect_timeout=5) as connection:
        yield connection


@pytest.fixture
def name(broker):
    name = f"cdr-test-{uuid.uuid4()}"
    yield name
    with broker.channel() as channel:
        channel.exchange_delete(name)


@pytest.fixture
def bound(broker, name):
    """Binds a queue to the exchange, which the sink would make just so."""
    with contextlib.ExitStack() as stack:

        def bind(key="#", **arguments):
            channel = broker.channel()
            exchange = kombu.Exchange(name, type="topic", durable=True)
            queue = kombu.Queue(f"{name}-{uuid.uuid4()}", exchange, key, durable=False, queue_arguments=arguments)(
                channel
            )
            queue.declare()
            stack.callback(lambda: (queue.delete(), channel.close()))
            return queue

        yield bind


@pytest.fixture
def opened(broker, name):
    with contextlib.ExitStack() as stack:

        def open_(**settings):
            settings = {"url": os.environ["TEST_AMQP_URL"], "exchange": name} | settings
            return stack.enter_context(contextlib.closing(open_sink("amqp", settings, subscriber="crm.1")))

        yield open_


def read(queue):
    found = []
    while (message := queue.get(no_ack=True)) is not None:
        found.append(message)
    return found


def test_a_message_says_what_happened(opened, bound):
    queue, [told] = bound(), events(1)
    opened().deliver([told])
    [message] = read(queue)
    assert message.body == told.body or message.body.encode() == told.body
    assert message.properties["message_id"] == str(told.event_id)
    assert message.properties["type"] == told.kind
    assert message.properties["delivery_mode"] == 2
    assert message.content_type == "application/cloudevents+json"
    assert message.delivery_info["routing_key"] == "enigma.sales.call.finished"
    assert message.headers == {"source": "enigma", "campaign": "sales", "call_ref": "1-0", "position": 1, "place": 0}


def test_bytes_come_as_they_are_and_in_order(opened, bound):
    queue = bound()
    some = [event(1, at, content_type=RAW_TYPE, body=bytes([at, 255, 0])) for at in range(100)]
    opened().deliver(some)
    assert [bytes(each.body) for each in read(queue)] == [each.body for each in some]


def test_a_queue_gets_what_it_is_bound_to(opened, bound):
    sales, all_of_them = bound("*.sales.call.*"), bound("#")
    some = [event(1), event(2, campaign="service"), event(3, kind="recording.ended")]
    opened().deliver(some)
    assert [each.headers["position"] for each in read(sales)] == [1]
    assert [each.headers["position"] for each in read(all_of_them)] == [1, 2, 3]


def test_what_no_queue_wants_is_not_lost(opened, bound):
    sink, some = opened(), events(2)
    with pytest.raises(SinkAwayError, match=r"no queue is bound .* for enigma\.sales\.call\.finished"):
        sink.deliver(some)
    queue = bound()
    sink.deliver(some)
    assert [each.headers["place"] for each in read(queue)] == [0, 1]


def test_a_full_queue_is_waited_for_and_repeats_nothing_it_confirmed(opened, bound):
    queue = bound(**{"x-max-length": 2, "x-overflow": "reject-publish"})
    sink, some = opened(), events(4)
    got = []
    for _ in range(3):
        try:
            sink.deliver(some)
        except SinkAwayError as away:
            assert "is full" in str(away)  # noqa: PT017 - each time it is raised
        got += [each.headers["place"] for each in read(queue)]
    assert got == sorted(set(got))
    assert got == [0, 1, 2, 3]


def test_an_exchange_of_another_kind_is_said(opened, broker, name):
    with broker.channel() as channel:
        kombu.Exchange(name, type="fanout", durable=False)(channel).declare()
    with pytest.raises(SinkAwayError, match="is another kind of exchange"):
        opened().deliver(events(1))


def test_a_message_too_large_is_refused_and_the_next_one_taken(opened, bound):
    queue, sink = bound(), opened()
    with pytest.raises(RefusedError, match="larger"):
        sink.deliver([event(1), event(2, body=bytes(140_000_000))])
    sink.deliver([event(1), event(3)])
    assert [each.headers["position"] for each in read(queue)] == [1, 3]


def test_a_connection_that_broke_is_opened_again(opened, bound):
    queue, sink = bound(), opened()
    sink.deliver([event(1)])
    sink._connection.connection.transport.sock.close()
    with pytest.raises(SinkAwayError, match="cannot be published to"):
        sink.deliver([event(2)])
    sink.deliver([event(2)])
    assert [each.headers["position"] for each in read(queue)] == [1, 2]


def test_a_broker_that_is_away_is_said_without_its_password():
    settings = {"url": f"amqp://crm:hush-hush-hush@127.0.0.1:{free_port()}//", "exchange": "crm"}
    with contextlib.closing(open_sink("amqp", settings, subscriber="crm.1")) as sink:
        with pytest.raises(SinkAwayError, match="cannot be published to") as away:
            sink.deliver(events(1))
        assert "hush" not in str(away.value)
        assert sink.delivered() is None


def test_a_refused_login_is_said_without_its_password(broker, name):
    settings = {"url": f"amqp://nobody:hush-hush-hush@{broker.host}/", "exchange": name}
    with contextlib.closing(open_sink("amqp", settings, subscriber="crm.1")) as sink:
        with pytest.raises(SinkAwayError, match=r"(?i)refused") as away:
            sink.deliver(events(1))
        assert "hush" not in str(away.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "host:5672"}, "url must be a URL"),
        ({"url": "redis://host"}, "url must be a URL"),
        ({"url": "amqp://"}, "url must be a URL"),
        ({"url": "amqp://host:x"}, "url must be a URL"),
        ({"exchange": ""}, "exchange must be"),
        ({"exchange": "x" * 128}, "exchange must be"),
        ({"queue": "q"}, "has no setting queue"),
    ],
)
def test_a_setting_that_cannot_be_is_said(changes, said):
    with pytest.raises(SettingError, match=said):
        check_settings("amqp", {"url": "amqp://host//", "exchange": "crm"} | changes, Ours())
