"""Whoever only looks takes whatever lies on the list: looked at before every first claim, and every 10 seconds."""

from __future__ import annotations

import json

import pytest

from pipeline.dialler.rules.list_facts import ListFacts, dialed_at
from pipeline.doctor.rules.cdr_list import judge_list, oldest_end
from pipeline.ingest.rules.guards import wrong_list
from tests.factories import make_record

HOSTILE = [
    b"",
    b"\xff\xfe",
    b"\x00",
    b"null",
    b"7",
    b"[]",
    b'"payload"',
    b"{",
    b"[" * 100_000,
    b'{"payload": null}',
    b'{"payload": {"dialed_at": null}}',
    b'{"payload": {"dialed_at": []}}',
    b'{"payload": {"dialed_at": "nan"}}',
    b'{"payload": {"dialed_at": "-inf"}}',
    b'{"payload": {"dialed_at": "1e999"}}',
    b'{"payload": {"dialed_at": 1e999}}',
    b'{"payload": {"dialed_at": -1e300}}',
    b'{"payload": {"dialed_at": %s}}' % (b"9" * 400),
    b'{"payload": {"dialed_at": "%s"}}' % (b"9" * 400),
    b'{"payload": {"dialed_at": -%s}}' % (b"9" * 5_000),
    b'{"type": %s}' % (b"9" * 400),
    b'{"type": {"type": "queue_calls"}}',
    json.dumps({"type": "\ud800", "payload": {"dialed_at": "\ud800"}}).encode(),
]


@pytest.mark.parametrize("element", HOSTILE, ids=lambda element: repr(element[:40]))
def test_no_element_ends_a_look(element):
    """Nothing can be told of it, and that is all."""
    good = make_record(dialed_at=1_790_000_000)
    assert dialed_at(element) is None
    assert wrong_list([element, good]) is None
    assert oldest_end([element], [good]) is None
    facts = ListFacts("list", "list", 2, [element], [good], holder=None, claims=0, oldest_claim_seconds=None)
    assert {verdict.check for verdict in judge_list(facts, "right")} >= {"dialler list", "oldest end", "open claims"}
