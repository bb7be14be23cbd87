"""Level 1: what the dialler counted against what came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.batches.rules.steps import Step
from pipeline.completeness import received
from pipeline.completeness.findings import open_findings
from pipeline.completeness.readings import read_counters
from pipeline.completeness.report import report
from pipeline.completeness.witnesses import heard
from pipeline.dialler.counters import COUNTERS_KEY, DiallerCounters
from pipeline.ingest.inbox import settle
from pipeline.sandbox.dialler import SimulatedDialler, steal
from tests.factories import make_record
from tests.integration.flow import NOW, load, receive, rows, walk

MINUTE = timedelta(minutes=1)


class Time:
    """A clock that is told how late it is."""

    def __init__(self):
        self.now = datetime.now(UTC)

    def pass_(self, minutes=1):
        self.now += minutes * MINUTE
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def dialler(servers, dialler_redis):
    with SimulatedDialler(servers.dialler_redis.url, seed=5, start=NOW - timedelta(hours=2)) as simulated:
        yield simulated


@pytest.fixture
def counters(servers):
    held = DiallerCounters(servers.dialler_redis.url)
    yield held
    held.close()


@pytest.fixture
def read(engine, counters, cdr_list, time):
    def now():
        return read_counters(engine, counters, cdr_list, source="enigma", now=time.now)

    return now


@pytest.fixture
def drain(engine, cdr_list):
    """What an ingestor and the workers do."""

    def all_of_it(*, steps=1, at_most=100_000):
        taken = 0
        while taken < at_most and (claim := cdr_list.claim(min(500, at_most - taken))):
            with engine.begin() as connection:
                batch = settle(connection, claim.id, "enigma", claim.elements, resend_after_seconds=0)
            cdr_list.drop(claim.id)
            taken += len(claim.elements)
            walk(engine, batch, tuple(Step)[:steps])
        return taken

    return all_of_it


def findings(engine):
    with engine.connect() as connection:
        return open_findings(connection)


def told(engine, since=None, until=None):
    with engine.connect() as connection:
        return report(connection, since=since, until=until).lines


def watch(read, time, minutes, each=lambda: None):
    """A minute after the other; returns the findings of each."""
    found = []
    for _ in range(minutes):
        time.pass_()
        each()
        found.append(read().found)
    return found


def test_calls_that_never_came_are_found_within_eleven_minutes(engine, dialler, read, drain, time):
    dialler.place_calls(300)
    drain()
    read()
    dialler.drop_share = 0.05
    dialler.place_calls(600)
    dialler.drop_share = 0.0
    drain()
    began = time.now
    lost = dict.fromkeys({call.campaign for call in dialler.calls}, 0)
    for call in dialler.dropped:
        lost[call.campaign] += 1
    assert min(lost.values()) > 3
    assert watch(read, time, 10) == [0] * 10, "not before it has stood for ten minutes"
    time.pass_()
    assert read().found == len(lost)
    assert time.now - began <= 11 * MINUTE
    assert {each.campaign_ref: each.calls for each in findings(engine)} == lost
    assert {each.kind for each in findings(engine)} == {"missing"}
    lines = told(engine)
    assert sum(each.sum.missing for each in lines) == sum(lost.values())
    for each in lines:
        of = each.sum
        assert of.expected == of.received + of.late + of.missing + of.unknown


def test_what_comes_late_ends_the_finding(engine, dialler, read, drain, time):
    dialler.place_calls(50)
    drain()
    read()
    dialler.drop_share = 1.0
    dialler.place_calls(10)
    dialler.drop_share = 0.0
    watch(read, time, 12)
    assert findings(engine)
    end = time.now
    assert dialler.push_late() == 10
    drain()
    watch(read, time, 1)
    assert findings(engine) == []
    assert sum(each.sum.late for each in told(engine, until=end)) == 10
    assert sum(each.sum.missing for each in told(engine, until=end)) == 0


def test_a_second_consumer_is_reported_as_one(engine, servers, dialler, read, drain, time):
    dialler.place_calls(100)
    drain()
    read()
    dialler.place_calls(200)
    assert len(steal(servers.dialler_redis.url, 50)) == 50
    drain()
    watch(read, time, 12)
    found = findings(engine)
    assert sum(each.calls for each in found) == 50
    assert {each.kind for each in found} == {"second consumer"}
    assert found[0].evidence["taken_by_others"] == 50


def test_what_lies_on_the_list_in_claims_and_in_the_inbox_is_not_missing(engine, dialler, read, drain, time, cdr_list):
    dialler.place_calls(50)
    drain()
    read()
    dialler.place_calls(90)
    drain(steps=0, at_most=30)
    cdr_list.claim(30)
    assert watch(read, time, 15) == [0] * 15
    assert rows(engine, "SELECT max(counted_before - received - base) FROM counter_readings") == [(0,)]


def test_what_came_twice_does_not_stand_for_what_was_lost(engine, dialler, read, drain, time):
    dialler.place_calls(100)
    drain()
    read()
    dialler.replay(1.0)
    dialler.drop_share = 1.0
    dialler.place_calls(20)
    drain()
    watch(read, time, 12)
    assert sum(each.calls for each in findings(engine)) == 20


def test_what_is_quarantined_or_in_conflict_came(engine, dialler_redis, read, drain, time):
    key = COUNTERS_KEY.format("campaign001")
    stored = make_record(call_ref=1)
    dialler_redis.rpush("enigma:notifications:campaigns", stored)
    dialler_redis.hincrby(key, "total_calls", 1)
    drain()
    read()
    others = [make_record(call_ref=1, call_time=5), make_record(call_time=-5), make_record(call_ref=None)]
    dialler_redis.rpush("enigma:notifications:campaigns", *others)
    dialler_redis.hincrby(key, "total_calls", 3)
    watch(read, time, 1)
    drain()
    watch(read, time, 12)
    assert rows(engine, "SELECT counted_before - received - base FROM counter_readings ORDER BY read_at") == [(0,)] * 14


def test_a_counter_that_began_anew_or_is_gone_is_no_alarm(engine, dialler, read, drain, time):
    dialler.place_calls(200)
    drain()
    read()
    for campaign in {call.campaign for call in dialler.calls}:
        dialler.begin_counting_anew(campaign)
    watch(read, time, 3)
    with engine.connect() as connection:
        [level] = heard(connection, "enigma")
    assert (level.state, level.says) == ("not available", "the dialler keeps no counters")
    dialler.place_calls(100)
    drain()
    assert watch(read, time, 15) == [0] * 15
    dialler.drop_share = 1.0
    dialler.place_calls(9)
    watch(read, time, 12)
    assert sum(each.calls for each in findings(engine)) == 9, "from the new beginning on"


def test_counters_that_count_fewer_are_no_alarm_and_hide_nothing_later(engine, dialler, read, drain, time):
    dialler.place_calls(100)
    drain()
    read()
    uncounted = [make_record(ref="campaign001") for _ in range(20)]
    dialler.push(uncounted)
    drain()
    assert watch(read, time, 12) == [0] * 12
    dialler.drop_share = 1.0
    dialler.place_calls(9)
    watch(read, time, 12)
    assert sum(each.calls for each in findings(engine)) == 9


@pytest.mark.parametrize("strange", [{"total_calls": "many"}, {"answered": 3}, {"total_calls": "-4"}])
def test_a_strange_counter_is_unknown_never_missing(engine, dialler, dialler_redis, read, drain, time, strange):
    dialler.place_calls(100)
    drain()
    read()
    for campaign in {call.campaign for call in dialler.calls}:
        key = COUNTERS_KEY.format(campaign)
        dialler_redis.delete(key)
        dialler_redis.hset(key, mapping=strange)
    assert watch(read, time, 15) == [0] * 15
    with engine.connect() as connection:
        assert heard(connection, "enigma")[0].state == "unknown"


def test_a_key_of_another_type_is_unknown_too(engine, dialler, dialler_redis, read, drain, time):
    dialler.place_calls(100)
    drain()
    for campaign in {call.campaign for call in dialler.calls}:
        dialler_redis.delete(COUNTERS_KEY.format(campaign))
        dialler_redis.set(COUNTERS_KEY.format(campaign), "17")
    read()
    watch(read, time, 12)
    assert findings(engine) == []


def test_with_too_much_on_its_way_nothing_is_said(engine, dialler, read, drain, time, monkeypatch):
    dialler.place_calls(50)
    drain()
    read()
    monkeypatch.setattr("pipeline.completeness.readings.MOST_ON_THE_WAY", 20)
    dialler.place_calls(60)
    assert "more than 20" in read().says
    with engine.connect() as connection:
        assert heard(connection, "enigma")[0].state == "unknown"


def test_busy_calls_raise_no_false_alarm(engine, dialler, read, drain, time):
    """Calls end while it looks, some of them late, some twice, and batches are read in any order."""
    dialler.place_calls(100)
    drain()
    read()

    def busy():
        dialler.place_calls(137)
        drain(at_most=101)
        dialler.replay(0.01)

    assert watch(read, time, 25, busy) == [0] * 25
    drain()
    assert watch(read, time, 12) == [0] * 12


def test_each_batch_is_counted_once_and_then_forgotten(engine, read, drain, dialler, time):
    dialler.place_calls(10)
    drain()
    read()
    dialler.place_calls(600)
    drain()
    read()
    time.pass_()
    read()
    assert rows(engine, "SELECT sum(received) FROM campaign_counts") == [(600,)]
    [before] = rows(engine, "SELECT count(*) FROM counted_batches")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE batches SET received_at = now() - interval '1 hour'")
    time.pass_()
    read()
    assert before[0] > 0
    assert rows(engine, "SELECT count(*) FROM counted_batches") == [(0,)]
    time.pass_()
    read()
    assert rows(engine, "SELECT counted_to FROM counting_marks") == rows(engine, "SELECT max(id) FROM batches")


def test_what_is_not_readable_is_counted_apart():
    found = received.on_the_way([b"no record", make_record(call_ref=None), make_record(call_ref=None, call_time=4)])
    assert found.unreadable == 1
    assert found.by_campaign() == {"campaign001": 2}


def test_a_batch_of_another_dialler_is_none_of_ours(engine, dialler, read, drain, time):
    load(engine)
    dialler.place_calls(30)
    drain()
    read()
    walk(engine, receive(engine, *(make_record() for _ in range(9)), source="other"))
    time.pass_()
    read()
    assert rows(engine, "SELECT DISTINCT source FROM campaign_counts") == [("enigma",)]
