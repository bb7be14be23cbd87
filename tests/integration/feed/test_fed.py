"""What subscribers were fed adds up, whatever they took, refused, passed over or missed; and a wrong count is named."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.failures.operator import accept, edit
from pipeline.feed import cursors, subscribers
from pipeline.feed.deliver import deliver
from pipeline.feed.retention import drop_old, expire
from pipeline.feed.rules.event import CHANGED, FINISHED, KINDS, RECEIVED
from pipeline.feed.sequence import place
from tests.factories import make_record
from tests.integration.flow import NOW, load, receive, rows, sheet, walk, walk_overdue


def told(engine, name="one"):
    """A subscriber's line, which closes."""
    found = sheet(engine)
    assert found.closes, found.violations
    return found.as_dict()["subscribers"][name]


def put(engine, statement):
    with engine.begin() as connection:
        connection.execute(text(statement))


def line(**figures):
    return {"fed": 0, "delivered": 0, "waiting": 0, "refused": 0, "filtered": 0, "missed": 0} | figures


def aged(engine, position):
    put(engine, f"UPDATE feed SET at = now() - interval '31 days' WHERE position <= {position}")
    return drop_old(engine, days=30)


def test_without_a_subscriber_nothing_is_counted(engine):
    walk(engine, receive(engine, make_record()))
    place(engine)
    assert sheet(engine).subscribers == ()
    assert sheet(engine).as_dict()["subscribers"] == {}


def test_what_waits_is_what_was_fed(engine, feed):
    load(engine)
    feed.add()
    feed.add("two", kinds=(FINISHED,), campaigns=("sales",), sources=("enigma",))
    walk(engine, receive(engine, make_record(ref="sales"), make_record(ref="service"), b"no call"))
    receive(engine, make_record(), source="another")
    place(engine)
    assert told(engine) == line(fed=6, waiting=6)
    assert told(engine, "two") == line(fed=2, waiting=2)
    feed.deliver()
    feed.deliver("two")
    assert told(engine) == line(fed=6, delivered=6)
    assert told(engine, "two") == line(fed=2, delivered=1, filtered=1)


def test_what_happened_before_it_was_added_is_not_its(engine, feed):
    receive(engine, make_record(), make_record())
    place(engine)
    feed.add(from_start=False)
    assert told(engine) == line()
    receive(engine, make_record())
    place(engine)
    assert told(engine) == line(fed=1, waiting=1)


@pytest.mark.parametrize("ordering", ["none", "per call"])
def test_refused_events_are_counted_once(engine, feed, ordering):
    """Those that must not overtake one of their call, too."""
    load(engine)
    feed.add(ordering=ordering)
    feed.options["one"] = {"refuses": ("3", "4", "9")}
    walk(engine, receive(engine, *(make_record(call_ref=str(ref)) for ref in range(10))))
    feed.deliver()
    assert told(engine) == line(fed=20, delivered=14, refused=6)


def test_one_that_stops_in_the_middle_of_a_batch_is_counted_to_there(engine, feed):
    """Away behind the first of several parts, with others passed over between."""
    feed.add(kinds=(RECEIVED,), campaigns=("sales",))
    feed.options["one"] = {"refuses": ("31",)}
    receive(engine, *(make_record(call_ref=str(n), ref="sales" if n % 3 else "service") for n in range(60)))
    receive(engine, *(make_record(call_ref=str(n), ref="sales" if n % 3 else "service") for n in range(60, 90)))

    def gone():
        feed.options["one"]["away"] = len(feed.got()) >= 12

    feed.options["one"]["then"] = gone
    assert feed.deliver().outcome == "away"
    at = feed.show()
    assert 0 < at.place < 59
    half = told(engine)
    assert half["fed"] == 90
    assert half["delivered"] + half["filtered"] + half["refused"] == at.place + 1
    feed.options["one"] = {"refuses": ("31",)}
    put(engine, "UPDATE subscribers SET due_at = now()")
    assert feed.deliver().outcome == "up to date"
    assert told(engine) == line(fed=90, delivered=59, filtered=30, refused=1)


def test_one_whose_lease_was_lost_counts_nothing(engine, feed):
    """What it took is counted by whoever delivers it again."""
    feed.add(kinds=(RECEIVED,))
    feed.options["one"] = {"refuses": ("2",)}
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(5)))

    def lose():
        put(engine, "UPDATE subscribers SET leased_by = NULL, leased_until = NULL")

    feed.options["one"]["then"] = lose
    assert feed.deliver().outcome == "stopped"
    assert told(engine) == line(fed=5, waiting=5)
    del feed.options["one"]["then"]
    feed.deliver()
    assert told(engine) == line(fed=5, delivered=4, refused=1)
    with engine.connect() as connection:
        assert len(subscribers.refusals_of(connection, "one", limit=9)) == 1


