"""The page of one call: what happened, what it costs, its recording, its history, and the contact's other attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tornado import web

from pipeline.access.rules.masking import HIDDEN, without_digits
from pipeline.database.access_log import REASON_CHARACTERS
from pipeline.flower.calls import filters
from pipeline.flower.calls.reader import CallsHandler
from pipeline.flower.handlers import RefusalError
from pipeline.lookup.history import history_of, providers_side_of, sources_of
from pipeline.lookup.rules.call_filter import CallFilter
from pipeline.lookup.search import search_calls
from pipeline.lookup.told import events, net_charge
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.lookup.found_calls import FoundCall
    from pipeline.lookup.rules.call_filter import Wall
    from pipeline.lookup.rules.history import History, ProvidersSide

ATTEMPTS = 20


class Seen(NamedTuple):
    """A call's page."""

    history: History
    attempts: list[FoundCall]
    """Those of its contact, this one among them, the newest first."""
    more_attempts: bool
    provider: ProvidersSide


class OneHandler(CallsHandler):
    """One call with all that is known of it."""

    @web.authenticated
    async def get(self, source: str, call_ref: str) -> None:
        """Show it."""
        given, wall = self.given(filters.NAMES), self.wall
        seen = await self.ask(lambda connection: _see(connection, source, call_ref, wall))
        if seen is None:
            raise RefusalError(404, f"{source} has no call {call_ref}.")
        because = self.get_argument_as_typed("because")
        self.render(
            "call.html",
            call=seen.history.call,
            query=filters.as_query(given),
            as_query=filters.as_query,
            net=net_charge(seen.history),
            provider_net=net_charge(seen.provider),
            events=events(seen.history),
            numbers=wall.numbers,
            hidden=(lambda text: text) if wall.numbers else (lambda text: text and HIDDEN),
            said=(lambda text: text) if wall.numbers else without_digits,
            may_listen=self.may_listen,
            because=because,
            reason_missing=current_settings().recordings_listening_reason == "required" and not because,
            longest_reason=REASON_CHARACTERS,
            **seen._asdict(),
        )


def _see(connection: Connection, source: str, call_ref: str, wall: Wall) -> Seen | None:
    if "\0" in source + call_ref or source not in sources_of(connection, call_ref):
        return None
    history = history_of(connection, call_ref, source)
    provider = providers_side_of(connection, history.record_id)
    if not history.call.contact_ref:
        return Seen(history, [], more_attempts=False, provider=provider)
    call = history.call
    same = CallFilter(contact_ref=call.contact_ref, campaign=call.campaign_ref, source=source)
    page = search_calls(connection, same, wall, limit=ATTEMPTS)
    return Seen(history, page.calls, page.older is not None, provider)
