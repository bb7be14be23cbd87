"""``pipeline tariff assign`` and ``unassign``: which calls a tariff rates, on either side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.billing.assign import (
    assign_provider,
    assign_tariff,
    assigned_to,
    unassign_provider,
    unassign_tariff,
)
from pipeline.billing.rules.sides import Side
from pipeline.cli.common import SideOption, Who, database
from pipeline.cli.output import console, operator_name
from pipeline.cli.tables import counted
from pipeline.errors import DataError, shown
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.billing.assign import Assigned, AssignedProvider
    from pipeline.billing.rules.assigned import AssignedTo

DialNumber = Annotated[
    str | None,
    typer.Option(help="With --side provider: calls from this number of the dialler's own.", show_default=False),
]
OfCampaign = Annotated[
    str | None,
    typer.Option(help="With --side provider: a campaign's calls, with --source at one dialler.", show_default=False),
]
OfSource = Annotated[
    str | None, typer.Option(help="With --side provider: the calls of one dialler.", show_default=False)
]


def assign(
    names: Annotated[list[str], typer.Argument(metavar="[CAMPAIGN] TARIFF", help="The campaign, then the tariff.")],
    side: SideOption = Side.CLIENT,
    dial_number: DialNumber = None,
    campaign: OfCampaign = None,
    source: OfSource = None,
    who: Who = None,
    *,
    everything: Annotated[
        bool, typer.Option("--everything", help="For every campaign, or call, that is not assigned one itself.")
    ] = False,
) -> None:
    """Give a campaign a tariff: it rates the calls billed from now on, and what `pipeline rerate` rates anew.

    A campaign has the tariff assigned to it, else the one assigned to everything, else `default`. Failures that waited
    for a rate are then tried again.

    With --side provider give only the tariff, and say by options which calls the provider charges by it. A call has
    that of its dial number, else of its campaign, else of its dialler, else of everything; else it is not on that side.
    """
    by = who or operator_name()
    if side is Side.PROVIDER:
        to = _to(dial_number, campaign, source, everything=everything)
        if len(names) != 1:
            raise typer.BadParameter("give only the tariff, and the campaign with --campaign")
        with database() as engine:
            _show_provider(assign_provider(engine, to, names[0], assigned_by=by), taken=False)
        return
    _refuse_options(dial_number, campaign, source)
    if len(names) != (1 if everything else 2):
        wanted = "only the tariff" if everything else "a campaign and a tariff; or say --everything and only the tariff"
        raise typer.BadParameter(f"give {wanted}")
    with database() as engine:
        _show(assign_tariff(engine, None if everything else names[0], names[-1], assigned_by=by))


def unassign(
    name: Annotated[str | None, typer.Argument(metavar="[CAMPAIGN]", help="The campaign.", show_default=False)] = None,
    side: SideOption = Side.CLIENT,
    dial_number: DialNumber = None,
    campaign: OfCampaign = None,
    source: OfSource = None,
    who: Who = None,
    *,
    everything: Annotated[bool, typer.Option("--everything", help="What is assigned to everything.")] = False,
) -> None:
    """Take a campaign's own tariff away again; failures that waited for a rate are then tried again.

    With --side provider say by options what a provider's tariff was assigned to; what was charged stays.
    """
    by = who or operator_name()
    if side is Side.PROVIDER:
        if name is not None:
            raise typer.BadParameter("give the campaign with --campaign")
        to = _to(dial_number, campaign, source, everything=everything)
        with database() as engine:
            _show_provider(unassign_provider(engine, to, unassigned_by=by), taken=True)
        return
    _refuse_options(dial_number, campaign, source)
    if (name is None) is not everything:
        raise typer.BadParameter("give a campaign, or say --everything")
    with database() as engine:
        _show(unassign_tariff(engine, name, unassigned_by=by))


def _refuse_options(*given: str | None) -> None:
    if any(each is not None for each in given):
        raise typer.BadParameter(
            "--dial-number, --campaign and --source are for --side provider; a client's tariff is assigned to a "
            "campaign, by its name before the tariff's"
        )


def _to(dial_number: str | None, campaign: str | None, source: str | None, *, everything: bool) -> AssignedTo:
    named = any(each is not None for each in (dial_number, campaign, source))
    if named is everything:
        raise typer.BadParameter("say which calls: --dial-number, --campaign, --source, or --everything alone")
    try:
        return assigned_to(
            dial_number=dial_number, campaign=campaign, source=source, region=current_settings().pipeline_region
        )
    except DataError as error:
        option = error.field.removesuffix("_ref").replace("_", "-")
        raise typer.BadParameter(error.reason, param_hint=f"'--{option}'") from None


def _show(assigned: Assigned) -> None:
    whose = "everything" if assigned.campaign is None else f"campaign {shown(assigned.campaign)}"
    if assigned.tariff is None:
        done = f"{whose} has no tariff of its own any more"
    elif assigned.changed:
        done = f"{whose} has the tariff {assigned.tariff} from now on"
    else:
        done = f"{whose} has the tariff {assigned.tariff} already"
    released = f"; {counted(assigned.retried, 'failure')} released" if assigned.retried else ""
    console.print(f"{done[0].upper()}{done[1:]}{released}.", highlight=False)


def _show_provider(assigned: AssignedProvider, *, taken: bool) -> None:
    to = str(assigned.to)
    to = f"{to[0].upper()}{to[1:]}"
    if taken:
        done = f"{to} has the provider's tariff {assigned.tariff} no more; what was charged stays"
    elif assigned.changed:
        done = (
            f"{to} has the provider's tariff {assigned.tariff} from now on; "
            "what was billed before: pipeline rerate --side provider"
        )
    else:
        done = f"{to} has the provider's tariff {assigned.tariff} already"
    console.print(f"{done}.", highlight=False)
