"""What is written about outages: one line at the beginning and one at the end."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.logs.setup import BrokerChatter, OutageLog


class Recorder:
    """Remembers what was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, event: str, **_: object) -> None:
        self.lines.append(event)

    warning = error


def record(name: str, message: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, message, (), None)


def test_an_outage_is_told_once_and_its_end_once():
    """However often it is noticed, there is one line at loss and one at return."""
    recorder = Recorder()
    outages = OutageLog(recorder)
    for _ in range(3):
        outages.away("database", OSError("gone"))
    assert recorder.lines == ["outage_began"]
    for _ in range(3):
        outages.back("database")
    assert recorder.lines == ["outage_began", "outage_ended"]


def test_celerys_tries_to_reconnect_are_told_once():
    """Of Celery's lines about a broker outage the first and the last are written."""
    chatter = BrokerChatter()
    name = "celery.worker.consumer.consumer"
    lines = [
        record(name, "consumer: Connection to broker lost. Trying to re-establish the connection..."),
        *(record(name, f"consumer: Cannot connect to redis://x: gone. Trying again in {n}") for n in range(5)),
        record("celery.worker.consumer.connection", "Connected to redis://x"),
        record(name, "consumer: Cannot connect to redis://x: gone again."),
    ]
    assert [chatter.filter(line) for line in lines] == [True, *[False] * 5, True, True]


def test_celery_does_not_ask_for_another_exchange():
    """What it says of messages with a delay on RabbitMQ is as it is meant to be; its other warnings are written."""
    chatter = BrokerChatter()
    said = "Direct exchanges are not supported with native delayed delivery.\npipeline is a direct exchange"
    assert not chatter.filter(record("celery.app.base", said))
    assert chatter.filter(record("celery.app.base", "x has an expiration date in the past"))
    assert chatter.filter(record("pipeline.celery", said))


def test_flower_says_once_that_the_broker_is_away():
    """It tells of each try, from three places; it never says that the broker is back, so a silence ends the outage."""
    chatter = BrokerChatter()
    told = []
    for at in (0, 0.01, 4, 5, 10, 15, 60, 200):
        for text in (
            "Failed to capture events: 'gone'",
            "Failed to enable events: gone",
            "Inspect method stats failed",
        ):
            line = record("flower.events", text)
            line.created = at
            told.append((at, chatter.filter(line)))
    assert [at for at, written in told if written] == [0, 200]


def test_other_lines_are_never_held_back():
    """Only what Celery says of its connection is thinned out."""
    chatter = BrokerChatter()
    assert all(chatter.filter(record("pipeline.celery", "Cannot connect to anything")) for _ in range(3))
    assert all(chatter.filter(record("celery.worker.consumer", "pidbox received method")) for _ in range(3))


WRITE = """
import logging, sys
from pipeline.logs.setup import configure_logging, get_logger
configure_logging(sys.argv[1], show_numbers=sys.argv[2] == "shown")
record = {"number": "0820001234", "payload": ["+27820001234"]}
try:
    raise ValueError(f"cannot read {record}")
except ValueError:
    get_logger("ours").exception("step_failed", batch_id=7, record=record, client_number="0820001234")
    logging.getLogger("theirs").exception("could not do %s with %r", "it", record)
    logging.getLogger("theirs").error("amqp://me:hush@host// refused", extra={"data": {"kwargs": str(record)}})
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("numbers", ["masked", "shown"])
def test_no_number_is_written_unless_asked_for(log_format, numbers):
    """Nor in fields, nor in tracebacks, nor in lines of libraries; a password never."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WRITE, log_format, numbers], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "ValueError: cannot read" in done.stderr
    assert ("820001234" in done.stderr) == (numbers == "shown")
    assert "hush" not in done.stderr
    if log_format == "json":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["event"].split()[0] for line in lines] == ["step_failed", "could", "amqp://me:***@host//"]
        assert lines[0]["batch_id"] == 7


GO_ON = """
import os, sys
from pipeline.logs.setup import configure_logging, get_logger
if sys.argv[1] == "closed later":
    configure_logging("json")
    sys.stderr.close()
else:
    configure_logging("json")
for _ in range(3):
    get_logger("ours").error("step_failed")
print("goes on", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("how", ["full", "closed before", "closed later"])
def test_a_log_that_cannot_be_written_stops_nothing(how):
    """A disk that is full, or nobody who listens: records are accounted for all the same."""
    close = (lambda: os.close(2)) if how == "closed before" else None
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", GO_ON, how],
            stdout=subprocess.PIPE,
            stderr=full if how == "full" else None,
            preexec_fn=close,
            text=True,
            check=True,
        )
    assert done.stdout == "goes on\n"


LEVELS = """
import logging, sys
from pipeline.logs.setup import configure_logging, get_logger
configure_logging("json", sys.argv[1])
for name in ("debug", "info", "warning", "error", "critical"):
    getattr(get_logger("ours"), name)(name)
    getattr(logging.getLogger("theirs"), name)(name)
"""


@pytest.mark.parametrize(("level", "least"), [("debug", 0), ("info", 1), ("warning", 2), ("error", 3), ("critical", 4)])
def test_what_is_less_severe_is_not_written(level, least):
    """Of our own lines as of those of libraries, and each says how severe it is and whose."""
    done = subprocess.run([sys.executable, "-c", LEVELS, level], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    written = ["debug", "info", "warning", "error", "critical"][least:]
    for logger in ("ours", "theirs"):
        assert [line["event"] for line in lines if line["logger"] == logger] == written
        assert [line["level"] for line in lines if line["logger"] == logger] == written


HOSTILE = r"""
import logging, sys
from pipeline.logs.setup import configure_logging, get_logger
configure_logging(sys.argv[1])
text = "[/]\x1b[2J\x7f\x9b\u202e\u200b\r\n2026-11-24 [info] fake"
try:
    raise ValueError(text)
except ValueError:
    get_logger("ours").exception("step_failed", call_ref=text, **{text: {text: [text]}})
    logging.getLogger("theirs").exception("could not do %s", text)
logging.getLogger("theirs").error("plain %s", text, extra={"data": text, text: text})
"""


def test_a_log_line_is_text_and_one_line():
    """On a console nothing acts, and what was logged begins no line; only a traceback has more than one."""
    done = subprocess.run([sys.executable, "-c", HOSTILE, "console"], capture_output=True, text=True, check=True)
    said = re.sub(r"\x1b\[\d*m", "", done.stderr)
    assert "[/]\\u001b[2J\\u007f\\u009b\\u202e\\u200b\\r" in said
    lines = said.splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    assert len([line for line in lines if line.startswith("20")]) == 3


def test_a_line_of_json_is_ascii_that_nothing_obeys():
    """And is read back as what was logged."""
    done = subprocess.run([sys.executable, "-c", HOSTILE, "json"], capture_output=True, text=True, check=True)
    assert done.stderr.replace("\n", "").isprintable()
    assert done.stderr.isascii()
    first, _, last = (json.loads(line) for line in done.stderr.splitlines())
    assert first["call_ref"] == last["data"] == "[/]\x1b[2J\x7f\x9b\u202e\u200b\r\n2026-11-24 [info] fake"
