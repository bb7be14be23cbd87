"""``pipeline subscriber``: who gets what happens to calls, and how far each is."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import AsJson, Because, FormatOption, Utc, Who, chosen, clock, database, read_file
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import as_text, complain, console, operator_name, print_heading, print_json, print_rows
from pipeline.cli.subscriber_replay import as_dict, replay, share, show_replays
from pipeline.cli.tables import Format, Table, counted
from pipeline.errors import PipelineError
from pipeline.feed import subscribers
from pipeline.feed.deliver import masked
from pipeline.feed.replays import active_replays, replays_of
from pipeline.feed.rules.event import KINDS, Event, event_id
from pipeline.feed.rules.filter import Filter
from pipeline.feed.rules.shape import CALL, CLOUDEVENTS_TYPE
from pipeline.feed.sinks import check_apart, check_settings, open_sink
from pipeline.feed.sinks.base import SettingError
from pipeline.feed.subscribers import NewSubscriber, SubscriberError, names_of
from pipeline.logs.rules.secrets import secrets_of
from pipeline.settings import current_settings, sinks_know

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.feed.subscribers import RefusedEvent, Subscriber
    from pipeline.instants import Clock

app = typer.Typer(help="Who gets what happens to calls, and how far each is.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The subscriber.")]
SHOWN_REFUSALS = 20
SHOWN_REPLAYS = 5
TEST = "pipeline.test"
"""The kind of the event that `test` sends."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is to be called: small letters, digits, - and _.")],
    sink: Annotated[str, typer.Option(help="Where its events go: redis-list, redis-stream, webhook or amqp.")],
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting of the sink; repeat for more.")
    ] = [],  # noqa: B006 - typer reads it, and nobody changes it
    secret_file: Annotated[
        list[str],
        typer.Option(metavar="KEY=FILE", help="A secret setting of the sink, from a file; repeat for more."),
    ] = [],  # noqa: B006
    secret: Annotated[
        list[str], typer.Option(metavar="KEY", help="A secret setting of the sink, asked for; repeat for more.")
    ] = [],  # noqa: B006
    source: Annotated[list[str], typer.Option(help="Diallers, or * for all.")] = [],  # noqa: B006
    campaign: Annotated[list[str], typer.Option(help="Campaigns, or * for all.")] = [],  # noqa: B006
    kind: Annotated[list[str], typer.Option(help="Kinds of events: " + ", ".join(KINDS) + ".")] = [],  # noqa: B006
    disposition: Annotated[list[str], typer.Option(help="Only calls that ended so; all when left out.")] = [],  # noqa: B006
    field: Annotated[list[str], typer.Option(help="Only these of a call, such as net or call.call_ref.")] = [],  # noqa: B006
    shape: Annotated[str, typer.Option(help="raw (as received), call (all that is known) or thin (ids).")] = CALL,
    order: Annotated[str, typer.Option(help="What nothing may overtake: strict, per call or none.")] = "per call",
    *,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with what the feed still holds, and not with what comes.")
    ] = False,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Subscribe somebody to what happens to calls. Nothing is delivered but what is named."""
    with _said():
        settings = dict(_pair("--set", each) for each in set_)
        secrets = {key: _from_file(file) for key, file in (_pair("--secret-file", each) for each in secret_file)}
        secrets |= {key: typer.prompt(f"{key} of {name}", hide_input=True, err=True) for key in names_of(secret)}
        wanted = Filter(names_of(source), names_of(campaign), names_of(kind), names_of(disposition) or None)
        parsed = {key: _value(value) for key, value in settings.items()}
        new = NewSubscriber(name, sink, parsed, secrets, wanted, shape, order, names_of(field) or None)
        subscribers.check(new)
        if hidden := [key for key, value in settings.items() if secrets_of(value)]:
            raise SubscriberError(
                f"--set {hidden[0]} holds a password, which the shell's history and every reader of the database would "
                f"have: give all of it by --secret-file {hidden[0]}=FILE"
            )
        check_settings(sink, {**parsed, **secrets}, sinks_know())
        check_apart(sink, {**parsed, **secrets}, sinks_know())
        with database() as engine, engine.begin() as connection:
            begins = subscribers.add(connection, new, who=who or operator_name(), from_start=from_start)
    if as_json:
        print_json({"name": name, "begins_behind": begins})
        return
    console.print(f"Subscriber {name} gets what happens behind position {begins}.", highlight=False)
    console.print(f"Try its sink: pipeline subscriber test {name}", highlight=False)


@app.command("list")
def list_(format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show the subscribers. Exit code 1 while one is expired or disabled, or takes nothing, in a replay too."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        found = subscribers.all_subscribers(connection)
        replays = active_replays(connection)
    table = Table("name", "sink", "state", "behind", "since", "delivered", "refused", "last", "replay", "problem")
    for each in found:
        state = each.state if each.state == "active" else as_text(each.state, "red")
        since, last = times.show(each.behind_since), times.show(each.delivered_at)
        again = replays.get(each.name)
        problem = each.last_error or each.state_reason or (again.last_error if again else None)
        facts = (each.rows_behind, since, each.delivered, each.refused, last, share(again), problem)
        table.add_row(each.name, each.sink, state, *facts)
    shown = {name: as_dict(each) for name, each in replays.items()}
    print_rows(table, format_, [each._asdict() | {"replay": shown.get(each.name)} for each in found])
    if any(each.state in {"expired", "disabled"} or each.misses for each in found) or any(
        each.misses for each in replays.values()
    ):
        raise typer.Exit(FOUND)


@app.command()
def show(name: Name, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show all about one subscriber but its secrets, with the events its other side refused."""
    with _said(), database() as engine, engine.connect() as connection:
        found = subscribers.read_subscriber(connection, name)
        refused = subscribers.refusals_of(connection, name, limit=SHOWN_REFUSALS)
        replays = replays_of(connection, name, limit=SHOWN_REPLAYS)
        hidden = sorted(subscribers.secrets_of_subscriber(connection, name))
    if as_json:
        more = {"refusals": [each._asdict() for each in refused], "replays": [as_dict(each) for each in replays]}
        print_json(found._asdict() | {"secrets": hidden} | more)
        return
    times = clock(utc=utc)
    table = Table("", "", show_header=False)
    for label, said in _facts(found, hidden, times):
        table.add_row(label, said)
    console.print(table)
    if replays:
        show_replays(replays, times)
    if refused:
        _show_refused(refused, times)


