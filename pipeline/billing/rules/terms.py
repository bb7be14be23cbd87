"""A version of a tariff: its terms beside the rates, and both together as billing uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.billing.rules.rating import DurationBasis, Rounding
from pipeline.billing.rules.sides import Side
from pipeline.calls.rules.disposition import BILLABLE_BY_DEFAULT, Disposition
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.billing.rules.rate_deck import RateDeck


class TariffTerms(NamedTuple):
    """What a version says besides its rates."""

    currency: str
    rounding: Rounding
    decimals: int
    billable_dispositions: frozenset[str]
    duration_basis: DurationBasis = DurationBasis.CALL
    inbound_rated: bool = False


class TariffSettings(NamedTuple):
    """What a person may set of a tariff besides its rates; None leaves it as the version before has it."""

    rounding: Rounding | None = None
    decimals: int | None = None
    billable_dispositions: frozenset[Disposition] | None = None
    duration_basis: DurationBasis | None = None
    inbound_rated: bool | None = None

    def terms(self, currency: str, before: TariffTerms | None, side: Side = Side.CLIENT) -> TariffTerms:
        """What they come to: left out, those of the version before, and at first the usual ones of the side.

        Decimals belong to a currency, and are kept only with it.

        Raises:
            DataError: seconds that only a provider counts are set of a client's tariff.
        """
        if self.duration_basis is DurationBasis.ANSWERED and side is Side.CLIENT:
            raise DataError("duration", "answered counts from pick-up, as a provider does: say --side provider")
        usual = before or _at_first(currency, side)
        kept_decimals = usual.decimals if usual.currency == currency else MINOR_UNITS[currency]
        billable = self.billable_dispositions
        return TariffTerms(
            currency=currency,
            rounding=usual.rounding if self.rounding is None else self.rounding,
            decimals=kept_decimals if self.decimals is None else self.decimals,
            billable_dispositions=usual.billable_dispositions if billable is None else frozenset(map(str, billable)),
            duration_basis=usual.duration_basis if self.duration_basis is None else self.duration_basis,
            inbound_rated=usual.inbound_rated if self.inbound_rated is None else self.inbound_rated,
        )


BILLABLE_FOR_PROVIDER: Final = BILLABLE_BY_DEFAULT | {Disposition.VOICEMAIL, Disposition.ABANDONED}
"""What a carrier bills at first: whatever was picked up."""


def _at_first(currency: str, side: Side) -> TariffTerms:
    of_provider = side is Side.PROVIDER
    return TariffTerms(
        currency,
        Rounding.HALF_UP,
        MINOR_UNITS[currency],
        frozenset(d.value for d in (BILLABLE_FOR_PROVIDER if of_provider else BILLABLE_BY_DEFAULT)),
        DurationBasis.ANSWERED if of_provider else DurationBasis.CALL,
    )


AS_BEFORE: Final = TariffSettings()
"""Nothing is set: a version says what the one before it said."""


class LoadedTariff(NamedTuple):
    """One version of a tariff, ready to rate calls."""

    version_id: int
    name: str
    version: int
    currency: str
    rounding: Rounding
    decimals: int
    billable_dispositions: frozenset[str]
    duration_basis: DurationBasis
    inbound_rated: bool
    deck: RateDeck
