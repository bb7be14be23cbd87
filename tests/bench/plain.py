"""The rival: what most people would write with Celery, and write well.

One task a step a CDR, each a transaction of its own that sends the next after its commit. Late acknowledgement, no
result backend, JSON, a connection a process kept open, statements prepared, numbers and rates in memory, no task
events, no persistent broker needed beyond what the pipeline has too. The rules, the tables and the rates are the
pipeline's own; only the shape differs. Nothing of what it popped survives a crash between the pop and the first commit.

    celery -A tests.bench.plain worker --concurrency 2 --without-mingle --without-gossip --without-heartbeat
    python -m tests.bench.plain
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import psycopg
import redis
from celery import Celery

from pipeline.billing.assignment_rows import EVERYTHING
from pipeline.billing.rules.pricing import Line, Unbilled, decide
from pipeline.billing.tariff_cache import TariffCache
from pipeline.calls.rules.cdr import read_cdr
from pipeline.calls.rules.disposition import classify as classify_call
from pipeline.database.engine import make_engine
from pipeline.sandbox.dialler import NOTIFICATIONS

if TYPE_CHECKING:
    from pipeline.billing.rules.terms import LoadedTariff

POPPED = 100
MOST_QUEUED = 1_000

app = Celery("plain", broker=os.environ.get("CELERY_BROKER_URL"))
app.conf.update(
    broker_transport_options={"visibility_timeout": 3_600, "socket_keepalive": True},
    task_acks_late=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=16,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
)

INSERT_CALL = """
INSERT INTO calls (id, source, call_ref, campaign_ref, contact_ref, extension, client_number, client_number_original,
                   client_number_is_e164, dial_number, dial_number_original, dial_number_is_e164, direction, dialed_at,
                   talk_seconds, hold_seconds, end_reason, end_code, recording_url, recording_url_sent, content_hash)
VALUES (nextval('plain_calls'), 'enigma', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING id
"""
SELECT_END = "SELECT end_reason, end_code, extension, hold_seconds FROM calls WHERE id = %s"
INSERT_DISPOSITION = """
INSERT INTO dispositions (call_id, disposition, uncertain, why, end_code_meaning, person_reached, contact_done,
                          can_be_billed, can_have_audio)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
SELECT_UNBILLED = """
SELECT c.id, c.campaign_ref, c.client_number, c.client_number_is_e164, c.direction, c.dialed_at, c.talk_seconds,
       d.disposition, 1, c.hold_seconds, c.dial_number, c.dial_number_is_e164
FROM calls AS c JOIN dispositions AS d ON d.call_id = c.id WHERE c.id = %s
"""
INSERT_LINE = (
    f"INSERT INTO ledger ({', '.join(Line._fields)}) VALUES ({', '.join(['%s'] * len(Line._fields))}) "
    "ON CONFLICT DO NOTHING"
)
INSERT_UNCHARGED = "INSERT INTO uncharged (call_id, reason) VALUES (%s, %s) ON CONFLICT DO NOTHING"
SCHEDULE = """
INSERT INTO recordings (call_id, source, call_ref, dialed_at, state, due_at)
SELECT id, source, call_ref, dialed_at, 'scheduled', now() + interval '30 seconds' FROM calls WHERE id = %s
ON CONFLICT DO NOTHING
"""


@functools.cache
def database() -> psycopg.Connection[Any]:
    """This process's connection."""
    url = os.environ["DATABASE_URL"].replace("+psycopg", "")
    return psycopg.connect(url, prepare_threshold=1, options="-c timezone=UTC")


@functools.cache
def tariff() -> LoadedTariff:
    """The tariff, read once."""
    with make_engine(os.environ["DATABASE_URL"], application="plain").begin() as connection:
        cache = TariffCache("UTC")
        return cache.version(connection, cache.in_force(connection, [EVERYTHING])[EVERYTHING])


@app.task(name="plain.normalize")
def normalize(raw: str) -> None:
    """A raw record becomes a call."""
    cdr = read_cdr(raw.encode(), region="ZA", now=datetime.now(UTC))
    client, dial = cdr.client_number, cdr.dial_number
    with database().transaction():
        row = (
            database()
            .execute(
                INSERT_CALL,
                (
                    *(cdr.call_ref, cdr.campaign_ref, cdr.contact_ref, cdr.extension),
                    *((client.value, client.original, client.is_e164) if client else (None, None, False)),
                    *((dial.value, dial.original, dial.is_e164) if dial else (None, None, False)),
                    *(cdr.direction, cdr.dialed_at, cdr.talk_seconds, cdr.hold_seconds, cdr.end_reason, cdr.end_code),
                    *(cdr.recording_url, cdr.recording_url_sent, cdr.content_hash),
                ),
            )
            .fetchone()
        )
    if row:
        classify.delay(row[0])


@app.task(name="plain.classify")
def classify(call_id: int) -> None:
    """A call gets its disposition."""
    with database().transaction():
        row = database().execute(SELECT_END, (call_id,)).fetchone()
        assert row is not None
        result = classify_call(*row)
        values = (
            *(call_id, result.disposition.value, result.uncertain, result.why, result.end_code_meaning),
            *(result.person_reached, result.contact_done, result.can_be_billed, result.can_have_audio),
        )
        database().execute(INSERT_DISPOSITION, values)
    bill.delay(call_id, has_audio=result.can_have_audio)


@app.task(name="plain.bill")
def bill(call_id: int, *, has_audio: bool) -> None:
    """A call gets its charge."""
    with database().transaction():
        row = database().execute(SELECT_UNBILLED, (call_id,)).fetchone()
        assert row is not None
        decision = decide(Unbilled(*row), tariff())
        database().execute(INSERT_LINE if isinstance(decision, Line) else INSERT_UNCHARGED, decision)
    if has_audio:
        schedule_recording.delay(call_id)


@app.task(name="plain.schedule_recording")
def schedule_recording(call_id: int) -> None:
    """A call that can have audio gets a row that says when to ask for it."""
    with database().transaction():
        database().execute(SCHEDULE, (call_id,))


def main() -> int:
    """Pop, and send the first task of each; wait while the queue is long."""
    dialler = redis.Redis.from_url(os.environ["ENIGMA_REDIS_URL"])
    broker = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])
    count, sent = int(sys.argv[1]), 0
    print(json.dumps({"first_pop": time.time()}), flush=True)
    while sent < count:
        while broker.llen("celery") > MOST_QUEUED:
            time.sleep(0.05)
        popped = cast("list[bytes]", dialler.rpop(NOTIFICATIONS, POPPED))
        if not popped and (waited := cast("tuple[bytes, bytes] | None", dialler.brpop([NOTIFICATIONS], timeout=1))):
            popped = [waited[1]]
        for raw in popped or []:
            normalize.delay(raw.decode())
            sent += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
