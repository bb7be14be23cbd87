"""What a person does about failures, on real PostgreSQL: retry, discard, edit, accept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import text

from pipeline.batches.progress import lock_step
from pipeline.batches.rules.steps import Step
from pipeline.errors import DataError
from pipeline.failures.listing import FailureFilter, count_failures, list_failures, read_failure
from pipeline.failures.operator import RefusedError, accept, discard, edit, restore, retry
from pipeline.failures.stats import failure_stats
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import NOW, load, receive, rows, sheet, walk, walk_overdue

EVERYTHING = FailureFilter()


def failure_ids(engine, wanted=EVERYTHING):
    with engine.connect() as connection:
        return [failure.id for failure in list_failures(connection, wanted, limit=10_000)]


def test_an_accepted_conflict_is_a_reversal_and_a_new_charge(engine):
    """The operator takes the changed record: the old charge is reversed, the call is charged anew, and all adds up."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=7, call_time=61)))
    walk(engine, receive(engine, make_record(call_ref=7, call_time=600, end_reason="callee_hungup")))
    (conflict,) = failure_ids(engine)
    accepted = accept(engine, conflict, who="thandi")
    assert (accepted.call_ref, accepted.reversed_charges) == ("7", 1)
    assert walk_overdue(engine) == 1
    lines = rows(engine, "SELECT kind, revision, amount FROM ledger ORDER BY revision, kind")
    assert [tuple(line) for line in lines] == [
        ("charge", 1, Decimal("0.81")),
        ("reversal", 1, Decimal("-0.81")),
        ("charge", 2, Decimal("6.20")),
    ]
    closed = sheet(engine)
    assert closed.closes, closed.violations
    assert (closed.received.records, closed.processed.records, closed.duplicate.records) == (2, 1, 1)
    assert closed.charged == {"ZAR": Decimal("6.20")}
    assert closed.processed.talk_seconds == 600


def test_a_recording_is_of_the_time_that_an_accepted_record_says(engine):
    """It is kept for so long from then on, and found in the place where its call is."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=7, call_time=61, dialed_at=DIALED_AT)))
    walk(engine, receive(engine, make_record(call_ref=7, call_time=61, dialed_at=DIALED_AT - 86_400)))
    (conflict,) = failure_ids(engine)
    accept(engine, conflict, who="thandi")
    walk_overdue(engine)
    ((call, recording),) = rows(
        engine, "SELECT c.dialed_at, r.dialed_at FROM calls AS c JOIN recordings AS r ON r.call_id = c.id"
    )
    assert call == recording == datetime.fromtimestamp(DIALED_AT - 86_400, tz=UTC)


def test_both_versions_of_an_accepted_call_are_duplicates_from_then_on(engine):
    """A replay of the old version or of the new one is counted and changes nothing."""
    load(engine)
    old, new = (make_record(call_ref=7, contact_ref=name) for name in ("old", "new"))
    walk(engine, receive(engine, old))
    walk(engine, receive(engine, new))
    accept(engine, failure_ids(engine)[0], who="thandi")
    walk_overdue(engine)
    walk(engine, receive(engine, old, new))
    closed = sheet(engine)
    assert closed.closes, closed.violations
    assert (closed.duplicate.records, closed.quarantined.records) == (3, 0)
    assert rows(engine, "SELECT replaced->>'contact_ref' FROM revisions") == [("old",)]


def test_every_version_that_was_replaced_is_a_duplicate(engine):
    """Two conflicts accepted one after the other: a replay of the first version or of the second says nothing new."""
    load(engine)
    versions = [make_record(call_ref=7, contact_ref=name) for name in ("first", "second", "third")]
    walk(engine, receive(engine, versions[0]))
    for version in versions[1:]:
        walk(engine, receive(engine, version))
        accept(engine, failure_ids(engine, FailureFilter(states=("open",)))[0], who="thandi")
        walk_overdue(engine)
    for version in versions:
        walk(engine, receive(engine, version))
    closed = sheet(engine)
    assert closed.closes, closed.violations
    assert (closed.processed.records, closed.duplicate.records, closed.quarantined.records) == (1, 5, 0)


def test_an_accepted_call_that_is_no_longer_billable_ends_without_charge(engine):
    """From answered to busy: the charge is reversed, and the reason for none is stored instead."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=7)))
    walk(engine, receive(engine, make_record(call_ref=7, end_reason="busy", end_code=17, extension=None, call_time=0)))
    accept(engine, failure_ids(engine)[0], who="thandi")
    walk_overdue(engine)
    closed = sheet(engine)
    assert closed.closes, closed.violations
    assert closed.charged == {"ZAR": Decimal(0)}
    assert rows(engine, "SELECT reason FROM uncharged") == [("a call that ended as busy is not billed",)]