def test_what_waited_and_was_mended_is_one_event(engine, feed):
    load(engine, b"prefix,rate_per_minute\n44,1\n")
    feed.add(kinds=(FINISHED,))
    broken, uk = make_record(call_ref="b", call_time=-1), make_record(call_ref="uk", number="+447700900123")
    walk(engine, receive(engine, broken, make_record(call_ref="waits"), uk))
    feed.deliver()
    assert told(engine) == line(fed=1, delivered=1)
    [(failure_id,)] = rows(engine, "SELECT id FROM failures WHERE class = 'data'")
    load(engine, b"prefix,rate_per_minute\n27,1\n44,1\n")
    edit(engine, failure_id, make_record(call_ref="b"), who="thandi", region="ZA", now=NOW)
    assert walk_overdue(engine)
    place(engine)
    assert told(engine) == line(fed=3, delivered=1, waiting=2)
    feed.deliver()
    assert told(engine) == line(fed=3, delivered=3)


def test_the_sum_holds_over_what_is_dropped(engine, feed):
    """What it had of that is in its sum still, what it had not is missed; also in the middle of a row."""
    feed.add(kinds=(RECEIVED,))
    feed.add("two", kinds=(RECEIVED,))
    for _ in range(4):
        receive(engine, *(make_record() for _ in range(60)))
    place(engine)
    feed.deliver("one", seconds=-1)
    feed.deliver("two")
    assert feed.show().place == 49
    assert aged(engine, 2) == 2
    assert [tuple(each) for each in expire(engine)] == [("one", 1, 2)]
    assert told(engine) == line(fed=240, delivered=50, waiting=120, missed=70)
    assert told(engine, "two") == line(fed=240, delivered=240)
    assert aged(engine, 3) == 1
    assert told(engine) == line(fed=240, delivered=50, waiting=60, missed=130)
    with engine.begin() as connection:
        subscribers.resume(connection, "one", who="test", skip_hole=True)
    assert feed.deliver().outcome == "expired"
    with engine.begin() as connection:
        subscribers.resume(connection, "one", who="test", skip_hole=True)
    feed.deliver()
    assert told(engine) == line(fed=240, delivered=110, missed=130)
    assert told(engine, "two") == line(fed=240, delivered=240)


def test_what_is_in_hand_when_it_is_dropped_is_missed_and_not_delivered_too(engine, feed):
    feed.add(kinds=(RECEIVED,))
    for _ in range(3):
        receive(engine, make_record())
    place(engine)
    feed.options["one"] = {"then": lambda: aged(engine, 2)}
    assert feed.deliver().outcome == "stopped"
    assert told(engine) == line(fed=3, waiting=1, missed=2)


def test_one_of_the_version_before_is_counted_from_its_first_delivery_on(engine, feed):
    feed.add(kinds=(RECEIVED,))
    receive(engine, make_record(), make_record())
    feed.deliver()
    put(engine, "UPDATE subscribers SET counted_from = NULL, counted_from_place = NULL, delivered = 77")
    receive(engine, make_record())
    place(engine)
    assert told(engine) == line(fed=78, delivered=77, waiting=1)
    feed.deliver()
    assert told(engine) == line(fed=78, delivered=78)
    put(engine, "UPDATE subscribers SET delivered = 77")
    assert not sheet(engine).closes


FALSE = {
    "one delivered too few": "UPDATE subscribers SET delivered = delivered - 1",
    "one delivered too many": "UPDATE subscribers SET delivered = delivered + 1",
    "one refused that was not": "UPDATE subscribers SET refused = refused + 1",
    "one filtered that was not": "UPDATE subscribers SET filtered = filtered + 1",
    "one more passed where rows were dropped": "UPDATE subscribers SET counted_before = counted_before + 1",
    "a cursor that was moved on": "UPDATE subscribers SET position = 4",
    "a cursor that was moved within a batch": "UPDATE subscribers SET position = 1, place = 1",
    "a cursor that was moved back": "UPDATE subscribers SET position = 1",
    "a row that is gone": "DELETE FROM feed WHERE position = 2",
    "an event that is gone": "UPDATE feed SET left_out = ARRAY[65536] WHERE position = 2",
    "rows dropped that nobody counted": "DELETE FROM feed WHERE position = 1",
}


@pytest.mark.parametrize("case", FALSE)
def test_a_wrong_count_is_named(engine, feed, case):
    load(engine)
    feed.add()
    walk(
        engine,
        receive(engine, make_record(call_ref="1", contact_ref=None), make_record(call_ref="2", contact_ref=None)),
    )
    feed.deliver()
    walk(
        engine,
        receive(engine, make_record(call_ref="3", contact_ref=None), make_record(call_ref="4", contact_ref=None)),
    )
    place(engine)
    with engine.begin() as connection:
        lease = cursors.take(connection, "one")
        assert lease is not None
        cursors.advance(connection, lease, cursors.Cursor(3, 65_535), delivered=2, filtered=0)
    assert told(engine) == line(fed=8, delivered=6, waiting=2)
    put(engine, FALSE[case])
    broken = sheet(engine)
    [violation] = broken.violations
    assert violation.rule.startswith("subscriber one")


