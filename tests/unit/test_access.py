"""Scopes and the rate of a token."""

from __future__ import annotations

from pipeline.access.rules.scopes import SAYS, Grant, Scope
from pipeline.api.rate import Rate


def test_a_grant_is_held_to_what_it_names():
    grant = Grant("crm", frozenset({Scope.CALLS}), ("enigma",), ("*",))
    assert grant.may(Scope.CALLS)
    assert not grant.may(Scope.CALLS, Scope.NUMBERS)
    assert (grant.only_sources, grant.only_campaigns) == (("enigma",), None)


def test_every_scope_says_what_it_allows():
    assert set(SAYS) == set(Scope)


def test_a_bucket_fills_again_and_no_further():
    now = [0.0]
    rate = Rate(2, clock=lambda: now[0])
    assert [rate.wait("a") for _ in range(6)] == [0] * 6
    assert rate.wait("a") == 0.5
    assert rate.wait("b") == 0, "another is not held up"
    now[0] = 0.5
    assert rate.wait("a") == 0
    assert rate.wait("a") > 0
    now[0] = 1_000.0
    assert [rate.wait("a") for _ in range(7)][5:] == [0, 0.5]
