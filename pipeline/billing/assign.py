"""Giving a campaign, or all that have none of their own, a tariff; and calls of any kind a provider's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.billing import provider_assignments
from pipeline.billing.assignment_rows import EVERYTHING, assign, unassign
from pipeline.billing.load import UnknownTariffError, check_side, release_waiting
from pipeline.billing.rules.assigned import AssignedTo
from pipeline.billing.rules.sides import Side
from pipeline.billing.tariff_rows import find_version, lock_tariff
from pipeline.calls.rules.fast_path import REFERENCE_CHARACTERS
from pipeline.calls.rules.phone_numbers import normalize_number
from pipeline.database.audit import record_action
from pipeline.errors import DataError, PipelineError, shown

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class NotAssignedError(PipelineError):
    """A campaign has no tariff of its own that could be taken away."""

    def __init__(self, campaign: str | AssignedTo | None) -> None:
        super().__init__(campaign)
        self.campaign = campaign

    def __str__(self) -> str:
        if isinstance(self.campaign, AssignedTo):
            return f"no provider's tariff is assigned to {self.campaign}"
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
        DataError: no campaign can have such a name, or it is a provider's tariff.
    """
    ref = EVERYTHING if campaign is None else _campaign(campaign)
    with engine.begin() as connection:
        changed = assign(connection, ref, _known(connection, tariff, Side.CLIENT), assigned_by=assigned_by)
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


def _known(connection: Connection, tariff: str, side: Side) -> int:
    """The id of a tariff of this side, held for the transaction."""
    found = find_version(connection, tariff)
    if found is None:
        raise UnknownTariffError(tariff)
    check_side(tariff, found.side, side)
    return lock_tariff(connection, tariff)[0]


def _campaign(name: str, field: str = "campaign") -> str:
    ref = name.strip()
    if not ref or len(ref) > REFERENCE_CHARACTERS or "\x00" in ref:
        raise DataError(field, f"must be 1 to {REFERENCE_CHARACTERS} characters, got {shown(name)}")
    return ref


class AssignedProvider(NamedTuple):
    """What assigning a provider's tariff, or taking one away, came to."""

    to: AssignedTo
    tariff: str
    """The one assigned, or taken away."""
    changed: bool


def assigned_to(
    *, dial_number: str | None = None, campaign: str | None = None, source: str | None = None, region: str
) -> AssignedTo:
    """What a provider's tariff is to be assigned to; of nothing it is everything.

    Args:
        dial_number: the dialler's own number, as somebody in the region would dial it.
        campaign: a campaign, at every dialler or at that of `source`.
        source: a dialler.
        region: the region of a national number.

    Raises:
        DataError: one of them cannot be, or a number is given beside others.
    """
    if dial_number is None:
        named = {"campaign_ref": campaign, "source": source}
        return AssignedTo(**{field: _campaign(name, field) for field, name in named.items() if name is not None})
    if campaign is not None or source is not None:
        raise DataError("dial_number", "goes before campaign and dialler: assign to the number alone")
    return AssignedTo(dial_number=normalize_number(_campaign(dial_number, "dial_number"), region).value)


def assign_provider(engine: Engine, to: AssignedTo, tariff: str, *, assigned_by: str) -> AssignedProvider:
    """Have calls charged on the provider's side from now on, by a provider's tariff.

    Those that are billed already are charged by rerating the provider's side.

    Raises:
        UnknownTariffError: nobody has loaded it.
        DataError: it is a client's tariff.
    """
    with engine.begin() as connection:
        tariff_id = _known(connection, tariff, Side.PROVIDER)
        changed = provider_assignments.assign(connection, to, tariff_id, assigned_by=assigned_by)
        if changed:
            record_action(connection, assigned_by, "assign provider tariff", {**to._asdict(), "tariff": tariff})
    return AssignedProvider(to, tariff, changed)


def unassign_provider(engine: Engine, to: AssignedTo, *, unassigned_by: str) -> AssignedProvider:
    """Take away what `assign_provider` gave; what was charged stays.

    Raises:
        NotAssignedError: nothing was assigned to just that.
    """
    with engine.begin() as connection:
        tariff = provider_assignments.unassign(connection, to)
        if tariff is None:
            raise NotAssignedError(to)
        record_action(connection, unassigned_by, "unassign provider tariff", {**to._asdict(), "tariff": tariff})
    return AssignedProvider(to, tariff, changed=True)
