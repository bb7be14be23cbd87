"""For how long something is kept, by the rules that people set for diallers and campaigns.

The narrowest rule that says it counts: that of a campaign at one dialler, else of the campaign, else of the dialler,
else of everything. A campaign goes before a dialler, as with tariffs: it is whose calls they are, for whose sake they
are kept or not; the dialler is only where they were made. What a rule does not say, the next wider one does, for the
minimum and the maximum each by itself: a minimum set for a campaign leaves the maximum that all have.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.errors import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EVERY: Final = ""
"""In the place of a dialler or a campaign: each of them."""

LONGEST_DAYS: Final = 36_500


class Kind(StrEnum):
    """What is kept."""

    RAW_RECORDS = "raw_records"
    CALLS = "calls"
    CHARGES = "charges"
    RECORDINGS = "recordings"
    ACCESS_LOG = "access_log"


class Scope(NamedTuple):
    """Whose: fields are columns of the table, `EVERY` stands for all."""

    source: str = EVERY
    campaign_ref: str = EVERY

    def __str__(self) -> str:
        """As a sentence has it.

        >>> str(Scope("north", "spring")), str(Scope(campaign_ref="spring")), str(Scope("north")), str(Scope())
        ('campaign spring of dialler north', 'campaign spring', 'dialler north', 'every dialler and campaign')
        """
        named = [f"campaign {cut(self.campaign_ref)}"] if self.campaign_ref else []
        named += [f"dialler {cut(self.source)}"] if self.source else []
        return " of ".join(named) or "every dialler and campaign"


class Rule(NamedTuple):
    """What somebody set for one kind and scope."""

    at_least: int | None = None
    """Days; None: a wider rule says it, or nothing has to be kept."""
    at_most: int | None = None
    """Days; None: a wider rule says it, or `forever` does."""
    forever: bool = False
    """There is no maximum, whatever a wider rule says."""


class Bound(NamedTuple):
    """A minimum or a maximum that applies, and who said it."""

    days: int | None
    """None: there is none; as a maximum, for ever."""
    scope: Scope | None = None
    """Of the rule; None: no rule says it."""


class Applied(NamedTuple):
    """What applies to one dialler and campaign."""

    least: Bound
    most: Bound

    @property
    def days(self) -> int | None:
        """After how many days something goes; None: never. A minimum wins over a maximum that is below it.

        >>> Applied(Bound(90), Bound(30)).days, Applied(Bound(90), Bound(None)).days
        (90, None)
        """
        return None if self.most.days is None else max(self.most.days, self.least.days or 0)


class Cell(NamedTuple):
    """A scope to which the same applies throughout, but for narrower ones before it."""

    scope: Scope
    applied: Applied


def narrowest_first(scope: Scope) -> tuple[Scope, ...]:
    """The scopes whose rules may apply to one, in the order in which they do.

    >>> [str(each) for each in narrowest_first(Scope("north", "spring"))][1:3]
    ['campaign spring', 'dialler north']
    """
    wider = (scope, Scope(campaign_ref=scope.campaign_ref), Scope(source=scope.source), Scope())
    return tuple(dict.fromkeys(wider))


def applied(rules: Mapping[Scope, Rule], scope: Scope, *, default_most: int | None = None) -> Applied:
    """What applies to a dialler and campaign.

    Args:
        rules: of one kind.
        scope: a dialler and campaign; `EVERY` for those that no rule names, or where it is not known.
        default_most: the maximum in days where no rule says one; None: for ever.
    """
    found = [(each, rules[each]) for each in narrowest_first(scope) if each in rules]
    least = next((Bound(rule.at_least, by) for by, rule in found if rule.at_least is not None), Bound(None))
    most = next((Bound(rule.at_most, by) for by, rule in found if rule.forever or rule.at_most is not None), None)
    return Applied(least, most or Bound(default_most))


def cells(rules: Mapping[Scope, Rule], *, default_most: int | None = None) -> tuple[Cell, ...]:
    """All that the rules of a kind come to: of the cells that a call is in, the first counts. The last is everything.

    Args:
        rules: of one kind.
        default_most: as of `applied`.
    """
    kept: dict[Scope, Applied] = {}
    for scope in reversed(_scopes(rules)):  # from wide to narrow, to leave out what says nothing new
        found = applied(rules, scope, default_most=default_most)
        wider = next((kept[each] for each in narrowest_first(scope)[1:] if each in kept), None)
        if found != wider:
            kept[scope] = found
    return tuple(Cell(scope, kept[scope]) for scope in reversed(list(kept)))


def longest(rules: Mapping[Scope, Rule]) -> int | None:
    """After how many days nothing of a kind may be kept, whoever's it is; None: something is kept for ever.

    >>> longest({Scope(): Rule(at_most=30), Scope("north"): Rule(at_most=90)})
    90
    >>> longest({Scope("north"): Rule(at_most=90)}) is None
    True
    """
    days = [cell.applied.days for cell in cells(rules)]
    return None if None in days else max(each for each in days if each is not None)


def _scopes(rules: Iterable[Scope]) -> list[Scope]:
    """Every dialler, campaign and pair of them that the rules tell apart, in the order in which they are looked up."""
    named = list(rules)
    sources = sorted({each.source for each in named} - {EVERY})
    campaigns = sorted({each.campaign_ref for each in named} - {EVERY})
    return [
        *(Scope(source, campaign) for campaign in campaigns for source in sources),
        *(Scope(campaign_ref=campaign) for campaign in campaigns),
        *(Scope(source=source) for source in sources),
        Scope(),
    ]
