"""Short runs of chaos; `make chaos` and `make chaos-feed` are the long ones."""

from __future__ import annotations

import pytest

from tests.chaos import feed
from tests.chaos.harness import run


@pytest.mark.chaos
def test_a_short_run_of_chaos_closes():
    """Everything is killed, stopped, wiped and replayed for half a minute, and the balance closes to the record."""
    report = run(seed=11, calls=4_000, kills=12, rate=300, quiet_seconds=120)
    report.show()
    assert not report.wrong


@pytest.mark.chaos
def test_a_short_run_of_chaos_over_rabbitmq_closes(rabbitmq):
    """The same with another broker, whose queues are emptied under way."""
    report = run(seed=12, calls=3_000, kills=10, rate=300, quiet_seconds=120, amqp_url=rabbitmq)
    report.show()
    assert not report.wrong


@pytest.mark.chaos
def test_a_short_run_of_chaos_of_the_feed_gives_each_every_element_once():
    """What delivers, what wakes it, the lists' servers and the receiver are killed: nothing is lost or comes twice."""
    report = feed.run(seed=13, calls=400, kills=4, rate=100, gap=0.5, quiet_seconds=100, is_short=True)
    report.show()
    assert not report.wrong
