"""What one that takes nothing costs everybody else, counted: tries, and questions to the database."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from pipeline.database.engine import reading
from pipeline.feed import cursors
from pipeline.feed.rules.event import RECEIVED
from pipeline.feed.sequence import place
from tests.factories import make_record
from tests.integration.flow import receive
from tests.integration.statements import statements
from tests.patience import eventually

WAKES = 20


def wake(engine, feed, number: int) -> tuple[list[str], int]:
    """One more call comes, as `pipeline.tasks.feed` brings it; who was gone to, and with how many statements."""
    receive(engine, make_record(call_ref=str(number)))
    with statements(engine) as asked:
        place(engine)
        with reading(engine) as connection:
            names = cursors.due(connection)
        for name in names:
            feed.deliver(name)
    return names, len(asked)


@pytest.fixture
def two(engine, feed):
    """One that takes everything, and one that has taken nothing for a while."""
    for name in ("one", "two"):
        feed.add(name, kinds=(RECEIVED,))
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET misses = 12 WHERE name = 'two'"))
    return feed


@pytest.fixture
def usual(engine, two) -> int:
    """What a wake costs where nobody is dead."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET state = 'paused' WHERE name = 'two'"))
    names, usual = wake(engine, two, 0)
    assert names == ["one"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET state = 'active' WHERE name = 'two'"))
    return usual


def test_one_that_is_away_is_tried_once_and_then_costs_no_wake_anything(engine, two, usual):
    offered = []
    two.options["two"] = {"away": True, "offered": offered}
    names, first = wake(engine, two, 1)
    assert names == ["one", "two"]
    assert first <= 2.5 * usual
    assert [wake(engine, two, number) for number in range(2, WAKES)] == [(["one"], usual)] * (WAKES - 2)
    assert offered == [1]
    assert two.show("one").delivered == WAKES


def test_one_that_does_not_answer_costs_no_wake_anything_meanwhile(engine, two, usual):
    inside, answered = threading.Event(), threading.Event()

    def hang():
        assert threading.current_thread() is hanging, "nobody else goes to it"
        inside.set()
        answered.wait(60)

    two.options["two"] = {"then": hang}
    hanging = threading.Thread(target=two.deliver, args=("two",))
    hanging.start()
    try:
        eventually(inside.is_set)
        assert [wake(engine, two, number) for number in range(1, WAKES)] == [(["one"], usual)] * (WAKES - 1)
    finally:
        answered.set()
        hanging.join()
    assert two.show("one").delivered == WAKES


def test_a_try_costs_the_same_however_much_waits(engine, two):
    two.options["two"] = {"away": True}
    costs = []
    for many in (1, 400):
        receive(engine, *(make_record(call_ref=f"{many}.{nth}") for nth in range(many)))
        place(engine)
        with engine.begin() as connection:
            connection.execute(text("UPDATE subscribers SET due_at = now() WHERE name = 'two'"))
        with statements(engine) as asked:
            assert two.deliver("two").outcome == "away"
        costs.append(len(asked))
    assert costs[0] == costs[1] <= 6
