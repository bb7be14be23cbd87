"""Which rule applies to what, and which cannot stand beside each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.keeping.rules.contradiction import ContradictionError, check
from pipeline.keeping.rules.policy import Applied, Bound, Kind, Rule, Scope, applied, cells, narrowest_first

SOURCES = ("north", "south", "")
CAMPAIGNS = ("spring", "autumn", "winter", "")
SCOPES = st.builds(Scope, st.sampled_from(SOURCES), st.sampled_from(CAMPAIGNS))
DAYS = st.none() | st.integers(1, 50)


@st.composite
def a_rule(draw):
    forever = draw(st.booleans())
    return Rule(draw(DAYS), None if forever else draw(DAYS), forever)


RULES = st.dictionaries(SCOPES, a_rule(), max_size=8)


def by_hand(rules, scope, default):
    """The same as the table of the page says it."""
    least = most = None
    for each in (scope, Scope("", scope.campaign_ref), Scope(scope.source, ""), Scope()):
        rule = rules.get(each)
        if rule is not None and least is None and rule.at_least is not None:
            least = Bound(rule.at_least, each)
        if rule is not None and most is None and (rule.forever or rule.at_most is not None):
            most = Bound(rule.at_most, each)
    return Applied(least or Bound(None), most or Bound(default))


@given(RULES, SCOPES, DAYS)
def test_the_narrowest_that_says_it_counts(rules, scope, default):
    """The minimum and the maximum each by itself."""
    assert applied(rules, scope, default_most=default) == by_hand(rules, scope, default)


@given(RULES, SCOPES, DAYS)
def test_the_first_cell_that_fits_is_what_applies(rules, scope, default):
    """However few of them are left, and the last fits all; also for what no rule names."""
    scope = Scope(scope.source or "another", scope.campaign_ref or "another")
    found = cells(rules, default_most=default)
    fits = [cell for cell in found if {cell.scope.source, scope.source} - {""} <= {scope.source}]
    fits = [cell for cell in fits if cell.scope.campaign_ref in {"", scope.campaign_ref}]
    assert fits[0].applied == applied(rules, scope, default_most=default)
    assert found[-1].scope == Scope()


@given(RULES)
def test_no_minimum_is_ever_cut_short(rules):
    """Whatever stands in the rows."""
    for cell in cells(rules):
        assert cell.applied.days is None or cell.applied.days >= (cell.applied.least.days or 0)


@given(RULES)
def test_rules_that_may_stand_say_what_they_say(rules):
    """Then no maximum is below a minimum, for anybody."""
    try:
        check(Kind.CALLS, rules)
    except ContradictionError:
        assert any(
            found.most.days is not None and (found.least.days or 0) > found.most.days for _, found in cells(rules)
        )
    else:
        assert all(found.days == found.most.days for _, found in cells(rules))


def test_a_campaign_goes_before_a_dialler():
    """It is whose calls they are."""
    rules = {Scope("north"): Rule(at_most=10), Scope("", "spring"): Rule(at_most=20)}
    assert applied(rules, Scope("north", "spring")).most == Bound(20, Scope("", "spring"))
    assert applied(rules, Scope("north", "autumn")).most == Bound(10, Scope("north"))
    assert applied(rules, Scope("south", "autumn")).most == Bound(None)


def test_what_a_narrow_rule_does_not_say_a_wider_one_does():
    """A minimum for a campaign leaves the maximum of all."""
    rules = {Scope(): Rule(at_most=90), Scope("", "spring"): Rule(at_least=30)}
    found = applied(rules, Scope("north", "spring"))
    assert (found.least.days, found.most, found.days) == (30, Bound(90, Scope()), 90)


def test_for_ever_is_an_answer_and_not_a_gap():
    """A wider maximum, and the setting, are passed over."""
    rules = {Scope(): Rule(at_most=30), Scope("", "spring"): Rule(forever=True)}
    assert applied(rules, Scope("north", "spring"), default_most=5).days is None
    assert applied(rules, Scope("north", "autumn"), default_most=5).days == 30


def test_of_what_is_not_known_only_wider_rules_speak():
    """A record that is no call has a dialler and no campaign."""
    rules = {Scope("", "spring"): Rule(at_least=9), Scope("north"): Rule(at_least=7)}
    assert applied(rules, Scope("north")).least == Bound(7, Scope("north"))
    assert narrowest_first(Scope()) == (Scope(),)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [(Rule(at_most=30), Rule(at_least=90)), (Rule(at_least=90), Rule(at_most=30))],
    ids=["a narrower maximum", "a narrower minimum"],
)
def test_a_contradiction_names_both_rules(narrow, wide):
    """And whose recordings they are about."""
    rules = {Scope("", "spring"): narrow, Scope("north"): wide}
    with pytest.raises(ContradictionError) as caught:
        check(Kind.RECORDINGS, rules)
    said = str(caught.value)
    assert "recordings of campaign spring of dialler north" in said
    assert "at least 90 days by the rule of" in said
    assert "at most 30 days by the rule of" in said


def test_a_setting_contradicts_nothing():
    """A minimum wins over it."""
    rules = {Scope("", "spring"): Rule(at_least=90)}
    check(Kind.RECORDINGS, rules)
    assert applied(rules, Scope("north", "spring"), default_most=30).days == 90
