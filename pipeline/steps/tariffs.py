"""Loading a tariff, finding the one in force, and saying beforehand what a call will cost."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.domain.currencies import MINOR_UNITS
from pipeline.domain.disposition import BILLABLE_BY_DEFAULT
from pipeline.domain.errors import DataError, NoRateError, PipelineError, shown
from pipeline.domain.numbering import normalize_number
from pipeline.domain.rate_deck import RateDeck
from pipeline.domain.rating import Rounding, rate_call
from pipeline.domain.tariff_file import BadLine, TariffFile, TariffFileError, read_tariff, write_tariff
from pipeline.steps.bill import decide
from pipeline.storage.failures import retry_references
from pipeline.storage.ledger import Line, Unbilled
from pipeline.storage.tariffs import (
    DEFAULT_TARIFF,
    TariffTerms,
    find_version,
    insert_version,
    lock_tariff,
    newest_version_id,
    outlast_users,
    rates_of,
    use_tariffs,
    version_by_id,
    waiting_references,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from pipeline.domain.rating import Rate
    from pipeline.storage.tariffs import TariffVersion

VERSIONS_KEPT: Final = 2
"""Tariff versions a process keeps in memory: the one in force, and the one before while it is replaced."""
MOST_DECIMALS: Final = 10
RELEASED_AT_ONCE: Final = 2_000

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


class LoadedTariff(NamedTuple):
    """One version of a tariff, ready to rate calls."""

    version_id: int
    name: str
    version: int
    currency: str
    rounding: Rounding
    decimals: int
    billable_dispositions: frozenset[str]
    deck: RateDeck


class Quote(NamedTuple):
    """What a call costs and why; without a rate where none was needed."""

    prefix: str | None
    tariff: str
    rate_per_minute: Decimal | None
    connect_fee: Decimal | None
    billable_seconds: int
    unrounded: Decimal
    amount: Decimal
    currency: str
    steps: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, amounts as decimal strings."""
        return {
            name: f"{value:f}" if name in _AMOUNTS and value is not None else value
            for name, value in self._asdict().items()
        }


_AMOUNTS: Final = frozenset({"rate_per_minute", "connect_fee", "unrounded", "amount"})


