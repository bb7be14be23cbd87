"""Which tariff a campaign has, on the client's side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.database.engine import execute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

DEFAULT_TARIFF = "default"
"""The tariff of every campaign that no other is assigned to."""

EVERYTHING = ""
"""Where a campaign is named: every one that is not assigned a tariff itself. No campaign has an empty name."""


class TariffsInUse(NamedTuple):
    """What a batch is rated by."""

    versions: dict[str, int]
    """The id of the version that rates each campaign's calls; a campaign without a tariff is left out."""
    of_provider: bool
    """Whether any provider's tariff is assigned to anything."""


def tariffs_in_use(connection: Connection, campaigns: Iterable[str]) -> TariffsInUse:
    """What rates these campaigns' calls, on the client's side, and whether there is a provider's side: one small query.

    A campaign has the tariff assigned to it, else the one assigned to everything, else `default`.
    """
    names = {"campaigns": list(campaigns), "everything": EVERYTHING, "default": DEFAULT_TARIFF}
    versions = dict(execute(connection, _IN_FORCE, names).fetchall())
    return TariffsInUse(versions, versions.pop(None, None) is not None)


def version_ids_in_force(connection: Connection, campaigns: Iterable[str]) -> dict[str, int]:
    """The id of the version that rates each campaign's calls, on the client's side; none for no tariff."""
    return tariffs_in_use(connection, campaigns).versions


_IN_FORCE: Final = """
SELECT c.ref, v.id FROM unnest(%(campaigns)s::text[]) AS c (ref)
LEFT JOIN tariff_assignments AS own ON own.campaign_ref = c.ref
LEFT JOIN tariff_assignments AS other ON other.campaign_ref = %(everything)s::text
JOIN tariffs AS t ON t.id = coalesce(own.tariff_id, other.tariff_id,
                                     (SELECT id FROM tariffs WHERE name = %(default)s::text))
CROSS JOIN LATERAL (SELECT id FROM tariff_versions WHERE tariff_id = t.id ORDER BY version DESC LIMIT 1) AS v
UNION ALL SELECT NULL, 0 WHERE EXISTS (SELECT FROM provider_assignments)
"""
"""Of the step bill, hence past SQLAlchemy. A row without a campaign says that there is a provider's side."""


def assign(connection: Connection, campaign: str, tariff_id: int, *, assigned_by: str) -> bool:
    """Give a campaign, or `EVERYTHING`, a tariff; False when it has it already."""
    done = connection.execute(
        text(
            "INSERT INTO tariff_assignments AS a (campaign_ref, tariff_id, assigned_by) "
            "VALUES (:campaign, :tariff_id, :assigned_by) "
            "ON CONFLICT (campaign_ref) DO UPDATE SET tariff_id = excluded.tariff_id, assigned_at = now(), "
            "  assigned_by = excluded.assigned_by WHERE a.tariff_id <> excluded.tariff_id"
        ),
        {"campaign": campaign, "tariff_id": tariff_id, "assigned_by": assigned_by},
    )
    return bool(done.rowcount)


def unassign(connection: Connection, campaign: str) -> str | None:
    """Take a campaign's own tariff away; returns the tariff's name, None when it had none."""
    name: str | None = connection.scalar(
        text(
            "DELETE FROM tariff_assignments USING tariffs "
            "WHERE campaign_ref = :campaign AND tariffs.id = tariff_id RETURNING tariffs.name"
        ),
        {"campaign": campaign},
    )
    return name


def assignments(connection: Connection) -> dict[str, list[str]]:
    """The campaigns each tariff is assigned to, by the tariff's name."""
    rows = connection.execute(
        text(
            "SELECT t.name, array_agg(a.campaign_ref ORDER BY a.campaign_ref) AS campaigns "
            "FROM tariff_assignments AS a JOIN tariffs AS t ON t.id = a.tariff_id GROUP BY t.name"
        )
    )
    return {row.name: list(row.campaigns) for row in rows}