@app.command()
def pause(name: Name, because: Because = None, who: Who = None) -> None:
    """Deliver nothing to a subscriber until it is resumed; what waits is kept as long as the feed is."""
    with _said(), database() as engine, engine.begin() as connection:
        subscribers.pause(connection, name, who=who or operator_name(), reason=because)
    days = current_settings().feed_retention_days
    console.print(f"Subscriber {name} is paused. It expires if that lasts {counted(days, 'day')}.", highlight=False)


@app.command()
def resume(
    name: Name,
    *,
    skip_hole: Annotated[
        bool, typer.Option("--skip-hole", help="Go on behind the positions that an expired one will never get.")
    ] = False,
    who: Who = None,
) -> None:
    """Deliver to a subscriber again at once, whatever it was put off or stopped for."""
    with _said(), database() as engine, engine.begin() as connection:
        was = subscribers.resume(connection, name, who=who or operator_name(), skip_hole=skip_hole)
    gap = f" It never gets positions {was.hole_from} to {was.hole_to}." if was.state == "expired" else ""
    console.print(f"Subscriber {name} goes on; it was {was.state}.{gap}", highlight=False)


app.command()(replay)


@app.command()
def remove(name: Name, who: Who = None) -> None:
    """Forget a subscriber with its cursor and its secrets; what its sink holds stays there."""
    with _said(), database() as engine, engine.begin() as connection:
        was = subscribers.remove(connection, name, who=who or operator_name())
    lost = f"; {counted(was.rows_behind, 'row')} of the feed waited for it" if was.rows_behind else ""
    console.print(f"Subscriber {name} is removed{lost}.", highlight=False)


