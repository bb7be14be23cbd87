"""What calls will be charged, by the bill step's own rule, before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.billing.assignment_rows import version_ids_in_force
from pipeline.billing.bill import with_tariffs
from pipeline.billing.rate_rows import rates_of
from pipeline.billing.rules.pricing import decide
from pipeline.billing.rules.rate_deck import RateDeck
from pipeline.billing.tariff_cache import loaded_tariff
from pipeline.billing.tariff_rows import version_by_id
from pipeline.errors import NoRateError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from pipeline.billing.rules.pricing import Line, Unbilled, Uncharged
    from pipeline.billing.rules.terms import LoadedTariff


def foresee(
    connection: Connection, calls: Sequence[Unbilled], *, timezone: str
) -> dict[int, Line | Uncharged | NoRateError]:
    """What calls would be charged were they billed now; by the id of the call.

    Args:
        connection: the database; only the rates that may fit one of the numbers are read.
        calls: the calls.
        timezone: the zone of the hours and weekdays of a version that has none of its own.
    """
    found: dict[int, Line | Uncharged | NoRateError] = {}
    for call, tariff in with_tariffs(connection, calls, _OfNumbers(calls, timezone)):
        try:
            found[call.call_id] = decide(call, tariff)
        except NoRateError as error:
            found[call.call_id] = error
    return found


class _OfNumbers:
    """The tariffs in force, with as many of their rates as some calls need."""

    def __init__(self, calls: Sequence[Unbilled], timezone: str) -> None:
        numbers = {
            number.removeprefix("+") for call in calls for number in (call.client_number, call.dial_number) if number
        }
        self._prefixes = sorted({number[:length] for number in numbers for length in range(len(number) + 1)} | {""})
        self._timezone = timezone

    def in_force(self, connection: Connection, campaigns: Collection[str]) -> Mapping[str, int]:
        """As billing has it."""
        return version_ids_in_force(connection, campaigns)

    def version(self, connection: Connection, version_id: int) -> LoadedTariff:
        """A version with the rates that may fit."""
        version = version_by_id(connection, version_id)
        rates = rates_of(connection, version_id, prefixes=self._prefixes)
        return loaded_tariff(version, RateDeck(rates, version.timezone or self._timezone))
