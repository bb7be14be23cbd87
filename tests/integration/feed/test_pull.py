"""Whoever would rather ask gets the same events in the same order, by a cursor that it keeps itself."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from pipeline.feed.pull import PullError, newest, pull, read_cursor
from pipeline.feed.rules.event import CORRECTED, FINISHED, KINDS, RECEIVED
from pipeline.feed.rules.filter import Filter
from pipeline.feed.sequence import place
from tests.factories import make_record
from tests.integration.flow import load, receive, walk

ALL = Filter(("*",), ("*",), KINDS)


def ask(engine, after=None, *, wanted=ALL, shape="thin", limit=100):
    place(engine)
    with engine.connect() as connection:
        return pull(connection, wanted, shape, after=after, limit=limit)


def received(engine, *refs, source="enigma", **changes):
    return receive(engine, *(make_record(call_ref=str(ref), **changes) for ref in refs), source=source)


def test_asking_on_and_on_gets_every_event_once_and_in_order(engine, feed):
    """The same as a subscriber, ids included, however much each answer holds."""
    load(engine)
    feed.add(kinds=KINDS)
    for refs in ((1, 2, 3), (4,), (5, 6)):
        walk(engine, received(engine, *refs))
    feed.deliver()
    pushed = [(each["at"], each["id"]) for each in feed.got()]
    for limit in (1, 2, 5, 100):
        after, got, more = None, [], True
        while more:
            answer = ask(engine, after, limit=limit)
            assert len(answer.events) <= limit
            got += [([each.position, each.place], str(each.event_id)) for each in answer.events]
            after, more = answer.next, answer.more
        assert got == pushed
        assert ask(engine, after) == ([], after, False, None)
    walk(engine, received(engine, 7))
    assert [each.call_ref for each in ask(engine, after).events] == ["7", "7", "7"]


def test_a_position_alone_is_a_cursor(engine):
    received(engine, 1, 2)
    received(engine, 3)
    assert [each.call_ref for each in ask(engine, "0").events] == ["1", "2", "3"]
    assert [each.call_ref for each in ask(engine, "1").events] == ["3"]
    assert [each.call_ref for each in ask(engine, "1-0").events] == ["2", "3"]
    with engine.connect() as connection:
        assert newest(connection) == read_cursor("2")


def test_an_empty_feed_has_nothing(engine):
    assert ask(engine) == ([], "0", False, None)
    assert ask(engine, "0") == ([], "0", False, None)


def test_the_wall_stands_here_too(engine):
    received(engine, "s", ref="sales")
    received(engine, "v", ref="service")
    receive(engine, b"no campaign can be read in this")
    received(engine, "other", source="other", ref="sales")
    walls = {
        (("enigma",), ("sales",), (RECEIVED,)): ["s"],
        (("*",), ("sales",), (RECEIVED,)): ["s", "other"],
        (("other",), ("*",), (RECEIVED,)): ["other"],
        (("*",), ("*",), (CORRECTED,)): [],
        ((), ("*",), KINDS): [],
        (("*",), (), KINDS): [],
        (("*",), ("*",), ()): [],
    }
    for (sources, campaigns, kinds), refs in walls.items():
        answer = ask(engine, wanted=Filter(sources, campaigns, kinds))
        assert [each.call_ref for each in answer.events] == refs
        assert (answer.next, answer.more) == ("4", False)


def test_shapes_are_those_of_subscribers(engine, feed):
    element = make_record(call_ref="7")
    load(engine)
    walk(engine, receive(engine, element))
    assert [each.body for each in ask(engine, shape="raw", wanted=ALL._replace(kinds=(RECEIVED,))).events] == [element]
    feed.add(kinds=(FINISHED,), shape="call")
    feed.deliver()
    [called] = ask(engine, shape="call", wanted=ALL._replace(kinds=(FINISHED,))).events
    assert called.body.decode() == feed.got()[0]["body"]


def test_much_that_is_not_let_through_is_looked_at_in_parts(engine, monkeypatch):
    """An answer may be empty and say that there is more."""
    monkeypatch.setattr("pipeline.feed.pull.LOOKED_AT", 10)
    monkeypatch.setattr("pipeline.feed.pull.LOOKS", 3)
    received(engine, *range(100), ref="service")
    received(engine, "last", ref="sales")
    sales = ALL._replace(campaigns=("sales",))
    after, answers = "0", []
    while True:
        answer = ask(engine, after, wanted=sales, limit=5)
        answers.append(len(answer.events))
        if not answer.more:
            break
        assert read_cursor(answer.next) > read_cursor(after)
        after = answer.next
    assert answers[:-1] == [0] * (len(answers) - 1)
    assert answers[-1] == 1
    assert len(answers) > 3


def test_a_cursor_older_than_the_feed_is_told_the_hole(engine):
    for ref in range(4):
        received(engine, ref)
    place(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM feed WHERE position <= 2"))
    told = ask(engine, "0")
    assert told == ([], "2", True, (1, 2))
    assert ask(engine, "1-0").hole == (1, 2)
    assert [each.call_ref for each in ask(engine, told.next).events] == ["2", "3"]
    assert [each.call_ref for each in ask(engine).events] == ["2", "3"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"after": "yesterday"}, "after must be a cursor that was given, such as 12 or 12-3, got 'yesterday'"),
        ({"after": "1-70000"}, "after must be a cursor"),
        ({"after": "-1"}, "after must be a cursor"),
        ({"after": "٣"}, "after must be a cursor"),
        ({"after": "9" * 30}, "after must be a cursor"),
        ({"after": "2"}, "the newest position is 1, got 2"),
        ({"limit": 0}, "limit must be from 1 to 500, got 0"),
        ({"limit": 501}, "limit must be from 1 to 500"),
        ({"shape": "xml"}, "shape must be one of raw, call, thin, got 'xml'"),
        ({"wanted": ALL._replace(kinds=("call.lost",))}, "kind must be one of call.received"),
    ],
)
def test_what_cannot_be_is_said(engine, changes, said):
    received(engine, 1)
    with pytest.raises(PullError, match=said):
        ask(engine, **changes)
