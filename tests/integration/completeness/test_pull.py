"""Missing calls are pulled from the dialler's API, and give way to their real records."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import text

from pipeline.batches.rules.steps import Step
from pipeline.calls.rules.cdr import read_cdr
from pipeline.completeness.compare import compare
from pipeline.completeness.missing_rows import list_missing
from pipeline.completeness.pull import Pulled, pull
from pipeline.completeness.rules.pulled import record_of
from pipeline.dialler.listing_api import ListingApi
from pipeline.ingest.inbox import settle
from pipeline.sandbox.dialler import SimulatedDialler
from tests.factories import make_record
from tests.integration.flow import NOW, load, receive, rows, sheet, walk, walk_overdue

TARIFF = b"prefix,rate_per_minute,connect_fee,first_increment,next_increment\n,0.60,0.20,60,1\n"
NET = (
    "SELECT c.call_ref, coalesce(sum(CASE l.kind WHEN 'charge' THEN 1 WHEN 'reversal' THEN -1 END), 0) AS charges, "
    "coalesce(sum(l.amount), 0) AS amount FROM calls AS c LEFT JOIN ledger AS l ON l.call_id = c.id GROUP BY 1"
)


@pytest.fixture
def dialler(servers, dialler_redis, engine):
    load(engine, TARIFF)
    with SimulatedDialler(servers.dialler_redis.url, seed=5, start=NOW - timedelta(hours=3)) as simulated:
        yield simulated


@pytest.fixture
def drain(engine, cdr_list):
    def all_of_it():
        while claim := cdr_list.claim(500):
            with engine.begin() as connection:
                batch = settle(connection, claim.id, "enigma", claim.elements, resend_after_seconds=0)
                at = {"at": NOW - timedelta(hours=4)}
                connection.execute(text("UPDATE batches SET received_at = :at WHERE received_at > :at"), at)
            cdr_list.drop(claim.id)
            walk(engine, batch)
        while walk_overdue(engine):
            pass

    return all_of_it


@pytest.fixture
def look(engine, cdr_list, dialler):
    def now(minutes=0):
        with ListingApi(dialler.api_url) as api:
            return compare(engine, api, cdr_list, source="enigma", now=NOW + timedelta(minutes=minutes))

    return now


@pytest.fixture
def pull_now(engine, cdr_list):
    return lambda **options: pull(engine, cdr_list, source="enigma", who="test", **options)


def lose(dialler, count, share):
    dialler.drop_share = share
    dialler.place_calls(count)
    dialler.drop_share = 0.0
    return sorted(str(call.call_ref) for call in dialler.dropped if call.contact_ref is not None)


def states(engine):
    with engine.connect() as connection:
        return {each.call_ref: each.state for each in list_missing(connection, state=None)}


def test_pulled_and_then_the_real_records_are_one_call_and_one_charge_each(engine, dialler, look, drain, pull_now):
    """Exactly what would be there had nothing been lost."""
    dialler.place_calls(40)
    drain()
    lost = lose(dialler, 120, 0.3)
    drain()
    assert look().missing == len(lost)
    assert pull_now() == Pulled(len(lost), 0, 0)
    drain()
    stored = rows(
        engine,
        "SELECT call_ref, record_kind, direction, end_code, dial_number FROM calls WHERE record_kind IS NOT NULL",
    )
    assert sorted(row[0] for row in stored) == lost
    assert {tuple(row[1:]) for row in stored} == {("pulled", None, None, None)}
    assert sheet(engine).closes
    assert set(states(engine).values()) == {"imported"}
    assert rows(
        engine, "SELECT count(*) FROM ledger AS l JOIN calls AS c ON c.id = call_id WHERE c.record_kind = 'pulled'"
    )[0][0]

    dialler.push_late()
    drain()
    look(1)
    assert set(states(engine).values()) == {"arrived late"}
    assert rows(engine, "SELECT count(*) FROM calls WHERE record_kind IS NOT NULL OR direction IS NULL") == [(0,)]
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
    found = {row.call_ref: row for row in rows(engine, NET)}
    assert len(found) == len(dialler.calls)
    assert {row.charges for row in found.values()} <= {0, 1}
    balance = sheet(engine)
    assert balance.closes, balance.violations
    # As if nothing had been lost: the real record alone decides.
    for call in dialler.calls:
        charged = call.extension is not None and call.direction == "outbound"
        assert found[str(call.call_ref)].charges == charged
        assert (found[str(call.call_ref)].amount > 0) == charged
    dialler.replay(1.0)
    drain()
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
    assert {row.call_ref: row for row in rows(engine, NET)} == found, "a replay changes nothing"
    assert sheet(engine).closes


def test_what_has_come_meanwhile_is_not_pulled(engine, dialler, look, drain, pull_now):
    dialler.place_calls(40)
    drain()
    lost = lose(dialler, 60, 0.3)
    drain()
    look()
    dialler.push_late()
    assert pull_now() == Pulled(0, len(lost), 0)
    drain()
    assert pull_now() == Pulled(0, len(lost), 0)
    look(1)
    assert pull_now() == Pulled(0, 0, 0)
    assert set(states(engine).values()) == {"arrived late"}


def test_pulling_twice_is_once(engine, dialler, look, drain, pull_now):
    dialler.place_calls(40)
    drain()
    lost = lose(dialler, 60, 0.3)
    drain()
    look()
    campaigns = {row.campaign_ref for row in rows(engine, "SELECT campaign_ref FROM missing_calls")}
    assert sum(pull_now(campaign=each).pulled for each in campaigns) == len(lost)
    assert pull_now().pulled == 0
    drain()
    assert rows(engine, "SELECT count(*) FROM calls WHERE record_kind = 'pulled'") == [(len(lost),)]
    look(1)
    assert set(states(engine).values()) == {"imported"}, "what was pulled stays so until the real record comes"


LISTED = {
    "call_id": 77, "number_dialed": "0820001234", "recording_location": None, "disposition": "callee_hungup",
    "dialed_at": "2026-11-23T09:00:00Z", "hold_time": 10, "call_time": 71, "agent": "2001",
}  # fmt: skip


def pulled(**changes):
    return record_of(LISTED | changes, campaign="campaign001", contact="c1")


def test_a_record_has_what_the_api_knows_and_no_more():
    cdr = read_cdr(pulled(), region="ZA", now=NOW)
    assert (cdr.call_ref, cdr.campaign_ref, cdr.contact_ref, cdr.extension) == ("77", "campaign001", "c1", "2001")
    assert (cdr.talk_seconds, cdr.hold_seconds, cdr.end_reason) == (61, 10, "callee_hungup")
    assert (cdr.end_code, cdr.direction, cdr.dial_number, cdr.kind) == (None, None, None, "pulled")


@pytest.mark.parametrize(
    ("changes", "disposition"),
    [
        ({}, "answered"),
        ({"disposition": "retry"}, "unknown"),
        ({"disposition": "closed"}, "unknown"),
        ({"disposition": "remove_number"}, "unknown"),
        ({"disposition": "agent_hungup", "agent": None}, "unknown"),
        ({"disposition": "agent_hungup"}, "answered"),
        ({"disposition": "busy", "agent": None, "call_time": None, "hold_time": None}, "busy"),
        ({"disposition": "voicemail", "agent": None, "hold_time": 0, "call_time": 7}, "voicemail"),
    ],
)
def test_what_was_decided_later_is_no_outcome(engine, changes, disposition):
    load(engine, TARIFF)
    walk(engine, receive(engine, pulled(**changes)))
    [(found, why)] = rows(engine, "SELECT disposition, why FROM dispositions")
    assert found == disposition
    assert (f"'{changes.get('disposition')}'" in why) or disposition != "unknown"
    assert rows(engine, "SELECT count(*) FROM ledger") == [(int(disposition == "answered"),)]


@pytest.mark.parametrize(
    "changes", [{"disposition": None}, {"dialed_at": None}, {"call_id": None}, {"call_time": "long"}, {"agent": []}]
)
def test_no_record_is_made_of_what_has_not_ended_or_is_strange(changes):
    assert pulled(**changes) is None


def test_a_pulled_record_says_nothing_of_a_call_that_is_here(engine):
    load(engine, TARIFF)
    walk(engine, receive(engine, make_record(call_ref=77)))
    walk(engine, receive(engine, pulled()))
    assert rows(engine, "SELECT count(*) FROM duplicates") == [(1,)]
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
    assert sheet(engine).closes


def test_two_real_records_that_differ_are_a_conflict_as_ever(engine):
    """Only the stand-in gives way by itself."""
    load(engine, TARIFF)
    walk(engine, receive(engine, pulled()))
    walk(engine, receive(engine, make_record(call_ref=77), make_record(call_ref=77, call_time=5), make_record()))
    walk_overdue(engine)
    assert rows(engine, "SELECT count(*) FROM failures WHERE class = 'conflict' AND state = 'open'") == [(1,)]
    assert rows(engine, "SELECT count(*) FROM calls WHERE record_kind IS NOT NULL") == [(0,)]
    assert sheet(engine).closes


def test_a_stand_in_that_waits_for_a_rate_gives_way_too(engine):
    walk(engine, receive(engine, pulled()))
    assert rows(engine, "SELECT class, state FROM failures") == [("reference", "open")]
    walk(engine, receive(engine, make_record(call_ref=77, extension=None, call_time=0, end_reason="busy")))
    walk_overdue(engine)
    assert rows(engine, "SELECT disposition FROM dispositions") == [("busy",)]
    assert rows(engine, "SELECT state FROM failures") == [("resolved",)]
    assert sheet(engine).closes


def test_the_function_replaces_nothing_but_stand_ins(engine):
    load(engine, TARIFF)
    walk(engine, receive(engine, make_record(call_ref=77)))
    other = receive(engine, make_record(call_ref=77, call_time=5))
    content = json.dumps({"source": "enigma", "call_ref": "77"})
    with engine.begin() as connection, pytest.raises(Exception, match="none that was pulled"):
        connection.execute(
            text("SELECT replace_pulled(:record, cast(:content AS jsonb))"),
            {"record": other.span.first, "content": content},
        )


def test_what_the_feed_tells_of_it(engine):
    """The call is received and finished as any other, and corrected when the real record comes."""
    load(engine, TARIFF)
    walk(engine, receive(engine, pulled()), tuple(Step))
    walk(engine, receive(engine, make_record(call_ref=77)))
    [(call_id, corrected)] = rows(engine, "SELECT call_id, revision FROM feed WHERE kind = 'call.corrected'")
    assert rows(engine, "SELECT record_id, call_id FROM revisions") == [(corrected, call_id)]
