"""Each call that is to be charged gets its line in the ledger, each other one the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pipeline.batches.isolation import bug
from pipeline.batches.rules.failure import Failure
from pipeline.billing.ledger import insert_lines, insert_uncharged, of_classified, unbilled_calls
from pipeline.billing.provider_side import bill_provider, by_tariff
from pipeline.billing.rules.pricing import Line, Uncharged, decide
from pipeline.errors import NoRateError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.billing.assignment_rows import TariffsInUse
    from pipeline.billing.rules.pricing import Unbilled
    from pipeline.billing.rules.terms import LoadedTariff
    from pipeline.calls.in_hand import InHand


class Tariffs(Protocol):
    """Where billing gets its tariffs from; `tariff_cache.TariffCache` is the one of a process."""

    def in_force(self, connection: Connection, campaigns: Collection[str]) -> Mapping[str, int]:
        """The id of the version that rates each campaign's calls; a campaign without a tariff is left out."""

    def version(self, connection: Connection, version_id: int) -> LoadedTariff:
        """A version, ready to rate calls."""


class TariffsOfBothSides(Tariffs, Protocol):
    """The same for the bill step, which asks for both sides at once."""

    def in_use(self, connection: Connection, campaigns: Collection[str]) -> TariffsInUse:
        """What `in_force` says, and whether there is a provider's side."""


def bill(
    connection: Connection, span: Span, tariffs: TariffsOfBothSides, *, in_hand: InHand | None = None
) -> list[Failure]:
    """Charge calls: the client, and what the provider charges where its tariff is assigned to them.

    Args:
        connection: the step's transaction, which holds the step's lock.
        span: the records whose calls are to be charged.
        tariffs: where the tariff of each campaign comes from.
        in_hand: the calls, where this transaction stored and classified them.

    Returns:
        The calls whose client could not be charged, most often for want of a rate. The provider's side has no failures.
    """
    known = None if in_hand is None else in_hand.classified
    calls = unbilled_calls(connection, span) if known is None else list(map(of_classified, known))
    in_use = tariffs.in_use(connection, {call.campaign_ref for call in calls})
    failures = _bill_client(connection, calls, in_use.versions, tariffs)
    if in_use.of_provider:
        bill_provider(connection, span, tariffs)
    return failures


def _bill_client(
    connection: Connection, calls: Sequence[Unbilled], in_force: Mapping[str, int], tariffs: Tariffs
) -> list[Failure]:
    lines: list[Line] = []
    free: list[Uncharged] = []
    failures: list[Failure] = []
    for call, tariff in _with_versions(connection, calls, in_force, tariffs):
        try:
            decision = decide(call, tariff)
        except NoRateError as error:
            failures.append(Failure(call.call_id, "reference", str(error), error_type="NoRateError"))
        except Exception as error:  # noqa: BLE001 - one record's bug must not hold up its batch; it is kept with traceback
            failures.append(bug(call.call_id, error))
        else:
            if isinstance(decision, Line):
                lines.append(decision)
            else:
                free.append(decision)
    insert_lines(connection, sorted(lines, key=lambda line: line.call_id))
    insert_uncharged(connection, sorted(free))
    return failures


def with_tariffs(
    connection: Connection, calls: Iterable[Unbilled], tariffs: Tariffs
) -> Iterator[tuple[Unbilled, LoadedTariff | None]]:
    """Each call with the tariff of its campaign, one tariff after the other, so that one at a time is needed."""
    calls = list(calls)
    in_force = tariffs.in_force(connection, {call.campaign_ref for call in calls})
    return _with_versions(connection, calls, in_force, tariffs)


def _with_versions(
    connection: Connection, calls: Iterable[Unbilled], in_force: Mapping[str, int], tariffs: Tariffs
) -> Iterator[tuple[Unbilled, LoadedTariff | None]]:
    for tariff, same in by_tariff(connection, calls, lambda call: in_force.get(call.campaign_ref, 0), tariffs):
        for call in same:
            yield call, tariff
