"""A number is erased: gone from everywhere, the books unchanged, and neither a kill nor a replay brings it back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from pipeline.batches.run import run_all_steps
from pipeline.billing.billed_calls import Selection
from pipeline.billing.rerate import compare
from pipeline.billing.tariff_cache import TariffCache
from pipeline.calls.in_hand import InHand
from pipeline.calls.normalize import normalize
from pipeline.calls.rules.erasure_key import ErasureKey, ErasureKeyError
from pipeline.erasure import erase as erasing
from pipeline.erasure.erase import DownloadingError, ElsewhereError, HeldError, erase
from pipeline.erasure.held import counted, held_of
from pipeline.erasure.runs import NamesTheNumberError
from pipeline.failures.operator import accept
from pipeline.keeping import holds
from pipeline.lookup.history import histories_of
from pipeline.lookup.rules.plain import plain
from pipeline.lookup.told import as_dict
from pipeline.recordings import operator
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.retention import expire
from pipeline.sandbox.stack import ROOT
from tests.factories import make_record
from tests.integration.contact_rows import by_the_rules, contact_rows
from tests.integration.erasure.conftest import (
    AT,
    CALL_REFS,
    NUMBER,
    SECRET,
    SPELLED,
    ZONE,
    Person,
    keyed_works,
    make_person,
    money,
    nowhere,
    run,
    walk,
)
from tests.integration.flow import NOW, TARIFF, load, receive, rows, sheet
from tests.integration.recording_rows import kept_for
from tests.patience import eventually

EVERYTHING = Selection(AT - timedelta(days=9), AT + timedelta(days=9))


def held(engine):
    with engine.connect() as connection:
        return held_of(connection, SPELLED)


def test_nothing_is_left_of_it_and_the_books_are_the_same(engine, tmp_path):
    """A thousand calls, two hundred recordings, what failed, a conflict, a rerating: no byte in a dump or the store."""
    person = make_person(engine, tmp_path / "recordings", calls=1_000, recordings=200)
    before, balance = money(engine), sheet(engine)
    assert len(nowhere(person)) > 3_000
    proof = person.erase()
    assert nowhere(person) == []
    assert money(engine) == before
    after = sheet(engine)
    assert (after.closes, after.charged) == (balance.closes, balance.charged)
    assert proof.counts["calls"] == 1_000  # one of them is another's by now, and one has no reference
    assert proof.counts["recording files"] == 199
    assert rows(engine, "SELECT state, mark FROM erasures") == [("done", None)]
    assert held(engine) == {}
    assert contact_rows(engine) == by_the_rules(engine)


def test_the_day_is_replayed(person):
    """Each record repeats its call as before: nothing is charged, and the number is out of the new records, too."""
    person.erase()
    before = money(person.engine)
    calls, failed = (rows(person.engine, f"SELECT count(*) FROM {table}") for table in ("calls", "failures"))
    walk(person.engine, receive(person.engine, *person.records[:24], *person.records[24:27]))
    assert rows(person.engine, "SELECT count(*) FROM calls") == calls
    assert rows(person.engine, "SELECT count(*) FROM failures") == failed
    assert money(person.engine) == before
    assert nowhere(person) == []
    assert sheet(person.engine).closes


def test_what_was_refused_is_refused_again_without_it(person):
    """Whatever is wrong with a record, the number does not come in with it."""
    person.erase()
    walk(person.engine, receive(person.engine, *person.records[27:]))
    assert nowhere(person) == []
    assert sheet(person.engine).closes


class StoppedError(Exception):
    """As if the process had been killed."""


def test_a_run_that_is_killed_anywhere_is_gone_on_with(engine, tmp_path):
    """After each part, and within it once the files are gone: the number is given again, and the end is the same."""
    person = make_person(engine, tmp_path / "recordings", calls=60, recordings=4)
    before, stops = money(engine), 0
    while True:
        left = stops

        def reached(place):
            nonlocal left
            if not left:
                raise StoppedError(place)
            left -= 1

        try:
            proof = person.erase(reached=reached)
        except StoppedError:
            stops += 1
            assert rows(engine, "SELECT state FROM erasures") == [("underway",)]
            continue
        break
    assert stops > 10
    assert nowhere(person) == []
    assert money(engine) == before
    assert proof.counts["calls"] == 60
    assert rows(engine, "SELECT count(*), max(state) FROM erasures") == [(1, "done")]


KILLED = """
import os, signal, sys
from pipeline.database.engine import make_engine
from pipeline.erasure.erase import erase
from pipeline.recordings.file_store import RecordingStore
from tests.integration.erasure.conftest import KEY, SPELLED

