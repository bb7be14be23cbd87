"""What is written about outages: one line at the beginning and one at the end."""

from __future__ import annotations

import logging

from pipeline.logging import BrokerChatter, OutageLog


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
    assert outages.is_away("database")
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


def test_other_lines_are_never_held_back():
    """Only what Celery says of its connection is thinned out."""
    chatter = BrokerChatter()
    assert all(chatter.filter(record("pipeline.celery", "Cannot connect to anything")) for _ in range(3))
    assert all(chatter.filter(record("celery.worker.consumer", "pidbox received method")) for _ in range(3))
