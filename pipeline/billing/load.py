"""Loading a tariff, and finding the one in force."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.batches.set_aside import release, release_free, waiting_for_reference
from pipeline.billing.assignment_rows import DEFAULT_TARIFF
from pipeline.billing.rate_rows import rates_of
from pipeline.billing.rules.rate_deck import RateDeck
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.tariff_file import BadLine, TariffFile, TariffFileError, read_tariff, write_tariff
from pipeline.billing.rules.terms import AS_BEFORE, LoadedTariff, TariffSettings, TariffTerms
from pipeline.billing.tariff_rows import (
    find_provider,
    find_version,
    insert_version,
    lock_tariff,
    wait_for_ratings,
)
from pipeline.billing.waiting import OnceLoaded, waiting_calls
from pipeline.errors import DataError, PipelineError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from pipeline.billing.tariff_rows import TariffVersion
    from pipeline.billing.waiting import WaitingCalls

MOST_DECIMALS: Final = 10
RELEASED_AT_ONCE: Final = 200
"""Each may be of a batch of its own, and PostgreSQL has room for some thousand locks in all."""

_TARIFF_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class UnknownTariffError(PipelineError):
    """Nobody has loaded the tariff, or that version of it."""

    def __init__(self, tariff: str, version: int | None = None) -> None:
        super().__init__(tariff, version)
        self.tariff = tariff
        self.version = version

    def __str__(self) -> str:
        if self.version is None:
            return f"there is no tariff {shown(self.tariff)}"
        return f"there is no version {self.version} of the tariff {shown(self.tariff)}"


def check_side(tariff: str, found: Side, wanted: Side) -> None:
    """Whether a tariff is of the side that was asked for.

    Raises:
        DataError: it is of the other one.
    """
    if found is not wanted:
        raise DataError("tariff", f"{tariff} is {found.whose} tariff, not {wanted.whose}: say --side {found}")


def check_rates(file: TariffFile, side: Side) -> None:
    """Whether the rates of a file can be of a side.

    Raises:
        TariffFileError: a rate goes by a network, which none of the client's side does.
    """
    if side is Side.CLIENT and (bad := [rate.id or 0 for rate in file.rates if rate.network]):
        reason = "only a rate of a provider's tariff goes by the network: load it with --side provider"
        raise TariffFileError(BadLine(line, "network", reason) for line in bad)


class TariffLoaded(NamedTuple):
    """What loading a file came to."""

    tariff: str
    version: int
    rates: int
    currency: str
    retried: int
    """Failures released, which had waited for a rate."""
    already_loaded: bool
    dry_run: bool
    terms: TariffTerms
    waiting: WaitingCalls | None = None
    """Of a dry run: what would become of the calls that wait for a rate."""
    side: Side = Side.CLIENT
    provider: str | None = None


# long: what is looked at for a dry run, and what is written, side by side
def load_tariff(
    engine: Engine,
    content: bytes,
    *,
    file_name: str,
    tariff: str = DEFAULT_TARIFF,
    loaded_by: str,
    default_currency: str,
    timezone: str,
    settings: TariffSettings = AS_BEFORE,
    dry_run: bool = False,
    side: Side = Side.CLIENT,
    provider: str | None = None,
) -> TariffLoaded:
    """Make a file the newest version of a tariff, then release the failures that waited for a rate.

    Nothing waits for a rate of the provider's side: there it says so in `uncharged`, until calls are rerated.

    The file and terms that are in force already make no new version, but the failures are released all the
    same: so a load that was interrupted is finished by doing it again.

    Args:
        engine: the database.
        content: the file as it is, UTF-8.
        file_name: its name, kept with the version.
        tariff: the tariff it becomes a version of.
        loaded_by: who loads it.
        default_currency: the currency of a file that names none.
        timezone: the zone of the file's dates and hours, kept with the version.
        settings: what the version is to say besides its rates; what is left out stays as it was.
        dry_run: check the file and say what would come of it, but write nothing.
        side: whose account it is for.
        provider: whose prices these are, of the provider's side; None: as the tariff has it already.

    Raises:
        TariffFileError: with every bad line; nothing was written.
        DataError: the tariff's name or another argument is none, or the tariff is of the other side.
    """
    _check_names(tariff, side, provider)
    if settings.decimals is not None and not 0 <= settings.decimals <= MOST_DECIMALS:
        raise DataError("decimals", f"must be from 0 to {MOST_DECIMALS}, got {settings.decimals}")
    file = read_tariff(decode(content), default_currency=default_currency, timezone=timezone)
    check_rates(file, side)
    sha256 = hashlib.sha256(content).digest()
    if dry_run:
        with engine.connect() as connection:
            provider = _provider(tariff, side, provider, find_provider(connection, tariff))
            current = find_version(connection, tariff)
            terms = settings.terms(file.currency, current and current.terms, side)
            already = _is(connection, current, sha256, terms, file, timezone=timezone)
            version = 1 if current is None else current.version + (not already)
            deck = RateDeck(file.rates, timezone)
            loaded = LoadedTariff(current.version_id if current else 0, tariff, version, *terms, deck=deck)
            of_client = side is Side.CLIENT
            waiting = waiting_calls(connection, OnceLoaded(loaded, timezone)) if of_client else None
        return TariffLoaded(
            tariff, version, len(file.rates), file.currency, 0, already, True, terms, waiting, side, provider
        )
    with engine.begin() as connection:
        known = find_provider(connection, tariff)
        provider = _provider(tariff, side, provider, known)
        tariff_id, of_side, of_provider = lock_tariff(connection, tariff, side, provider)
        provider = _provider(tariff, side, provider, (of_side, of_provider))  # somebody may have been faster
        current = find_version(connection, tariff)
        terms = settings.terms(file.currency, current and current.terms, side)
        already = _is(connection, current, sha256, terms, file, timezone=timezone)
        if already and current is not None:
            version = current.version
        else:
            version = insert_version(
                connection,
                tariff_id,
                file.rates,
                terms=terms,
                timezone=timezone,
                file_name=file_name,
                file_sha256=sha256,
                loaded_by=loaded_by,
            )
    retried = release_waiting(engine) if side is Side.CLIENT else 0
    return TariffLoaded(
        tariff, version, len(file.rates), file.currency, retried, already, False, terms, None, side, provider
    )


def _check_names(tariff: str, side: Side, provider: str | None) -> None:
    for field, name in (("tariff", tariff), ("provider", provider)):
        if name is not None and _TARIFF_NAME.fullmatch(name) is None:
            raise DataError(field, f"must be 1 to 64 letters, digits, dots, _ or -, got {shown(name)}")
    if side is Side.PROVIDER and tariff == DEFAULT_TARIFF:
        raise DataError(
            "tariff", f"{DEFAULT_TARIFF} is the client's, of every campaign without another: name it otherwise"
        )
    if side is Side.CLIENT and provider is not None:
        raise DataError("provider", "only a provider's tariff has one: say --side provider")


def _provider(tariff: str, side: Side, given: str | None, known: tuple[Side, str | None] | None) -> str | None:
    """Whose tariff it is to be, by what was said and by what is known of it."""
    if known is None:
        if side is Side.PROVIDER and given is None:
            raise DataError("provider", f"whose tariff is {tariff}? Say --provider NAME the first time")
        return given
    check_side(tariff, known[0], side)
    if given is not None and given != known[1]:
        raise DataError("provider", f"{tariff} is a tariff of {known[1]}, not of {given}")
    return known[1]


def _is(
    connection: Connection,
    current: TariffVersion | None,
    sha256: bytes,
    terms: TariffTerms,
    file: TariffFile,
    *,
    timezone: str,
) -> bool:
    """Whether a version is this file; the same bytes say other things in another time zone.

    Where there are hours or weekdays, a version that has no zone of its own is not: the load gives it one.
    """
    of_a_clock = any(rate.time_of_day is not None or rate.weekdays is not None for rate in file.rates)
    return (
        current is not None
        and current.file_sha256 == sha256
        and current.terms == terms
        and (current.timezone == timezone or not of_a_clock)
        and tuple(rates_of(connection, current.version_id)) == file.rates
    )


def decode(content: bytes) -> str:
    """A file's text.

    Raises:
        TariffFileError: it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"is not UTF-8 (byte 0x{content[error.start]:02X}): save the file as CSV UTF-8"
        raise TariffFileError([BadLine(line, None, reason)]) from None


