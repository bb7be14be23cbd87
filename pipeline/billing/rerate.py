"""Rating calls again after a tariff was corrected: the difference first, then reversals and new charges.

Every call is decided by the bill step's own rule and compared with what came of it before. Nothing is written for a
call that comes to the same, so a run that was interrupted is finished by running it again, and a run too many changes
nothing. What changes is written a chunk at a time, holding the bill step of the calls' batches.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from pipeline.batches.progress import lock_step
from pipeline.batches.rules.steps import Step
from pipeline.billing.bill import with_tariffs
from pipeline.billing.billed_calls import calls_after, extent_of, forget_uncharged, outcomes_of
from pipeline.billing.ledger import insert_lines, insert_uncharged, reverse_charges
from pipeline.billing.load import check_rates, decode
from pipeline.billing.provider_assignments import version_ids_of_provider
from pipeline.billing.provider_side import unknown, with_provider_tariffs
from pipeline.billing.rules.difference import Comparison, Decided
from pipeline.billing.rules.pricing import Line, Uncharged, decide
from pipeline.billing.rules.rate_deck import RateDeck
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.tariff_file import read_tariff
from pipeline.billing.rules.terms import AS_BEFORE, LoadedTariff
from pipeline.billing.tariff_rows import version_by_id
from pipeline.database.audit import record_action
from pipeline.database.feed_log import tell
from pipeline.errors import NoRateError
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.billing.bill import Tariffs
    from pipeline.billing.billed_calls import Selection
    from pipeline.billing.rules.difference import Outcome
    from pipeline.billing.rules.tariff_file import TariffFile

CALLS_AT_ONCE: Final = 5_000
BATCHES_AT_ONCE: Final = 500
"""The most batches whose bill step one transaction holds: PostgreSQL has room for some thousand locks in all."""

_NO_TARIFF = -1


class Preview:
    """The tariffs in force as they would be had a file been loaded into each of them.

    Settings stay those of the version in force, as they do when a file is loaded; a campaign without a tariff has the
    usual ones.
    """

    def __init__(
        self,
        tariffs: Tariffs,
        content: bytes,
        *,
        default_currency: str,
        timezone: str,
        side: Side = Side.CLIENT,
    ) -> None:
        """Read the file.

        Raises:
            TariffFileError: with every bad line.
        """
        self._tariffs = tariffs
        self._file: TariffFile = read_tariff(decode(content), default_currency=default_currency, timezone=timezone)
        check_rates(self._file, side)
        self._side = side
        self._deck = RateDeck(self._file.rates, timezone)

    def in_force(self, connection: Connection, campaigns: Collection[str]) -> Mapping[str, int]:
        """As the tariffs have it; a number no version has where there is no tariff yet."""
        return {**dict.fromkeys(campaigns, _NO_TARIFF), **self._tariffs.in_force(connection, campaigns)}

    def version(self, connection: Connection, version_id: int) -> LoadedTariff:
        """A version with the file's rates in place of its own."""
        name, before = "a file", None
        if version_id != _NO_TARIFF:
            version = version_by_id(connection, version_id)
            name, before = version.tariff, version.terms
        terms = AS_BEFORE.terms(self._file.currency, before, self._side)
        return LoadedTariff(version_id, name, 0, *terms, deck=self._deck)


def compare(
    engine: Engine,
    selection: Selection,
    tariffs: Tariffs,
    *,
    progress: Callable[[int, int], None],
    side: Side = Side.CLIENT,
) -> Comparison:
    """What rerating would change; writes nothing.

    Args:
        engine: the database.
        selection: which calls.
        tariffs: where the tariff of each campaign comes from.
        progress: told how many calls were looked at, and of how many.
        side: whose charges; no call of the other side is looked at.
    """
    comparison = Comparison()
    with engine.connect() as connection:
        for call_ids, done, of in _chunks(connection, selection):
            for each in _decided(connection, call_ids, tariffs, side):
                comparison.add(each)
            connection.rollback()
            progress(done, of)
    return comparison


def rerate(
    engine: Engine,
    selection: Selection,
    tariffs: Tariffs,
    *,
    who: str,
    progress: Callable[[int, int], None],
    side: Side = Side.CLIENT,
) -> int:
    """Reverse and charge anew the calls that come to something else; returns how many those were.

    Of the provider's side also those are charged that nothing was said of: its tariff may have been assigned later.

    The arguments are those of `compare`, and:
        who: the operator, who is kept with the lines.
    """
    detail = {
        "since": selection.since.isoformat(),
        "until": selection.until.isoformat(),
        "campaign": selection.campaign,
        "source": selection.source,
        "side": side.value,
    }
    with engine.begin() as connection:
        rerate_id = record_action(connection, who, "rerate", detail)
    rerated = 0
    with engine.connect() as connection:
        for call_ids, done, of in _chunks(connection, selection):
            changes = _changes(connection, call_ids, tariffs, side)
            connection.rollback()
            for some in _of_few_batches([change.before.call.call_id for change in changes]):
                with connection.begin():
                    rerated += _write(connection, some, tariffs, who=who, rerate_id=rerate_id, side=side)
            progress(done, of)
    with engine.begin() as connection:
        record_action(connection, who, "rerate done", {"rerate": rerate_id, "calls": rerated})
    return rerated


