"""What the provider charges for calls: billed in the client's step, and never in its way."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from pipeline.batches.isolation import may_be_a_records
from pipeline.billing.ledger import insert_lines, insert_uncharged, unbilled_calls
from pipeline.billing.ported_rows import networks_of
from pipeline.billing.provider_assignments import version_ids_of_provider
from pipeline.billing.rules.pricing import Line, Uncharged, decide, rated_number, why_unknown
from pipeline.billing.rules.sides import Side
from pipeline.errors import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.billing.bill import Tariffs
    from pipeline.billing.rules.pricing import Unbilled
    from pipeline.billing.rules.terms import LoadedTariff

LONGEST_REASON = 200


def bill_provider(connection: Connection, span: Span, tariffs: Tariffs) -> None:
    """Say what the provider charges for each call that a provider's tariff is assigned to, or why that is not known.

    Args:
        connection: the bill step's transaction. Whatever goes wrong with this side is undone and said in its reasons;
            what is written for the client stays.
        span: the records whose calls are looked at; those that have a charge of the provider's, or a reason, are done.
        tariffs: where a version comes from.
    """
    calls = unbilled_calls(connection, span, Side.PROVIDER)
    versions = version_ids_of_provider(connection, calls)
    rated = [call for call in calls if call.call_id in versions]
    if not rated:
        return
    try:
        with connection.begin_nested():
            with_tariff = with_provider_tariffs(connection, rated, versions, tariffs)
            decisions = [decided(call, tariff) for call, tariff in with_tariff]
            lines = (each for each in decisions if isinstance(each, Line))
            insert_lines(connection, sorted(lines, key=lambda line: line.call_id), Side.PROVIDER)
            free = (each for each in decisions if isinstance(each, Uncharged))
            insert_uncharged(connection, sorted(free), Side.PROVIDER)
    except Exception as error:
        if not may_be_a_records(error):
            raise
        reason = cut(f"cannot be rated: {type(error).__name__}: {error}", LONGEST_REASON)
        insert_uncharged(connection, [Uncharged(call.call_id, reason) for call in rated], Side.PROVIDER)


def decided(call: Unbilled, tariff: LoadedTariff) -> Line | Uncharged:
    """What the provider charges for one call; what cannot be known has its reason, and fails nothing."""
    try:
        return decide(call, tariff)
    except Exception as error:  # noqa: BLE001 - looked at there
        return unknown(call, tariff, error)


def unknown(call: Unbilled, tariff: LoadedTariff, error: Exception) -> Uncharged:
    """The reason that a call gets for want of a rate or of seconds, or for a bug of ours.

    Raises:
        Exception: the error itself, where it says nothing about the call.
    """
    if not may_be_a_records(error):
        raise error
    return Uncharged(call.call_id, why_unknown(error, tariff))


def with_provider_tariffs(
    connection: Connection, calls: Iterable[Unbilled], versions: dict[int, int], tariffs: Tariffs
) -> Iterator[tuple[Unbilled, LoadedTariff]]:
    """Each call with the provider's tariff that is assigned to it, and the network that its number was ported to.

    Args:
        connection: the caller's transaction.
        calls: the calls; those without a version are left out.
        versions: the id of the version of each, as `version_ids_of_provider` has it.
        tariffs: where a version comes from.
    """
    assigned = [call for call in calls if call.call_id in versions]
    for tariff, same in by_tariff(connection, assigned, lambda call: versions[call.call_id], tariffs):
        if tariff is None:  # which none of those that are assigned is
            continue
        ported = _ported(connection, list(same)) if tariff.deck.has_networks else same
        for call in ported:
            yield call, tariff


def _ported(connection: Connection, calls: Sequence[Unbilled]) -> Iterator[Unbilled]:
    networks = networks_of(connection, [(rated_number(call)[1], call.dialed_at) for call in calls])
    return (call._replace(network=network) for call, network in zip(calls, networks, strict=True))


def by_tariff(
    connection: Connection, calls: Iterable[Unbilled], version_of: Callable[[Unbilled], int], tariffs: Tariffs
) -> Iterator[tuple[LoadedTariff | None, Iterator[Unbilled]]]:
    """Calls by their tariff, one tariff after the other, so that one at a time is needed.

    Args:
        connection: the caller's transaction.
        calls: the calls; of one tariff they stay in their order.
        version_of: the id of the version that rates a call; 0: none.
        tariffs: where a version comes from.
    """
    for version_id, same in groupby(sorted(calls, key=version_of), key=version_of):
        yield tariffs.version(connection, version_id) if version_id else None, same
