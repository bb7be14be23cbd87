"""Loading a tariff, and finding the one in force."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.domain.currencies import MINOR_UNITS
from pipeline.domain.disposition import BILLABLE_BY_DEFAULT, Disposition
from pipeline.domain.errors import DataError, PipelineError, shown
from pipeline.domain.rate_deck import RateDeck
from pipeline.domain.rating import DurationBasis, Rounding
from pipeline.domain.tariff_file import BadLine, TariffFile, TariffFileError, read_tariff, write_tariff
from pipeline.storage.assignments import DEFAULT_TARIFF, EVERYTHING, version_ids_in_force
from pipeline.storage.failures import release, release_free, waiting_for_reference
from pipeline.storage.tariffs import (
    TariffTerms,
    find_version,
    insert_version,
    lock_tariff,
    outlast_users,
    rates_of,
    use_tariffs,
    version_by_id,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection, Engine

    from pipeline.storage.tariffs import TariffVersion

RATES_KEPT: Final = 400_000
"""Rates a process keeps in memory, of all tariffs; the version in hand is kept however large it is."""
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


class TariffSettings(NamedTuple):
    """What a person may set of a tariff besides its rates; None leaves it as the version before has it."""

    rounding: Rounding | None = None
    decimals: int | None = None
    billable_dispositions: frozenset[Disposition] | None = None
    duration_basis: DurationBasis | None = None
    inbound_rated: bool | None = None

    def terms(self, currency: str, before: TariffTerms | None) -> TariffTerms:
        """What they come to: left out, those of the version before, and at first the usual ones.

        Decimals belong to a currency, and are kept only with it.
        """
        usual = before or TariffTerms(
            currency, Rounding.HALF_UP, MINOR_UNITS[currency], frozenset(d.value for d in BILLABLE_BY_DEFAULT)
        )
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
) -> TariffLoaded:
    """Make a file the newest version of a tariff, then release the failures that waited for a rate.

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

    Raises:
        TariffFileError: with every bad line; nothing was written.
        DataError: the tariff's name or another argument is none.
    """
    if _TARIFF_NAME.fullmatch(tariff) is None:
        raise DataError("tariff", f"must be 1 to 64 letters, digits, dots, _ or -, got {shown(tariff)}")
    if settings.decimals is not None and not 0 <= settings.decimals <= MOST_DECIMALS:
        raise DataError("decimals", f"must be from 0 to {MOST_DECIMALS}, got {settings.decimals}")
    file = read_tariff(decode(content), default_currency=default_currency, timezone=timezone)
    sha256 = hashlib.sha256(content).digest()
    if dry_run:
        with engine.connect() as connection:
            current = find_version(connection, tariff)
            terms = settings.terms(file.currency, current and current.terms)
            already = _is(connection, current, sha256, terms, file, timezone=timezone)
        version = 1 if current is None else current.version + (not already)
        return TariffLoaded(tariff, version, len(file.rates), file.currency, 0, already, dry_run=True, terms=terms)
    with engine.begin() as connection:
        tariff_id = lock_tariff(connection, tariff)
        current = find_version(connection, tariff)
        terms = settings.terms(file.currency, current and current.terms)
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
    retried = release_waiting(engine)
    return TariffLoaded(tariff, version, len(file.rates), file.currency, retried, already, dry_run=False, terms=terms)


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
        started = outlast_users(connection)
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


def export_tariff(connection: Connection, tariff: str, *, version: int | None = None, timezone: str) -> Iterator[str]:
    """The lines of a file that loads as a version's rates again, in its zone; the newest version by default.

    Args:
        connection: the database.
        tariff: its name.
        version: its version.
        timezone: the zone of a version that has none of its own.

    Raises:
        UnknownTariffError: there is none.
    """
    found = find_version(connection, tariff, version)
    if found is None:
        raise UnknownTariffError(tariff, version)
    rates = rates_of(connection, found.version_id)
    return write_tariff(rates, currency=found.terms.currency, timezone=found.timezone or timezone)


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
        """The id of the version that rates each campaign's calls in this transaction; none where there is no tariff.

        A load that commits later waits for this transaction before it releases failures, see `outlast_users`.
        """
        use_tariffs(connection)
        return version_ids_in_force(connection, campaigns)

    def tariff_in_force(self, connection: Connection, campaign: str = EVERYTHING) -> LoadedTariff | None:
        """The tariff to rate the calls of one campaign by in this transaction; None when there is none."""
        version_id = self.in_force(connection, [campaign]).get(campaign)
        return None if version_id is None else self.version(connection, version_id)

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