def _chunks(connection: Connection, selection: Selection) -> Iterator[tuple[list[int], int, int]]:
    """The ids of a selection's calls, a chunk at a time, with how many those are so far and in all."""
    extent = extent_of(connection, selection)
    after, done = extent.first - 1, 0
    while call_ids := calls_after(connection, selection, after, extent.last, CALLS_AT_ONCE):
        connection.rollback()
        after, done = call_ids[-1], done + len(call_ids)
        yield call_ids, min(done, extent.calls), extent.calls
    connection.rollback()


def _decided(connection: Connection, call_ids: Sequence[int], tariffs: Tariffs, side: Side) -> Iterator[Decided]:
    """Each of the calls that came to something before, with what it comes to now."""
    outcomes = {outcome.call.call_id: outcome for outcome in outcomes_of(connection, call_ids, side)}
    if side is Side.PROVIDER:
        yield from _decided_for_provider(connection, outcomes, tariffs)
        return
    for call, tariff in with_tariffs(connection, (outcome.call for outcome in outcomes.values()), tariffs):
        before = outcomes[call.call_id]
        try:
            yield Decided(before, decide(call, tariff))
        except NoRateError as error:
            yield Decided(before, None, str(error))
        except Exception as error:  # noqa: BLE001 - one call's bug must not hold up the rest; it keeps what it has
            yield Decided(before, None, f"call {call.call_id}: {type(error).__name__}: {error}")


def _decided_for_provider(
    connection: Connection, outcomes: Mapping[int, Outcome], tariffs: Tariffs
) -> Iterator[Decided]:
    """The same of the provider's side; a call that nothing was said of, and nothing is assigned to, is left out."""
    calls = [outcome.call for outcome in outcomes.values()]
    versions = version_ids_of_provider(connection, calls)
    for call, tariff in with_provider_tariffs(connection, calls, versions, tariffs):
        before = outcomes[call.call_id]
        try:
            yield Decided(before, decide(call, tariff), side=Side.PROVIDER)
        except Exception as error:  # noqa: BLE001 - looked at there
            reason = unknown(call, tariff, error)
            kept = before.amount is not None  # what was charged is not taken back for want of a rate or of seconds
            why_not = f"call {call.call_id}: {reason.reason}"
            yield Decided(before, None if kept else reason, why_not, Side.PROVIDER)
    for call_id, before in outcomes.items():
        if call_id not in versions and before.amount is not None:
            yield Decided(
                before, None, f"call {call_id}: no provider's tariff is assigned to it any more", Side.PROVIDER
            )


def _changes(connection: Connection, call_ids: Sequence[int], tariffs: Tariffs, side: Side) -> list[Decided]:
    changes = [each for each in _decided(connection, call_ids, tariffs, side) if each.changes]
    return sorted(changes, key=lambda change: change.before.call.call_id)


def _of_few_batches(call_ids: Sequence[int]) -> Iterator[list[int]]:
    """The calls, in order, so that no part touches more batches than one transaction may lock."""
    part: list[int] = []
    batches = 0
    for _, same in groupby(call_ids, key=batch_of):
        if batches == BATCHES_AT_ONCE:
            yield part
            part, batches = [], 0
        part.extend(same)
        batches += 1
    if part:
        yield part


def _write(
    connection: Connection, call_ids: Sequence[int], tariffs: Tariffs, *, who: str, rerate_id: int, side: Side
) -> int:
    """Look at calls again, now that nobody else bills them, and write down what changes."""
    for batch_id in sorted({batch_of(call_id) for call_id in call_ids}):
        lock_step(connection, batch_id, Step.BILL)
    changes = _changes(connection, call_ids, tariffs, side)
    charged = [change.before.call.call_id for change in changes if change.before.amount is not None]
    uncharged = [change.before.call.call_id for change in changes if change.before.amount is None]
    reverse_charges(connection, charged, "rerated", rerate_id=rerate_id, side=side)
    forget_uncharged(connection, uncharged, who=who, rerate_id=rerate_id, side=side)
    lines = [change.after._replace(rerate_id=rerate_id) for change in changes if isinstance(change.after, Line)]
    insert_lines(connection, lines, side)
    insert_uncharged(connection, [change.after for change in changes if isinstance(change.after, Uncharged)], side)
    if side is Side.CLIENT:  # what the provider charges is nothing that integrators are told
        tell(connection, "call.corrected", [(change.before.call.call_id, rerate_id) for change in changes])
    return len(changes)
