"""Calls found: every filter against all calls looked at one by one, pages, walls, and what is asked of the database."""

from __future__ import annotations

import itertools
import random

import pytest
from sqlalchemy import event, text

from pipeline.batches.completeness import complete_through
from pipeline.lookup import plan, search
from pipeline.lookup.rules.call_filter import CHOICES, CallFilter, Cursor, FilterRefusedError, Wall
from pipeline.lookup.search import Count, count_calls, stream_calls
from tests.factories import make_record
from tests.integration.flow import receive, walk
from tests.integration.lookup.conftest import BEGINS, EVERYTHING, FIELDS, found, matches


@pytest.mark.parametrize("few", [0, 10_000], ids=["walked", "begun with"])
def test_every_filter_finds_what_it_should_and_in_order(called, everything, monkeypatch, few):
    """Alone and together with others; whichever index is walked, in however small slices."""
    monkeypatch.setattr(plan, "FEW", few)
    monkeypatch.setattr(search, "_FIRST_SLICE", 3)
    chance = random.Random(8)
    assert everything == sorted(everything, key=lambda call: (call.dialed_at, call.call_id), reverse=True)
    for names in [*((name,) for name in FIELDS), *itertools.combinations(FIELDS, 2)]:
        like = chance.choice([call for call in everything if all(FIELDS[name](call) is not None for name in names)])
        wanted = CallFilter(**{"since": BEGINS} | {name: FIELDS[name](like) for name in names})
        assert found(called, wanted).calls == [call for call in everything if matches(call, wanted)], wanted
        assert like in found(called, wanted).calls or "since" not in names


@pytest.mark.parametrize("name", CHOICES)
def test_each_word_finds_its_calls(called, everything, name):
    for word in CHOICES[name]:
        wanted = EVERYTHING._replace(**{name: word})
        assert found(called, wanted).calls == [call for call in everything if matches(call, wanted)], word


@pytest.mark.parametrize(
    "wanted", [EVERYTHING, EVERYTHING._replace(campaign="spring", direction="outbound"), CallFilter(contact_ref="a")]
)
def test_pages_are_the_whole_forwards_and_backwards(called, wanted):
    """With several calls of one second on both sides of their ends."""
    whole = found(called, wanted).calls
    pages, after = [], None
    while True:
        page = found(called, wanted, limit=7, after=after)
        assert (page.newer is None) == (after is None)
        pages.append(page.calls)
        after = page.older
        if after is None:
            break
    assert list(itertools.chain(*pages)) == whole
    assert all(len(page) == 7 for page in pages[:-1])
    assert len(pages) > 2
    before = Cursor(pages[-1][0].dialed_at, pages[-1][0].call_id)
    for expected in reversed(pages[:-1]):
        page = found(called, wanted, limit=7, before=before)
        assert page.calls == expected
        assert page.older is not None
        before = page.newer
    assert before is None


def test_a_page_whose_time_is_up_says_where_to_go_on(called, everything, monkeypatch):
    """It may be empty, and nothing is left out."""
    monkeypatch.setattr(search, "_FIRST_SLICE", 5)
    wanted = EVERYTHING._replace(recording="deleted")
    calls, sizes, after = [], [], None
    while True:
        page = found(called, wanted, limit=4, after=after, seconds=0)
        calls += page.calls
        sizes.append(len(page.calls))
        after = page.older
        if after is None:
            break
    assert calls == [call for call in everything if call.recording == "deleted"]
    assert 0 in sizes


def test_a_stream_is_all_of_them(called, everything, monkeypatch):
    monkeypatch.setattr(search, "STREAMED", 9)
    with called.connect() as connection:
        pages = list(stream_calls(connection, EVERYTHING, limit=1_000))
        assert list(itertools.chain(*(page.calls for page in pages))) == everything
        assert max(len(page.calls) for page in pages) == 9
        some = list(stream_calls(connection, EVERYTHING, limit=20, after=pages[0].older))
        assert list(itertools.chain(*(page.calls for page in some))) == everything[9:29]


