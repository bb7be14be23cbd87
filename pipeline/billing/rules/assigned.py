"""What a provider's tariff may be assigned to, and which of several assignments a call goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pipeline.billing.rules.pricing import Unbilled

ANY: Final = ""
"""In the place of a number, a campaign or a dialler: whichever."""


class AssignedTo(NamedTuple):
    """The calls that a provider's tariff is assigned to; fields are columns of the table, `ANY` stands for all."""

    dial_number: str = ANY
    """The number that the dialler called from, or of an inbound call was called at; E.164."""
    campaign_ref: str = ANY
    source: str = ANY
    """The dialler."""

    def __str__(self) -> str:
        """As a sentence has it.

        >>> str(AssignedTo(campaign_ref="spring", source="north")), str(AssignedTo())
        ('campaign spring of dialler north', 'everything')
        """
        if self.dial_number:
            return f"dial number {self.dial_number}"
        named = [f"campaign {self.campaign_ref}"] if self.campaign_ref else []
        named += [f"dialler {self.source}"] if self.source else []
        return " of ".join(named) or "everything"


def most_specific_first(call: Unbilled) -> tuple[AssignedTo, ...]:
    """What a tariff may be assigned to so that a call has it.

    Its own number, else its campaign, of this dialler before that of any, else the dialler, else everything.
    """
    number = call.dial_number or ANY
    return (
        *([AssignedTo(dial_number=number)] if number else ()),
        AssignedTo(campaign_ref=call.campaign_ref, source=call.source),
        AssignedTo(campaign_ref=call.campaign_ref),
        AssignedTo(source=call.source),
        AssignedTo(),
    )