def test_it_is_shown_to_people_and_scripts(engine, feed, settings_env):
    feed.add(kinds=(RECEIVED,))
    receive(engine, make_record(), make_record())
    feed.deliver()
    shown = CliRunner().invoke(app, ["balance"])
    assert shown.exit_code == 0, shown.output
    assert "one" in shown.output
    assert "The balance closes." in shown.output
    as_json = json.loads(CliRunner().invoke(app, ["balance", "--json"]).stdout)
    assert as_json["subscribers"] == {"one": line(fed=2, delivered=2)}
    windowed = json.loads(CliRunner().invoke(app, ["balance", "--since", "2020-01-01", "--json"]).stdout)
    assert windowed["subscribers"] == {}
    put(engine, "UPDATE subscribers SET delivered = 1")
    broken = CliRunner().invoke(app, ["balance"])
    assert broken.exit_code == 1
    assert "subscriber one was fed 2 events, and 1 are accounted for: 1" in broken.output


def test_whoever_delivers_and_whoever_counts_are_in_one_snapshot(engine, feed):
    """The sheet closes at every moment of a delivery."""
    feed.add(kinds=(RECEIVED,), campaigns=("sales",))
    receive(engine, *(make_record(ref="sales" if n % 2 else "service") for n in range(300)))
    seen = []
    feed.options["one"] = {"then": lambda: seen.append(told(engine)["delivered"])}
    place(engine)
    deliver(engine, "one", open_sink=feed.open, seconds=10)
    assert len(seen) >= 3
    assert told(engine) == line(fed=300, delivered=150, filtered=150)


def test_a_contact_that_a_call_lost_since_is_passed_over_and_counted(engine, feed):
    """What was told of it is delivered or passed over, whichever comes first, and the sum closes either way."""
    load(engine)
    feed.add(kinds=(CHANGED,))
    feed.add("late", kinds=(CHANGED,))
    walk(engine, receive(engine, make_record(call_ref="1"), make_record(call_ref="2", contact_ref="other")))
    feed.deliver()
    assert told(engine) == line(fed=2, delivered=2)
    walk(engine, receive(engine, make_record(call_ref="2", contact_ref=None)))
    [failure] = rows(engine, "SELECT id FROM failures WHERE class = 'conflict'")
    accept(engine, failure[0], who="ann")
    walk_overdue(engine)
    feed.deliver()
    feed.deliver("late")
    assert told(engine) == line(fed=3, delivered=3)
    late = told(engine, "late")
    assert (late["fed"], late["delivered"] + late["filtered"], late["waiting"]) == (3, 3, 0)


class Anything:
    """What may happen to a feed and its one subscriber, as chance has it."""

    def __init__(self, engine, feed, seed):
        self.engine, self.feed, self.chance = engine, feed, random.Random(seed)
        self.refs = itertools.count()

    def come(self):
        campaigns = [self.chance.choice(["sales", "service"]) for _ in range(self.chance.randint(1, 70))]
        records = [make_record(call_ref=str(next(self.refs)), ref=each) for each in campaigns]
        batch = receive(self.engine, *records)
        if self.chance.random() < 0.7:
            walk(self.engine, batch)

    def bring(self):
        """Something is refused, and behind some parts the lease is lost or the sink is away."""
        parts, goes, loses = itertools.count(), self.chance.randint(1, 4), self.chance.random() < 0.2

        def then():
            if next(parts) == goes and loses:
                put(self.engine, FREE)
            elif next(parts) > goes:
                self.feed.options["one"]["away"] = True

        refused = [str(self.chance.randint(0, 200)) for _ in range(5)]
        self.feed.options["one"] = {"then": then, "refuses": refused}
        put(self.engine, FREE)
        self.feed.deliver(seconds=self.chance.choice([-1, 10]))

    def drop(self):
        place(self.engine)
        aged(self.engine, "(SELECT min(position) FROM feed)")
        expire(self.engine)

    def resume(self):
        if self.feed.show().state == "expired":
            with self.engine.begin() as connection:
                subscribers.resume(connection, "one", who="test", skip_hole=True)


FREE = "UPDATE subscribers SET due_at = now(), leased_by = NULL, leased_until = NULL"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_sum_closes(engine, feed, seed):
    """Refusals, a sink that goes away in the middle, lost leases, rows dropped and holes skipped, in any order."""
    load(engine)
    anything = Anything(engine, feed, seed)
    feed.add(kinds=KINDS, campaigns=("sales",), ordering=anything.chance.choice(["none", "per call"]))
    for _ in range(30):
        does = [anything.come, anything.bring, anything.drop, anything.resume]
        anything.chance.choices(does, [4, 5, 2, 2])[0]()
        told(engine)
    feed.options["one"] = {}
    anything.resume()
    put(engine, FREE)
    while feed.deliver().outcome not in {"up to date", "nothing to do"}:
        anything.resume()
    done = told(engine)
    assert done["waiting"] == 0
    assert min(done["delivered"], done["filtered"]) > 0
