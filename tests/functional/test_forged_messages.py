"""Whoever can write to the broker writes rubbish: no harm is done, and the very same worker goes on."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import pickle
import uuid
import zlib
from pathlib import Path
from typing import Any

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


def embedding(**embedded):
    return {**message(), "body": json.dumps([[], BATCH, embedded])}


FOLLOWING = {"task": "pipeline.reconcile", "args": [], "kwargs": {}, "options": {}}

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
    "a deep body": {**message(), "body": "[" * 100_000},
    "a number of 5,000 digits": {**message(), "body": f'[[], {{"batch_id": {"9" * 5_000}}}, {{}}]'},
    "a body of protocol 1": {
        **message(),
        "headers": {},
        "body": json.dumps({"task": "cdr.bill", "id": "1", "args": [], "kwargs": BATCH, "timelimit": ["a", "b"]}),
    },
    "a chain of further tasks": embedding(chain=[FOLLOWING]),
    "a callback": embedding(callbacks=[FOLLOWING]),
    "an errback": embedding(errbacks=[FOLLOWING]),
    "a chord": embedding(chord=FOLLOWING),
    "no headers": {**message(), "headers": {}},
    "YAML": {**message(), "body": "!!python/object/apply:os.system [true]", "content_type": "application/x-yaml"},
    "an unknown content type": {**message(), "content_type": "application/x-forged"},
}

HEADERS = (
    *("task", "id", "lang", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"),
    *("stamps", "redelivered", "compression", "clock", "hostname", "callbacks", "errbacks", "chain", "chord"),
    *("delivery_info", "called_directly", "reply_to"),
)

HOSTILE: tuple[Any, ...] = (
    None,
    "x",
    "",
    "x" * 100_000,
    "\x00\x1b[2J",
    -1,
    1.5,
    HUGE,
    True,
    [],
    ["a", "b"],
    [None, "b"],
    {},
    {"a": 1},
    {"__type__": "uuid", "__value__": "x"},
    {"__type__": "decimal", "__value__": "x"},
    {"__type__": "forged", "__value__": "x"},
    "9999-12-31T23:59:59+00:00",
    "0001-01-01T00:00:00+23:59",
)

BOMBS = {
    "gzip": zlib.compress(bytes(100_000_000), 9),
    "bzip2": bz2.compress(bytes(100_000_000)),
    "lzma": lzma.compress(bytes(100_000_000)),
}

COMMANDS = {
    "shutdown": {},
    "rate_limit": {"task_name": "cdr.bill", "rate_limit": "1/h"},
    "cancel_consumer": {"queue": QUEUE},
    "add_consumer": {"queue": "forged", "exchange_type": "forged"},
    "pool_shrink": {"n": 100},
    "pool_grow": {"n": 100},
    "pool_restart": {},
    "autoscale": {"max": 0, "min": 0},
    "time_limit": {"task_name": "cdr.bill", "hard": 0.001, "soft": 0.001},
    "disable_events": {},
    "hello": {"from_node": "x", "revoked": ["x"]},
    "revoke": {"task_id": "x", "terminate": True},
    "election": {"id": 1, "topic": [], "action": {}},
    "no such command": {},
}


def envelope(**parts):
    """What kombu puts on a Redis list."""
    properties = {
        "delivery_tag": str(uuid.uuid4()),
        "delivery_info": {"exchange": "pipeline", "routing_key": QUEUE},
        "body_encoding": "base64",
        "correlation_id": "x",
        "reply_to": "",
        "priority": 0,
    }
    made = message()
    return {
        "body": base64.b64encode(made["body"].encode()).decode(),
        "content-type": made["content_type"],
        "content-encoding": made["content_encoding"],
        "headers": made["headers"],
        "properties": properties | parts.pop("properties", {}),
        **parts,
    }


RAW = [
    b"garbage",
    b"[1, 2, 3]",
    b"{}",
    b"null",
    b"\x00\xff\xfe",
    b"[" * 100_000,
    b'{"properties": ' + b"9" * 5_000 + b"}",
    json.dumps({"body": "x", "headers": {}}).encode(),
    *(
        json.dumps(envelope(**{part: value})).encode()
        for part in ("body", "content-type", "content-encoding", "headers")
        for value in HOSTILE
    ),
    *(
        json.dumps(envelope(properties={part: value})).encode()
        for part in ("delivery_tag", "delivery_info", "body_encoding", "priority", "reply_to", "correlation_id")
        for value in HOSTILE
    ),
    *(
        json.dumps(envelope(properties={"delivery_info": {"exchange": exchange, "routing_key": key}})).encode()
        for exchange in HOSTILE
        for key in ("x", None, ["x"])
    ),
    b'{"properties": 5, "body": "", "headers": {}}',
]
"""What stands in the broker's list as it is, without even the envelope of a message, or with a forged one."""


