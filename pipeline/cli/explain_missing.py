"""What ``pipeline explain`` says of a reference that no call has: a record that was set aside, or a contact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pipeline.cli.exits import FOUND
from pipeline.cli.output import complain
from pipeline.logs.rules.visible import visible
from pipeline.lookup.no_such_call import SHOWN, calls_of_contact, records_set_aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


def no_such_call(connection: Connection, call_ref: str, source: str | None, others: list[str]) -> None:
    """Say what else it is, and end with exit code 1.

    Args:
        connection: the database.
        call_ref: what was asked for.
        source: of which dialler; None: of any.
        others: diallers that do have such a call.
    """
    what = f"no call{f' of {source}' if source is not None else ''} has the reference {call_ref}"
    hints = list(_set_aside(connection, call_ref, source))
    if others:
        hints.append(f"{', '.join(others)} {'has one' if len(others) == 1 else 'have one'}: see --source.")
    elif not hints and (found := calls_of_contact(connection, call_ref, source)):
        what += "; it is a contact_ref"
        refs = ", ".join(each.call_ref for each in found[:SHOWN])
        hints.append(f"Calls of that contact, the newest first: {refs}{' and others' if len(found) > SHOWN else ''}")
        hints.append(f"All of it: pipeline explain --contact {call_ref}")
    complain(what, "\n".join(map(visible, hints)))
    raise typer.Exit(FOUND)


def _set_aside(connection: Connection, call_ref: str, source: str | None) -> Iterator[str]:
    """What became of records that call themselves so, and the command that shows more."""
    found = records_set_aside(connection, call_ref, source)
    if not found:
        return
    yield "A record of it is set aside:" if len(found) == 1 else "Records of it are set aside:"
    for each in found[:SHOWN]:
        yield f"  failure {each.id}, {each.failure_class}, {each.state}: {each.reason}"
    yield f"Look at it: pipeline failures show {found[0].id}"
    yield f"All there are: pipeline failures list --call-ref {call_ref} --state any"
