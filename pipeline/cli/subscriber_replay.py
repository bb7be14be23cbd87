"""``pipeline subscriber replay``: what a subscriber had comes once more; and how replays are shown."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer looks it up when it reads the options
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import AsJson, Because, Utc, Who, clock, database, time_option
from pipeline.cli.exits import WRONG
from pipeline.cli.output import complain, console, operator_name, print_heading, print_json
from pipeline.cli.tables import Table, counted
from pipeline.feed import replays
from pipeline.feed.replays import HIGHEST_RATE, RATE, Asked
from pipeline.feed.sinks import place_of_replay
from pipeline.feed.subscribers import SubscriberError, names_of, read_subscriber

if TYPE_CHECKING:
    from pipeline.feed.replays import ShownReplay
    from pipeline.feed.subscribers import Subscriber
    from pipeline.instants import Clock


def replay(
    name: Annotated[str, typer.Argument(help="The subscriber.")],
    since: Annotated[datetime | None, time_option("What happened at this time or later; needed.")] = None,
    until: Annotated[
        datetime | None, time_option("What happened before this time; left out, all that it has had.")
    ] = None,
    campaign: Annotated[
        list[str], typer.Option(help="Only these campaigns; all that it gets when left out.", show_default=False)
    ] = [],  # noqa: B006 - typer reads it, and nobody changes it
    rate: Annotated[int, typer.Option(min=1, max=HIGHEST_RATE, help="Events a second.")] = RATE,
    *,
    from_what_is_left: Annotated[
        bool, typer.Option("--from-what-is-left", help="Begin later where the feed no longer holds the beginning.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="End the replay that is under way, where it is.")] = False,
    because: Because = None,
    who: Who = None,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Bring a subscriber once more what it had, by the same event ids; its main cursor does not move."""
    times, who = clock(utc=utc), who or operator_name()
    asked = _asked(since, until, campaign, rate, from_what_is_left=from_what_is_left, cancel=cancel)
    try:
        with database() as engine, engine.begin() as connection:
            found = read_subscriber(connection, name)
            if asked is None:
                said = replays.cancel(connection, name, who=who, why=because)
            else:
                said = replays.start(connection, name, asked, who=who, show=times.show, why=because)
    except SubscriberError as error:
        complain(str(error))
        raise typer.Exit(WRONG) from None
    if as_json:
        print_json(as_dict(said))
    elif asked is None:
        console.print(f"The replay to {name} is cancelled: {_progress(said)}.", highlight=False)
    else:
        _show_begun(found, said)


def _asked(
    since: datetime | None,
    until: datetime | None,
    campaign: list[str],
    rate: int,
    *,
    from_what_is_left: bool,
    cancel: bool,
) -> Asked | None:
    """What is to come once more; None: a replay is to end."""
    if not cancel and since is not None:
        return Asked(since, until, names_of(campaign) or None, rate, from_what_is_left)
    if cancel and (since, until, campaign, from_what_is_left) == (None, None, [], False):
        return None
    complain(
        "--cancel ends the replay that is under way: it takes no time and no campaign"
        if cancel
        else "--since must be given: the time from which on it is to come once more"
    )
    raise typer.Exit(WRONG)


def _show_begun(found: Subscriber, said: ShownReplay) -> None:
    console.print(
        f"{counted(said.events, 'event')} to go through for {found.name}, at most {said.rate} a second.",
        highlight=False,
    )
    if place := place_of_replay(found.sink, found.settings, said.id):
        console.print(f"They go to {place}, for its stream takes no id that it had.", highlight=False)
    console.print(f"See how far it is: pipeline subscriber show {found.name}", highlight=False)


def as_dict(each: ShownReplay) -> dict[str, Any]:
    """As ``--json`` shows it."""
    return each._asdict() | {"share": round(each.share, 4)}


def share(each: ShownReplay | None) -> str:
    """How far a replay is, in a word; nothing for none."""
    return "" if each is None else f"{int(each.share * 100)} %"


def show_replays(found: list[ShownReplay], times: Clock) -> None:
    """Print a subscriber's replays, the newest first."""
    print_heading("Replays, the newest first")
    table = Table("replay", "state", "since", "until", "campaigns", "rate", "progress", "refused", "by", "problem")
    for each in found:
        window = (times.show(each.since), times.show(each.until))
        campaigns = ", ".join(each.campaigns or [])
        problem = each.last_error or each.state_reason
        facts = (*window, campaigns, each.rate, _progress(each), each.refused, each.created_by, problem)
        table.add_row(each.id, each.state, *facts)
    console.print(table)


def _progress(each: ShownReplay) -> str:
    done = each.delivered + each.filtered + each.refused
    return f"{done:,} of {counted(each.events, 'event')}, {share(each)}, {each.delivered:,} delivered"