@pytest.fixture
def working(stack):
    """A worker, and nobody who sends anything again."""
    stack.start(["worker"])
    eventually(lambda: "ready" in stack.log_of("worker").read_text(), check=stack.check)
    return stack


class Forger:
    """Somebody with the broker's address."""

    def __init__(self, url):
        self.connection = Connection(url, transport_options={"global_keyprefix": "cdr:"})
        self.redis = redis.Redis.from_url(url)

    def sends(self, forged, queue=QUEUE):
        producer = Producer(self.connection.default_channel, Exchange("pipeline", type="direct"))
        properties = {name: value for name, value in forged.items() if name != "body"}
        producer.publish(forged["body"], routing_key=queue, **properties)

    def commands(self, body, **headers):
        producer = Producer(self.connection.default_channel, Exchange("celery.pidbox", type="fanout"))
        producer.publish(body, headers=headers)

    def drained(self, queue=QUEUE):
        return self.redis.llen(f"cdr:{queue}") == 0 and self.redis.hlen("cdr:unacked") == 0

    def close(self):
        self.connection.release()
        self.redis.close()


@pytest.fixture
def forger(working):
    forger = Forger(working.settings["CELERY_BROKER_URL"])
    yield forger
    forger.close()


def peak_megabytes(pid):
    """The most memory a process has had."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def test_forged_messages_change_nothing_and_stop_nothing(working, forger, push, engine, tmp_path):
    """One after the other, then a call: the same worker bills it, and the ledger has its charge alone."""
    worker = working.processes["worker"].pid
    before = peak_megabytes(worker)
    for forged in FORGED.values():
        forger.sends(forged)
    for header in HEADERS:
        for value in HOSTILE:
            forger.sends(message(**{header: value}))
    proof = tmp_path / "unpickled"
    body = pickle.dumps([[], Pickled(proof), {}])
    forger.sends(
        {**message(), "body": body, "content_type": "application/x-python-serialize", "content_encoding": "binary"},
    )
    forger.redis.lpush(f"cdr:{QUEUE}", *RAW)
    # Kilobytes that would be a hundred megabytes, as a task and as a command.
    for name, bomb in BOMBS.items():
        forger.sends({**message(compression=name), "body": bomb})
        forger.commands(bomb, compression=name)
    # A worker holds a hundred messages whose time has not come; these take none of those places.
    for years in range(150):
        forger.sends(message(eta=f"{2100 + years}-01-01T00:00:00+00:00"))
    eventually(forger.drained, seconds=60, check=working.check)
    still_works(working, push, engine, check=working.check)
    assert working.processes["worker"].pid == worker
    assert not proof.exists()
    assert peak_megabytes(worker) < before + 60


def test_remote_control_only_looks(working, forger, push, engine):
    """Whatever would change a worker is refused; what Flower asks for is answered."""
    for method, arguments in COMMANDS.items():
        forger.commands({"method": method, "arguments": arguments, "destination": None})
    for value in HOSTILE:
        forger.commands(value)
        forger.commands({"method": "ping"}, clock=value)
        for part in ("method", "arguments", "destination", "reply_to", "ticket"):
            forger.commands({"method": "ping", "arguments": {}, part: value})
    for raw in RAW:
        forger.redis.publish("cdr:/0.celery.pidbox", raw)
    still_works(working, push, engine, check=working.check)
    asked = working.run("celery", "-A", "pipeline", "inspect", "stats", "--json", "--timeout", "5")
    [stats] = json.loads(asked.stdout).values()
    assert len(stats["pool"]["processes"]) == 2
    refused = working.run("celery", "-A", "pipeline", "control", "shutdown", "--timeout", "5")
    assert "PIPELINE_REMOTE_CONTROL" in refused.stdout + refused.stderr
    working.check()


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