def load_tariff(
    engine: Engine,
    content: bytes,
    *,
    file_name: str,
    tariff: str = DEFAULT_TARIFF,
    loaded_by: str,
    default_currency: str,
    timezone: str,
    rounding: Rounding = Rounding.HALF_UP,
    decimals: int | None = None,
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
        timezone: the zone of the file's dates and hours.
        rounding: which way an amount's last digit goes.
        decimals: of an amount; by default those of the currency.
        dry_run: check the file and say what would come of it, but write nothing.

    Raises:
        TariffFileError: with every bad line; nothing was written.
        DataError: the tariff's name or another argument is none.
    """
    if _TARIFF_NAME.fullmatch(tariff) is None:
        raise DataError("tariff", f"must be 1 to 64 letters, digits, dots, _ or -, got {shown(tariff)}")
    if decimals is not None and not 0 <= decimals <= MOST_DECIMALS:
        raise DataError("decimals", f"must be from 0 to {MOST_DECIMALS}, got {decimals}")
    file = read_tariff(decode(content), default_currency=default_currency, timezone=timezone)
    terms = TariffTerms(
        currency=file.currency,
        rounding=rounding,
        decimals=MINOR_UNITS[file.currency] if decimals is None else decimals,
        billable_dispositions=frozenset(disposition.value for disposition in BILLABLE_BY_DEFAULT),
    )
    sha256 = hashlib.sha256(content).digest()
    if dry_run:
        with engine.connect() as connection:
            current = find_version(connection, tariff)
            already = _is(connection, current, sha256, terms, file)
        version = 1 if current is None else current.version + (not already)
        return TariffLoaded(tariff, version, len(file.rates), file.currency, 0, already, dry_run=True)
    with engine.begin() as connection:
        tariff_id = lock_tariff(connection, tariff)
        current = find_version(connection, tariff)
        already = _is(connection, current, sha256, terms, file)
        if already and current is not None:
            version = current.version
        else:
            version = insert_version(
                connection,
                tariff_id,
                file.rates,
                terms=terms,
                file_name=file_name,
                file_sha256=sha256,
                loaded_by=loaded_by,
            )
    retried = release_waiting(engine)
    return TariffLoaded(tariff, version, len(file.rates), file.currency, retried, already, dry_run=False)


def _is(
    connection: Connection, current: TariffVersion | None, sha256: bytes, terms: TariffTerms, file: TariffFile
) -> bool:
    """Whether a version is this file; the same bytes say other things in another time zone."""
    return (
        current is not None
        and current.file_sha256 == sha256
        and current.terms == terms
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

    While this goes on, workers try again what was released, and what fails again waits at the front of the
    line. So each part reaches beyond those, and the end is when nothing is left that failed before the start.
    """
    with engine.begin() as connection:
        started = outlast_users(connection)
    with engine.connect() as connection:
        waiting = waiting_references(connection, started)
    released = waiting.old
    while waiting.old:
        with engine.begin() as connection:
            retry_references(connection, limit=min(at_once, waiting.old) + waiting.new)
        with engine.connect() as connection:
            waiting = waiting_references(connection, started)
    return released


def export_tariff(connection: Connection, tariff: str, *, version: int | None = None, timezone: str) -> Iterator[str]:
    """The lines of a file that loads as a version's rates again; the newest version by default.

    Raises:
        UnknownTariffError: there is none.
    """
    found = find_version(connection, tariff, version)
    if found is None:
        raise UnknownTariffError(tariff, version)
    rates = rates_of(connection, found.version_id)
    return write_tariff(rates, currency=found.terms.currency, timezone=timezone)


class TariffCache:
    """The tariffs a process has read, so that a batch costs one small query to know that they still hold."""

    def __init__(self, timezone: str) -> None:
        """Nothing is read yet.

        Args:
            timezone: the zone of the hours and weekdays of rates.
        """
        self._timezone = timezone
        self._loaded: OrderedDict[int, LoadedTariff] = OrderedDict()
        self._lock = threading.Lock()

    def tariff_in_force(self, connection: Connection) -> LoadedTariff | None:
        """The tariff to rate calls by in this transaction; None when none was ever loaded.

        A load that commits later waits for this transaction before it releases failures, see `outlast_users`.
        """
        use_tariffs(connection)
        # One tariff for every call. When campaigns have tariffs of their own, their ids are asked for here.
        version_id = newest_version_id(connection, DEFAULT_TARIFF)
        return None if version_id is None else self._version(connection, version_id)

    def _version(self, connection: Connection, version_id: int) -> LoadedTariff:
        with self._lock:
            known = self._loaded.get(version_id)
            if known is None:
                while len(self._loaded) >= VERSIONS_KEPT:
                    self._loaded.popitem(last=False)
                version = version_by_id(connection, version_id)
                rates = rates_of(connection, version_id)
                known = self._loaded[version_id] = _loaded(version, RateDeck(rates, self._timezone))
            self._loaded.move_to_end(version_id)
            return known


def _loaded(version: TariffVersion, deck: RateDeck) -> LoadedTariff:
    return LoadedTariff(version.version_id, version.tariff, version.version, *version.terms, deck=deck)


def quote(
    connection: Connection,
    number: str,
    seconds: int,
    *,
    at: datetime,
    region: str,
    disposition: str,
    timezone: str,
) -> Quote:
    """What a call would be charged if it were billed now: the ledger's own decision, explained.

    Args:
        connection: the database; only the rates of the number's prefixes are read.
        number: the number called, as somebody in the region would dial it.
        seconds: how long was talked.
        at: when it was dialled.
        region: the region of national numbers.
        disposition: how it ended.
        timezone: the zone of the hours and weekdays of rates.

    Raises:
        NoRateError: no tariff, or no rate for the number at that time.
    """
    dialled = normalize_number(number, region)
    version = find_version(connection, DEFAULT_TARIFF)
    if version is None:
        raise NoRateError(dialled.value, at)
    prefixes = [dialled.digits[:length] for length in range(len(dialled.digits) + 1)]
    deck = RateDeck(rates_of(connection, version.version_id, prefixes=prefixes), timezone)
    tariff = _loaded(version, deck)
    call = Unbilled(
        call_id=0,
        campaign_ref="",
        client_number=dialled.value,
        client_number_is_e164=dialled.is_e164,
        direction="outbound",
        dialed_at=at.astimezone(UTC),
        talk_seconds=seconds,
        disposition=disposition,
    )
    try:
        decision = decide(call, tariff)
    except NoRateError:
        raise NoRateError(dialled.value, at, tariff=tariff.name) from None  # a quote has no campaign to name
    rate = deck.find(dialled.digits, call.dialed_at)
    steps = [f"{dialled.value} by tariff {tariff.name}, version {version.version}: {_which(rate)}"]
    rated = rate and rate_call(rate, seconds, rounding=tariff.rounding, decimals=tariff.decimals)
    steps += rated.steps if rated and rated.reason == decision.reason else [f"not charged: {decision.reason}"]
    charged = decision if isinstance(decision, Line) else None
    nothing = Decimal(0).scaleb(-tariff.decimals)
    return Quote(
        prefix=None if rate is None else rate.prefix,
        tariff=tariff.name,
        rate_per_minute=None if rate is None else rate.rate_per_minute,
        connect_fee=None if rate is None else rate.connect_fee,
        billable_seconds=charged.billable_seconds if charged else 0,
        unrounded=charged.unrounded if charged else nothing,
        amount=charged.amount if charged else nothing,
        currency=tariff.currency,
        steps=tuple(steps),
    )


def _which(rate: Rate | None) -> str:
    if rate is None:
        return "no rate"
    name = f" ({rate.description})" if rate.description else ""
    return f"prefix {rate.prefix}{name}" if rate.prefix else f"the default rate{name}"
