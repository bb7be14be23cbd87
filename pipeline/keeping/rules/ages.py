"""Until when rules keep what is of different ages, diallers and campaigns, and from when on they let all of it go."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pipeline.keeping.rules.policy import applied

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pipeline.keeping.rules.policy import Bound, Kind, Rule, Scope


class Group(NamedTuple):
    """What is of one dialler and campaign."""

    scope: Scope
    """The campaign is `EVERY` where it is not known: rules that name one are not for it."""
    newest: datetime
    """When the newest of it was dialled, or received where that is not known."""


class Kept(NamedTuple):
    """Until when something must be kept, and why."""

    until: datetime
    bound: Bound
    """The rule's days and whose it is."""
    group: Group

    def says(self, kind: Kind) -> str:
        """What its rule says, as an answer begins."""
        return f"{kind.value.replace('_', ' ')} of {self.bound.scope} must be kept at least {self.bound.days} days"


class Gone(NamedTuple):
    """From when on all of it is older than it is kept at most, or why never."""

    at: datetime | None
    """None: never."""
    by: Bound
    """The last to let go, or the first that never does."""
    group: Group


def kept_until(rules: Mapping[Scope, Rule], groups: Iterable[Group]) -> list[Kept]:
    """What the minima of one kind keep, a `Kept` a rule, the longest first; of what is over, too.

    Args:
        rules: of the kind.
        groups: what there is.
    """
    longest: dict[Bound, Kept] = {}
    for group in groups:
        least = applied(rules, group.scope).least
        if least.days is None:
            continue
        until = group.newest + timedelta(days=least.days)
        if least not in longest or longest[least].until < until:
            longest[least] = Kept(until, least, group)
    return sorted(longest.values(), key=lambda kept: kept.until, reverse=True)


def gone_at(rules: Mapping[Scope, Rule], groups: Iterable[Group]) -> Gone | None:
    """From when on nothing may be kept any more; None: there is nothing.

    Args:
        rules: of the kind.
        groups: what there is.
    """
    last: Gone | None = None
    for group in groups:
        found = applied(rules, group.scope)
        if found.days is None:
            return Gone(None, found.most, group)
        at = group.newest + timedelta(days=found.days)
        if last is None or last.at is None or at > last.at:
            last = Gone(at, found.most, group)
    return last
