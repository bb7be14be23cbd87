"""Tariffs, their versions and rates. A version is written once, whole, and never changed: charges name it."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import text

from pipeline.billing.assignment_rows import assignments
from pipeline.billing.rules.rating import DurationBasis, Rate, Rounding
from pipeline.billing.rules.terms import TariffTerms
from pipeline.database.engine import copy_rows, driver_connection
from pipeline.database.tables import rates as rates_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, time

    from sqlalchemy import Connection, Row

_FETCHED_AT_ONCE = 10_000
# Advisory locks with two keys are apart from those with one, which the steps of batches take.
_TARIFFS_IN_USE = "1952543334, 0"


class TariffVersion(NamedTuple):
    """One version of a tariff."""

    version_id: int
    tariff: str
    version: int
    terms: TariffTerms
    file_name: str
    file_sha256: bytes
    loaded_by: str
    loaded_at: datetime
    timezone: str | None = None
    """The zone of its hours and weekdays; None in a version older than the column: that of whoever rates."""


class ListedVersion(NamedTuple):
    """A version as a list shows it."""

    version: TariffVersion
    rates: int
    in_force: bool
    """Whether it is the newest of its tariff."""
    campaigns: tuple[str, ...] = ()
    """Those the tariff is assigned to; `EVERYTHING` may be among them."""


_VERSION = (
    "v.id, t.name, v.version, v.currency, v.rounding, v.decimals, v.billable_dispositions, v.duration_basis, "
    "v.inbound_rated, v.file_name, v.file_sha256, v.loaded_by, v.loaded_at, v.timezone"
)
_VERSIONS = "tariff_versions AS v JOIN tariffs AS t ON t.id = v.tariff_id"


def _version(row: Row[Any]) -> TariffVersion:
    return TariffVersion(
        version_id=row.id,
        tariff=row.name,
        version=row.version,
        terms=TariffTerms(
            currency=row.currency,
            rounding=Rounding(row.rounding),
            decimals=row.decimals,
            billable_dispositions=frozenset(row.billable_dispositions),
            duration_basis=DurationBasis(row.duration_basis),
            inbound_rated=row.inbound_rated,
        ),
        file_name=row.file_name,
        file_sha256=bytes(row.file_sha256),
        loaded_by=row.loaded_by,
        loaded_at=row.loaded_at,
        timezone=row.timezone,
    )


def lock_tariff(connection: Connection, tariff: str) -> int:
    """Take a tariff for this transaction, so that versions are loaded one after the other; returns its id."""
    connection.execute(
        text(
            "INSERT INTO tariffs (name) SELECT cast(:name AS text) "
            "WHERE NOT EXISTS (SELECT FROM tariffs WHERE name = :name) ON CONFLICT (name) DO NOTHING"
        ),
        {"name": tariff},
    )
    return int(
        connection.execute(text("SELECT id FROM tariffs WHERE name = :name FOR UPDATE"), {"name": tariff}).scalar_one()
    )


def insert_version(
    connection: Connection,
    tariff_id: int,
    rates: Iterable[Rate],
    *,
    terms: TariffTerms,
    timezone: str,
    file_name: str,
    file_sha256: bytes,
    loaded_by: str,
) -> int:
    """Write the next version of a tariff, which this transaction must hold; returns its number.

    Args:
        connection: the caller's transaction.
        tariff_id: what `lock_tariff` returned.
        rates: the rates; the `id` of each is its line.
        terms: what the version says besides its rates.
        timezone: the IANA zone of the rates' hours and weekdays.
        file_name: where the rates came from.
        file_sha256: of the file as it was.
        loaded_by: who loads it.
    """
    row = connection.execute(
        text(
            "INSERT INTO tariff_versions (tariff_id, version, currency, rounding, decimals, "
            "  billable_dispositions, duration_basis, inbound_rated, timezone, file_name, file_sha256, loaded_by) "
            "SELECT :tariff_id, coalesce(max(version), 0) + 1, :currency, :rounding, :decimals, "
            "  cast(:billable AS text[]), :duration_basis, :inbound_rated, :timezone, :file_name, :file_sha256, "
            "  :loaded_by "
            "FROM tariff_versions WHERE tariff_id = :tariff_id RETURNING id, version"
        ),
        {
            "tariff_id": tariff_id,
            "currency": terms.currency,
            "rounding": terms.rounding.value,
            "decimals": terms.decimals,
            "billable": sorted(terms.billable_dispositions),
            "duration_basis": terms.duration_basis.value,
            "inbound_rated": terms.inbound_rated,
            "timezone": timezone,
            "file_name": file_name,
            "file_sha256": file_sha256,
            "loaded_by": loaded_by,
        },
    ).one()
    copy_rows(connection, rates_table, _RATE_COLUMNS, (_rate_row(row.id, rate) for rate in rates))
    return int(row.version)


_RATE_COLUMNS = (
    "tariff_version_id",
    "line",
    "prefix",
    "description",
    "rate_per_minute",
    "connect_fee",
    "first_increment",
    "next_increment",
    "minimum_charge",
    "maximum_charge",
    "minimum_seconds",
    "free_below_seconds",
    "attempt_fee",
    "valid_from",
    "valid_to",
    "time_from",
    "time_to",
    "weekdays",
)


def _rate_row(version_id: int, rate: Rate) -> tuple[object, ...]:
    time_from, time_to = rate.time_of_day or (None, None)
    return (
        version_id,
        rate.id,
        rate.prefix,
        rate.description,
        rate.rate_per_minute,
        rate.connect_fee,
        rate.first_increment,
        rate.next_increment,
        rate.minimum_charge,
        rate.maximum_charge,
        rate.minimum_seconds,
        rate.free_below_seconds,
        rate.attempt_fee,
        rate.valid_from,
        rate.valid_to,
        time_from,
        time_to,
        None if rate.weekdays is None else sorted(rate.weekdays),
    )


def version_by_id(connection: Connection, version_id: int) -> TariffVersion:
    """A version that is known to exist."""
    return _version(
        connection.execute(
            text(f"SELECT {_VERSION} FROM {_VERSIONS} WHERE v.id = :id"),
            {"id": version_id},
        ).one()
    )


def find_version(connection: Connection, tariff: str, version: int | None = None) -> TariffVersion | None:
    """A version by its number, or the newest one."""
    row = connection.execute(
        text(
            f"SELECT {_VERSION} FROM {_VERSIONS} "
            "WHERE t.name = :name AND (cast(:version AS integer) IS NULL OR v.version = :version) "
            "ORDER BY v.version DESC LIMIT 1"
        ),
        {"name": tariff, "version": version},
    ).one_or_none()
    return None if row is None else _version(row)


def list_versions(connection: Connection) -> list[ListedVersion]:
    """Every version of every tariff, by name, the newest first."""
    rows = connection.execute(
        text(
            f"SELECT {_VERSION}, coalesce(r.rates, 0) AS rates, "
            "  v.version = max(v.version) OVER (PARTITION BY v.tariff_id) AS in_force "
            f"FROM {_VERSIONS} "
            "LEFT JOIN (SELECT tariff_version_id, count(*) AS rates FROM rates GROUP BY 1) AS r "
            "  ON r.tariff_version_id = v.id "
            "ORDER BY t.name, v.version DESC"
        )
    )
    campaigns = assignments(connection)
    return [ListedVersion(_version(row), row.rates, row.in_force, tuple(campaigns.get(row.name, ()))) for row in rows]


def zones_in_force(connection: Connection) -> list[tuple[str, str | None]]:
    """The tariffs that have hours or weekdays, each with the zone of its version in force; none to who may not read."""
    if not connection.scalar(text("SELECT has_table_privilege('rates', 'SELECT')")):
        return []
    rows = connection.execute(
        text(
            "SELECT t.name, v.timezone FROM tariffs AS t CROSS JOIN LATERAL "
            "  (SELECT id, timezone FROM tariff_versions WHERE tariff_id = t.id ORDER BY version DESC LIMIT 1) AS v "
            "WHERE EXISTS (SELECT FROM rates AS r WHERE r.tariff_version_id = v.id "
            "              AND (r.time_from IS NOT NULL OR r.weekdays IS NOT NULL)) "
            "ORDER BY t.name"
        )
    )
    return [(row.name, row.timezone) for row in rows]


def rates_of(connection: Connection, version_id: int, *, prefixes: Sequence[str] | None = None) -> Iterator[Rate]:
    """The rates of a version in the order of its file, fetched a piece at a time.

    Args:
        connection: the caller's transaction.
        version_id: the version.
        prefixes: only the rates of these prefixes.
    """
    wanted = "" if prefixes is None else "AND prefix = ANY(%(prefixes)s) "
    # Amounts as text, exact to the last zero. A few distinct ones make up a tariff, and its rates share them, as
    # they do places and dates: that is half of the memory.
    query = (
        "SELECT line, prefix, description, rate_per_minute::text, connect_fee::text, first_increment, "
        "  next_increment, minimum_charge::text, maximum_charge::text, minimum_seconds, free_below_seconds, "
        "  attempt_fee::text, valid_from, valid_to, time_from, time_to, weekdays "
        f"FROM rates WHERE tariff_version_id = %(version)s {wanted}ORDER BY line"
    )
    with driver_connection(connection).cursor("rates_of_version") as cursor:
        cursor.itersize = _FETCHED_AT_ONCE
        cursor.execute(cast("Any", query), {"version": version_id, "prefixes": list(prefixes or ())})
        amounts = _Amounts()
        shared: dict[object, Any] = {}
        for row in cursor:
            yield _rate(row, amounts, shared)


class _Amounts(dict[str, Decimal]):
    """One `Decimal` for each amount as text."""

    def __missing__(self, digits: str) -> Decimal:
        amount = self[digits] = Decimal(digits)
        return amount


def _rate(row: tuple[Any, ...], amounts: _Amounts, shared: dict[object, Any]) -> Rate:
    (line, prefix, description, per_minute, fee, first, next_, least, most, least_seconds, free_below,
     attempt, valid_from, valid_to, time_from, time_to, weekdays) = row  # fmt: skip
    return Rate(
        prefix=prefix,
        rate_per_minute=amounts[per_minute],
        connect_fee=amounts[fee],
        first_increment=first,
        next_increment=next_,
        description=shared.setdefault(description, description),
        minimum_charge=None if least is None else amounts[least],
        maximum_charge=None if most is None else amounts[most],
        minimum_seconds=least_seconds,
        free_below_seconds=free_below,
        attempt_fee=amounts[attempt],
        valid_from=shared.setdefault(valid_from, valid_from),
        valid_to=shared.setdefault(valid_to, valid_to),
        time_of_day=None if time_from is None else _window(time_from, time_to),
        weekdays=None if weekdays is None else _days(tuple(weekdays)),
        id=line,
    )


@lru_cache(maxsize=1_024)
def _window(time_from: time, time_to: time) -> tuple[time, time]:
    return time_from, time_to


@lru_cache(maxsize=128)
def _days(days: tuple[int, ...]) -> frozenset[int]:
    return frozenset(days)


def use_tariffs(connection: Connection) -> None:
    """Say that this transaction rates calls, until its end; many may at once."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock_shared({_TARIFFS_IN_USE})"))


def wait_for_ratings(connection: Connection) -> datetime:
    """Wait until no transaction is left that began to rate before now; returns the instant.

    A batch being billed while a tariff is loaded has read the version before, and its failures are not to be
    seen until it commits. From here on they are, and whoever rates later reads the new version.
    """
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_TARIFFS_IN_USE})"))
    return cast("datetime", connection.execute(text("SELECT clock_timestamp()")).scalar_one())
