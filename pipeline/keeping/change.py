"""A rule set or taken away, once it is known that all of them can stand beside each other; nothing is half done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import exists, select

from pipeline.batches.sources import known_sources
from pipeline.calls.rules.fast_path import REFERENCE_CHARACTERS
from pipeline.database.audit import record_action
from pipeline.database.narrowing import narrow
from pipeline.database.tables import calls
from pipeline.errors import PipelineError, shown
from pipeline.keeping.rule_rows import lock_rules, put_rule, remove_rule, rules_of
from pipeline.keeping.rules.contradiction import check
from pipeline.keeping.rules.policy import EVERY, Kind, Rule, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

NOTHING: Final = Rule()

_ANYWAY: Final = "If the name is right, and its calls are yet to come or only in the archive, say --anyway"


class ScopeError(PipelineError):
    """A rule cannot be for this dialler or campaign."""


class UnseenError(PipelineError):
    """Nothing has come of this dialler or campaign yet; it may be misspelt."""


class NoRuleError(PipelineError):
    """There is no such rule."""


class MeanwhileError(PipelineError):
    """Somebody else has changed the rules since they were looked at."""


class Change(NamedTuple):
    """What the rules of a kind would be."""

    kind: Kind
    scope: Scope
    before: Mapping[Scope, Rule]
    after: Mapping[Scope, Rule]

    @property
    def was(self) -> Rule | None:
        """What the rule says as it stands; None: there is none."""
        return self.before.get(self.scope)

    @property
    def becomes(self) -> Rule | None:
        """What it will say; None: it goes."""
        return self.after.get(self.scope)


def scope_of(kind: Kind, *, source: str | None, campaign: str | None) -> Scope:
    """Whose a rule is to be.

    Args:
        kind: of what.
        source: a dialler; None: every one.
        campaign: a campaign; None: every one.

    Raises:
        ScopeError: one of them cannot be, or a rule of this kind is for all.
    """
    if kind is Kind.ACCESS_LOG and (source is not None or campaign is not None):
        raise ScopeError("who heard or searched what is kept alike for all: leave --source and --campaign out")
    for option, name in (("--source", source), ("--campaign", campaign)):
        # An empty one would be every one, as a script whose variable is not set would have it.
        if name is not None and not (0 < len(name.strip()) <= REFERENCE_CHARACTERS and name.isprintable()):
            raise ScopeError(
                f"{option} must be 1 to {REFERENCE_CHARACTERS} characters that can be seen, got {shown(name)}; "
                "left out, it is every one"
            )
    return Scope(*(EVERY if name is None else name.strip() for name in (source, campaign)))


def check_seen(connection: Connection, scope: Scope) -> None:
    """Whether anything has come of a dialler and of a campaign, each by itself and of both.

    Raises:
        UnseenError: nothing has.
    """
    known = known_sources(connection)
    if scope.source and scope.source not in known:
        there_is = f"there is {', '.join(known)}" if known else "nothing was received from any"
        raise UnseenError(f"nothing was ever received from a dialler {shown(scope.source)}: {there_is}. {_ANYWAY}")
    of = calls.c
    wanted = {"source": scope.source or None, "campaign": scope.campaign_ref or None}
    conditions = {"source": lambda value: of.source == value, "campaign": lambda value: of.campaign_ref == value}
    if scope.campaign_ref and not connection.scalar(select(exists().where(*narrow(wanted, conditions)))):
        raise UnseenError(f"there is no call of {scope} in the database. {_ANYWAY}")


def changed(
    connection: Connection,
    kind: Kind,
    scope: Scope,
    *,
    at_least: int | None = None,
    at_most: int | None = None,
    forever: bool = False,
) -> Change:
    """What setting a rule would make of all; what is not said stays as it is.

    Args:
        connection: the database.
        kind: of what.
        scope: whose.
        at_least: days that it must be kept.
        at_most: days after which it goes.
        forever: there is no maximum, whatever a wider rule says.

    Raises:
        ContradictionError: naming the other rule.
    """
    before = rules_of(connection, kind)
    was = before.get(scope, NOTHING)
    limited = forever or at_most is not None
    rule = Rule(
        was.at_least if at_least is None else at_least,
        at_most if limited else was.at_most,
        forever if limited else was.forever,
    )
    return _checked(Change(kind, scope, before, {**before, scope: rule}))


def without(connection: Connection, kind: Kind, scope: Scope, *, at_least: bool = True, at_most: bool = True) -> Change:
    """What taking a rule away, or one side of it, would make of all.

    Args:
        connection: the database.
        kind: of what.
        scope: whose.
        at_least: take its minimum away.
        at_most: take its maximum, or that it is kept for ever, away.

    Raises:
        NoRuleError: there is none, or it does not say that.
        ContradictionError: a wider rule would apply instead, and contradicts another; naming both.
    """
    before = rules_of(connection, kind)
    was = before.get(scope)
    rule = was and Rule(
        None if at_least else was.at_least,
        None if at_most else was.at_most,
        was.forever and not at_most,
    )
    if rule == was:
        raise NoRuleError(f"no rule of {scope} says how long {kind} are kept")
    rest = {each: value for each, value in before.items() if each != scope}
    return _checked(Change(kind, scope, before, rest if rule == NOTHING or rule is None else {**rest, scope: rule}))


def make(connection: Connection, change: Change, *, who: str, because: str) -> None:
    """Make a change, if the rules are still what it was worked out from.

    Args:
        connection: a transaction of its own.
        change: as `changed` or `without` has it.
        who: does it.
        because: why.

    Raises:
        MeanwhileError: somebody has changed them since.
    """
    lock_rules(connection)
    if rules_of(connection, change.kind) != change.before:
        raise MeanwhileError("somebody has changed these rules just now: look again, and set it again")
    if change.becomes is None:
        remove_rule(connection, change.kind, change.scope)
    else:
        put_rule(connection, change.kind, change.scope, change.becomes, who=who, because=because)
    told = {
        "kind": change.kind.value,
        "source": change.scope.source,
        "campaign": change.scope.campaign_ref,
        "was": change.was and change.was._asdict(),
        "is": change.becomes and change.becomes._asdict(),
        "reason": because,
    }
    done = "keeping set" if change.becomes is not None else "keeping unset"
    record_action(connection, who, done, {name: value for name, value in told.items() if value})


def _checked(change: Change) -> Change:
    check(change.kind, change.after)
    return change
