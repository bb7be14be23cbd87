"""Levels 2 and 3: the dialler's API against what came."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import text

from pipeline.batches.rules.steps import Step
from pipeline.completeness import compare as comparing
from pipeline.completeness.compare import Pace, compare
from pipeline.completeness.missing_rows import list_missing
from pipeline.completeness.report import report
from pipeline.completeness.witnesses import heard
from pipeline.dialler.listing_api import ListingApi
from pipeline.ingest.inbox import settle
from pipeline.sandbox.dialler import SimulatedDialler
from tests.integration.flow import NOW, load, rows, walk
from tests.warm import warm

MINUTE = timedelta(minutes=1)


class Time:
    def __init__(self):
        self.now = NOW

    def pass_(self, minutes):
        self.now += minutes * MINUTE


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def dialler(servers, dialler_redis, engine):
    with SimulatedDialler(servers.dialler_redis.url, seed=5, start=NOW - timedelta(hours=3)) as simulated:
        yield simulated


@pytest.fixture
def api(dialler):
    with ListingApi(dialler.api_url) as listing:
        yield listing


@pytest.fixture
def look(engine, api, cdr_list, time):
    def now(**options):
        return compare(engine, api, cdr_list, source="enigma", now=time.now, **options)

    return now


@pytest.fixture
def drain(engine, cdr_list):
    """What an ingestor and the workers do; the pipeline has been there for long."""

    def all_of_it(steps=tuple(Step)[:1]):
        while claim := cdr_list.claim(500):
            with engine.begin() as connection:
                batch = settle(connection, claim.id, "enigma", claim.elements, resend_after_seconds=0)
                connection.execute(text("UPDATE batches SET received_at = :at"), {"at": NOW - timedelta(hours=4)})
            cdr_list.drop(claim.id)
            walk(engine, batch, steps)

    return all_of_it


def missing(engine, state="found"):
    with engine.connect() as connection:
        return list_missing(connection, state=state)


def outbound(calls):
    return sorted(str(call.call_ref) for call in calls if call.contact_ref is not None)


def lose(dialler, count, share=0.1):
    dialler.drop_share = share
    dialler.place_calls(count)
    dialler.drop_share = 0.0
    return outbound(dialler.dropped)


def test_each_call_that_never_came_is_named_and_nothing_else(engine, dialler, look, drain):
    dialler.place_calls(60)
    drain()
    lost = lose(dialler, 200)
    drain()
    found = look()
    assert len(lost) > 10
    assert sorted(each.call_ref for each in missing(engine)) == lost
    assert found.missing == len(lost)
    first = missing(engine)[0]
    assert str(first.evidence["call_id"]) == first.call_ref
    assert first.evidence["disposition"]
    with engine.connect() as connection:
        told = report(connection)
    named = [line for line in told.lines if line.level == 3]
    assert sum(line.sum.missing for line in named) == len(lost)
    assert all(line.sum.expected == sum(line.sum[1:]) for line in told.lines)
    assert look().missing == 0, "a second look finds nothing new"


def test_what_is_queued_inbound_under_way_late_or_set_aside_is_not_missing(engine, dialler, look, drain, cdr_list):
    dialler.place_calls(60)
    drain()
    dialler.api.listing.queue("account_never_dialled", "campaign001")
    dialler.place_calls(60)
    bad = next(call for call in reversed(dialler.calls) if call.contact_ref)
    drain()
    with engine.begin() as connection:  # one of them was set aside
        connection.execute(text("DELETE FROM calls WHERE call_ref = :ref"), {"ref": str(bad.call_ref)})
        connection.execute(
            text(
                "INSERT INTO failures (record_id, step, class, state, source, call_ref, reason) "
                "VALUES (1, 'normalize', 'data', 'open', 'enigma', :ref, 'bad')"
            ),
            {"ref": str(bad.call_ref)},
        )
    dialler.place_calls(40)
    cdr_list.claim(20)  # claimed and on the list
    dialler.api.listing.lags = 30
    assert look().missing == 0
    assert missing(engine) == []


def test_nothing_is_missing_before_a_quarter_of_an_hour_after_its_end(engine, servers, dialler_redis, cdr_list, drain):
    """A call that has just ended may be late."""
    with SimulatedDialler(servers.dialler_redis.url, seed=5, start=NOW - timedelta(minutes=2)) as dialler:
        dialler.place_calls(20)
        drain()
        lost = lose(dialler, 40, 0.5)
        drain()
        with ListingApi(dialler.api_url) as api:
            now = NOW
            assert compare(engine, api, cdr_list, source="enigma", now=now).missing == 0
            asked = dialler.api.listing.requests["callees"]
            later = compare(engine, api, cdr_list, source="enigma", now=now + timedelta(minutes=55))
            assert later.missing == len(lost)
            assert dialler.api.listing.requests["callees"] > asked
    assert sorted(each.call_ref for each in missing(engine)) == lost


def test_what_comes_late_is_no_longer_missing(engine, dialler, look, drain, time):
    dialler.place_calls(50)
    drain()
    lost = lose(dialler, 100)
    drain()
    look()
    dialler.push_late()
    drain()
    time.pass_(1)
    look()
    assert missing(engine) == []
    assert sorted(each.call_ref for each in missing(engine, "arrived late")) == lost


@pytest.mark.parametrize("fault", ["failed", "html", "server error", "truncated", "wrong types", "throttled"])
def test_a_strange_answer_is_unknown_never_missing(engine, dialler, look, drain, time, fault):
    dialler.place_calls(50)
    drain()
    lost = lose(dialler, 100)
    drain()
    dialler.api.listing.fault = fault
    look()
    time.pass_(11)
    look()
    assert missing(engine) == []
    dialler.api.listing.fault = None
    time.pass_(11)
    look()
    assert sorted(each.call_ref for each in missing(engine)) == lost


@pytest.mark.parametrize("fault", ["failed", "html", "server error", "truncated", "wrong types"])
def test_so_is_one_about_a_contact(engine, dialler, look, drain, time, fault, monkeypatch):
    dialler.place_calls(50)
    drain()
    lost = lose(dialler, 60)
    drain()
    listing = dialler.api.listing
    real = listing._faulty
    monkeypatch.setattr(
        listing,
        "_faulty",
        lambda answer: broken(answer) if b'"calls":' in answer.body or fault == "x" else real(answer),
    )

    def broken(answer):
        listing.fault, answered = fault, None
        answered = real(answer)
        listing.fault = None
        return answered

    done = look()
    assert (done.missing, done.unknown) == (0, done.contacts)
    assert missing(engine) == []
    with engine.connect() as connection:
        assert {each.level: each.state for each in heard(connection)}[3] == "unknown"
        assert sum(line.sum.unknown for line in report(connection).lines if line.level == 3) == done.contacts
    monkeypatch.undo()
    time.pass_(11)
    look()
    assert sorted(each.call_ref for each in missing(engine)) == lost


def test_a_campaign_is_looked_at_each_hour_and_once_when_it_stops(dialler, look, drain, time):
    dialler.place_calls(50)
    drain()
    asked = dialler.api.listing.requests
    look()
    first = asked["campaigns"]
    assert first == 3
    time.pass_(30)
    look()
    assert asked["campaigns"] == first
    time.pass_(31)
    look()
    assert asked["campaigns"] == 2 * first
    dialler.api.listing.stopped = {"campaign001", "campaign002", "campaign003"}
    time.pass_(1)
    look()
    assert asked["campaigns"] == 3 * first
    time.pass_(600)
    look()
    assert asked["campaigns"] == 3 * first


def test_a_contact_is_asked_about_again_only_when_it_was_called_again(dialler, look, drain, time):
    dialler.place_calls(50)
    drain()
    lose(dialler, 60)
    drain()
    look()
    asked = dialler.api.listing.requests["callees"]
    time.pass_(61)
    look()
    assert dialler.api.listing.requests["callees"] == asked


def test_a_deleted_campaign_is_unknown(engine, dialler, look, drain, time):
    dialler.place_calls(50)
    drain()
    lose(dialler, 60)
    drain()
    for campaign in ("campaign001", "campaign002", "campaign003"):
        dialler.api.listing.delete(campaign)
    assert look().missing == 0
    assert missing(engine) == []


def test_it_waits_while_recordings_wait_and_when_it_is_asked_to(engine, dialler, look, drain, time):
    dialler.place_calls(20)
    drain()
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO recording_pauses (source, kind, reason, since, until, call_id) "
                "VALUES ('enigma', 'throttled', 'too many', now(), now(), 1)"
            )
        )
    assert "too many" in look().says
    assert not dialler.api.listing.requests
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM recording_pauses"))
    dialler.api.listing.fault = "throttled"
    look()
    assert dialler.api.listing.requests.total() == 1
    look()
    assert dialler.api.listing.requests.total() == 1, "not before its time"
    dialler.api.listing.fault = None
    time.pass_(2)
    look()
    assert dialler.api.listing.requests.total() > 1


def test_a_dialler_that_is_away_is_unknown(engine, dialler, look, drain):
    dialler.place_calls(20)
    drain()
    dialler.api.stop()
    assert "cannot be reached" in look().says
    with engine.connect() as connection:
        assert {each.state for each in heard(connection)} == {"unknown"}


def test_one_process_asks_at_a_time(engine, look, dialler, drain):
    dialler.place_calls(20)
    drain()
    with comparing._alone(engine, "enigma") as held, comparing._alone(engine, "other") as another:
        assert held
        assert another
        assert look().says == "another process is asking this dialler"
    assert look().says is None


def test_there_are_never_more_than_five_requests_a_second():
    waited = []
    pace = Pace(5.0, sleep=waited.append)
    for _ in range(11):
        pace.wait()
    # Nothing sleeps here, so the last one has waited for its whole turn.
    assert waited[-1] == pytest.approx(11 / 5, abs=0.1)


def test_the_seconds_from_picking_up_are_kept(engine, dialler, look, drain):
    """They are what a carrier bills."""
    dialler.place_calls(50)
    drain()
    lose(dialler, 200)
    drain()
    look()
    kept = dict(rows(engine, "SELECT call_ref, seconds FROM answered_seconds JOIN calls ON calls.id = call_id"))
    by_ref = {str(call.call_ref): call for call in dialler.calls}
    assert kept
    for ref, seconds in kept.items():
        call = by_ref[ref]
        assert seconds == (7 if call.end_reason == "voicemail" else call.hold_seconds + call.talk_seconds)


@pytest.fixture
def pipeline(settings_env):
    return warm().pipeline


def test_a_person_sees_the_names_and_dismisses_one(pipeline, engine, dialler, look, drain):
    load(engine)
    assert pipeline("completeness").returncode == 3, "nobody has looked"
    dialler.place_calls(50)
    drain()
    lost = lose(dialler, 60)
    drain()
    look()
    listed = pipeline("completeness", "list", "--json")
    assert listed.returncode == 1
    assert sorted(each["call_ref"] for each in json.loads(listed.stdout)) == lost
    told = pipeline("completeness", "--json")
    assert told.returncode == 1
    for line in json.loads(told.stdout)["lines"]:
        assert line["expected"] == line["received"] + line["late"] + line["missing"] + line["unknown"]
    for ref in lost:
        assert pipeline("completeness", "dismiss", ref, "--because", "a test call").returncode == 0
    again = pipeline("completeness", "dismiss", lost[0], "--because", "again")
    assert (again.returncode, again.stderr) == (1, f"Error: no call {lost[0]} of enigma is missing\n")
    assert pipeline("completeness", "list").returncode == 0
    assert pipeline("completeness").returncode == 0
