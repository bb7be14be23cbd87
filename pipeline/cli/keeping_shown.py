"""Rules of keeping as people and scripts read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.cli.output import console, print_heading, remark
from pipeline.cli.tables import Table
from pipeline.keeping.rules.policy import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.instants import Clock
    from pipeline.keeping.change import Change
    from pipeline.keeping.effects import Effect
    from pipeline.keeping.rule_rows import SetRule
    from pipeline.keeping.rules.policy import Rule

    Due = Mapping[Kind, Sequence[Effect]]


def words(rule: Rule | None) -> str:
    """What a rule says.

    >>> from pipeline.keeping.rules.policy import Rule
    >>> words(Rule(365, 400)), words(Rule(forever=True)), words(None)
    ('at least 365 days, at most 400 days', 'no maximum', 'no rule')
    """
    if rule is None:
        return "no rule"
    found = [] if rule.at_least is None else [f"at least {rule.at_least:,} days"]
    found += [] if rule.at_most is None else [f"at most {rule.at_most:,} days"]
    return ", ".join([*found, *(["no maximum"] if rule.forever else [])])


def show_change(change: Change, before: Sequence[Effect], after: Sequence[Effect]) -> None:
    """What a change is, and what it comes to today."""
    console.print(
        f"{change.kind} of {change.scope}: now {words(change.was)}, then {words(change.becomes)}.", highlight=False
    )
    table = Table("today", "now", "then")
    for was, becomes in zip(before, after, strict=True):
        table.add_row(was.what, str(was.many), str(becomes.many))
    console.print(table)


def show_all(rules: Sequence[SetRule], due: Due, default: int | None, times: Clock) -> None:
    """The rules, what applies without one, and what is due."""
    table = Table("kind", "dialler", "campaign", "at least", "at most", "set", "by", "because")
    for each in rules:
        rule = each.rule
        most = "for ever" if rule.forever else rule.at_most
        whose = (each.scope.source or "every", each.scope.campaign_ref or "every")
        table.add_row(each.kind, *whose, rule.at_least, most, times.show(each.set_at), each.set_by, each.because)
    if rules:
        console.print(table)
    else:
        console.print("There are no rules.", highlight=False)
    remark(
        "Where no rule says it nothing has to be kept, and all is kept for ever"
        + ("" if default is None else f", but recordings for {default:,} days (RECORDINGS_RETENTION_DAYS)")
        + "."
    )
    print_heading("Today")
    table = Table("kind", "what", "number")
    for kind, found in due.items():
        for effect in found:
            table.add_row(kind, effect.what, str(effect.many))
    console.print(table)


def as_dict(rules: Sequence[SetRule], due: Due, default: int | None) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "rules": [
            {
                "kind": each.kind,
                "source": each.scope.source or None,
                "campaign": each.scope.campaign_ref or None,
                "keep_at_least": each.rule.at_least,
                "keep_at_most": each.rule.at_most,
                "forever": each.rule.forever,
                "set_at": each.set_at,
                "set_by": each.set_by,
                "because": each.because,
            }
            for each in rules
        ],
        "defaults": {kind: default if kind is Kind.RECORDINGS else None for kind in Kind},
        "today": {
            kind: {each.what: {"number": each.many.number, "estimated": each.many.estimated} for each in found}
            for kind, found in due.items()
        },
    }