def test_an_edited_record_becomes_a_call_and_keeps_what_was_received(engine):
    """The mended bytes are what is normalized; the original bytes stay in the inbox."""
    load(engine)
    bad, good = make_record(call_ref=9, call_time=-5), make_record(call_ref=9, call_time=5)
    walk(engine, receive(engine, bad))
    (failure,) = failure_ids(engine)
    edit(engine, failure, good, who="thandi", region="ZA", now=NOW)
    walk_overdue(engine)
    assert rows(engine, "SELECT call_ref, talk_seconds FROM calls") == [("9", 5)]
    with engine.connect() as connection:
        seen = read_failure(connection, failure)
    assert (seen.state, seen.raw, seen.edited) == ("resolved", bad, good)
    assert [(action.who, action.action) for action in seen.actions] == [("thandi", "edit")]
    assert sheet(engine).closes


def test_an_edit_that_is_no_good_either_is_refused(engine):
    """Nothing is stored, and the reason names the field."""
    walk(engine, receive(engine, b"rubbish"))
    (failure,) = failure_ids(engine)
    with pytest.raises(DataError, match=r"payload\.call_time"):
        edit(engine, failure, make_record(call_time=-5), who="thandi", region="ZA", now=NOW)
    assert rows(engine, "SELECT count(*) FROM edits") == [(0,)]


def test_a_discarded_record_is_counted_as_such(engine):
    """A person said so, with a reason, and the balance closes."""
    walk(engine, receive(engine, b"rubbish", b"more rubbish"))
    assert list(discard(engine, FailureFilter(contains="not JSON"), who="thandi", reason="test records")) == [2]
    closed = sheet(engine)
    assert closed.closes
    assert (closed.discarded.records, closed.quarantined.records) == (2, 0)
    assert rows(engine, "SELECT DISTINCT who, action, detail->>'reason' FROM actions") == [
        ("thandi", "discard", "test records")
    ]


def test_what_was_discarded_is_restored_to_what_it_was(engine):
    """Quarantined and failed again, by the filter, with who and why; what is open or retried is left alone."""
    walk(engine, receive(engine, b"rubbish", make_record(ref="spring"), make_record(ref="autumn")))
    before = sheet(engine)
    assert sum(discard(engine, FailureFilter(), who="thandi", reason="a mistake")) == 3
    assert list(restore(engine, FailureFilter(step="normalize"), who="ann", reason="none")) == [1]
    assert (
        sum(restore(engine, FailureFilter(ids=tuple(failure_ids(engine, FailureFilter(states=None)))), who="ann")) == 2
    )
    after = sheet(engine)
    assert after.closes, after.violations
    assert (after.quarantined, after.failed) == (before.quarantined, before.failed)
    assert (before.quarantined.records, before.failed.records, after.discarded.records) == (1, 2, 0)
    assert rows(
        engine, "SELECT who, detail->>'reason', count(*) FROM actions WHERE action = 'restore' GROUP BY 1, 2"
    ) == [
        ("ann", "none", 1),
        ("ann", None, 2),
    ]
    assert list(restore(engine, FailureFilter(), who="ann")) == []
    load(engine)  # which releases what waits for a rate
    walk_overdue(engine)
    assert sheet(engine).processed.records == 2


def test_retrying_all_that_match_works_in_chunks_and_ends(engine, monkeypatch):
    """Every matching failure is released once, also when it fails again at once."""
    monkeypatch.setattr("pipeline.failures.operator.CHUNK", 7)
    batches = [receive(engine, *(make_record() for _ in range(10))) for _ in range(3)]
    for batch in batches:
        walk(engine, batch)
    released = 0
    for count in retry(engine, FailureFilter(failure_class="reference"), who="thandi"):
        released += count
        walk_overdue(engine)
    assert released == 30
    with engine.connect() as connection:
        assert count_failures(connection, FailureFilter(states=("open",))) == 30
    load(engine)
    walk_overdue(engine)
    assert sheet(engine).processed.records == 30


def test_failures_are_found_by_what_an_operator_knows(engine):
    """Class, step, call_ref, campaign and words of the reason narrow the list; wildcards in the words are words."""
    walk(
        engine, receive(engine, make_record(call_ref=3, ref="spring", call_time=-1), make_record(ref="autumn"), b"100%")
    )
    found = {
        "class": FailureFilter(failure_class="reference"),
        "step": FailureFilter(step="bill"),
        "campaign": FailureFilter(campaign_ref="autumn"),
    }
    assert len({tuple(failure_ids(engine, wanted)) for wanted in found.values()}) == 1
    assert len(failure_ids(engine, FailureFilter(call_ref="3", campaign_ref="spring"))) == 1
    assert len(failure_ids(engine, FailureFilter(contains="NEGATIVE"))) == 1
    assert len(failure_ids(engine, FailureFilter(contains="near '%'"))) == 1
    assert failure_ids(engine, FailureFilter(contains="neg%ive")) == []
    with engine.connect() as connection:
        assert sum(row.failures for row in failure_stats(connection, FailureFilter(), limit=50).rows) == 3