url, store, left = sys.argv[1], RecordingStore(sys.argv[2]), int(sys.argv[3])

def reached(place):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1

erase(make_engine(url, application="killed"), store, SPELLED, KEY, who="officer", because="x", reached=reached)
"""


def test_a_process_that_is_killed_is_gone_on_with(person):
    """By SIGKILL: right after it began, with the files just gone, and in the middle of the tables."""
    before = money(person.engine)
    url = person.engine.url.render_as_string(hide_password=False)
    for left in (0, 1, 12):
        words = [sys.executable, "-c", KILLED, url, person.folder.as_uri(), str(left)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    person.erase()
    assert nowhere(person) == []
    assert money(person.engine) == before


def test_a_name_stays_within_a_call_and_leads_to_no_other(person):
    """What the record says is what its call says; two calls have nothing in common."""
    person.erase()
    found = rows(
        person.engine,
        "SELECT client_number, client_number_original, convert_from(raw, 'UTF8')::jsonb #>> '{payload,number}' "
        "FROM calls JOIN inbox ON record_id = calls.id WHERE client_number LIKE 'erased:%'",
    )
    assert len(found) == 24
    assert all(row[0] == row[1] == row[2] for row in found)
    assert len({row[0] for row in found}) == 24
    assert {row[0].split(":")[1] for row in found} == {"27831"}


def test_a_line_that_was_matched_matches_again(person):
    """It has its call's name: a month that is reconciled anew comes to the same, also where a run of it is locked."""
    person.erase()
    [(line, call)] = rows(
        person.engine,
        "SELECT number, client_number FROM reconcile_items JOIN provider_lines AS l ON l.id = line_id "
        "JOIN calls AS c ON c.id = call_id",
    )
    assert line == call
    assert line.startswith("erased:27831:")


def test_subscribers_are_told_of_each_call_without_it(person):
    """By `call.corrected`, whose history says what happened."""
    run(person.engine, "DELETE FROM feed")
    person.erase()
    kinds = rows(person.engine, "SELECT kind, count(*) FROM feed GROUP BY 1")
    assert kinds == [("call.corrected", 24)]
    detail = rows(
        person.engine,
        "SELECT DISTINCT action, detail ->> 'reason' FROM actions JOIN feed ON actions.id = feed.revision "
        "AND actions.record_id = feed.call_id",
    )
    assert detail == [("number erased", "erased")]
    [(call_id,)] = rows(person.engine, f"SELECT id FROM calls WHERE call_ref = '{CALL_REFS + 4}'")
    with person.engine.connect() as connection:
        told = as_dict(histories_of(connection, [call_id])[call_id])
    assert "number erased" in {event["event"] for event in told["history"]}
    assert not SPELLED.is_in(json.dumps(told, default=plain))


def test_a_step_that_has_not_seen_the_mark_is_waited_for(person):
    """Its call is there to be found then; a step that begins later waits, and knows the mark."""
    batch = receive(person.engine, make_record(call_ref=7, number="083 123 4567"))
    with ThreadPoolExecutor() as pool:
        with person.engine.begin() as connection:
            normalize(connection, batch.span, region="ZA", now=NOW)
            erased = pool.submit(person.erase)
            waiting = "SELECT FROM pg_locks WHERE relation = 'erased_numbers'::regclass AND NOT granted"
            eventually(lambda: rows(person.engine, waiting))
            assert not erased.done()
        assert erased.result().counts["calls"] == 25
    assert nowhere(person) == []


