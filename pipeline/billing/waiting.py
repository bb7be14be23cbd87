"""What the calls that wait for a rate would come to if a file were loaded; nothing is written."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.batches.rules.steps import Step
from pipeline.billing.assignment_rows import DEFAULT_TARIFF, version_ids_in_force
from pipeline.billing.bill import with_tariffs
from pipeline.billing.ledger import UNBILLED_COLUMNS
from pipeline.billing.rules.pricing import Line, Unbilled, decide
from pipeline.billing.tariff_cache import TariffCache
from pipeline.errors import NoRateError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlalchemy import Connection

    from pipeline.billing.rules.terms import LoadedTariff

CALLS_AT_ONCE: Final = 5_000

# SQL, as `UNBILLED_COLUMNS` are: the same columns that the bill step looks at.
_WAITING = f"""
SELECT f.id AS failure_id, {UNBILLED_COLUMNS}
FROM failures AS f
JOIN calls AS c ON c.id = f.record_id
JOIN dispositions AS d ON d.call_id = c.id
LEFT JOIN LATERAL (SELECT max(revision) AS revision FROM ledger
                   WHERE call_id = c.id AND side = 'client') AS l ON true
WHERE f.state = 'open' AND f.class = 'reference' AND f.step = :bill AND f.id > :after
ORDER BY f.id LIMIT :limit
"""


class WaitingCalls(NamedTuple):
    """What would become of the calls that wait for a rate."""

    calls: int
    """All of them: each is tried again, whatever tariff it has."""
    charged: int
    amounts: Mapping[str, Decimal]
    """What those are charged, by currency."""
    not_charged: int
    still_waiting: int
    """There is no rate for them in what they would be rated by."""


class OnceLoaded:
    """The tariffs in force as they will be when a file is the newest version of one of them."""

    def __init__(self, loaded: LoadedTariff, timezone: str) -> None:
        """None of the others is read yet.

        Args:
            loaded: the file as a tariff, with the id of the version it comes after; 0 when it is the first.
            timezone: the zone of the hours and weekdays of a version that has none of its own.
        """
        self._loaded = loaded
        self._others = TariffCache(timezone)

    def in_force(self, connection: Connection, campaigns: Collection[str]) -> Mapping[str, int]:
        """The version of each campaign; the first of the default tariff is for those that had none."""
        found = version_ids_in_force(connection, campaigns)
        if self._loaded.version_id or self._loaded.name != DEFAULT_TARIFF:
            return found
        return {**dict.fromkeys(campaigns, _FIRST), **found}

    def version(self, connection: Connection, version_id: int) -> LoadedTariff:
        """A version, and in the place of the one it comes after, the file."""
        if version_id in (_FIRST, self._loaded.version_id):
            return self._loaded
        return self._others.version(connection, version_id)


_FIRST: Final = -1


def waiting_calls(connection: Connection, tariffs: OnceLoaded) -> WaitingCalls:
    """Decide about every call that waits for a rate as the bill step will.

    Args:
        connection: the database; it is only read.
        tariffs: what they will be rated by.
    """
    amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    calls = charged = still_waiting = 0
    for part in _parts(connection):
        calls += len(part)
        for call, tariff in with_tariffs(connection, part, tariffs):
            try:
                decision = decide(call, tariff)
            except NoRateError:
                still_waiting += 1
                continue
            if isinstance(decision, Line):
                charged += 1
                amounts[decision.currency] += decision.amount
    return WaitingCalls(calls, charged, dict(amounts), calls - charged - still_waiting, still_waiting)


def _parts(connection: Connection) -> Iterator[list[Unbilled]]:
    after = 0
    while True:
        rows = connection.execute(
            text(_WAITING), {"bill": Step.BILL.value, "after": after, "limit": CALLS_AT_ONCE}
        ).all()
        if not rows:
            return
        yield [Unbilled(*row[1:]) for row in rows]
        after = rows[-1].failure_id
