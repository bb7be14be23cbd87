"""Until when rules keep something, and from when on they let all of it go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.keeping.rules.ages import Group, gone_at, kept_until
from pipeline.keeping.rules.policy import Rule, Scope

THEN = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAY = timedelta(days=1)
GROUPS = [Group(Scope("north", "spring"), THEN), Group(Scope("north", "autumn"), THEN + 5 * DAY)]


def test_the_longest_minimum_comes_first():
    """One of each rule, that of its newest."""
    rules = {Scope(): Rule(at_least=10), Scope("", "spring"): Rule(at_least=30)}
    found = kept_until(rules, [*GROUPS, Group(Scope("south", "autumn"), THEN)])
    assert [(each.until, each.bound.days) for each in found] == [(THEN + 30 * DAY, 30), (THEN + 15 * DAY, 10)]
    assert found[1].group == GROUPS[1]
    assert kept_until({}, GROUPS) == []


def test_all_is_gone_when_the_last_is():
    """What is newer, or kept longer."""
    rules = {Scope(): Rule(at_most=10), Scope("", "spring"): Rule(at_most=12)}
    assert gone_at(rules, GROUPS).at == THEN + 15 * DAY
    assert gone_at(rules, []) is None


def test_one_that_is_kept_for_ever_keeps_all():
    """And is named."""
    found = gone_at({Scope(): Rule(at_most=10), Scope("", "autumn"): Rule(forever=True)}, GROUPS)
    assert (found.at, found.by.scope, found.group) == (None, Scope("", "autumn"), GROUPS[1])
    assert gone_at({}, GROUPS).by.scope is None


def test_a_minimum_wins_there_too():
    """Rows that somebody wrote past the command."""
    assert gone_at({Scope(): Rule(at_least=40, at_most=10)}, GROUPS[:1]).at == THEN + 40 * DAY