def walk_whole(engine, batch):
    """All steps at once, which hand each other the calls."""
    return run_all_steps(
        engine,
        batch.batch_id,
        lambda stored: keyed_works(engine, InHand(stored.records)),
        at_most=10,
        resend_after_seconds=10,
    )


@pytest.mark.parametrize("walked", [walk, walk_whole])
def test_a_new_call_to_it_is_charged_by_what_is_left_and_not_recorded(person, walked):
    """Its destination is known, and nobody fetches what was said."""
    person.erase()
    assert walked(person.engine, receive(person.engine, make_record(call_ref=5, number="083 123 4567", call_time=60)))
    [(number, contact, amount, state, reason)] = rows(
        person.engine,
        "SELECT client_number, contact_ref, amount, state, recordings.reason FROM calls "
        "JOIN ledger ON ledger.call_id = id JOIN recordings ON recordings.call_id = id WHERE calls.call_ref = '5'",
    )
    assert number.startswith("erased:27831:")
    assert (contact, state) == (None, "absent")
    assert amount > 0
    assert "erased" in reason
    assert nowhere(person) == []
    with person.engine.begin() as connection:
        assert operator.retry(connection, who="ann", reason=None).scheduled == 0


def test_what_it_was_charged_is_closed(person):
    """A new tariff changes other calls, and none of these."""
    person.erase()
    load(person.engine, TARIFF.replace(b"0.60", b"1.20"))
    comparison = compare(person.engine, EVERYTHING, TariffCache(ZONE), progress=lambda *_: None)
    assert comparison.changed == 2  # the other number's, and the one that became another's


def test_a_hold_wins(person):
    """On the number, or on a recording of it: nothing at all is changed, and the answer says which."""
    before = held(person.engine)
    with person.engine.begin() as connection:
        assert holds.hold_number(connection, NUMBER, who="counsel", because="case 9")
        assert not holds.hold_number(connection, NUMBER, who="counsel", because="case 9")
    with pytest.raises(HeldError, match="by counsel: case 9"):
        person.erase()
    with person.engine.begin() as connection:
        assert holds.release_number(connection, NUMBER, who="counsel", because="closed")
    run(person.engine, "UPDATE recordings SET held_at = now() WHERE call_ref = :ref", ref=str(CALL_REFS))
    with pytest.raises(HeldError, match=f"held: {CALL_REFS}"):
        person.erase()
    assert {name: len(found) for name, found in held(person.engine).items() if name != "holds"} == {
        name: len(found) for name, found in before.items() if name != "holds"
    }
    assert rows(person.engine, "SELECT count(*) FROM erased_numbers") == [(0,)]


def test_a_held_number_keeps_its_recordings(person):
    """Retention leaves them alone."""
    run(person.engine, "UPDATE recordings SET dialed_at = now() - interval '9 days'")
    with person.engine.begin() as connection:
        holds.hold_number(connection, NUMBER, who="counsel", because="case 9")
    expire(person.engine, person.store, kept_for(1))
    assert len(list(person.folder.rglob("*.wav"))) == 5


def test_a_reason_with_the_number_in_it_is_refused(person):
    """It would be the one place that keeps it."""
    with pytest.raises(NamesTheNumberError, match="without the number"):
        person.erase(because="083 123 4567 wants it")
    assert rows(person.engine, "SELECT count(*) FROM erasures") == [(0,)]


def test_workers_without_the_key_wait(person):
    """A record is not normalized with the number in it, nor set aside: its batch waits until the key is there."""
    person.erase()
    batch = receive(person.engine, make_record(call_ref=6, number="0831234567"))
    for key, said in (("", "not set"), (SECRET + "x", "not the key")):
        with pytest.raises(ErasureKeyError, match=said):
            walk(person.engine, batch, key=key)
    assert sheet(person.engine).pending.records == 1
    assert walk(person.engine, batch) == ["done"] * 5
    assert nowhere(person) == []


def test_another_key_marks_nothing(person):
    """Of two keys each would know half of the numbers."""
    person.erase()
    with pytest.raises(ErasureKeyError, match="not the key"):
        erase(person.engine, person.store, SPELLED, ErasureKey(SECRET + "x"), who="a", because="b")