def test_no_more_is_counted_than_is_said(called, everything, monkeypatch):
    with called.connect() as connection:
        assert count_calls(connection, EVERYTHING) == Count(130, and_more=False)
        answered = EVERYTHING._replace(disposition="answered")
        many = sum(call.disposition == "answered" for call in everything)
        assert count_calls(connection, answered) == Count(many, and_more=False)
        monkeypatch.setattr(search, "MOST", many - 1)
        assert count_calls(connection, answered) == Count(many - 1, and_more=True)
        monkeypatch.setattr(search, "MOST", 10)
        assert count_calls(connection, answered, seconds=0).and_more


def test_behind_a_wall_is_as_not_there(called, everything):
    """Diallers and campaigns alike, by whatever is asked; an empty wall shows nothing."""
    walls = [
        Wall(sources={"south"}),
        Wall(campaigns={"spring", "autumn"}),
        Wall(sources=["enigma"], campaigns=["winter"]),
        Wall(sources=()),
        Wall(campaigns=()),
        Wall(sources={"none"}),
    ]
    asked = [
        EVERYTHING,
        EVERYTHING._replace(source="enigma"),
        EVERYTHING._replace(campaign="winter"),
        EVERYTHING._replace(direction="inbound"),
        EVERYTHING._replace(disposition="busy"),
        EVERYTHING._replace(charged="not_yet"),
        CallFilter(contact_ref="a"),
        CallFilter(number_ends="1234"),
        CallFilter(call_ref=everything[0].call_ref),
    ]
    for wall, wanted in itertools.product(walls, asked):
        seen = [
            call
            for call in everything
            if (wall.sources is None or call.source in wall.sources)
            and (wall.campaigns is None or call.campaign_ref in wall.campaigns)
            and matches(call, wanted)
        ]
        assert found(called, wanted, wall).calls == seen, (wall, wanted)
        with called.connect() as connection:
            assert count_calls(connection, wanted, wall).calls == len(seen)


def test_who_sees_no_numbers_learns_none(called, everything):
    """Not by the rows, not by a filter, and not by their order, which knows no number."""
    wall = Wall(numbers=False)
    calls = found(called, EVERYTHING, wall).calls
    assert [call.call_id for call in calls] == [call.call_id for call in everything]
    assert {call.number for call in calls} | {call.dial_number for call in calls} == {"***"}
    for fields in ({"numbers": ("+27820001234",)}, {"number_ends": "1234"}, {"dial_numbers": ("+27123456789",)}):
        for ask in (found, lambda engine, wanted, wall: list(stream_calls(engine.connect(), wanted, wall, limit=1))):
            with pytest.raises(FilterRefusedError):
                ask(called, EVERYTHING._replace(**fields), wall)


def test_nothing_is_passed_over_by_number(called):
    """Deep pages cost what the first does: no statement skips rows, and none counts all."""
    statements = []
    event.listen(called, "before_cursor_execute", lambda *of_it: statements.append(of_it[2]))
    found(called, EVERYTHING, limit=3, after=Cursor(BEGINS.replace(year=2027), 1))
    assert statements
    assert not any("OFFSET" in statement for statement in statements)


def test_complete_through_is_bound_by_what_is_unfinished(engine):
    """Of one dialler or of all; nothing unfinished is now."""
    with engine.connect() as connection:
        now = connection.scalar(text("SELECT clock_timestamp()"))
        assert complete_through(connection) >= now
    done = receive(engine, make_record())
    waits = receive(engine, make_record(), source="south")
    walk(engine, done)
    with engine.connect() as connection:
        received = connection.scalar(text("SELECT received_at FROM batches WHERE id = :id"), {"id": waits.batch_id})
        assert complete_through(connection) == received
        assert complete_through(connection, sources=["south", "enigma"]) == received
        assert complete_through(connection, sources=["enigma"]) > received
    walk(engine, waits)
    with engine.connect() as connection:
        assert complete_through(connection) > received
