"""What is a message of this project's: each header, each argument, each part of the body, against hostile values."""

from __future__ import annotations

import bz2
import json
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import AMQP
from kombu import compression, serialization
from kombu.exceptions import DecodeError

from pipeline.worker.malformed import ETA_SECONDS, HEADERS, Parameters, RefusedError, check_message
from pipeline.worker.transport import check_envelope
from pipeline.worker.wire import Clock, UnreadableError, read_json, read_plain_messages

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KWARGS = {"batch_id": 1, "source": "enigma", "records": 5}


def bill(batch_id: int, source: str, records: int) -> str:
    return f"{batch_id}{source}{records}"


KNOWN = {"cdr.bill": Parameters.of(bill)}


def made(**options):
    """A message as Celery itself makes it, the way a broker delivers it."""
    sent = AMQP(Celery(set_as_current=False)).as_task_v2(str(uuid.uuid4()), "cdr.bill", kwargs=KWARGS, **options)
    return SimpleNamespace(
        headers=json.loads(json.dumps(sent.headers)),
        properties={"reply_to": str(uuid.uuid4()), "correlation_id": sent.headers["id"]},
        content_type="application/json",
        content_encoding="utf-8",
        body=json.dumps(sent.body),
    )


def refusal(message):
    with pytest.raises(RefusedError) as refused:
        check_message(message, KNOWN, now=NOW)
    return refused.value.kind


def changed(**parts):
    message = made()
    vars(message).update(parts)
    return message


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"retries": 3, "eta": NOW + timedelta(seconds=1)},  # after a worker process was lost
        {"expires": NOW + timedelta(seconds=10)},
        {"time_limit": 300, "soft_time_limit": 240, "ignore_result": True, "replaced_task_nesting": 0},
    ],
)
def test_what_celery_sends_for_this_project_is_received(options):
    """Nothing that we send ourselves is refused."""
    message = made(**options)
    check_message(message, KNOWN, now=NOW)
    assert message.headers["task"] == "cdr.bill"
    assert "timelimit" not in message.headers


def test_what_brokers_and_others_add_is_not_handed_on():
    """Headers that are not Celery's do not become attributes of a request, which `callbacks` would."""
    message = made()
    message.headers |= {
        "x-death": [{"count": 1}],
        "traceparent": "00-1",
        "called_directly": True,
        "celery_beat_task": 1,
    }
    check_message(message, KNOWN, now=NOW)
    assert message.headers.keys() <= {*HEADERS, "argsrepr", "kwargsrepr"}


def test_flower_shows_the_arguments_that_count():
    """What a message says of its own arguments is not believed."""
    message = made(kwargsrepr="{'batch_id': 2}", argsrepr="(1,)")
    check_message(message, KNOWN, now=NOW)
    assert message.headers["kwargsrepr"] == repr(KWARGS)
    assert message.headers["argsrepr"] == "()"


HOSTILE: tuple[Any, ...] = (
    "x" * 300, "\x1b[2J", "\ud800", -1, 1.5, 10**30, ["a", "b"], [None, "b"], [1, 2, 3], {"a": 1},
    {"__type__": "uuid", "__value__": "x"}, [{}], b"x", float("nan"),
)  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_a_hostile_header_is_refused(header, value):
    """Of whatever type: before Celery unpacks, compares, counts or calls anything."""
    message = made()
    message.headers[header] = value
    assert refusal(message) in {"headers", "task", header}


@pytest.mark.parametrize("missing", ["task", "id"])
def test_a_message_says_which_task_it_is(missing):
    """Both what and which one."""
    message = made()
    del message.headers[missing]
    assert refusal(message) == "headers"
    assert refusal(changed(headers=None)) == "headers"


@pytest.mark.parametrize("task", ["celery.chord_unlock", "os.system", "cdr.BILL"])
def test_only_our_own_tasks_are_known(task):
    """Those that Celery brings along would call others."""
    message = made()
    message.headers["task"] = task
    assert refusal(message) == "task"


@pytest.mark.parametrize("value", ["x", "", "\ud800", "x" * 5_000, -1, 2**63, True, 1.0, None, [1], {"a": 1}], ids=repr)
@pytest.mark.parametrize("name", KWARGS)
def test_an_argument_is_what_the_task_declares(name, value):
    """A number where a number is declared, a text of bounded length where a text is."""
    kwargs = KWARGS | {name: value}
    if name == "source" and value in ("x", ""):
        check_message(changed(body=json.dumps([[], kwargs, {}])), KNOWN, now=NOW)
    else:
        assert refusal(changed(body=json.dumps([[], kwargs, {}]))) in {"arguments", "body"}


@pytest.mark.parametrize("kwargs", [{}, {"batch_id": 1}, KWARGS | {"amount": 1}, [], None])
def test_all_arguments_are_named_and_there(kwargs):
    """None more, none less, none by its place."""
    assert refusal(changed(body=json.dumps([[], kwargs, {}]))) == "arguments"
    assert refusal(changed(body=json.dumps([[1, "x", 5], {}, {}]))) == "arguments"