def release_waiting(engine: Engine, *, at_once: int = RELEASED_AT_ONCE) -> int:
    """Release every failure that waits for reference data, a part at a time; returns how many.

    Each is looked at once, however many fail again meanwhile. A batch that is just being done is passed over and waited
    for at the end: nobody waits for it together with all that is locked for the others.
    """
    with engine.begin() as connection:
        started = wait_for_ratings(connection)
    released, after = 0, 0
    held: dict[int, list[int]] = defaultdict(list)
    while True:
        with engine.begin() as connection:
            part = waiting_for_reference(connection, failed_before=started, after=after, limit=at_once)
            if not part:
                break
            done, passed_over = release_free(connection, part)
        released, after = released + done, part[-1].id
        for failure in passed_over:
            held[failure.batch_id].append(failure.id)
    for failure_ids in held.values():
        with engine.begin() as connection:
            released += release(connection, failure_ids)
    return released


def export_tariff(
    connection: Connection, tariff: str, *, version: int | None = None, timezone: str, side: Side = Side.CLIENT
) -> Iterator[str]:
    """The lines of a file that loads as a version's rates again, in its zone; the newest version by default.

    Args:
        connection: the database.
        tariff: its name.
        version: its version.
        timezone: the zone of a version that has none of its own.
        side: which it is of.

    Raises:
        UnknownTariffError: there is none.
        DataError: it is of the other side.
    """
    found = find_version(connection, tariff, version)
    if found is None:
        raise UnknownTariffError(tariff, version)
    check_side(tariff, found.side, side)
    rates = rates_of(connection, found.version_id)
    networks = side is Side.PROVIDER
    zone = found.timezone or timezone
    return write_tariff(rates, currency=found.terms.currency, timezone=zone, networks=networks)
