"""Each call that is to be charged gets its line in the ledger, each other one the reason why not."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from pipeline.batches.isolation import bug
from pipeline.batches.rules.failure import Failure
from pipeline.billing.ledger import insert_lines, insert_uncharged, unbilled_calls
from pipeline.billing.rules.pricing import Line, Uncharged, decide
from pipeline.errors import NoRateError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.billing.rules.pricing import Unbilled
    from pipeline.billing.rules.terms import LoadedTariff


class Tariffs(Protocol):
    """Where billing gets its tariffs from; `steps.tariffs.TariffCache` is the one of a process."""

    def in_force(self, connection: Connection, campaigns: Collection[str]) -> Mapping[str, int]:
        """The id of the version that rates each campaign's calls; a campaign without a tariff is left out."""

    def version(self, connection: Connection, version_id: int) -> LoadedTariff:
        """A version, ready to rate calls."""


def bill(connection: Connection, span: Span, tariffs: Tariffs) -> list[Failure]:
    """Charge calls.

    Args:
        connection: the step's transaction, which holds the step's lock.
        span: the records whose calls are to be charged.
        tariffs: where the tariff of each campaign comes from.

    Returns:
        The calls that could not be charged, most often for want of a rate.
    """
    lines: list[Line] = []
    free: list[Uncharged] = []
    failures: list[Failure] = []
    for call, tariff in with_tariffs(connection, unbilled_calls(connection, span), tariffs):
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
    calls.sort(key=lambda call: in_force.get(call.campaign_ref, 0))  # stable: of one tariff by id, as they came
    for version_id, same in groupby(calls, key=lambda call: in_force.get(call.campaign_ref, 0)):
        tariff = tariffs.version(connection, version_id) if version_id else None
        for call in same:
            yield call, tariff
