"""Connections that are kept for a moment, for one at a time."""

from __future__ import annotations

import httpx

from pipeline.feed.sinks.kept_clients import KeptClients


def clients(count):
    return [httpx.Client(trust_env=False) for _ in range(count)]


def test_a_client_is_somebodys_alone():
    kept, (one, other) = KeptClients(), clients(2)
    assert kept.take("a") is None
    kept.keep("a", one)
    assert kept.take("b") is None
    assert kept.take("a") is one
    assert kept.take("a") is None
    kept.keep("a", one)
    kept.keep("a", other)
    assert one.is_closed
    assert kept.take("a") is other


def test_what_is_old_or_too_many_is_closed():
    now = [0.0]
    kept = KeptClients(seconds=2, most=2, clock=lambda: now[0])
    some = clients(3)
    for place, each in enumerate(some):
        kept.keep(place, each)
    assert [each.is_closed for each in some] == [True, False, False]
    now[0] = 2.1
    assert kept.take(1) is None
    assert all(each.is_closed for each in some)
