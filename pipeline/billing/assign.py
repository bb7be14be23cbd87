"""Giving a campaign, or all that have none of their own, a tariff."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.billing.assignment_rows import EVERYTHING, assign, unassign
from pipeline.billing.load import UnknownTariffError, release_waiting
from pipeline.billing.tariff_rows import find_version, lock_tariff
from pipeline.calls.rules.fast_path import REFERENCE_CHARACTERS
from pipeline.database.audit import record_action
from pipeline.errors import DataError, PipelineError, shown

if TYPE_CHECKING:
    from sqlalchemy import Engine


class NotAssignedError(PipelineError):
    """A campaign has no tariff of its own that could be taken away."""

    def __init__(self, campaign: str | None) -> None:
        super().__init__(campaign)
        self.campaign = campaign

    def __str__(self) -> str:
        if self.campaign is None:
            return "no tariff is assigned to everything"
        return f"campaign {shown(self.campaign)} is not assigned a tariff of its own"


class Assigned(NamedTuple):
    """What assigning a tariff, or taking one away, came to."""

    campaign: str | None
    """None stands for every campaign without a tariff of its own."""
    tariff: str | None
    """The tariff it has from now on; None when its own was taken away."""
    changed: bool
    retried: int
    """Failures released, which had waited for a rate."""


def assign_tariff(engine: Engine, campaign: str | None, tariff: str, *, assigned_by: str) -> Assigned:
    """Give a campaign a tariff from now on, then release the failures that waited for a rate.

    Args:
        engine: the database.
        campaign: None for every campaign that is not assigned one itself.
        tariff: the tariff.
        assigned_by: who assigns it.

    Raises:
        UnknownTariffError: nobody has loaded it.
        DataError: no campaign can have such a name.
    """
    ref = EVERYTHING if campaign is None else _campaign(campaign)
    with engine.begin() as connection:
        if find_version(connection, tariff) is None:
            raise UnknownTariffError(tariff)
        changed = assign(connection, ref, lock_tariff(connection, tariff), assigned_by=assigned_by)
        if changed:
            detail = {"campaign": campaign and ref, "tariff": tariff}
            record_action(connection, assigned_by, "assign tariff", detail)
    return Assigned(campaign and ref, tariff, changed, release_waiting(engine))


def unassign_tariff(engine: Engine, campaign: str | None, *, unassigned_by: str) -> Assigned:
    """Take away what `assign_tariff` gave, then release the failures that waited for a rate.

    Raises:
        NotAssignedError: it was not assigned any.
    """
    ref = EVERYTHING if campaign is None else _campaign(campaign)
    with engine.begin() as connection:
        before = unassign(connection, ref)
        if before is None:
            raise NotAssignedError(campaign)
        record_action(connection, unassigned_by, "unassign tariff", {"campaign": campaign and ref, "tariff": before})
    return Assigned(campaign and ref, None, changed=True, retried=release_waiting(engine))


def _campaign(name: str) -> str:
    ref = name.strip()
    if not ref or len(ref) > REFERENCE_CHARACTERS or "\x00" in ref:
        raise DataError("campaign", f"must be 1 to {REFERENCE_CHARACTERS} characters, got {shown(name)}")
    return ref
