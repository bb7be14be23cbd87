"""``pipeline contact`` and ``contacts``: what a contact came to; making all of them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import AsJson, Campaign, Source, Utc, Who, clock, database
from pipeline.cli.exits import FOUND
from pipeline.cli.output import complain, console, errors, operator_name, print_heading, print_json
from pipeline.cli.tables import Table, counted
from pipeline.contacts import told
from pipeline.contacts.reading import contacts_named, inbound_of
from pipeline.contacts.rebuild import rebuild as rebuild_all
from pipeline.contacts.rules.outcome import MOST_CALLS, why
from pipeline.database.audit import record_action
from pipeline.logs.rules.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from pipeline.contacts.reading import Attempt, Contact, InboundCall
    from pipeline.contacts.rows import Difference
    from pipeline.instants import Clock

app = typer.Typer(help="All contacts.", no_args_is_help=True)


def contact(
    contact_ref: Annotated[str, typer.Argument(help="The integrator's reference.")],
    source: Source = None,
    campaign: Campaign = None,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show whether a contact was reached, by which number, and what its calls are charged.

    Exit code 1 when no call names it.
    """
    with database() as engine, engine.connect() as connection:
        found = contacts_named(connection, contact_ref, source=source, campaign=campaign)
    if not found:
        _no_such_contact(contact_ref)
    if as_json:
        print_json([told.as_dict(each) for each in found])
        return
    for each in found:
        _show(each, clock(utc=utc))


def explain_contact(contact_ref: str, source: str | None, *, utc: bool, as_json: bool) -> None:
    """What ``explain --contact`` does, with its options."""
    with database() as engine, engine.connect() as connection:
        found = contacts_named(connection, contact_ref, source=source)
        inbound = [inbound_of(connection, each) for each in found]
    if not found:
        _no_such_contact(contact_ref)
    if as_json:
        print_json([told.with_calls(each, calls) for each, calls in zip(found, inbound, strict=True)])
        return
    times = clock(utc=utc)
    for each, calls in zip(found, inbound, strict=True):
        _show(each, times)
        _show_attempts(each.attempts, times)
        _show_inbound(calls, times)


@app.command()
def rebuild(
    who: Who = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Only look; nothing is changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have every contact say what its calls come to, while everything else goes on.

    After an upgrade from a version without contacts it makes those of all calls before. Exit code 1 when any contact
    said something else than its calls, other than because a call of it is still on its way.
    """
    with database() as engine:
        found = rebuild_all(
            engine,
            check=check,
            progress=lambda changed: (
                errors.print(f"{changed:,} written", end="\r") if errors.is_terminal and not check else None
            ),
        )
        if not check:
            with engine.begin() as connection:
                record_action(connection, who or operator_name(), "contacts rebuilt", {"changed": found.changed})
    if as_json:
        print_json(found._asdict() | {"examples": [each._asdict() for each in found.examples]})
    else:
        _show_differences(found.examples)
        console.print(
            f"{counted(found.different, 'contact')} said something else than the calls, "
            f"{found.waiting:,} wait for a call on its way, {found.changed:,} written.",
            highlight=False,
        )
    if found.different:
        raise typer.Exit(FOUND)


def _no_such_contact(contact_ref: str) -> None:
    complain(
        visible(f"no call names the contact {contact_ref}"),
        "Contacts of calls from before an upgrade are there after: pipeline contacts rebuild",
    )
    raise typer.Exit(FOUND)


def _show(found: Contact, times: Clock) -> None:
    key = found.key
    print_heading(f"Contact {key.contact_ref} of {key.campaign_ref}, {key.source}")
    table = Table("", "", show_header=False)
    for label, said in _facts(found, times):
        table.add_row(label, said)
    console.print(table)
    if found.numbers:
        print_heading("Numbers tried")
        table = Table("number", "outcome", "attempts", "last")
        for each in found.numbers:
            table.add_row(_number(each.number), each.outcome, each.attempts, times.show(each.last_at))
        console.print(table)


def _facts(found: Contact, times: Clock) -> Iterator[tuple[str, str]]:
    outcome = found.outcome
    if found.is_crowd:
        yield "outcome", f"none: more than {MOST_CALLS:,} calls have this reference, so it is nobody's"
    else:
        yield "outcome", f"{outcome.outcome}{', final' if outcome.final else ''}"
        if outcome.attempts > 1:
            yield "why", why(each.call for each in found.attempts)
        yield "attempts", f"{outcome.attempts:,}"
        yield "first", times.show(outcome.first_at) if outcome.first_at else ""
        yield "last", times.show(outcome.last_at) if outcome.last_at else ""
        yield "reached", times.show(outcome.reached_at) if outcome.reached_at else "not so far"
        if outcome.agent is not None:
            yield "agent", outcome.agent
        yield "talk", f"{outcome.talk_seconds:,} s"
        yield "charges", _money(found.charges)
        yield "best call", found.best_call or ""
    if found.also_in:
        yield "note", f"the same reference is used in {', '.join(found.also_in)}: it ought to be of one campaign"


def _money(charges: dict[str, Decimal]) -> str:
    return " and ".join(f"{amount:,f} {currency}" for currency, amount in charges.items()) or "none"


def _number(number: str | None) -> str:
    return "not sent" if number is None else number or "withheld"


def _show_attempts(attempts: list[Attempt], times: Clock) -> None:
    if not attempts:
        return
    print_heading("Its calls")
    table = Table("call", "dialled", "number", "agent", "charge", "ended")
    for each in attempts:
        call = each.call
        table.add_row(
            call.call_ref,
            times.show(call.dialed_at),
            _number(call.number),
            call.agent,
            _money(each.charges),
            f"{call.disposition}{' (uncertain)' if each.uncertain else ''}: {each.why}",
        )
    console.print(table)


def _show_inbound(calls: list[InboundCall], times: Clock) -> None:
    if not calls:
        return
    print_heading("Calls that came in, which count for nothing")
    table = Table("call", "dialled", "linked", "agent", "ended")
    for each in calls:
        table.add_row(each.call_ref, times.show(each.dialed_at), each.linked, each.agent, each.disposition)
    console.print(table)


def _show_differences(found: list[Difference]) -> None:
    if not found:
        return
    table = Table("source", "campaign", "contact", "attempts", "outcome")
    for each in found:
        table.add_row(
            each.source,
            each.campaign_ref,
            each.contact_ref,
            f"{each.had_attempts:,} → {each.attempts:,}",
            f"{each.had_outcome or 'none'} → {each.outcome or 'none'}",
        )
    console.print(table)
