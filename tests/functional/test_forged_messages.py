"""Whoever can write to the broker writes rubbish: no harm is done, and the worker goes on."""

from __future__ import annotations

import json
import pickle
import uuid
from pathlib import Path

import pytest
import redis
from kombu import Connection, Exchange, Producer
from sqlalchemy import text

from tests.factories import make_record
from tests.functional.conftest import balance, eventually

QUEUE = "cdr.bill"
BATCH = {"batch_id": 1, "source": "enigma", "records": 1}
HUGE = 10**30


class Pickled:
    """Runs a command where somebody unpickles it."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


def message(task="cdr.bill", kwargs=None, args=(), **headers):
    """A task message as Celery writes it."""
    return {
        "body": json.dumps([args, BATCH if kwargs is None else kwargs, {}]),
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"task": task, "id": str(uuid.uuid4()), "lang": "py", "argsrepr": "", "kwargsrepr": "", **headers},
    }


FORGED = {
    "an unknown task": message("os.system", {"command": "true"}),
    "a task of Celery's own": message("celery.accumulate", {}),
    "no arguments": message(kwargs={}),
    "arguments nobody asked for": message(kwargs={**BATCH, "amount": "-1000000"}),
    "words for numbers": message(kwargs={"batch_id": "1; DROP TABLE ledger", "source": "enigma", "records": 1}),
    "lists for numbers": message(kwargs={"batch_id": [[[1]]], "source": {"a": 1}, "records": None}),
    "huge ids": message(kwargs={"batch_id": HUGE, "source": "enigma", "records": HUGE}),
    "negative ids": message(kwargs={"batch_id": -1, "source": "enigma", "records": -1}),
    "a batch there is none of": message(kwargs={"batch_id": 10**12, "source": "nowhere", "records": 5}),
    "a bulk action there is none of": message("pipeline.act_in_bulk", {"bulk_id": HUGE}),
    "a recording there is none of": message(
        "recordings.download",
        {"call_id": HUGE, "source": "../..", "call_ref": "../../etc/passwd", "dispatched_at": "never"},
    ),
    "a long time from now": message(eta="9999-01-01T00:00:00+00:00"),
    "no date": message(eta="the day after tomorrow", expires="yesterday"),
    "positional arguments": message(args=["1", "2", "3", "4", "5"], kwargs={}),
    "a body that is no list": {**message(), "body": '"text"'},
    "a body that is no JSON": {**message(), "body": "{{{"},
    "a chain of further tasks": {
        **message(),
        "body": json.dumps([[], BATCH, {"chain": [{"task": "os.system", "args": ["true"]}]}]),
    },
    "no headers": {**message(), "headers": {}},
    "YAML": {**message(), "body": "!!python/object/apply:os.system [true]", "content_type": "application/x-yaml"},
    "an unknown content type": {**message(), "content_type": "application/x-forged"},
}

RAW = {
    "no JSON": b"garbage",
    "no object": b"[1, 2, 3]",
    "an empty object": b"{}",
    "no properties": json.dumps({"body": "x", "headers": {}}).encode(),
    "bytes": b"\x00\xff\xfe",
}
"""What stands in the broker's list as it is, without even the envelope of a message."""


@pytest.fixture
def working(stack):
    """A worker, and nobody who sends anything again."""
    stack.start(["worker"])
    eventually(lambda: "ready" in stack.log_of("worker").read_text(), check=stack.check)
    return stack


def forge(stack, forged):
    options = {"global_keyprefix": "cdr:"}
    with Connection(stack.settings["CELERY_BROKER_URL"], transport_options=options) as connection:
        producer = Producer(connection.channel(), Exchange("pipeline", type="direct"))
        properties = {name: value for name, value in forged.items() if name != "body"}
        producer.publish(forged["body"], routing_key=QUEUE, **properties)


def drained(stack):
    with redis.Redis.from_url(stack.settings["CELERY_BROKER_URL"]) as broker:
        return broker.llen(f"cdr:{QUEUE}") == 0


def test_forged_messages_change_nothing_and_stop_nothing(working, push, engine, tmp_path):
    """One after the other, then a call: the same worker bills it, and the ledger has its charge alone."""
    worker = working.processes["worker"].pid
    for forged in FORGED.values():
        forge(working, forged)
    proof = tmp_path / "unpickled"
    body = pickle.dumps([[], Pickled(proof), {}])
    forge(
        working,
        {**message(), "body": body, "content_type": "application/x-python-serialize", "content_encoding": "binary"},
    )
    eventually(lambda: drained(working), check=working.check)
    still_works(working, push, engine, check=working.check)
    assert working.processes["worker"].pid == worker
    assert not proof.exists()


def test_rubbish_in_the_brokers_lists_is_gone_after_a_restart(working, push, engine):
    """What is no message at all ends the worker, and is off the list: a supervisor's restart is all it takes."""
    with redis.Redis.from_url(working.settings["CELERY_BROKER_URL"]) as broker:
        broker.lpush(f"cdr:{QUEUE}", *RAW.values())

    def supervised():
        if working.processes["worker"].poll() is not None:
            working.start(["worker"])

    eventually(lambda: drained(working), seconds=60, check=supervised)
    still_works(working, push, engine, check=supervised)


def still_works(stack, push, engine, *, check):
    """A good call goes all the way, and nothing else is in the ledger."""
    stack.start(["ingestor"])
    push(make_record(call_ref=1, call_time=61))

    def charges():
        with engine.connect() as connection:
            return connection.execute(text("SELECT amount FROM ledger")).scalars().all()

    eventually(charges, seconds=60, check=check)
    assert [str(amount) for amount in charges()] == ["0.81"]
    sheet = balance(stack)
    assert (sheet["closes"], sheet["received"]["records"]) == (True, 1)
