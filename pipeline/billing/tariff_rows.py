"""Tariffs and their versions. A version is written once, whole, and never changed: charges name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import func, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from pipeline.billing.assignment_rows import assignments
from pipeline.billing.provider_assignments import assignments_of_providers
from pipeline.billing.rate_rows import insert_rates
from pipeline.billing.rules.rating import DurationBasis, Rounding
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.terms import TariffTerms
from pipeline.database.engine import execute
from pipeline.database.narrowing import narrow
from pipeline.database.tables import rates, tariff_versions, tariffs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from pipeline.billing.rules.assigned import AssignedTo
    from pipeline.billing.rules.rating import Rate
    from pipeline.database.narrowing import Conditions

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
    side: Side = Side.CLIENT
    provider: str | None = None
    """Whose prices these are; None on the client's side."""


class ListedVersion(NamedTuple):
    """A version as a list shows it."""

    version: TariffVersion
    rates: int
    in_force: bool
    """Whether it is the newest of its tariff."""
    campaigns: tuple[str, ...] = ()
    """Those the tariff is assigned to; `EVERYTHING` may be among them."""
    assigned_to: tuple[AssignedTo, ...] = ()
    """The same of a provider's tariff."""


_SETTINGS = (
    "id", "version", "currency", "rounding", "decimals", "billable_dispositions", "duration_basis", "inbound_rated",
    "file_name", "file_sha256", "loaded_by", "loaded_at", "timezone",
)  # fmt: skip
_VERSIONS = select(
    tariffs.c.name, tariffs.c.side, tariffs.c.provider, *(tariff_versions.c[name] for name in _SETTINGS)
).join_from(tariff_versions, tariffs, tariffs.c.id == tariff_versions.c.tariff_id)


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
        side=Side(row.side),
        provider=row.provider,
    )


def lock_tariff(
    connection: Connection, tariff: str, side: Side = Side.CLIENT, provider: str | None = None
) -> tuple[int, Side, str | None]:
    """Take a tariff for this transaction, so that versions are loaded one after the other.

    Args:
        connection: the caller's transaction.
        tariff: its name, unique over both sides.
        side: that of a tariff that is new.
        provider: likewise.

    Returns:
        Its id, and the side and the provider that it has.
    """
    named = tariffs.c.name == tariff
    # Not tried where it is known: a try takes a number of the sequence, also in vain.
    new = select(literal(tariff), literal(side.value), literal(provider)).where(
        ~select(tariffs.c.id).where(named).exists()
    )
    made = insert(tariffs).from_select(["name", "side", "provider"], new).on_conflict_do_nothing()
    connection.execute(made)
    row = connection.execute(
        select(tariffs.c.id, tariffs.c.side, tariffs.c.provider).where(named).with_for_update()
    ).one()
    return int(row.id), Side(row.side), row.provider


def find_provider(connection: Connection, tariff: str) -> tuple[Side, str | None] | None:
    """The side of a tariff and its provider, also of one that has no version yet; None: there is none."""
    row = connection.execute(select(tariffs.c.side, tariffs.c.provider).where(tariffs.c.name == tariff)).one_or_none()
    return None if row is None else (Side(row.side), row.provider)


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
    of = tariff_versions.c
    newest = select(func.coalesce(func.max(of.version), 0)).where(of.tariff_id == tariff_id).scalar_subquery()
    made = insert(tariff_versions).values(
        tariff_id=tariff_id,
        version=newest + 1,
        currency=terms.currency,
        rounding=terms.rounding.value,
        decimals=terms.decimals,
        billable_dispositions=sorted(terms.billable_dispositions),
        duration_basis=terms.duration_basis.value,
        inbound_rated=terms.inbound_rated,
        timezone=timezone,
        file_name=file_name,
        file_sha256=file_sha256,
        loaded_by=loaded_by,
    )
    row = connection.execute(made.returning(of.id, of.version)).one()
    insert_rates(connection, row.id, rates)
    return int(row.version)


def version_by_id(connection: Connection, version_id: int) -> TariffVersion:
    """A version that is known to exist."""
    return _version(connection.execute(_VERSIONS.where(tariff_versions.c.id == version_id)).one())


def find_version(connection: Connection, tariff: str, version: int | None = None) -> TariffVersion | None:
    """A version by its number, or the newest one."""
    row = connection.execute(
        _VERSIONS.where(*narrow({"tariff": tariff, "version": version}, _CONDITIONS))
        .order_by(tariff_versions.c.version.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _version(row)


_CONDITIONS: Conditions = {
    "tariff": lambda name: tariffs.c.name == name,
    "version": lambda number: tariff_versions.c.version == number,
}


def list_versions(connection: Connection, side: Side | None = None) -> list[ListedVersion]:
    """Every version of every tariff, by name, the newest first.

    Args:
        connection: the database.
        side: those of one side; None of both.
    """
    version = tariff_versions.c.version
    of_version = rates.c.tariff_version_id
    counted = select(of_version, func.count().label("rates")).group_by(of_version).subquery("counted")
    newest = func.max(version).over(partition_by=tariff_versions.c.tariff_id)
    rows = connection.execute(
        _VERSIONS.add_columns(func.coalesce(counted.c.rates, 0).label("rates"), (version == newest).label("in_force"))
        .outerjoin(counted, counted.c.tariff_version_id == tariff_versions.c.id)
        .where(*([] if side is None else [tariffs.c.side == side.value]))
        .order_by(tariffs.c.name, version.desc())
    )
    campaigns, of_providers = assignments(connection), assignments_of_providers(connection)
    return [
        ListedVersion(
            _version(row),
            row.rates,
            row.in_force,
            tuple(campaigns.get(row.name, ())),
            tuple(of_providers.get(row.name, ())),
        )
        for row in rows
    ]


def zones_in_force(connection: Connection) -> list[tuple[str, str | None]]:
    """The tariffs that have hours or weekdays, each with the zone of its version in force; none to who may not read."""
    if not connection.scalar(text("SELECT has_table_privilege('rates', 'SELECT')")):
        return []
    rows = connection.execute(_ZONES_IN_FORCE)
    return [(row.name, row.timezone) for row in rows]


# SQL: the newest version of each tariff is looked up by its key, and its rates only until the first that has hours.
_ZONES_IN_FORCE = text(
    "SELECT t.name, v.timezone FROM tariffs AS t CROSS JOIN LATERAL "
    "  (SELECT id, timezone FROM tariff_versions WHERE tariff_id = t.id ORDER BY version DESC LIMIT 1) AS v "
    "WHERE EXISTS (SELECT FROM rates AS r WHERE r.tariff_version_id = v.id "
    "              AND (r.time_from IS NOT NULL OR r.weekdays IS NOT NULL)) "
    "ORDER BY t.name"
)


def use_tariffs(connection: Connection) -> None:
    """Say that this transaction rates calls, until its end; many may at once."""
    execute(connection, f"SELECT pg_advisory_xact_lock_shared({_TARIFFS_IN_USE})", {})


def wait_for_ratings(connection: Connection) -> datetime:
    """Wait until no transaction is left that began to rate before now; returns the instant.

    A batch being billed while a tariff is loaded has read the version before, and its failures are not to be
    seen until it commits. From here on they are, and whoever rates later reads the new version.
    """
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_TARIFFS_IN_USE})"))
    return cast("datetime", connection.execute(text("SELECT clock_timestamp()")).scalar_one())