@app.command()
def test(name: Name) -> None:
    """Send one marked event to a subscriber's sink; its cursor does not move."""
    with _said(), database() as engine:
        with engine.connect() as connection:
            found = subscribers.read_subscriber(connection, name)
            settings = found.settings | subscribers.secrets_of_subscriber(connection, name)
        now = datetime.now(tz=UTC)
        of = event_id("", name, TEST, now.isoformat())
        body = {"specversion": "1.0", "id": str(of), "type": TEST, "source": "/enigma-cdr", "time": now.isoformat()}
        event = Event(0, 0, of, TEST, "", name, None, now, CLOUDEVENTS_TYPE, json.dumps(body).encode())
        try:
            # Under a name of its own, so that the cursor that a sink keeps for the subscriber stays where it is.
            subscriber = f"{name}.test.{of.hex[:8]}"
            opened = open_sink(found.sink, settings, subscriber=subscriber, ours=sinks_know())
            with contextlib.closing(opened) as sink:
                sink.deliver([event])
        except PipelineError as error:
            complain(f"{found.sink} of {name} did not take it: {masked(str(error), settings)}")
            raise typer.Exit(FOUND) from None
    console.print(f"{found.sink} of {name} took event {of}, of kind {TEST}.", highlight=False)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What is wrong with what was asked for is a sentence."""
    try:
        yield
    except (SubscriberError, SettingError) as error:
        complain(str(error))
        raise typer.Exit(WRONG) from None


def _pair(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise SubscriberError(f"{option} must be KEY=VALUE, got {text.partition('=')[0]!r} alone")
    return key.strip(), value


def _from_file(file: str) -> str:
    found = read_file(Path(file)).decode(errors="replace").strip()
    if not found:
        raise SubscriberError(f"{file} is empty: a secret was expected in it")
    return found


def _value(text: str) -> Any:
    """A setting as the sink takes it: numbers, true and false, lists and objects as JSON says them, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _facts(found: Subscriber, hidden: list[str], times: Clock) -> Iterator[tuple[str, str]]:
    yield "name", found.name
    yield "state", f"{found.state} since {times.show(found.state_since)}{_because(found.state_reason)}"
    settings = [f"{key}={value}" for key, value in sorted(found.settings.items())]
    yield "sink", ", ".join([found.sink, *settings, *(f"{key}=(secret)" for key in hidden)])
    yield "diallers", ", ".join(found.sources)
    yield "campaigns", ", ".join(found.campaigns)
    yield "kinds", ", ".join(found.kinds)
    if found.dispositions is not None:
        yield "dispositions", ", ".join(found.dispositions)
    yield "shape", found.shape if found.fields is None else f"{found.shape}: {', '.join(found.fields)}"
    yield "order", found.ordering
    yield "cursor", f"position {found.position}, place {found.place}"
    waits = f", the oldest since {times.show(found.behind_since)}" if found.behind_since else ""
    yield "behind", f"{counted(found.rows_behind, 'row')} of the feed{waits}"
    yield "delivered", f"{found.delivered:,}, the last at {times.show(found.delivered_at) or 'no time so far'}"
    yield "passed over", f"{found.filtered:,}"
    yield "refused", f"{found.refused:,}"
    if found.last_error:
        yield "problem", f"{found.last_error} ({found.misses} in a row, again at {times.show(found.due_at)})"
    if found.hole_from is not None:
        yield "hole", f"positions {found.hole_from} to {found.hole_to} were gone before it had them"
    yield "added", f"{times.show(found.created_at)} by {found.created_by}"


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _show_refused(refused: list[RefusedEvent], times: Clock) -> None:
    print_heading("Refused events, the newest first")
    table = Table("refused", "position", "place", "kind", "source", "call ref", "reason", "answer")
    for each in refused:
        when = times.show(each.refused_at)
        about = (each.position, each.place, each.kind, each.source, each.call_ref)
        table.add_row(when, *about, each.reason, each.answer)
    console.print(table)