def test_failures_are_counted_by_what_is_wrong(engine):
    """Not by the field alone: what is missing is not what is negative. Nor does each record make a kind of its own."""
    load(engine, b"prefix,rate_per_minute,connect_fee,first_increment,next_increment\n1,0.60,0.20,60,1\n")
    bad = [make_record(call_time=-each) for each in (1, 2, 3)] + [
        make_record(call_time=None),
        b"{",
        b"{nonsense",
        b"\xff",
    ]
    unrated = [make_record(number="082000123" + each, ref="it's at 2026-01-01 for " + each) for each in "12"]
    walk(engine, receive(engine, *bad, *unrated, make_record(call_ref="a is b", call_time=0)))
    walk(engine, receive(engine, *(make_record(call_ref="a is b", call_time=each) for each in (7, 8))))
    with engine.connect() as connection:
        kinds = failure_stats(connection, FailureFilter(), limit=50).rows
        for kind in kinds:
            assert count_failures(connection, FailureFilter(problem=kind.problem)) == kind.failures
    assert [(kind.failures, kind.about, kind.problem) for kind in kinds] == [
        (3, "payload.call_time", "payload.call_time: must not be negative"),
        (2, "payload.call_ref", "already stored with other content"),
        (2, "record", "record: is not JSON: Expecting property name enclosed in double quotes"),
        (2, "NoRateError", "no rate in tariff 'default'"),
        (1, "payload.call_time", "payload.call_time: is required"),
        (1, "record", "record: is not UTF-8"),
    ]


def accept_it(engine, failure_id):
    accept(engine, failure_id, who="thandi")


def edit_to_a_good_record(engine, failure_id):
    edit(engine, failure_id, make_record(), who="thandi", region="ZA", now=NOW)


@pytest.mark.parametrize("action", [accept_it, edit_to_a_good_record])
def test_what_makes_no_sense_is_refused_in_a_sentence(engine, action):
    """Failures that do not exist, are no longer open or are of another kind cannot be accepted or edited."""
    walk(engine, receive(engine, make_record()))
    (reference,) = failure_ids(engine)
    with pytest.raises(RefusedError, match="there is no failure 99"):
        action(engine, 99)
    with pytest.raises(RefusedError):
        action(engine, reference)
    with engine.begin() as connection:
        connection.execute(text("UPDATE failures SET state = 'discarded'"))
    with pytest.raises(RefusedError, match="discarded, no longer open"):
        action(engine, reference)


# A record with something in every column of a call.
FULL = {
    "call_time": 600, "hold_time": 7, "number": "082 000 9999", "client_number": "tvc_1",
    "dial_number": "27 12 345 6789", "end_reason": "callee_hungup",
    "end_code": 16, "contact_ref": "new", "extension": "3001", "ref": "autumn",
    "dialed_at": "2026-09-21T14:13:20.25+02:00", "call_dir": "Inbound", "recording_url": None,
    "rating": {"stars": 5, "why": '100 % \\ "good" é'},
}  # fmt: skip


def test_an_accepted_call_is_what_its_record_would_have_been_alone(engine):
    """Every column of it is what a worker makes of the same record where nothing stood in its way."""
    walk(engine, receive(engine, make_record(call_ref=7)))
    changed = make_record(call_ref=7, **FULL)
    walk(engine, receive(engine, changed))
    walk(engine, receive(engine, changed, source="another"))
    accept(engine, failure_ids(engine, FailureFilter(failure_class="conflict"))[0], who="thandi")
    first, second = rows(
        engine,
        "SELECT to_jsonb(calls) - ARRAY['id', 'source', 'normalized_at'] AS call FROM calls ORDER BY source DESC",
    )
    assert first.call == second.call
    assert (first.call["hold_seconds"], first.call["extra"]["rating"]["stars"]) == (7, 5)


def test_a_conflict_of_a_version_before_is_read_again_and_then_accepted(engine):
    """What its record says was not kept then: accepting asks a worker to look, and says so."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=7, call_time=61)))
    walk(engine, receive(engine, make_record(call_ref=7, call_time=600)))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM conflicts"))
    (conflict,) = failure_ids(engine)
    with pytest.raises(RefusedError, match="it is being read again, accept it in a moment"):
        accept(engine, conflict, who="thandi")
    walk_overdue(engine)
    assert accept(engine, conflict, who="thandi").reversed_charges == 1
    walk_overdue(engine)
    assert sheet(engine).charged == {"ZAR": Decimal("6.20")}


def test_accepting_takes_steps_before_failures_as_a_step_does(engine):
    """Whoever holds a step may write to the failure that is to be accepted; the other order is a deadlock."""
    batch = receive(engine, make_record(call_ref=7), make_record(call_ref=7, call_time=600))
    walk(engine, batch)
    (conflict,) = failure_ids(engine, FailureFilter(failure_class="conflict"))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as step:
            lock_step(step, batch.batch_id, Step.CLASSIFY)
            accepted = pool.submit(accept, engine, conflict, who="thandi")
            deadline = time.monotonic() + 20
            while rows(engine, waiting) != [(1,)]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            step.execute(text("UPDATE failures SET attempts = attempts + 1 WHERE id = :id"), {"id": conflict})
        assert accepted.result(timeout=20).call_ref == "7"