def test_a_number_that_nobody_has_leaves_a_mark_and_a_proof(engine, tmp_path):
    """It may come yet."""
    person = Person(engine, RecordingStore(tmp_path.as_uri()), tmp_path, [])
    assert (person.erase().counts, person.erase().counts) == ({}, {})
    assert rows(engine, "SELECT count(*) FROM erased_numbers") == [(1,)]
    assert rows(engine, "SELECT count(*) FROM erasures WHERE state = 'done'") == [(2,)]


def test_two_diallers_have_it(person):
    """A number is one, whoever dialled it; a store that is not set here is named."""
    walk(person.engine, receive(person.engine, make_record(call_ref=CALL_REFS, number="0831234567"), source="second"))
    run(
        person.engine,
        "UPDATE recordings SET state = 'stored', path = 'second/a.wav', size_bytes = 1, sha256 = '' "
        "WHERE source = 'second'",
    )
    with pytest.raises(ElsewhereError, match="second"):
        person.erase()
    run(person.engine, "UPDATE recordings SET deleted_at = now() WHERE source = 'second'")
    person.erase()
    assert nowhere(person) == []
    assert money(person.engine)[0]


def test_a_download_in_hand_is_waited_for(person, monkeypatch):
    """Else its file would come after."""
    monkeypatch.setattr(erasing, "DOWNLOAD_SECONDS", 0.1)
    run(
        person.engine,
        "UPDATE recordings SET state = 'downloading', due_at = now() + interval '1 hour', deleted_at = NULL "
        "WHERE call_ref = :ref",
        ref=str(CALL_REFS),
    )
    with pytest.raises(DownloadingError, match="1 recordings"):
        person.erase()
    run(person.engine, "UPDATE recordings SET due_at = now() WHERE call_ref = :ref", ref=str(CALL_REFS))
    person.erase()
    assert nowhere(person) == []


def test_the_dry_run_counts_and_changes_nothing(person):
    """What it says would go goes."""
    before = held(person.engine)
    assert held(person.engine) == before
    counts = counted(before)
    assert {"calls", "inbox", "edits", "revisions", "conflicts", "recordings", "contacts", "provider_lines"} <= set(
        counts
    )
    assert "ledger" not in counts
    proof = person.erase()
    for place in ("calls", "inbox", "edits", "access_log", "provider_lines", "ported_numbers", "reconcile_items"):
        assert proof.counts[place] == counts[place], place


def test_a_conflict_that_waits_can_be_accepted_afterwards(person):
    """It is another version of the call, without the number."""
    person.erase()
    [(failure_id,)] = rows(person.engine, "SELECT id FROM failures WHERE class = 'conflict' AND state = 'open'")
    accept(person.engine, failure_id, who="ann")
    assert nowhere(person) == []
    [(content,)] = rows(person.engine, "SELECT content FROM conflicts ORDER BY record_id LIMIT 1")
    assert content["client_number"].startswith("erased:27831:")


def test_the_access_log_keeps_who_looked(person):
    """Only what they looked for is taken out, and only while a number is erased."""
    person.erase()
    [(who, detail)] = rows(person.engine, "SELECT who, detail FROM access_log")
    assert (who, detail["number"].split(":")[0]) == ("ann", "erased")
    for statement in ("UPDATE access_log SET detail = '{}'", "UPDATE access_log SET who = 'x'"):
        with person.engine.connect() as connection:
            connection.exec_driver_sql("SET LOCAL cdr.erasure = '1'")
            with pytest.raises(DBAPIError, match="append-only"):
                connection.exec_driver_sql(statement)


def test_who_heard_it_stays_even_then(person):
    """An erasure under way is no licence."""
    run(person.engine, "INSERT INTO erasures (state, mark, who, because) VALUES ('underway', 'x', 'a', 'b')")
    with person.engine.connect() as connection:
        connection.execute(text("SET LOCAL cdr.erasure = '1'"))
        with pytest.raises(IntegrityError, match="keeps all that was written"):
            connection.execute(text("UPDATE access_log SET who = 'x'"))
