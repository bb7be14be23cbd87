"""``pipeline keeping``: for how long what is kept, by dialler and campaign, and what that comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import keeping_holds
from pipeline.cli.common import AsJson, Utc, Who, clock, database, said
from pipeline.cli.keeping_shown import as_dict, show_all, show_change, words
from pipeline.cli.output import console, operator_name, print_json
from pipeline.keeping.change import ScopeError, changed, check_seen, make, scope_of, without
from pipeline.keeping.effects import effects
from pipeline.keeping.rule_rows import all_rules, rules_of
from pipeline.keeping.rules.policy import LONGEST_DAYS, Kind
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.keeping.change import Change
    from pipeline.keeping.rules.policy import Scope

app = typer.Typer(
    help="For how long what is kept, by dialler and campaign, and what must not go.", no_args_is_help=True
)
app.command("hold")(keeping_holds.hold)
app.command("release")(keeping_holds.release)
app.command("holds")(keeping_holds.holds)


def _days(help_: str) -> Any:
    return typer.Option(min=1, max=LONGEST_DAYS, metavar="DAYS", help=help_, show_default=False)


KindOf = Annotated[Kind, typer.Argument(metavar="KIND", help=f"Of what: {', '.join(Kind)}.")]
OfSource = Annotated[str | None, typer.Option("--source", help="Of one dialler.", show_default=False)]
OfCampaign = Annotated[str | None, typer.Option("--campaign", help="Of one campaign.", show_default=False)]
BecauseNeeded = Annotated[str, typer.Option("--because", help="Why, for the record.")]
AtLeast = Annotated[int | None, _days("It must be kept so long.")]
AtMost = Annotated[int | None, _days("Then it goes; a minimum wins.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it comes to.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Though nothing has come of this dialler or campaign yet.")]


@app.command("set")
def set_(
    kind: KindOf,
    because: BecauseNeeded,
    source: OfSource = None,
    campaign: OfCampaign = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    who: Who = None,
    *,
    forever: Annotated[
        bool, typer.Option("--forever", help="There is no maximum, whatever a wider rule or a setting says.")
    ] = False,
    anyway: Anyway = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Say how many days something must be kept at least, and after how many it goes. What is not said stays.

    It first shows what that comes to today, and asks. Days count from when a call was dialled. Of several rules the
    narrowest counts: of the campaign at the dialler, of the campaign, of the dialler, of all. Exit code 1 when the rule
    contradicts another, or nothing is known of the dialler or campaign.
    """
    why, scope = said(because), _scope(kind, source, campaign)
    if forever and at_most is not None:
        raise typer.BadParameter("says that there is no maximum: leave --at-most out", param_hint="'--forever'")
    if at_least is None and at_most is None and not forever:
        raise typer.BadParameter("say how long: --at-least, --at-most or --forever")
    with database() as engine:
        with engine.connect() as connection:
            if not anyway:
                check_seen(connection, scope)
            change = changed(connection, kind, scope, at_least=at_least, at_most=at_most, forever=forever)
        if change.becomes == change.was:
            console.print(f"So it is already: {words(change.was)}.", highlight=False)
            return
        _go_on(engine, change, why, who, dry_run=dry_run, yes=yes)


@app.command()
def unset(
    kind: KindOf,
    because: BecauseNeeded,
    source: OfSource = None,
    campaign: OfCampaign = None,
    who: Who = None,
    *,
    at_least: Annotated[bool, typer.Option("--at-least", help="Only its minimum.")] = False,
    at_most: Annotated[bool, typer.Option("--at-most", help="Only its maximum, or that it is kept for ever.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take a rule away: the next wider one applies. It first shows what that comes to today, and asks.

    Exit code 1 when there is no such rule, or others would contradict each other without it.
    """
    why, scope = said(because), _scope(kind, source, campaign)
    whole = at_least == at_most
    with database() as engine:
        with engine.connect() as connection:
            change = without(connection, kind, scope, at_least=whole or at_least, at_most=whole or at_most)
        _go_on(engine, change, why, who, dry_run=dry_run, yes=yes)


@app.command()
def show(*, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show the rules, what applies where there is none, and what is due by them."""
    default = current_settings().recordings_retention_days
    with database() as engine, engine.connect() as connection:
        rules = all_rules(connection)
        due = {kind: effects(connection, kind, rules_of(connection, kind), recordings_default=default) for kind in Kind}
    if as_json:
        print_json(as_dict(rules, due, default))
    else:
        show_all(rules, due, default, clock(utc=utc))


def _scope(kind: Kind, source: str | None, campaign: str | None) -> Scope:
    try:
        return scope_of(kind, source=source, campaign=campaign)
    except ScopeError as error:
        raise typer.BadParameter(str(error)) from None


def _go_on(engine: Engine, change: Change, because: str, who: str | None, *, dry_run: bool, yes: bool) -> None:
    """Show what a change comes to, ask, and make it."""
    default = current_settings().recordings_retention_days
    with engine.connect() as connection:
        before, after = (
            effects(connection, change.kind, rules, recordings_default=default)
            for rules in (change.before, change.after)
        )
    show_change(change, before, after)
    if dry_run:
        return
    if not yes:
        typer.confirm("Do it?", abort=True, err=True)
    with engine.begin() as connection:
        make(connection, change, who=who or operator_name(), because=because)
    console.print("It is so from now on.", highlight=False)