@pytest.mark.parametrize("what", ["callbacks", "errbacks", "chain", "chord", "anything"])
@pytest.mark.parametrize("value", [[{"task": "cdr.bill"}], {"task": "cdr.bill"}, "x", 1])
def test_nothing_is_done_afterwards(what, value):
    """This project sends no callback, chain, chord or group; a message that has one is not ours."""
    assert refusal(changed(body=json.dumps([[], KWARGS, {what: value}]))) == "body"
    assert refusal(made(group_id="x")) == "headers"


@pytest.mark.parametrize(
    "parts",
    [
        {"body": None},
        {"body": ""},
        {"body": "x" * 70_000},
        {"body": "[" * 60_000},
        {"body": "{}"},
        {"body": b"\xff"},
        {"body": json.dumps([[], KWARGS])},
        {"body": '[[], {"batch_id": ' + "9" * 5_000 + "}, {}]"},
        {"content_type": "application/x-yaml"},
        {"content_type": ["application/json"]},
        {"content_type": None},
        {"content_encoding": "binary"},
        {"content_encoding": {}},
    ],
    ids=lambda parts: str(parts)[:40],
)
def test_a_body_is_small_plain_json(parts):
    """Three parts of which two are empty."""
    assert refusal(changed(**parts)) == "body"


@pytest.mark.parametrize("name", ["reply_to", "correlation_id"])
@pytest.mark.parametrize("value", [[1], {"a": 1}, 5, "x" * 300])
def test_a_hostile_property_is_refused(name, value):
    """They become a request's attributes too."""
    assert refusal(changed(properties={name: value})) == "headers"


def test_a_time_is_near_and_can_be_counted_with():
    """At most a minute ahead: what waits takes a place in the worker, whatever century it waits for."""
    for name in ("eta", "expires"):
        for value in ("tomorrow", "2026-11-24T12:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
            message = made()
            message.headers[name] = value
            assert refusal(message) == name
    assert refusal(made(eta=NOW + timedelta(seconds=ETA_SECONDS + 1))) == "eta"
    assert refusal(made(expires=NOW - timedelta(seconds=1))) == "expired"
    late = made(eta=NOW - timedelta(days=1))
    check_message(late, KNOWN, now=NOW)
    assert late.headers["eta"] is None


ENVELOPE = {
    "body": "e30=",
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {},
    "properties": {
        "delivery_tag": "x",
        "delivery_info": {"exchange": "pipeline", "routing_key": "cdr.bill"},
        "body_encoding": "base64",
    },
}


def test_an_envelope_is_what_kombu_writes():
    """And nothing else that stands on a list of Redis."""
    check_envelope(json.dumps(ENVELOPE))
    check_envelope(json.dumps(ENVELOPE).encode())


@pytest.mark.parametrize(
    "part", ["body", "content-type", "content-encoding", "headers", "properties", "delivery_tag", "delivery_info",
             "body_encoding", "exchange", "routing_key"]
)  # fmt: skip
@pytest.mark.parametrize(
    "value", [1, [], {}, ["a"], "\ud800", "\x1b", {"__type__": "decimal", "__value__": "x"}], ids=repr
)
def test_a_hostile_envelope_is_refused(part, value):
    """Before kombu makes a message of it."""
    envelope = json.loads(json.dumps(ENVELOPE))
    place = envelope if part in envelope else envelope["properties"]
    place = place if part in place else place["delivery_info"]
    place[part] = value
    if (part, value) in (("headers", {}), ("body", "\x1b")):  # base64 passes over what is none
        return
    with pytest.raises(UnreadableError):
        check_envelope(json.dumps(envelope))


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"[]", b"null", b"\xff", b"[" * 100_000, b"1" * 5_000, b"NaN", b'{"a": 1e999}']
)
def test_what_is_no_envelope_is_refused(raw):
    """Whatever bytes there are."""
    with pytest.raises(UnreadableError):
        check_envelope(raw)


def test_nothing_compressed_is_opened():
    """Neither by a worker nor by Flower: both read with the same decoders."""
    read_plain_messages()
    for kind in compression.encoders():
        with pytest.raises(UnreadableError):
            compression.decompress(bz2.compress(b"x"), kind)


def test_json_is_read_without_kombus_types():
    """An object of theirs stays an object of JSON, for tasks, events and commands alike."""
    read_plain_messages()
    forged = {"__type__": "uuid", "__value__": "x"}
    assert serialization.loads(json.dumps(forged), "application/json", "utf-8") == forged
    with pytest.raises(DecodeError):
        serialization.loads("9" * 5_000, "application/json", "utf-8")
    assert read_json(f"[{2**63 - 1}, -1, 1.5]") == [2**63 - 1, -1, 1.5]


@pytest.mark.parametrize("value", [10**4000, "x", None, [], -5, 1.5, 2**63], ids=repr)
def test_no_message_can_put_the_clock_out_of_reach(value):
    """The next event has to hold the clock as a number that can be written."""
    clock = Clock()
    assert clock.adjust(value) == 1
    assert clock.adjust(41) == 42
