"""A queue is declared once a connection, and no more is asked about it."""

from __future__ import annotations

import pytest
from kombu import Connection, Exchange, Queue, messaging

from pipeline.celery import app
from pipeline.worker.producer import Producer

QUEUE = Queue("q", Exchange("pipeline", type="direct"), routing_key="q")


@pytest.fixture
def asked(monkeypatch):
    """What kombu was asked to declare."""
    names = []
    kombus = messaging.maybe_declare

    def declare(entity, *args, **options):
        names.append(entity.name)
        return kombus(entity, *args, **options)

    monkeypatch.setattr(messaging, "maybe_declare", declare)
    return names


@pytest.fixture
def connection(servers, broker):
    with Connection(servers.broker.url, transport_options={"global_keyprefix": "cdr:"}) as connection:
        yield connection


@pytest.mark.parametrize("retry", [False, True])
def test_a_queue_is_declared_with_the_first_message_of_a_connection(connection, broker, asked, retry):
    """And again on the next connection, for its broker may be another one."""
    producer = Producer(connection)
    for _ in range(3):
        producer.publish("x", routing_key="q", declare=[QUEUE], retry=retry)
    assert asked == ["q"]
    connection.close()
    connection.connect()
    producer.revive(connection.default_channel)
    producer.publish("x", routing_key="q", declare=[QUEUE], retry=retry)
    assert asked == ["q", "q"]
    assert broker.llen("cdr:q") == 4


def test_what_may_go_by_itself_is_declared_each_time(connection, asked):
    """A queue that the broker deletes with its last reader is there no longer than that."""
    for _ in range(2):
        Producer(connection).publish("x", routing_key="p", declare=[Queue("p", routing_key="p", auto_delete=True)])
    assert asked == ["p", "p"]


def test_the_application_sends_by_it():
    """All tasks, whoever sends them."""
    assert app.amqp.producer_pool.Producer is Producer
