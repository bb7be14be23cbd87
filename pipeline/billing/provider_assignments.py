"""Which provider's tariff a call has: the most specific of what is assigned to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from pipeline.billing.rules.assigned import ANY, AssignedTo, most_specific_first
from pipeline.database.engine import execute
from pipeline.database.tables import provider_assignments, tariffs

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Connection

    from pipeline.billing.rules.pricing import Unbilled

# Of the step bill, hence past SQLAlchemy: the newest version of what is assigned to any of a batch's calls.
_IN_FORCE: Final = """
SELECT a.dial_number, a.campaign_ref, a.source, v.id FROM provider_assignments AS a
CROSS JOIN LATERAL (SELECT id FROM tariff_versions WHERE tariff_id = a.tariff_id ORDER BY version DESC LIMIT 1) AS v
WHERE a.dial_number = ANY(%(dial_numbers)s::text[]) AND a.campaign_ref = ANY(%(campaigns)s::text[])
  AND a.source = ANY(%(sources)s::text[])
"""


def version_ids_of_provider(connection: Connection, calls: Collection[Unbilled]) -> dict[int, int]:
    """The id of the version of a provider's tariff that rates each call, by the call's id.

    A call that none is assigned to is left out.
    """
    if not calls:
        return {}
    rows = execute(
        connection,
        _IN_FORCE,
        {
            "dial_numbers": [ANY, *{call.dial_number for call in calls if call.dial_number}],
            "campaigns": [ANY, *{call.campaign_ref for call in calls}],
            "sources": [ANY, *{call.source for call in calls}],
        },
    ).fetchall()
    versions = {AssignedTo(*row[:3]): int(row[3]) for row in rows}
    found: dict[int, int] = {}
    for call in calls:
        version_id = next((versions[to] for to in most_specific_first(call) if to in versions), None)
        if version_id is not None:
            found[call.call_id] = version_id
    return found


def assign(connection: Connection, to: AssignedTo, tariff_id: int, *, assigned_by: str) -> bool:
    """Assign a provider's tariff; False when it is assigned already."""
    given = insert(provider_assignments).values(**to._asdict(), tariff_id=tariff_id, assigned_by=assigned_by)
    new = given.excluded
    done = connection.execute(
        given.on_conflict_do_update(
            index_elements=list(provider_assignments.primary_key.columns),
            set_={"tariff_id": new.tariff_id, "assigned_at": new.assigned_at, "assigned_by": new.assigned_by},
            where=provider_assignments.c.tariff_id != new.tariff_id,
        )
    )
    return bool(done.rowcount)


def unassign(connection: Connection, to: AssignedTo) -> str | None:
    """Take an assignment away; returns the tariff's name, None when there was none."""
    gone = delete(provider_assignments).where(_is(to), tariffs.c.id == provider_assignments.c.tariff_id)
    name: str | None = connection.scalar(gone.returning(tariffs.c.name))
    return name


def _is(to: AssignedTo) -> ColumnElement[bool]:
    of = provider_assignments.c
    return (of.dial_number == to.dial_number) & (of.campaign_ref == to.campaign_ref) & (of.source == to.source)


def assignments_of_providers(connection: Connection) -> dict[str, list[AssignedTo]]:
    """What each provider's tariff is assigned to, by the tariff's name."""
    of = provider_assignments.c
    found: dict[str, list[AssignedTo]] = {}
    columns = [of[name] for name in AssignedTo._fields]
    for name, *to in connection.execute(
        select(tariffs.c.name, *columns).join_from(provider_assignments, tariffs).order_by(tariffs.c.name, *columns)
    ):
        found.setdefault(name, []).append(AssignedTo(*to))
    return found
