"""The tariffs a worker process has read, and how many it keeps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from pipeline.billing.assignment_rows import tariffs_in_use
from pipeline.billing.rate_rows import rates_of
from pipeline.billing.rules.rate_deck import RateDeck
from pipeline.billing.rules.terms import LoadedTariff
from pipeline.billing.tariff_rows import use_tariffs, version_by_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from pipeline.billing.assignment_rows import TariffsInUse
    from pipeline.billing.tariff_rows import TariffVersion


RATES_KEPT: Final = 400_000
"""Rates a process keeps in memory, of all tariffs; the version in hand is kept however large it is."""


class TariffCache:
    """The tariffs a process has read, so that a batch costs one small query to know that they still hold."""

    def __init__(self, timezone: str, *, rates_kept: int = RATES_KEPT) -> None:
        """Nothing is read yet.

        Args:
            timezone: the zone of the hours and weekdays of a version that has none of its own.
            rates_kept: how many rates, of all tariffs, are kept at most.
        """
        self._timezone = timezone
        self._rates_kept = rates_kept
        self._loaded: OrderedDict[int, LoadedTariff] = OrderedDict()
        self._lock = threading.Lock()

    def in_force(self, connection: Connection, campaigns: Collection[str]) -> dict[str, int]:
        """The id of the version that rates each campaign's calls in this transaction; none where there is no tariff."""
        return self.in_use(connection, campaigns).versions

    def in_use(self, connection: Connection, campaigns: Collection[str]) -> TariffsInUse:
        """The same, and whether there is a provider's side.

        A load that commits later waits for this transaction before it releases failures, see `wait_for_ratings`.
        """
        use_tariffs(connection)
        return tariffs_in_use(connection, campaigns)

    def version(self, connection: Connection, version_id: int) -> LoadedTariff:
        """A version, read once; what was not used for longest, or is superseded, makes room for it."""
        with self._lock:
            known = self._loaded.get(version_id)
            if known is None:
                known = self._read(connection, version_id)
            self._loaded.move_to_end(version_id)
            return known

    def _read(self, connection: Connection, version_id: int) -> LoadedTariff:
        version = version_by_id(connection, version_id)
        for other_id, other in list(self._loaded.items()):
            if other.name == version.tariff:
                del self._loaded[other_id]
        loaded = self._loaded[version_id] = loaded_tariff(
            version, RateDeck(rates_of(connection, version_id), version.timezone or self._timezone)
        )
        while len(self._loaded) > 1 and sum(len(each.deck) for each in self._loaded.values()) > self._rates_kept:
            self._loaded.popitem(last=False)
        return loaded


def loaded_tariff(version: TariffVersion, deck: RateDeck) -> LoadedTariff:
    """A version with a deck of its rates, or of those that are needed."""
    return LoadedTariff(version.version_id, version.tariff, version.version, *version.terms, deck=deck)
